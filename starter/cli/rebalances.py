"""`fulgurite rebalance`: liquidity that goes around."""

from __future__ import annotations

import secrets
from typing import Annotated

import typer

import settings as configuration
from fulgurite.errors import InvalidRequestError
from fulgurite.rebalances.requests import FeeCap, RebalanceMethod, RebalanceRequest
from fulgurite.rebalances.states import RebalanceState
from starter.cli import rebalance_rendering
from starter.cli.channel_looking import present_channels
from starter.cli.documents import RebalanceOutcome, RebalancePlan
from starter.cli.exits import EPILOG, ExitCode
from starter.cli.following import followed
from starter.cli.lists import Limit, listed
from starter.cli.options import asked, msat, only_node, seconds
from starter.cli.progress import busy
from starter.cli.running import (
    Force,
    Json,
    command,
    confirm,
    connected,
    err,
    out,
    print_json,
    wide,
    wide_err,
)
from starter.client import FulguriteClient, channel_point_of
from starter.rebalance import Rebalance

app = typer.Typer(help="Liquidity that goes around between a node's own channels.", epilog=EPILOG)

_HOW_MUCH, _LIMITS = "How much", "Limits"

_OF_STATE: dict[RebalanceState, ExitCode] = {
    RebalanceState.MOVED: ExitCode.DONE,
    RebalanceState.PARTLY_MOVED: ExitCode.DONE,
    RebalanceState.NOT_MOVED: ExitCode.NOTHING_MOVED,
    RebalanceState.CANCELED: ExitCode.NOTHING_MOVED,
    RebalanceState.OVER_BUDGET: ExitCode.NOTHING_MOVED,
    RebalanceState.REFUSED: ExitCode.REFUSED,
}

KeyOf = Annotated[str, typer.Argument(metavar="KEY", help="As `rebalance start` has said it.")]


