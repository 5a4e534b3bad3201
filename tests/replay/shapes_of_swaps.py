"""The courses of swaps, of their sequences, and of a question what one would cost."""

from __future__ import annotations

from typing import Any

from devnet.simulated.faults import RestartNode
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.errors import InvalidRequestError
from fulgurite.payments.requests import Approval, Rejection
from fulgurite.swaps.limits import Cap, Direction, SwapLimits
from fulgurite.swaps.requests import Abandonment, Word
from fulgurite.swaps.sequence import SEQUENCE, SequenceState
from fulgurite.swaps.sequence_requests import SequenceChange, SequenceOrder, SwapSequenceRequest
from fulgurite.swaps.states import SwapState
from starter.swap import Swap
from tests.replay.recording import Recording, Shape
from tests.swaps.swapping import ended, refill, swap_request, until


async def _begun(on: Recording, direction: Direction = Direction.OUT, **fields: Any) -> Swap:
    await refill(on.network)
    request = swap_request(direction, amount_sat=60_000, **fields)
    on.keep(ids.swap_id(request.key))
    return await on.client.swap(request)


async def _ends(swap: Swap, expected: SwapState) -> None:
    receipt = await swap.receipt()
    assert receipt.status is expected, receipt


async def _out(on: Recording) -> None:
    async with on.worker():
        swap = await _begun(on)
        await ended(on.network, swap)
        await _ends(swap, SwapState.SUCCEEDED)


async def _in(on: Recording) -> None:
    async with on.worker():
        swap = await _begun(on, Direction.IN)
        await ended(on.network, swap)
        await _ends(swap, SwapState.SUCCEEDED)


async def _counted(on: Recording) -> None:
    async with on.worker():
        await on.client.budget("swaps").set(BudgetPolicy(fee_sat=50_000), by="ada")
        swap = await _begun(on, budgets=("swaps",))
        await ended(on.network, swap)
        await _ends(swap, SwapState.SUCCEEDED)


async def _over_a_channel(on: Recording) -> None:
    """With its turn, and with a node that was asked twice."""
    async with on.worker():
        [channel, *_] = await on.alice.channels()
        swap = await _begun(on, channels=(str(channel.chan_id),))
        await ended(on.network, swap)
        await _ends(swap, SwapState.SUCCEEDED)


async def _refused(on: Recording) -> None:
    async with on.worker():
        swap = await _begun(on, limits=SwapLimits(total=Cap(sat=1)))
        await _ends(swap, SwapState.REFUSED)


async def _failed(on: Recording) -> None:
    limits = SwapLimits(total=Cap(sat=20_000), routing=Cap(sat=0), prepay_routing=Cap(sat=0))
    async with on.worker():
        swap = await _begun(on, limits=limits)
        await _ends(swap, SwapState.FAILED)


async def _paused_and_approved(on: Recording) -> None:
    async with on.worker():
        swap = await _begun(on, approval_above_sat=0)
        await until(swap, SwapState.AWAITING_APPROVAL)
        await swap.pause(Word(by="ada"))
        await until(swap, SwapState.PAUSED)
        await swap.resume(Word(by="ada"))
        await until(swap, SwapState.AWAITING_APPROVAL)
        await swap.approve(Approval(approver="ada"))
        await ended(on.network, swap)
        await _ends(swap, SwapState.SUCCEEDED)


async def _rejected(on: Recording) -> None:
    async with on.worker():
        swap = await _begun(on, approval_above_sat=0)
        await until(swap, SwapState.AWAITING_APPROVAL)
        await swap.reject(Rejection(approver="ada"))
        await _ends(swap, SwapState.REJECTED)


async def _orphan(on: Recording) -> None:
    """The answer is lost, a person is asked, and loopd's restart answers."""
    on.network.swap_quirks.orphans = 1
    async with on.worker():
        swap = await _begun(on, orphan_watch_seconds=1)
        await until(swap, SwapState.UNCERTAIN)
        await on.network.stop_loop("alice")
        await on.network.start_loop("alice")
        await ended(on.network, swap)
        await _ends(swap, SwapState.SUCCEEDED)


