"""A payment's wait for liquidity: the autopilot is told of it, and LND is asked again, seldom."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from fulgurite import ids
from fulgurite.liquidity.outbound import Outbound
from fulgurite.liquidity.requests import LiquidityRequest
from fulgurite.liquidity.words import summary
from fulgurite.money import MSAT_PER_SAT
from fulgurite.payments.progress import Progress
from fulgurite.payments.requests import Order, PaymentRequest
from fulgurite.payments.states import PaymentEvent, pause_before_attempt

# Prices and channels change: a plan that could do nothing is followed by another.
_ASK_AGAIN: Final = timedelta(hours=1)
# One plan in so long for all that wait on a node, however many they are.
_ONE_PLAN: Final = timedelta(minutes=10)


class LiquidityWait:
    """One payment's waits, of which one is under way at a time.

    What it has reserved in its budgets stays reserved, as between any two attempts.
    """

    def __init__(
        self,
        progress: Progress,
        request: PaymentRequest,
        order: Order,
        note: Callable[[str], None],
    ) -> None:
        self._progress = progress
        self._request = request
        self._order = order
        self._note = note
        self._moved = False
        self._plan: asyncio.Future[Any] | None = None

    def hear(self) -> None:
        """Liquidity has moved on the node. Kept until the next wait, if none is under way."""
        self._moved = True

    async def over(self) -> tuple[PaymentEvent, str]:
        """Waits for liquidity that has moved, and at the longest as between two attempts.

        Whether it is enough only LND can say: it is asked, and sends or fails at once.
        """
        await self._tell_autopilot()
        progress, last_moment = self._progress, self._last_moment
        pause = workflow.now() + pause_before_attempt(progress.failures)
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._moved or progress.cancel_requested,
                timeout=max(min(pause, self._until) - workflow.now(), timedelta(0)),
                timeout_summary="liquidity",
            )
        if progress.cancel_requested:
            return PaymentEvent.GIVEN_UP, "canceled; the last verdict stands"
        if workflow.now() >= last_moment:
            return PaymentEvent.GIVEN_UP, "no remedy came in time; the last verdict stands"
        why = "liquidity has moved" if self._moved else "perhaps it has come"
        self._moved = False
        return PaymentEvent.DISPATCHED, f"attempt {progress.failures + 1}: {why}"

    async def _tell_autopilot(self) -> None:
        """Begins a plan with this need in it. What it may do, and spend, its own policy says.

        An earlier plan of the same minutes is for another payment: asked again after them. And
        one of this payment's that is under way is enough: it may wait for a person.
        """
        progress, now = self._progress, workflow.now()
        if progress.ask_autopilot_at and now < progress.ask_autopilot_at:
            return
        if self._plan and not self._plan.done():
            return
        plan = ids.liquidity_id(self._request.node, _begin_of(now))
        try:
            run = await workflow.start_child_workflow(
                "LiquidityWorkflow",
                LiquidityRequest(node=self._request.node, outbound=self._outbound()),
                id=plan,
                task_queue=ids.TASK_QUEUE,
                id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
                # What it has begun outlives this payment, and is the autopilot's own.
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                static_summary=summary(self._request.node, None),
            )
        except WorkflowAlreadyStartedError:
            progress.ask_autopilot_at = _begin_of(now) + _ONE_PLAN
            self._note(f"the autopilot is at work for another payment: {plan}")
            return
        run.add_done_callback(_is_over)
        self._plan = run
        progress.ask_autopilot_at = now + _ASK_AGAIN
        self._note(f"the autopilot is told: {plan}")

    def _outbound(self) -> Outbound:
        worst_msat = self._order.amount + self._order.fee_limit
        return Outbound(
            payment_hash=self._order.payment_hash,
            amount_sat=-(-worst_msat // MSAT_PER_SAT),
            channels=self._request.outgoing_channels,
            until=self._until,
        )

    @property
    def _until(self) -> datetime:
        """The end of this wait, by its own time or by the payment's."""
        own = self._progress.waits_until(self._request)
        return min(own, self._last_moment) if own else self._last_moment

    @property
    def _last_moment(self) -> datetime:
        return self._progress.last_moment(self._request, self._order)


def _begin_of(now: datetime) -> datetime:
    """The same for all who ask within the same minutes."""
    seconds = _ONE_PLAN.total_seconds()
    return datetime.fromtimestamp(now.timestamp() // seconds * seconds, tz=UTC)


def _is_over(plan: asyncio.Future[Any]) -> None:
    """It says itself when something has moved; the future must not be left unread."""
    if not plan.cancelled():
        plan.exception()
