"""`fulgurite lease …`: inbound liquidity from Pool's market."""

from __future__ import annotations

import secrets
from typing import Annotated

import typer

import settings as configuration
from fulgurite.errors import InvalidRequestError
from fulgurite.leases.pricing import BLOCKS_A_YEAR, PARTS, percent_a_year, premium_sat
from fulgurite.leases.requests import AccountTerms, LeaseCancellation, LeaseRequest, NodeTier
from fulgurite.leases.states import LeaseState
from starter.cli import lease_rendering
from starter.cli.documents import LeaseOutcome, LeasePlan
from starter.cli.exits import EPILOG, ExitCode
from starter.cli.following import followed, left_under_way
from starter.cli.lists import Limit, listed
from starter.cli.options import asked, only_node, seconds
from starter.cli.running import (
    Force,
    Json,
    command,
    confirm,
    connected,
    err,
    out,
    print_json,
)
from starter.lease import Lease

app = typer.Typer(
    help="Inbound liquidity from Pool: bids, and the channels they win.", no_args_is_help=True
)

_ACCOUNT = "The account that pays"

_OF_STATE: dict[LeaseState, ExitCode] = {
    LeaseState.TERM_ENDED: ExitCode.DONE,
    LeaseState.CLOSED_EARLY: ExitCode.DONE,
    LeaseState.REFUSED: ExitCode.REFUSED,
    LeaseState.FAILED: ExitCode.NOTHING_MOVED,
    LeaseState.EXPIRED: ExitCode.NOTHING_MOVED,
    LeaseState.CANCELED: ExitCode.NOTHING_MOVED,
    LeaseState.REJECTED: ExitCode.NOTHING_MOVED,
}

Key = Annotated[str, typer.Argument(metavar="KEY", help="The lease's key.")]


