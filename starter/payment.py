"""One payment, as its caller and its operators see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable
from datetime import timedelta
from typing import Final, TypeVar

from temporalio.client import (
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)

from fulgurite import ids
from fulgurite.errors import FulguriteError, InvalidRequestError
from fulgurite.identity import PaymentHash
from fulgurite.payments.receipts import PaymentView, Receipt
from fulgurite.payments.requests import Approval, Cancellation, Rejection
from fulgurite.payments.states import PAYMENT
from starter.errors import (
    NotRetainedError,
    TemporalUnavailableError,
    WorkerUnavailableError,
    of_failed_workflow,
    temporal_errors,
    told,
)
from workflows.payment import PaymentWorkflow

# How long a worker may take to answer a question or an order.
_PATIENCE: Final = timedelta(seconds=10)
# Between two looks: short for what settles in a moment, long for what hangs for days.
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 5.0

Answer = TypeVar("Answer")


class Payment:
    """A handle: cheap, without a connection of its own, and no proof that the payment exists.

    Every method raises NotRetainedError when Temporal retains no such payment, and all
    but `receipt` raise TemporalUnavailableError when it does not answer. Neither says
    anything about the money: only a receipt does.
    """

    def __init__(
        self,
        payment_hash: PaymentHash,
        handle: WorkflowHandle[PaymentWorkflow, Receipt],
        *,
        attached: bool,
    ) -> None:
        """`attached`: somebody else started it; its terms are theirs."""
        self.payment_hash = payment_hash
        self.attached = attached
        self._handle = handle

    def __repr__(self) -> str:
        return f"Payment({self.payment_hash}, attached={self.attached})"

    async def receipt(self) -> Receipt:
        """Waits for the end, for as long as that takes; it may be days.

        Rides out a Temporal that is away; bound it with `asyncio.timeout` where that is too
        patient. Being canceled while waiting leaves the payment as it is. Raises the class
        of `fulgurite.errors` that a refused request was refused with (nothing has moved),
        and VerdictUnknownError when somebody ended the workflow by force.
        """
        while True:
            try:
                return await self._asking(self._handle.result())
            except TemporalUnavailableError:
                await asyncio.sleep(_LONGEST_PAUSE_SECONDS)
            except WorkflowFailureError as failure:
                raise of_failed_workflow(failure, ids.payment_id(self.payment_hash)) from failure

    async def view(self) -> PaymentView:
        """How it stands. Raises like `receipt`, and WorkerUnavailableError."""
        try:
            return await self._asking(
                self._handle.query(PaymentWorkflow.view, rpc_timeout=_PATIENCE)
            )
        except WorkflowQueryFailedError as failed:
            # The answer carries no type of error; the end of a refused workflow does.
            described = await self._asking(self._handle.describe())
            if described.status is WorkflowExecutionStatus.FAILED:
                await self.receipt()
            raise InvalidRequestError(failed.message) from failed

    async def watch(self) -> AsyncIterator[PaymentView]:
        """Views as they change, the present one first and one in a terminal state last.

        Looks seldom when little happens, and at once when the workflow ends. Raises like
        `view`.
        """
        ended = asyncio.create_task(self.receipt())
        try:
            seen, pause_seconds = None, _FIRST_PAUSE_SECONDS
            while True:
                view = await self.view()
                if view != seen:
                    yield view
                    seen, pause_seconds = view, _FIRST_PAUSE_SECONDS
                if view.state in PAYMENT.terminal:
                    return
                await asyncio.wait({ended}, timeout=pause_seconds)
                if ended.done():
                    ended.result()
                pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
        finally:
            ended.cancel()
            await asyncio.wait({ended})
            if not ended.cancelled():
                ended.exception()

    async def approve(self, approval: Approval) -> PaymentView:
        """Raises InvalidRequestError when there is nothing (more) to decide."""
        return await self._ordering(
            self._handle.execute_update(PaymentWorkflow.approve, approval, rpc_timeout=_PATIENCE)
        )

    async def reject(self, rejection: Rejection) -> PaymentView:
        """Raises InvalidRequestError when there is nothing (more) to decide."""
        return await self._ordering(
            self._handle.execute_update(PaymentWorkflow.reject, rejection, rpc_timeout=_PATIENCE)
        )

    async def cancel(self, cancellation: Cancellation) -> PaymentView:
        """No new attempts; what is in flight stays so until LND ends it.

        Raises InvalidRequestError when the payment has ended.
        """
        return await self._ordering(
            self._handle.execute_update(PaymentWorkflow.cancel, cancellation, rpc_timeout=_PATIENCE)
        )

    async def _asking(self, answer: Awaitable[Answer]) -> Answer:
        with temporal_errors():
            return await answer

    async def _ordering(self, order: Awaitable[PaymentView]) -> PaymentView:
        try:
            with temporal_errors():
                return await order
        except WorkflowUpdateFailedError as failed:
            raise told(failed.cause) or FulguriteError(str(failed.cause)) from failed
        except WorkflowUpdateRPCTimeoutOrCancelledError as late:
            raise WorkerUnavailableError(
                f"no worker answered within {_PATIENCE.seconds} s, and the order may still be "
                "carried out: start `fulgurite-worker`, then look at the payment"
            ) from late
        except NotRetainedError as error:
            # An update does not tell an ended workflow from an unknown one; a query does.
            view = await self.view()
            raise InvalidRequestError(f"too late: the payment is {view.state}") from error
