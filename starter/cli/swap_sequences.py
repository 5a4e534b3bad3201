"""`fulgurite swap sequence …`: several swaps, one after another."""

from __future__ import annotations

import getpass
from typing import Annotated

import typer
from rich.text import Text

from fulgurite.payments.requests import Cancellation
from fulgurite.swaps.limits import Direction
from fulgurite.swaps.sequence import SEQUENCE, SequenceReceipt, SequenceState, SequenceView
from fulgurite.swaps.sequence_requests import (
    OnFailure,
    SequenceChange,
    SequenceOrder,
    SwapSequenceRequest,
)
from fulgurite.swaps.words import where
from starter.cli import swap_rendering
from starter.cli.documents import SequenceOutcome
from starter.cli.exits import EPILOG, ExitCode
from starter.cli.following import followed, left_under_way
from starter.cli.options import asked
from starter.cli.progress import Moment, plain
from starter.cli.rendering import fields
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
    Budget,
    ConfTarget,
    MaxCostPpm,
    MaxCostSat,
    NewKey,
    Node,
    Note,
    NoWait,
    Who,
    limits,
    new_key,
    node_of,
    word,
)
from starter.swap_sequence import SwapSequence

app = typer.Typer(help="Several swaps, one after another.", no_args_is_help=True)

Key = Annotated[str, typer.Argument(metavar="KEY", help="The sequence.")]
TotalCost = Annotated[
    int | None, typer.Option(metavar="SAT", help="Of all swaps together, at the worst.")
]
Spacing = Annotated[int | None, typer.Option(metavar="BLOCKS", help="Between two swaps. [0]")]
MaxSwap = Annotated[
    int | None, typer.Option(metavar="SAT", help="Of one swap. [what the server takes]")
]
CarryOn = Annotated[
    bool | None,
    typer.Option("--carry-on/--stop", help="After a swap that did not succeed. [stop]"),
]

_OF_STATE: dict[SequenceState, ExitCode] = {
    SequenceState.COMPLETED: ExitCode.DONE,
    SequenceState.STOPPED: ExitCode.FAILED,
    SequenceState.OVER_BUDGET: ExitCode.NOTHING_MOVED,
    SequenceState.CANCELED: ExitCode.NOTHING_MOVED,
    SequenceState.REFUSED: ExitCode.REFUSED,
}


