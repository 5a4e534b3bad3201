"""`fulgurite payment stuck`: what hangs, on which rung, and what is at stake."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from typing import Annotated

import typer
from rich.text import Text
from temporalio.client import WorkflowExecutionStatus

import settings as configuration
from fulgurite.channels.requests import FeeBudget
from fulgurite.errors import InvalidRequestError
from fulgurite.payments.states import PaymentState
from fulgurite.stuck.policy import ForceCloseBy, LadderPolicy
from fulgurite.stuck.receipts import LadderView
from fulgurite.stuck.requests import StuckRequest
from fulgurite.stuck.states import LadderState
from starter.cli import channel_rendering, rendering, stuck_rendering
from starter.cli.channel_looking import present_channels
from starter.cli.documents import LadderOutcome, LadderPlan
from starter.cli.exits import ExitCode
from starter.cli.lists import Limit
from starter.cli.options import asked, only_node, seconds
from starter.cli.progress import busy, teller, wait_for
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
)
from starter.cli.stuck_rendering import Climb
from starter.client import FulguriteClient
from starter.errors import NotRetainedError
from starter.stuck import StuckPayment

# So many payments that are STUCK, and not among the ladders shown, are looked at one by one.
_LOOKED_AT = 100
# One that has ended by itself has told its payment of the verdict that it had.
_NOT_BY_FORCE = {
    WorkflowExecutionStatus.RUNNING,
    WorkflowExecutionStatus.COMPLETED,
    WorkflowExecutionStatus.CONTINUED_AS_NEW,
}

_BEGIN = "To begin a ladder by hand"


@command
async def stuck(
    payment_hash: Annotated[
        str | None,
        typer.Argument(metavar="HASH", help="One payment; without it, all that hang."),
    ] = None,
    *,
    node: Annotated[
        str | None,
        typer.Option(help="Only of this node; with --begin, the node that sent the payment."),
    ] = None,
    state: Annotated[
        LadderState | None,
        typer.Option(case_sensitive=False, help="Only on this rung; an ended one, too."),
    ] = None,
    limit: Limit = 20,
    follow: Annotated[
        bool, typer.Option("--follow", help="Show the rungs as they come, to the end.")
    ] = False,
    begin: Annotated[
        bool,
        typer.Option(
            "--begin",
            help="Begin its ladder, or join the one under way.",
            rich_help_panel=_BEGIN,
        ),
    ] = False,
    force_close_by: Annotated[
        ForceCloseBy | None,
        typer.Option(
            case_sensitive=False,
            help="Who may order a force close. [the node's policy]",
            rich_help_panel=_BEGIN,
        ),
    ] = None,
    reconnect: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="For the peer to come back. [5m]", rich_help_panel=_BEGIN
        ),
    ] = None,
    blocks_before_expiry: Annotated[
        int | None,
        typer.Option(metavar="N", help="With expiry: how near.", rich_help_panel=_BEGIN),
    ] = None,
    after: Annotated[
        str | None,
        typer.Option(
            metavar="TIME", help="With time: since the ladder began.", rich_help_panel=_BEGIN
        ),
    ] = None,
    fee_budget_sat: Annotated[
        int | None,
        typer.Option(metavar="SAT", help="For fee bumps of the close. [0]", rich_help_panel=_BEGIN),
    ] = None,
    bump_blocks: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            help="Bump what is unconfirmed so many blocks before a deadline. [12]",
            rich_help_panel=_BEGIN,
        ),
    ] = None,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run", help="Begin nothing; say what is at stake.", rich_help_panel=_BEGIN
        ),
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Shows what hangs and on which rung of its ladder it is; begins a ladder by hand.

    A payment that is STUCK has one already. To decide what it asks, `fulgurite approve` and
    `fulgurite reject`.
    """
    policy = _policy(
        force_close_by=force_close_by,
        reconnect_seconds=seconds("--reconnect", reconnect),
        blocks_before_expiry=blocks_before_expiry,
        after_seconds=seconds("--after", after),
        budget_sat=fee_budget_sat,
        blocks_before_deadline=bump_blocks,
    )
    if not begin and (policy or dry_run):
        raise InvalidRequestError("a policy and --dry-run are for a new ladder: give --begin")
    if payment_hash is None and (begin or follow):
        raise InvalidRequestError("give the hash of one payment; `fulgurite payment stuck` has it")
    client = await connected()
    if payment_hash is None:
        return await _listed(client, state, node, limit, as_json=as_json)
    ladder = client.stuck(payment_hash)
    if begin:
        request = StuckRequest(
            node=node or await _payer(client, ladder),
            payment_hash=ladder.payment_hash,
            policy=policy,
        )
        if dry_run or not force:
            await _show_plan(client, request, dry_run=dry_run, as_json=as_json)
        if dry_run:
            return ExitCode.DONE
        confirm(f"Begin the ladder on {request.node}?", force=force)
        ladder = await client.begin_ladder(request)
        if ladder.attached:
            err.print("A ladder of this payment is under way, on its own policy: joined it.")
    if follow:
        return await _followed(client, ladder, as_json=as_json)
    return await _shown(client, ladder, as_json=as_json)