async def _begun_again(on: Recording) -> None:
    on.network.faults.add("alice.loop", "LoopOut", RestartNode(after_effect=False))
    async with on.worker():
        swap = await _begun(on, orphan_watch_seconds=1)
        await until(swap, SwapState.UNCERTAIN)

        async def again() -> bool:
            try:
                await swap.initiate_again(Word(by="ada"))
            except InvalidRequestError:
                return False
            return True

        await eventually(again, what="evidence that loopd has nothing")
        await ended(on.network, swap)
        await _ends(swap, SwapState.SUCCEEDED)


async def _given_up(on: Recording) -> None:
    on.network.faults.add("alice.loop", "LoopOut", RestartNode(after_effect=False))
    async with on.worker():
        swap = await _begun(on, orphan_watch_seconds=1)
        await until(swap, SwapState.UNCERTAIN)
        await swap.give_up(Word(by="ada"))
        await _ends(swap, SwapState.GIVEN_UP)


async def _abandoned(on: Recording) -> None:
    async with on.worker():
        swap = await _begun(on, Direction.IN, external_htlc=True)
        await until(swap, SwapState.HTLC_PUBLISHED)
        await swap.abandon(Abandonment(by="ada", even_if_published=True))
        await _ends(swap, SwapState.ABANDONED)


async def _kept_over_runs(on: Recording) -> None:
    async with on.worker():
        swap = await _begun(on)
        await ended(on.network, swap)
        await _ends(swap, SwapState.SUCCEEDED)


async def _quoted(on: Recording) -> None:
    async with on.worker():
        request = swap_request()
        await on.client.quote_swap(request)
        on.keep(ids.swap_quote_id(request.key))


def _sequence(key: str, **order: Any) -> SwapSequenceRequest:
    fields = {
        "amount_sat": 120_000,
        "max_swap_sat": 60_000,
        "limits": SwapLimits(total=Cap(sat=6_000)),
        "total_cost_sat": 20_000,
    }
    return SwapSequenceRequest(
        key=key,
        node="alice",
        direction=Direction.OUT,
        order=SequenceOrder.model_validate(fields | order),
    )


async def _run(on: Recording, request: SwapSequenceRequest, *, change: bool) -> None:
    await refill(on.network)
    on.keep(ids.swap_sequence_id(request.key))
    async with on.worker():
        sequence = await on.client.swap_sequence(request)
        changed = False
        while (view := await sequence.view()).state not in SEQUENCE.terminal:
            if change and not changed and view.state is SequenceState.SPACING:
                changed = True
                await sequence.change(SequenceChange(by="ada", spacing_blocks=1))
            swap = on.client.swap_of(view.under_way) if view.under_way else None
            if swap is None:
                await on.network.mine(1)
            else:
                await ended(on.network, swap)
        assert view.state is SequenceState.COMPLETED, view


async def _sequence_to_the_end(on: Recording) -> None:
    await _run(on, _sequence("whole"), change=False)


async def _sequence_changed(on: Recording) -> None:
    await _run(on, _sequence("changed", spacing_blocks=100), change=True)


async def _sequence_kept_over_runs(on: Recording) -> None:
    await _run(on, _sequence("kept", spacing_blocks=1), change=False)


SHAPES = (
    Shape("swap-out", _out),
    Shape("swap-in", _in),
    Shape("swap-counted", _counted),
    Shape("swap-over-a-channel", _over_a_channel),
    Shape("swap-refused", _refused),
    Shape("swap-failed", _failed),
    Shape("swap-paused-and-approved", _paused_and_approved),
    Shape("swap-rejected", _rejected),
    Shape("swap-orphan", _orphan),
    Shape("swap-begun-again", _begun_again),
    Shape("swap-given-up", _given_up),
    Shape("swap-abandoned", _abandoned),
    Shape("swap-quoted", _quoted),
    Shape("swap-sequence", _sequence_to_the_end),
    Shape("swap-sequence-changed", _sequence_changed),
    Shape("swap-kept-over-runs", _kept_over_runs, impatient=True),
    Shape("swap-sequence-kept-over-runs", _sequence_kept_over_runs, impatient=True),
)