@app.command(epilog=EPILOG)
@command
async def begin(
    direction: Annotated[Direction, typer.Argument(case_sensitive=False)],
    amount: Annotated[int, typer.Argument(metavar="SAT", help="Of all swaps together.")],
    *,
    node: Node = None,
    key: NewKey = None,
    channel: Annotated[
        list[str] | None,
        typer.Option(metavar="ID", help="Out: share it equally among these channels."),
    ] = None,
    last_hop: Annotated[
        str | None, typer.Option(metavar="PUBKEY", help="In: over a channel with this peer.")
    ] = None,
    max_swap_sat: MaxSwap = None,
    max_cost_sat: MaxCostSat = None,
    max_cost_ppm: MaxCostPpm = None,
    total_cost_sat: TotalCost = None,
    spacing: Spacing = None,
    carry_on: CarryOn = None,
    conf_target: ConfTarget = None,
    budget: Budget = None,
    no_wait: NoWait = False,
    force: Force = False,
    as_json: Json = False,
) -> ExitCode:
    """Swaps an amount by as many swaps as it takes, within one total.

    It goes on without this command, and can be changed, paused and called off.
    """
    request = asked(
        SwapSequenceRequest,
        key=new_key(key),
        node=node_of(node),
        direction=direction,
        channels=channel,
        last_hop=last_hop,
        order=asked(
            SequenceOrder,
            amount_sat=amount,
            max_swap_sat=max_swap_sat,
            limits=limits((max_cost_sat, max_cost_ppm)),
            total_cost_sat=total_cost_sat,
            spacing_blocks=spacing,
            on_failure=_on_failure(carry_on),
        ),
        conf_target_blocks=conf_target,
        budgets=budget,
    )
    confirm(
        f"Swap {amount:,} sat {where(direction)} of {request.node}, for at most "
        f"{request.order.total_cost_sat:,} sat in all?",
        force=force,
    )
    sequence = await (await connected()).swap_sequence(request)
    if sequence.attached:
        err.print("A sequence of this key was begun before: followed, and not begun again.")
    if no_wait:
        return _left_under_way(sequence, as_json=as_json)
    return await _followed(sequence, as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def show(key: Key, as_json: Json = False) -> ExitCode:
    """Shows a sequence: what was swapped, what it has cost, what is to come."""
    view = await (await connected()).swap_sequence_of(key).view()
    if as_json:
        print_json(view)
    else:
        out.print(_shown(view), soft_wrap=True)
    return _OF_STATE.get(view.state, ExitCode.NO_VERDICT)


@app.command(epilog=EPILOG)
@command
async def watch(key: Key, as_json: Json = False) -> ExitCode:
    """Follows a sequence to its end."""
    return await _followed((await connected()).swap_sequence_of(key), as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def change(
    key: Key,
    *,
    amount_sat: Annotated[
        int | None, typer.Option(metavar="SAT", help="Of all swaps, those that ended included.")
    ] = None,
    max_swap_sat: MaxSwap = None,
    max_cost_sat: MaxCostSat = None,
    max_cost_ppm: MaxCostPpm = None,
    total_cost_sat: TotalCost = None,
    spacing: Spacing = None,
    carry_on: CarryOn = None,
    who: Who = None,
    note: Note = "",
    as_json: Json = False,
) -> ExitCode:
    """Changes what has not begun. The swap that is under way keeps its terms."""
    limited = max_cost_sat is not None or max_cost_ppm is not None
    order = asked(
        SequenceChange,
        by=who or getpass.getuser(),
        note=note,
        amount_sat=amount_sat,
        max_swap_sat=max_swap_sat,
        limits=limits((max_cost_sat, max_cost_ppm)) if limited else None,
        total_cost_sat=total_cost_sat,
        spacing_blocks=spacing,
        on_failure=_on_failure(carry_on),
    )
    return _told(await (await _sequence_of(key)).change(order), as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def pause(key: Key, who: Who = None, note: Note = "", as_json: Json = False) -> ExitCode:
    """Begins no further swap until it is resumed."""
    return _told(await (await _sequence_of(key)).pause(word(who, note)), as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def resume(key: Key, who: Who = None, note: Note = "", as_json: Json = False) -> ExitCode:
    """Lets a paused sequence go on."""
    return _told(await (await _sequence_of(key)).resume(word(who, note)), as_json=as_json)


@app.command(epilog=EPILOG)
@command
async def cancel(key: Key, reason: Note = "", as_json: Json = False) -> ExitCode:
    """Begins no further swap. The one that is under way goes to its end."""
    sequence = await _sequence_of(key)
    return _told(await sequence.cancel(asked(Cancellation, reason=reason)), as_json=as_json)


async def _sequence_of(key: str) -> SwapSequence:
    return (await connected()).swap_sequence_of(key)


def _on_failure(carry_on: bool | None) -> OnFailure | None:
    if carry_on is None:
        return None
    return OnFailure.CARRY_ON if carry_on else OnFailure.STOP


async def _followed(sequence: SwapSequence, *, as_json: bool) -> ExitCode:
    receipt = await followed(sequence, _moment, as_json=as_json)
    if receipt is None:
        return _left_under_way(sequence, as_json=as_json)
    if as_json:
        print_json(SequenceOutcome(key=sequence.key, attached=sequence.attached, receipt=receipt))
    else:
        out.print(_headline(receipt), soft_wrap=True)
    return _OF_STATE[receipt.status]


def _left_under_way(sequence: SwapSequence, *, as_json: bool) -> ExitCode:
    return left_under_way(
        SequenceOutcome(key=sequence.key, attached=sequence.attached, receipt=None),
        "It goes on without this command. To see how far it is:",
        f"fulgurite swap sequence watch {sequence.key}",
        as_json=as_json,
    )


def _told(view: SequenceView, *, as_json: bool) -> ExitCode:
    if as_json:
        print_json(view)
    else:
        out.print("Taken. What follows:")
        out.print(f"  fulgurite swap sequence show {view.key}", soft_wrap=True)
    return ExitCode.DONE


def _moment(view: SequenceView) -> Moment:
    return Moment(_headline(view), f"{len(view.to_come)} swaps to come", view.timeline)


def _headline(told: SequenceView | SequenceReceipt) -> Text:
    state = told.status if isinstance(told, SequenceReceipt) else told.state
    style = "green" if state is SequenceState.COMPLETED else "cyan"
    spent = f"{told.spent_sat:,} of {told.order.total_cost_sat:,} sat spent"
    done = f"{told.swapped_sat:,} of {told.order.amount_sat:,} sat {where(told.direction)}"
    return Text.assemble((state, style), f"  {done} of {told.node}, {spent}  {told.because}")


def _shown(view: SequenceView) -> Text:
    rows: list[tuple[str, str | Text | None]] = [
        (
            f"{each.number}.",
            Text.assemble(
                f"{each.amount_sat:,} sat ",
                swap_rendering.colored(each.status),
                f" {swap_rendering.cost(each.cost)}",
            ),
        )
        for each in view.ended
    ]
    rows += [
        (f"{each.number}.", f"{each.amount_sat:,} sat to come {each.channel or ''}".rstrip())
        for each in view.to_come
    ]
    timeline = [Text(f"  {plain(line)}", style="dim") for line in view.timeline]
    hint = "" if view.state in SEQUENCE.terminal else f"  under way: {view.under_way or 'nothing'}"
    return Text("\n").join([_headline(view), fields(rows), *timeline, Text(hint)])