@app.command(epilog=EPILOG)
@command
async def start(
    *,
    from_channels: Annotated[
        list[str],
        typer.Option("--from", metavar="POINT", help="Money leaves by it. May be repeated."),
    ],
    to_channels: Annotated[
        list[str],
        typer.Option("--to", metavar="POINT", help="And comes back by it. May be repeated."),
    ],
    max_fee_sat: Annotated[
        int, typer.Option(metavar="SAT", help="In all.", rich_help_panel=_LIMITS)
    ],
    max_fee_ppm: Annotated[
        int, typer.Option(metavar="PPM", help="Of each part that moves.", rich_help_panel=_LIMITS)
    ],
    amount_sat: Annotated[
        int | None, typer.Option(metavar="SAT", rich_help_panel=_HOW_MUCH)
    ] = None,
    to_local: Annotated[
        str | None,
        typer.Option(
            metavar="PERCENT",
            help="Until so much of each --to channel is local: 50%.",
            rich_help_panel=_HOW_MUCH,
        ),
    ] = None,
    smallest_part_sat: Annotated[
        int | None,
        typer.Option(metavar="SAT", help="No less at once. [10000]", rich_help_panel=_HOW_MUCH),
    ] = None,
    largest_part_sat: Annotated[
        int | None,
        typer.Option(metavar="SAT", help="No more at once.", rich_help_panel=_HOW_MUCH),
    ] = None,
    earns_ppm: Annotated[
        int | None,
        typer.Option(
            metavar="PPM",
            help="What it will earn there; nothing moves that costs as much.",
            rich_help_panel=_LIMITS,
        ),
    ] = None,
    forgoes_ppm: Annotated[
        int | None,
        typer.Option(
            metavar="PPM", help="What it would have earned here.", rich_help_panel=_LIMITS
        ),
    ] = None,
    max_attempts: Annotated[
        int | None, typer.Option(metavar="N", help="[30]", rich_help_panel=_LIMITS)
    ] = None,
    deadline: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="No attempt begins after that. [1h]", rich_help_panel=_LIMITS
        ),
    ] = None,
    budget: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help="Reserves the whole cap in it first."),
    ] = None,
    self_payment: Annotated[
        bool,
        typer.Option("--self-payment", help="Let LND choose the routes, and split."),
    ] = False,
    node: Annotated[
        str | None,
        typer.Option(
            envvar="FULGURITE_NODE",
            help="Whose channels they are. Not needed where one node is configured.",
        ),
    ] = None,
    key: Annotated[
        str | None,
        typer.Option(
            help="Your own name for it: the same command with the same key begins no second one."
        ),
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Begin it, and do not watch it.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Begin nothing; say what would be done.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Moves liquidity out by some channels and in by others, within both fee caps.

    It goes on without this command: Ctrl-C leaves it under way.
    """
    request = asked(
        RebalanceRequest,
        key=key or f"cli-{secrets.token_hex(6)}",
        node=node or only_node(configuration.load(), "has them"),
        from_channels=[channel_point_of(each) for each in from_channels],
        to_channels=[channel_point_of(each) for each in to_channels],
        amount_msat=msat("amount", amount_sat, None),
        target_local_ppm=_ppm_of("--to-local", to_local),
        cap=asked(FeeCap, sat=max_fee_sat, ppm=max_fee_ppm),
        earns_ppm=earns_ppm,
        forgoes_ppm=forgoes_ppm,
        smallest_part_msat=msat("smallest-part", smallest_part_sat, None),
        largest_part_msat=msat("largest-part", largest_part_sat, None),
        method=RebalanceMethod.SELF_PAYMENT if self_payment else None,
        max_attempts=max_attempts,
        deadline_seconds=seconds("--deadline", deadline),
        budgets=budget or None,
    )
    client = await connected()
    if dry_run or not force:
        await _show_plan(client, request, dry_run=dry_run, as_json=as_json)
    if dry_run:
        return ExitCode.DONE
    confirm(f"Rebalance on {request.node}?", force=force)
    rebalance = await client.rebalance(request)
    if rebalance.attached:
        err.print("A rebalance of this key was begun before: joined it.")
    err.print(f"key {request.key}", soft_wrap=True)
    if no_wait:
        if as_json:
            print_json(RebalanceOutcome(key=request.key, attached=rebalance.attached, receipt=None))
        return ExitCode.NO_VERDICT
    return await _watched(rebalance, as_json=as_json)


@app.command("list", epilog=EPILOG)
@command
async def list_(
    state: Annotated[
        RebalanceState | None, typer.Option(case_sensitive=False, help="Only in this state.")
    ] = None,
    node: Annotated[str | None, typer.Option(help="Only on this node.")] = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> ExitCode:
    """Lists rebalances: those under way, then the latest ended. With --json a document a line."""
    client = await connected()
    return await listed(
        client.list_rebalances(state=state, node=node, limit=limit),
        limit,
        rebalance_rendering.summaries,
        nothing="No rebalances. Temporal's index may be a second behind.",
        as_json=as_json,
    )


@app.command(epilog=EPILOG)
@command
async def show(key: KeyOf, *, as_json: Json = False) -> ExitCode:
    """Shows how far one is, why it stopped, and how its channels stand."""
    client = await connected()
    async with busy(err, "asking", hint="A worker has to answer.", quiet=as_json):
        view = await client.rebalancing(key).view()
    if as_json:
        print_json(view)
    else:
        out.print(rebalance_rendering.view(view), soft_wrap=True)
    return _OF_STATE.get(view.state, ExitCode.NO_VERDICT)


@app.command(epilog=EPILOG)
@command
async def watch(key: KeyOf, *, as_json: Json = False) -> ExitCode:
    """Watches one to its end, and shows its channels before and after."""
    client = await connected()
    return await _watched(client.rebalancing(key), as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def cancel(
    key: KeyOf,
    *,
    reason: Annotated[str, typer.Option(help="Written to its timeline.")] = "",
    as_json: Json = False,
) -> ExitCode:
    """Begins nothing more. What is in flight stays until LND ends it."""
    client = await connected()
    view = await client.rebalancing(key).cancel(reason)
    if as_json:
        print_json(view)
    else:
        out.print(rebalance_rendering.view(view), soft_wrap=True)
    return ExitCode.NO_VERDICT


async def _watched(rebalance: Rebalance, *, as_json: bool) -> ExitCode:
    receipt = await followed(
        rebalance,
        rebalance_rendering.moment,
        as_json=as_json,
        when_left="Left under way: it goes on without this command.",
    )
    if as_json:
        print_json(
            RebalanceOutcome(key=rebalance.key, attached=rebalance.attached, receipt=receipt)
        )
    elif receipt:
        out.print(rebalance_rendering.receipt(receipt), soft_wrap=True)
    return _OF_STATE[receipt.status] if receipt else ExitCode.NO_VERDICT


async def _show_plan(
    client: FulguriteClient, request: RebalanceRequest, *, dry_run: bool, as_json: bool
) -> None:
    channels = await present_channels(client, request.node, must=dry_run, quiet=as_json)
    if channels is None:
        return
    plan = RebalancePlan(
        request=request,
        channels=tuple(each for each in channels.open if each.channel_point in request.channels),
    )
    if dry_run and as_json:
        print_json(plan)
        return
    told = wide if dry_run else wide_err
    told.print(rebalance_rendering.plan(request, plan.channels))
    if dry_run:
        err.print("Nothing was begun: this was a dry run.")


def _ppm_of(option: str, text: str | None) -> int | None:
    """`50`, `50%` or `12.5%`, exactly."""
    if text is None:
        return None
    whole, _, part = text.strip().removesuffix("%").partition(".")
    if not whole.isdigit() or len(part) > 4 or (part and not part.isdigit()):
        raise InvalidRequestError(f"{option} is a percentage such as 50%")
    return int(whole) * 10_000 + int(part.ljust(4, "0") or 0)
