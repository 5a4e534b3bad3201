"""`fulgurite swap …`: coins out of channels and into them, by loopd."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer

from fulgurite.payments.requests import Cancellation
from fulgurite.swaps.limits import Direction
from fulgurite.swaps.receipts import SwapView
from fulgurite.swaps.requests import Abandonment, Adoption, SwapRequest
from fulgurite.swaps.states import SwapState
from starter.cli import swap_rendering
from starter.cli.documents import SwapOutcome
from starter.cli.exits import EPILOG, ExitCode
from starter.cli.following import followed, left_under_way
from starter.cli.lists import Limit, listed
from starter.cli.options import asked, seconds
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
)
from starter.cli.swap_options import (
    ApprovalAbove,
    Budget,
    ConfTarget,
    DryRun,
    Key,
    MaxCostPpm,
    MaxCostSat,
    MaxMinerFee,
    MaxPrepay,
    MaxPrepayRouting,
    MaxRouting,
    MaxSwapFee,
    NewKey,
    Node,
    Note,
    NoWait,
    Who,
    limits,
    new_key,
    node_of,
    of_state,
    word,
)
from starter.cli.swap_sequences import app as sequences
from starter.client import FulguriteClient
from starter.swap import Swap

app = typer.Typer(
    help="Swaps: out of channels onto the chain, and back, by loopd.", no_args_is_help=True
)
app.add_typer(sequences, name="sequence")

Amount = Annotated[int, typer.Argument(metavar="SAT", help="How much, without any fee.")]
Deadline = Annotated[
    str | None, typer.Option(metavar="TIME", help="After this it is not begun. [1h]")
]


@app.command("out", epilog=EPILOG)
@command
async def out_(
    amount: Amount,
    *,
    node: Node = None,
    key: NewKey = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Only over this one; give it again for more."),
    ] = None,
    max_cost_sat: MaxCostSat = None,
    max_cost_ppm: MaxCostPpm = None,
    max_swap_fee_sat: MaxSwapFee = None,
    max_prepay_sat: MaxPrepay = None,
    max_miner_fee_sat: MaxMinerFee = None,
    max_routing_sat: MaxRouting = None,
    max_prepay_routing_sat: MaxPrepayRouting = None,
    conf_target: ConfTarget = None,
    publish_within: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="The server may wait so long, which is cheaper. [0]"),
    ] = None,
    approval_above_sat: ApprovalAbove = None,
    budget: Budget = None,
    deadline: Deadline = None,
    no_wait: NoWait = False,
    dry_run: DryRun = False,
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Loop Out: pays the server off chain, and takes its coins on chain.

    Afterwards the channels can receive more. It goes on without this command.
    """
    request = asked(
        SwapRequest,
        key=new_key(key),
        node=node_of(node),
        direction=Direction.OUT,
        amount_sat=amount,
        channels=channel,
        limits=limits(
            (max_cost_sat, max_cost_ppm),
            swap_fee=max_swap_fee_sat,
            prepay=max_prepay_sat,
            miner_fee=max_miner_fee_sat,
            routing=max_routing_sat,
            prepay_routing=max_prepay_routing_sat,
        ),
        conf_target_blocks=conf_target,
        publish_within_seconds=seconds("--publish-within", publish_within),
        approval_above_sat=approval_above_sat,
        budgets=budget,
        deadline_seconds=seconds("--deadline", deadline),
    )
    return await _swap(request, no_wait=no_wait, dry_run=dry_run, force=force, as_json=as_json)