async def _listed(
    client: FulguriteClient,
    state: LadderState | None,
    node: str | None,
    limit: int,
    *,
    as_json: bool,
) -> ExitCode:
    """Those that climb or wait, unless an ended rung is asked for."""
    views: list[LadderView] = []
    found = client.list_stuck(state=state, node=node, under_way=state is None, limit=limit)
    async with busy(err, "looking at ladders", hint="Still looking.", quiet=as_json):
        async for summary in found:
            view = await client.stuck(summary.payment_hash).view()
            views.append(view)
            if as_json:
                print_json(view)
    if views and not as_json:
        wide.print(stuck_rendering.summaries(views))
    if len(views) == limit:
        err.print(f"Only {limit} are shown; for more, --limit {10 * limit}", soft_wrap=True)
    without = [] if state else await _without_ladder(client, node, views)
    for payment_hash in without:
        hint = f"STUCK without a ladder: fulgurite payment stuck {payment_hash} --begin"
        err.print(hint, soft_wrap=True)
    if not views and not without and not as_json:
        err.print("Nothing hangs. Temporal's index may be a second behind.")
    return ExitCode.DONE


async def _without_ladder(
    client: FulguriteClient, node: str | None, views: list[LadderView]
) -> list[str]:
    """Payments that were stuck before there were ladders, or whose ladder was ended by force."""
    climbing = {view.payment_hash for view in views}
    found = client.list_payments(state=PaymentState.STUCK, node=node, limit=_LOOKED_AT)
    without = []
    async for each in found:
        if each.payment_hash in climbing or each.closed_at is not None:
            continue
        with suppress(NotRetainedError):
            if await client.stuck(each.payment_hash).status() in _NOT_BY_FORCE:
                continue
        without.append(str(each.payment_hash))
    return without


async def _shown(client: FulguriteClient, ladder: StuckPayment, *, as_json: bool) -> ExitCode:
    try:
        async with busy(err, "asking", hint="A worker has to answer.", quiet=as_json):
            climb = await _climb(client, await ladder.view())
    except NotRetainedError as error:
        raise _no_ladder(ladder) from error
    if as_json:
        print_json(climb.ladder)
    else:
        out.print(stuck_rendering.view(climb), soft_wrap=True)
    return ExitCode.DONE


async def _followed(client: FulguriteClient, ladder: StuckPayment, *, as_json: bool) -> ExitCode:
    async def climbs() -> AsyncIterator[Climb]:
        async for view in ladder.watch():
            yield await _climb(client, view)

    try:
        with teller(err, quiet=as_json) as progress:
            receipt = await wait_for(ladder.receipt(), climbs, stuck_rendering.moment, progress)
    except NotRetainedError as error:
        raise _no_ladder(ladder) from error
    except asyncio.CancelledError:
        # Ctrl-C.
        err.print("\nLeft under way: it climbs without this command.")
        if as_json:
            print_json(LadderOutcome(payment_hash=ladder.payment_hash, receipt=None))
        return ExitCode.NO_VERDICT
    if as_json:
        print_json(LadderOutcome(payment_hash=ladder.payment_hash, receipt=receipt))
    else:
        out.print(stuck_rendering.receipt(receipt), soft_wrap=True)
    return ExitCode.REFUSED if receipt.status is LadderState.REFUSED else ExitCode.DONE


async def _climb(client: FulguriteClient, view: LadderView) -> Climb:
    """With the closings of its channels, as far as they are to be had."""
    closings = []
    for point in view.on_chain.channel_points if view.on_chain else ():
        with suppress(NotRetainedError):
            closing = await client.channel_close(point, node=view.node)
            closings.append(await closing.view())
    return Climb(view, tuple(closings))


async def _payer(client: FulguriteClient, ladder: StuckPayment) -> str:
    """The node that sent it: the payment's, if it is one of ours, or the only one there is."""
    try:
        return (await client.payment(ladder.payment_hash).view()).node
    except NotRetainedError:
        return only_node(configuration.load(), "sent it")


async def _show_plan(
    client: FulguriteClient, request: StuckRequest, *, dry_run: bool, as_json: bool
) -> None:
    """Where it hangs now, by the node's own list; and what the ladder may do about it."""
    channels = await present_channels(client, request.node, must=dry_run, quiet=as_json)
    if channels is None:
        return
    hung = tuple(
        each
        for each in channels.open
        if any(
            htlc.payment_hash == request.payment_hash and not htlc.incoming for htlc in each.htlcs
        )
    )
    plan = LadderPlan(request=request, tip=channels.tip, channels=hung)
    if dry_run and as_json:
        print_json(plan)
        return
    where = channel_rendering.open_channels(hung, plan.tip.height if plan.tip else None)
    words = stuck_rendering.policy(request.policy) if request.policy else "the node's own"
    told = wide if dry_run else err
    told.print(
        rendering.fields(
            [("hash", request.payment_hash), ("node", request.node), ("policy", words)]
        ),
        where if hung else Text("  It hangs on no open channel: LND will be asked for its word."),
        sep="\n",
        soft_wrap=True,
    )
    if dry_run:
        err.print("Nothing was begun: this was a dry run.")


def _policy(
    *, budget_sat: int | None, blocks_before_deadline: int | None, **terms: object
) -> LadderPolicy | None:
    """What was given of it; None where nothing was: the node's own holds."""
    given = (budget_sat, blocks_before_deadline, *terms.values())
    if all(each is None for each in given):
        return None
    fees = asked(FeeBudget, budget_sat=budget_sat, blocks_before_deadline=blocks_before_deadline)
    return asked(LadderPolicy, fees=fees, **terms)


def _no_ladder(ladder: StuckPayment) -> NotRetainedError:
    return NotRetainedError(
        "no ladder of this payment is known. A payment that is STUCK begins its own; to begin "
        f"one by hand: fulgurite payment stuck {ladder.payment_hash} --begin"
    )
