"""The budgets that count a rebalance: the amount comes home, the fees may be gone."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta

from temporalio import workflow

from fulgurite.budgets.orders import Claim, Purpose
from fulgurite.money import Msat
from fulgurite.rebalances.progress import Progress
from fulgurite.rebalances.requests import RebalanceRequest
from fulgurite.rebalances.states import RebalanceEvent, StopReason
from workflows import reserving

# Books know moments by whole milliseconds, rounded: one less could be the same.
_A_MOMENT = timedelta(milliseconds=2)


async def count_what_was_found(progress: Progress, request: RebalanceRequest) -> None:
    """What an earlier run has paid, where its reservation is still there: it was not told of.

    Before anything else, since whatever becomes of this run frees what is reserved.
    """
    if request.budgets and progress.moved_msat:
        earlier = _claim(progress)
        # The claim that this run makes is another, and a later one.
        earlier = earlier.model_copy(update={"since": earlier.since - _A_MOMENT})
        await reserving.commit(request.budgets, earlier, Msat(0), progress.fee_msat, reserved=False)
    progress.counted_msat = progress.fee_msat


async def reserve(progress: Progress, request: RebalanceRequest) -> tuple[RebalanceEvent, str]:
    """All that it may still pay, in all of them; or why nothing is sent.

    Cut off by a cancel or by the deadline, it does not know what was granted: `settle` does.
    """
    left = Msat(max(0, Msat.from_sat(request.cap.sat) - progress.fee_msat))
    asking = asyncio.create_task(
        reserving.reserve(request.budgets, _claim(progress), Msat(0), left)
    )
    with suppress(TimeoutError):
        await workflow.wait_condition(
            lambda: asking.done() or progress.cancel_requested,
            timeout=max(progress.ends_at(request) - workflow.now(), timedelta(0)),
            timeout_summary="a budget's answer",
        )
    if not asking.done():
        asking.cancel()
        await workflow.wait([asking])
        if progress.cancel_requested:
            progress.end(StopReason.CANCELED, "called off")
        else:
            progress.end(StopReason.DEADLINE, "a budget gave no answer before the time was over")
        return progress.ending(), progress.because
    if refusal := asking.result():
        progress.refusal = refusal
        progress.end(StopReason.OVER_BUDGET, refusal.words)
        event = RebalanceEvent.STOPPED if progress.moved_msat else RebalanceEvent.OVER_BUDGET
        return event, refusal.words
    progress.reserved = True
    return RebalanceEvent.ALLOWED, ""


async def settle(progress: Progress, request: RebalanceRequest) -> None:
    """Once, and for certain: nothing of it is in flight any more.

    Also where this run has reserved nothing: an earlier one, ended by force, may have.
    """
    if not request.budgets:
        return
    if progress.moved_msat:
        fees = Msat(progress.fee_msat - progress.counted_msat)
        await reserving.commit(
            request.budgets, _claim(progress), Msat(0), fees, reserved=progress.reserved
        )
    else:
        await reserving.release(request.budgets, _claim(progress))


def _claim(progress: Progress) -> Claim:
    return reserving.claim(progress.holder, progress.requested_at, Purpose.REBALANCE)
