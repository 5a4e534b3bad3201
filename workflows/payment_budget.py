"""The budgets that count a payment: asked before it is sent, told what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime, timedelta

from temporalio import workflow

from fulgurite.budgets.orders import Refusal
from fulgurite.payments.progress import Progress
from fulgurite.payments.requests import Order, PaymentRequest
from fulgurite.payments.states import PaymentEvent, PaymentState, pause_before_attempt
from workflows import reserving

_NOT_NOW = (
    "there was no room before the time was over",
    "a budget gave no answer before the time was over",
)


class Budgets:
    """What one payment may spend, and has spent."""

    def __init__(
        self,
        progress: Progress,
        request: PaymentRequest,
        order: Order,
        waits: Callable[[str], None],
    ) -> None:
        """`waits` is told why it has to wait."""
        self._progress = progress
        self._request = request
        self._order = order
        self._waits = waits

    async def reserve(self) -> tuple[PaymentEvent, str] | None:
        """Its worst case, in all of them; or why it may not be sent. None: in another run.

        A reservation stays until LND's verdict, over all attempts: what is in flight counts.
        """
        progress, tries = self._progress, 0
        while not progress.cancel_requested and self._left() > timedelta(0):
            granted, refusal = await self._ask()
            if granted:
                progress.reserved, progress.refusal = progress.budgets, None
                return PaymentEvent.RESERVED, f"in {', '.join(progress.budgets)}"
            if refusal is None:
                break  # canceled, or too late
            progress.refusal = refusal
            if not (self._request.wait_for_budget and refusal.may_pass):
                return progress.or_given_up(PaymentEvent.OVER_BUDGET), refusal.words
            tries += 1
            await self._wait(refusal, tries)
            if workflow.info().is_continue_as_new_suggested():
                return None
        if progress.cancel_requested:
            return progress.or_given_up(PaymentEvent.CANCELED), ""
        if progress.refusal:
            return progress.or_given_up(PaymentEvent.OVER_BUDGET), _NOT_NOW[0]
        return progress.or_given_up(PaymentEvent.LAPSED), _NOT_NOW[1]

    async def _ask(self) -> tuple[bool, Refusal | None]:
        """Whether it is granted, and why not; neither where a cancel or the deadline cut in.

        Then nobody knows, and the end of the payment releases what may have been granted.
        """
        self._progress.asks_since = workflow.now()
        asking = asyncio.create_task(
            reserving.reserve(
                self._progress.budgets,
                self._progress.claim(self._request, self._order),
                self._order.amount,
                self._order.fee_limit,
            )
        )
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: asking.done() or self._progress.cancel_requested,
                timeout=self._left(),
                timeout_summary="a budget's answer",
            )
        if not asking.done():
            asking.cancel()
            await workflow.wait([asking])
            return False, None
        refusal = asking.result()
        return refusal is None, refusal

    async def _wait(self, refusal: Refusal, tries: int) -> None:
        """For room. Others may make some at any time, and the clock does at a known one."""
        pause = pause_before_attempt(tries)
        if refusal.frees_at and refusal.frees_at > workflow.now():
            pause = min(pause, refusal.frees_at - workflow.now())
        self._waits(f"no room: {refusal.words}")
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._progress.cancel_requested,
                timeout=min(pause, max(self._left(), timedelta(0))),
                timeout_summary="room in a budget",
            )

    async def settle(self) -> None:
        """Tells them the end: what has left, or that nothing has and nothing will.

        Also where this run has reserved nothing: an earlier one, ended by force, may have.
        """
        progress = self._progress
        if not progress.budgets:
            return
        claim = progress.claim(self._request, self._order)
        if progress.state is not PaymentState.SUCCEEDED:
            await reserving.release(progress.budgets, claim)
            return
        update = progress.update
        assert update is not None
        await reserving.commit(
            progress.budgets,
            claim,
            update.amount_msat,
            update.fee_msat,
            reserved=bool(progress.reserved),
        )

    def _left(self) -> timedelta:
        return self._last_moment - workflow.now()

    @property
    def _last_moment(self) -> datetime:
        return self._progress.last_moment(self._request, self._order)
