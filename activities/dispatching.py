"""One dispatch of a payment: ask LND, send if LND knows nothing, listen for a while.

LND pays a hash at most once, so that the worst a repeated send can meet is
ALREADY_EXISTS. What must never happen is a conclusion from silence: "nothing moved" and
"failed" are said only when LND has said so, and once more when an answer was lost before.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from fulgurite.budgets.policy import BudgetName
from fulgurite.errors import (
    AlreadyExistsError,
    InvalidRequestError,
    NodeError,
    NodeUnavailableError,
    PaymentNotFoundError,
)
from fulgurite.identity import PaymentHash, Preimage
from fulgurite.money import Msat
from fulgurite.payments.calls import Dispatch, DispatchOutcome
from fulgurite.payments.requests import Order, PaymentRequest
from fulgurite.payments.states import PaymentStatus
from nodes.lnd.payments import NodePayment

# Between two questions while LND is away or its index lags behind its answer.
_PAUSE_SECONDS: Final = 0.2

# A send that is still on its way to LND arrives within this, and within as much again LND's
# index, where it lags behind, knows of it.
_LATE_SECONDS: Final = 3.0
# How long LND must keep saying "unknown", or keep its verdict, when an answer was lost.
GRACE_SECONDS: Final = 2 * _LATE_SECONDS

# By how much LND's clock and Temporal's may differ.
_SKEW: Final = timedelta(seconds=5)


class PayingNode(Protocol):
    """What a dispatch needs of a node; see `nodes.lnd.payments.LndPayments`."""

    def track(
        self, payment_hash: PaymentHash
    ) -> AbstractAsyncContextManager[AsyncIterator[NodePayment]]: ...

    def send(
        self, request: PaymentRequest, order: Order, preimage: Preimage | None
    ) -> AbstractAsyncContextManager[AsyncIterator[NodePayment]]: ...


@dataclass(frozen=True)
class Ending:
    """How a dispatch ended; `payment` None with FOLLOWED: LND has it and said no more."""

    outcome: DispatchOutcome
    payment: NodePayment | None = None
    sent: bool = False
    because: str = ""


class Dispatching:
    """A dispatch under way.

    Raises InvalidRequestErrors once LND is known to have nothing, and NodeErrors when it
    is not known what LND has.
    """

    def __init__(
        self,
        node: PayingNode,
        ask: Dispatch,
        order: Order,
        *,
        preimage: Preimage | None = None,
        approval_above: Msat | None = None,
        budgets: Sequence[BudgetName] = (),
        refused: InvalidRequestError | None = None,
    ) -> None:
        """`budgets`: all that count it. Nothing is sent before each has granted its worst case.

        `refused`: why this worker would not send; raised once LND is known to have nothing.
        """
        self._node = node
        self._ask = ask
        self._order = order
        self._preimage = preimage
        self._approval_above = approval_above
        self._ungranted = [each for each in budgets if each not in ask.reserved]
        self._refused = refused
        self._ends = asyncio.get_running_loop().time() + ask.follow_seconds
        self._accepted = False  # LND said ALREADY_EXISTS
        self._sent = False  # LND answered a send of ours
        self._lost_answer = ask.uncertain  # a send of ours went without an answer

    async def run(self) -> Ending:
        while True:
            try:
                if ending := await self._once():
                    return ending
            except AlreadyExistsError:
                self._accepted = True
            except NodeError:
                if self._left() <= 0:
                    raise
            if self._left() <= 0:
                if self._accepted:
                    return Ending(DispatchOutcome.FOLLOWED, None, self._lost_answer)
                raise NodeUnavailableError(
                    f"{self._ask.request.node}: LND gave no word on the payment in time"
                )
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _once(self) -> Ending | None:
        """One round of asking and, if LND knows nothing, sending. None: go round again."""
        found = await self._listen()
        if found is None and self._accepted:
            # LND has it and does not find it yet: keep asking.
            return None
        if found is None:
            outcome = await self._send_if_due()
            if outcome is None or isinstance(outcome, Ending):
                return outcome
            found = outcome
        return Ending(DispatchOutcome.FOLLOWED, await self._confirmed(found), self._ours(found))

    async def _send_if_due(self) -> NodePayment | Ending | None:
        if refusal := self._not_now():
            return await self._unknown_for_sure() or refusal
        try:
            if self._refused:
                raise self._refused
            if self._left() <= 0:
                # This process was stopped, or LND answered late: another worker may have
                # taken over and told a FAILED, which this send would make untrue.
                raise NodeUnavailableError(f"{self._ask.request.node}: too late to send safely")
            return await self._send()
        except InvalidRequestError:
            if found := await self._unknown_for_sure():
                return found
            raise

    def _not_now(self) -> Ending | None:
        """Why nothing may be sent, when nothing may."""
        if datetime.now(UTC) >= self._ask.send_until:
            return Ending(
                DispatchOutcome.LAPSED,
                because=f"too late to send: it had to begin before {self._ask.send_until}",
            )
        if (
            self._approval_above is not None
            and self._order.amount > self._approval_above
            and not self._ask.approved
        ):
            return Ending(
                DispatchOutcome.NEEDS_APPROVAL,
                because=f"a person is asked above {self._approval_above}",
            )
        if self._ungranted:
            return Ending(
                DispatchOutcome.NEEDS_BUDGET, because=f"counted by {', '.join(self._ungranted)}"
            )
        return None

    async def _send(self) -> NodePayment | None:
        """Sends, and waits for the verdict while time is left. None: no word yet."""
        # LND's own attempts must not outlive the deadline either.
        seconds = int((self._ask.send_until - datetime.now(UTC)).total_seconds())
        request = self._ask.request.model_copy(
            update={"timeout_seconds": max(1, min(self._ask.request.timeout_seconds, seconds))}
        )
        try:
            async with self._node.send(request, self._order, self._preimage) as updates:
                found = await self._last_word(updates)
        except NodeError:
            self._lost_answer = True
            raise
        if found:
            self._sent = True
        else:
            # The stream is open and silent: LND has most likely taken it. Ask.
            self._lost_answer = True
            found = await self._listen()
        return found

    async def _listen(self) -> NodePayment | None:
        """LND's last word while time is left; None when LND has nothing that is news."""
        try:
            async with self._node.track(self._order.payment_hash) as updates:
                found = await self._last_word(updates, at_least_seconds=0.5)
        except PaymentNotFoundError:
            return None
        if found is None:
            raise NodeUnavailableError(f"{self._ask.request.node}: LND opened a stream, no more")
        return None if self._is_old_failure(found) else found

    async def _last_word(
        self, updates: AsyncIterator[NodePayment], *, at_least_seconds: float = 0
    ) -> NodePayment | None:
        """The verdict, or what was said last when the time is over. Streams may never end."""
        last = None
        try:
            async with asyncio.timeout(max(self._left(), at_least_seconds)):
                async for last in updates:
                    if last.status is not PaymentStatus.IN_FLIGHT:
                        break
        except TimeoutError:
            pass
        return last

    async def _unknown_for_sure(self) -> NodePayment | None:
        """Asks until LND has not known the hash for long enough; else what LND has of it."""
        if self._ask.first_task and not self._lost_answer:
            return None
        until = asyncio.get_running_loop().time() + GRACE_SECONDS
        while asyncio.get_running_loop().time() < until:
            if found := await self._listen():
                return found
            await asyncio.sleep(_PAUSE_SECONDS)
        return None

    async def _confirmed(self, found: NodePayment) -> NodePayment:
        """A FAILED after a lost answer is asked again: a send may still have been on its way."""
        if found.status is not PaymentStatus.FAILED or not self._lost_answer:
            return found
        await asyncio.sleep(GRACE_SECONDS)
        return await self._listen() or found

    def _is_old_failure(self, found: NodePayment) -> bool:
        """Whether this FAILED is one that the attempt follows, and not its own.

        Before the first failure that we saw, a FAILED from before the request was somebody
        else's; and while nobody can have dispatched this payment, any is.
        """
        if found.status is not PaymentStatus.FAILED or self._sent:
            return False
        if self._ask.last_failed_index is not None:
            return self._ask.is_last_failure(found.payment_index, found.created_at)
        if self._ask.first_task and not self._lost_answer:
            return True
        return found.created_at is not None and not self._since_the_request(found.created_at)

    def _ours(self, found: NodePayment) -> bool:
        """Whether this run had LND pay it, as far as can be told after a crash."""
        if self._sent:
            return True
        if (self._accepted or self._ask.first_task) and not self._lost_answer:
            return False
        return found.created_at is not None and self._since_the_request(found.created_at)

    def _since_the_request(self, at: datetime) -> bool:
        return at >= self._ask.requested_at - _SKEW

    def _left(self) -> float:
        return self._ends - asyncio.get_running_loop().time()