@app.command("in", epilog=EPILOG)
@command
async def in_(
    amount: Amount,
    *,
    node: Node = None,
    key: NewKey = None,
    last_hop: Annotated[
        str | None, typer.Option(metavar="PUBKEY", help="Over a channel with this peer.")
    ] = None,
    external: Annotated[
        bool, typer.Option("--external", help="Somebody else pays the address that is shown.")
    ] = False,
    max_cost_sat: MaxCostSat = None,
    max_cost_ppm: MaxCostPpm = None,
    max_swap_fee_sat: MaxSwapFee = None,
    max_miner_fee_sat: MaxMinerFee = None,
    conf_target: ConfTarget = None,
    approval_above_sat: ApprovalAbove = None,
    budget: Budget = None,
    deadline: Deadline = None,
    no_wait: NoWait = False,
    dry_run: DryRun = False,
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Loop In: offers coins on chain, for which the server pays into a channel.

    Afterwards the channel can send more. It goes on without this command.
    """
    request = asked(
        SwapRequest,
        key=new_key(key),
        node=node_of(node),
        direction=Direction.IN,
        amount_sat=amount,
        last_hop=last_hop,
        external_htlc=external,
        limits=limits(
            (max_cost_sat, max_cost_ppm), swap_fee=max_swap_fee_sat, miner_fee=max_miner_fee_sat
        ),
        conf_target_blocks=conf_target,
        approval_above_sat=approval_above_sat,
        budgets=budget,
        deadline_seconds=seconds("--deadline", deadline),
    )
    return await _swap(request, no_wait=no_wait, dry_run=dry_run, force=force, as_json=as_json)


@app.command("list", epilog=EPILOG)
@command
async def list_(
    *,
    node: Node = None,
    state: Annotated[
        SwapState | None, typer.Option(case_sensitive=False, help="Only in this state.")
    ] = None,
    under_way: Annotated[
        bool, typer.Option("--under-way", help="Only those that have not ended.")
    ] = False,
    limit: Limit = 20,
    as_json: Json = False,
) -> ExitCode:
    """Lists swaps, those under way first."""
    client = await connected()
    found = client.list_swaps(state=state, node=node, under_way=under_way, limit=limit)
    return await listed(
        found, limit, swap_rendering.summaries, nothing="No swaps.", as_json=as_json
    )


@app.command(epilog=EPILOG)
@command
async def show(key: Key, as_json: Json = False) -> ExitCode:
    """Shows one swap: where it stands, what it costs, what is at risk, what comes next."""
    client = await connected()
    async with busy(err, "asking", hint="A worker has to answer.", quiet=as_json):
        view = await client.swap_of(key).view()
    if as_json:
        print_json(view)
    else:
        out.print(swap_rendering.view(view), soft_wrap=True)
    return of_state(view.state, view.reason)


@app.command(epilog=EPILOG)
@command
async def watch(key: Key, as_json: Json = False) -> ExitCode:
    """Follows one swap to its end."""
    return await _followed((await connected()).swap_of(key), as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def pause(key: Key, who: Who = None, note: Note = "", as_json: Json = False) -> ExitCode:
    """Keeps a swap from beginning until it is resumed. Too late once loopd has it."""
    return _told(await (await _swap_of(key)).pause(word(who, note)), as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def resume(key: Key, who: Who = None, note: Note = "", as_json: Json = False) -> ExitCode:
    """Lets a paused swap go on, by a new quote."""
    return _told(await (await _swap_of(key)).resume(word(who, note)), as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def cancel(key: Key, reason: Note = "", as_json: Json = False) -> ExitCode:
    """Calls a swap off that has not begun."""
    swap = await _swap_of(key)
    return _told(await swap.cancel(asked(Cancellation, reason=reason)), as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def abandon(
    key: Key,
    *,
    who: Who = None,
    note: Note = "",
    even_if_published: Annotated[
        bool, typer.Option("--even-if-published", help="Its coins on chain can be lost.")
    ] = False,
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Has loopd stop caring for a swap in, which it does not take up again."""
    confirm("Abandon it? loopd takes nothing back that is on chain.", force=force)
    order = asked(
        Abandonment, by=who or getpass.getuser(), note=note, even_if_published=even_if_published
    )
    return _told(await (await _swap_of(key)).abandon(order), as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def again(
    key: Key, who: Who = None, note: Note = "", force: Force = False, as_json: Json = False
) -> ExitCode:
    """Has an uncertain swap begun again. Refused while loopd may still have it."""
    confirm("Begin it again? If loopd has the first one after all, there are two.", force=force)
    return _told(await (await _swap_of(key)).initiate_again(word(who, note)), as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def adopt(
    key: Key,
    swap_hash: Annotated[str, typer.Argument(metavar="HASH", help="loopd's name for it.")],
    who: Who = None,
    as_json: Json = False,
) -> ExitCode:
    """Says which of loopd's swaps an uncertain one is."""
    order = asked(Adoption, by=who or getpass.getuser(), swap_hash=swap_hash.strip().lower())
    return _told(await (await _swap_of(key)).adopt(order), as_json=as_json)


@app.command("give-up", epilog=EPILOG)
@command
async def give_up(
    key: Key, who: Who = None, note: Note = "", force: Force = False, as_json: Json = False
) -> ExitCode:
    """Looks for an uncertain swap no more. It counts as if all of its cost were spent."""
    confirm("Give it up? If loopd has it after all, nobody follows it.", force=force)
    return _told(await (await _swap_of(key)).give_up(word(who, note)), as_json=as_json)


async def _swap_of(key: str) -> Swap:
    return (await connected()).swap_of(key)


async def _swap(
    request: SwapRequest, *, no_wait: bool, dry_run: bool, force: bool, as_json: bool
) -> ExitCode:
    client = await connected()
    if dry_run or not force:
        code = await _show_plan(client, request, dry_run=dry_run, as_json=as_json)
        if dry_run or code is not ExitCode.DONE:
            return code
    confirm(f"Swap {request.amount_sat:,} sat of {request.node}?", force=force)
    swap = await client.swap(request)
    if swap.attached:
        err.print("A swap of this key was begun before: followed, and not begun again.")
    if no_wait:
        return _left_under_way(swap, as_json=as_json)
    return await _followed(swap, as_json=as_json)


async def _show_plan(
    client: FulguriteClient, request: SwapRequest, *, dry_run: bool, as_json: bool
) -> ExitCode:
    """What it would cost. REFUSED where it would not be begun."""
    async with busy(err, "asking for a quote", hint="loopd has to answer.", quiet=as_json):
        plan = await client.quote_swap(request)
    if dry_run and as_json:
        print_json(plan)
    else:
        (out if dry_run else err).print(swap_rendering.plan(plan), soft_wrap=True)
    if dry_run:
        err.print("Nothing was begun: this was a dry run.")
    return ExitCode.REFUSED if plan.advice else ExitCode.DONE


async def _followed(swap: Swap, *, as_json: bool) -> ExitCode:
    receipt = await followed(swap, swap_rendering.moment, as_json=as_json)
    if receipt is None:
        return _left_under_way(swap, as_json=as_json)
    if as_json:
        print_json(SwapOutcome(key=swap.key, attached=swap.attached, receipt=receipt))
    else:
        out.print(swap_rendering.receipt(receipt), soft_wrap=True)
    return of_state(receipt.status, receipt.reason)


def _left_under_way(swap: Swap, *, as_json: bool) -> ExitCode:
    return left_under_way(
        SwapOutcome(key=swap.key, attached=swap.attached, receipt=None),
        "It goes on without this command. To see how far it is:",
        f"fulgurite swap watch {swap.key}",
        as_json=as_json,
    )


def _told(view: SwapView, *, as_json: bool) -> ExitCode:
    """The workflow has taken the word; what follows from it is seen a moment later."""
    if as_json:
        print_json(view)
    else:
        out.print("Taken. What follows:")
        out.print(f"  fulgurite swap show {view.key}", soft_wrap=True)
    return ExitCode.DONE