@app.command(epilog=EPILOG)
@command
async def bid(
    amount_sat: Annotated[
        int, typer.Argument(metavar="SAT", help="Inbound, in units of 100,000 sat.")
    ],
    *,
    max_batch_fee: Annotated[
        int, typer.Option(metavar="N", help="No part in a batch that pays more than N sat/vB.")
    ],
    rate: Annotated[
        int | None,
        typer.Option(metavar="PPB", help="The bid: parts per billion of the amount, a block."),
    ] = None,
    percent: Annotated[
        float | None, typer.Option(metavar="P", help="The same as percent a year.")
    ] = None,
    duration: Annotated[
        int, typer.Option(metavar="BLOCKS", help="One that Pool has a market for.")
    ] = 2_016,
    key: Annotated[
        str | None,
        typer.Option(help="Your name for it: repeated, it joins. [a new one, which is told]"),
    ] = None,
    node: Annotated[
        str | None,
        typer.Option(
            envvar="FULGURITE_NODE",
            help="Who is to have the channel. Not needed where one node is configured.",
        ),
    ] = None,
    min_channel_sat: Annotated[
        int | None,
        typer.Option(metavar="SAT", help="Several channels will do, none smaller. [SAT: one]"),
    ] = None,
    max_cost_sat: Annotated[
        int | None,
        typer.Option(metavar="SAT", help="Refused where it can cost more, fees and all."),
    ] = None,
    min_tier: Annotated[
        NodeTier, typer.Option(case_sensitive=False, help="How the auctioneer rates the peer.")
    ] = NodeTier.TIER_1,
    private: Annotated[bool, typer.Option("--private", help="An unannounced channel.")] = False,
    deadline: Annotated[
        str, typer.Option(metavar="TIME", help="Then the bid is taken back.")
    ] = "1d",
    approval_above_sat: Annotated[
        int | None, typer.Option(metavar="SAT", help="Ask a person where it can cost more.")
    ] = None,
    budget: Annotated[
        list[str] | None, typer.Option(metavar="NAME", help="Counts its cost; repeatable.")
    ] = None,
    account: Annotated[
        str | None,
        typer.Option(
            metavar="KEY", help="Its trader key. [any with enough]", rich_help_panel=_ACCOUNT
        ),
    ] = None,
    open_account_sat: Annotated[
        int | None,
        typer.Option(metavar="SAT", help="Where none will do, open one.", rich_help_panel=_ACCOUNT),
    ] = None,
    account_fee: Annotated[
        int | None,
        typer.Option(metavar="N", help="Sat/vB to open and to renew at.", rich_help_panel=_ACCOUNT),
    ] = None,
    account_blocks: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Until it expires, opened or renewed. [4320]",
            rich_help_panel=_ACCOUNT,
        ),
    ] = None,
    no_wait: Annotated[
        bool, typer.Option("--no-wait", help="Begin it, and do not follow it.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Bid nothing; say what would be bid.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Bids for inbound liquidity, and follows the lease to the end of its term.

    It goes on without this command: Ctrl-C leaves it under way, and `lease watch` joins it.
    """
    request = asked(
        LeaseRequest,
        key=key or f"lease-{secrets.token_hex(8)}",
        node=node or only_node(configuration.load(), "is to have it"),
        amount_sat=amount_sat,
        min_channel_sat=min_channel_sat,
        duration_blocks=duration,
        max_rate_ppb=_rate(rate, percent),
        max_batch_fee_sat_per_vbyte=max_batch_fee,
        max_cost_sat=max_cost_sat,
        min_tier=min_tier,
        announced=not private,
        deadline_seconds=seconds("--deadline", deadline),
        approval_above_sat=approval_above_sat,
        budgets=budget,
        account=asked(
            AccountTerms,
            key=account,
            open_with_sat=open_account_sat,
            fee_sat_per_vbyte=account_fee,
            expiry_blocks=account_blocks,
        ),
    )
    if dry_run:
        return _planned(request, as_json=as_json)
    if not force:
        err.print(lease_rendering.plan(request), soft_wrap=True)
    confirm(f"Bid for {request.node}?", force=force)
    lease = await (await connected()).lease(request)
    if lease.attached:
        err.print("It was begun before: it is joined.")
    if no_wait:
        return _left_under_way(lease, as_json=as_json)
    return await _followed(lease, as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def show(key: Key, as_json: Json = False) -> ExitCode:
    """Shows how a lease stands, with its channels and its timeline."""
    view = await (await connected()).lease_of(key).view()
    if as_json:
        print_json(view)
    else:
        out.print(lease_rendering.view(view), soft_wrap=True)
    return ExitCode.DONE


@app.command("list", epilog=EPILOG)
@command
async def list_(
    state: Annotated[
        LeaseState | None, typer.Option(case_sensitive=False, help="Only in this state.")
    ] = None,
    node: Annotated[str | None, typer.Option(help="Only for this node.")] = None,
    limit: Limit = 20,
    as_json: Json = False,
) -> ExitCode:
    """Lists leases: those under way, then the latest ended. With --json one document a line."""
    client = await connected()
    return await listed(
        client.list_leases(state=state, node=node, limit=limit),
        limit,
        lease_rendering.summaries,
        nothing="No leases. Temporal's index may be a second behind.",
        as_json=as_json,
    )


@app.command(epilog=EPILOG)
@command
async def watch(key: Key, as_json: Json = False) -> ExitCode:
    """Follows a lease to the end of its term, and prints the receipt."""
    return await _followed((await connected()).lease_of(key), as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def cancel(
    key: Key,
    reason: Annotated[str, typer.Option(help="Written to the timeline.")] = "",
    as_json: Json = False,
) -> ExitCode:
    """Takes the bid back. What it has won by then stays, and is followed to its end."""
    lease = (await connected()).lease_of(key)
    view = await lease.cancel(asked(LeaseCancellation, reason=reason))
    if as_json:
        print_json(view)
    else:
        out.print("It is called off. What follows:")
        out.print(f"  fulgurite lease watch {view.key}", soft_wrap=True)
    return ExitCode.DONE


def _rate(ppb: int | None, percent: float | None) -> int:
    if (ppb is None) == (percent is None):
        raise InvalidRequestError("give the rate once: as --rate, or as --percent a year")
    if ppb is not None:
        return ppb
    assert percent is not None
    return int(percent / 100 * PARTS / BLOCKS_A_YEAR)


def _planned(request: LeaseRequest, *, as_json: bool) -> ExitCode:
    rate = request.max_rate_ppb
    plan = LeasePlan(
        request=request,
        premium_sat=premium_sat(request.amount_sat, rate, request.duration_blocks),
        percent_a_year=percent_a_year(rate),
    )
    if as_json:
        print_json(plan)
    else:
        out.print(lease_rendering.plan(request), soft_wrap=True)
        err.print("Nothing was bid: this was a dry run.")
    return ExitCode.DONE


async def _followed(lease: Lease, *, as_json: bool) -> ExitCode:
    receipt = await followed(lease, lease_rendering.moment, as_json=as_json)
    if receipt is None:
        return _left_under_way(lease, as_json=as_json)
    if as_json:
        print_json(LeaseOutcome(key=lease.key, attached=lease.attached, receipt=receipt))
    else:
        out.print(lease_rendering.receipt(receipt), soft_wrap=True)
    return _OF_STATE[receipt.status]


def _left_under_way(lease: Lease, *, as_json: bool) -> ExitCode:
    return left_under_way(
        LeaseOutcome(key=lease.key, attached=lease.attached, receipt=None),
        "It goes on without this command. To see how far it is:",
        f"fulgurite lease show {lease.key}",
        as_json=as_json,
    )
