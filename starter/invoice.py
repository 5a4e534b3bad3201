"""An invoice that has been asked for: what to give the payer, and what became of it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from datetime import timedelta
from typing import Final, TypeVar

from temporalio.client import (
    Client,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)

from fulgurite import ids
from fulgurite.errors import FulguriteError, InvalidRequestError
from fulgurite.identity import PaymentHash
from fulgurite.invoices.receipts import InvoiceReceipt, InvoiceView
from fulgurite.invoices.requests import InvoiceCancellation, Settlement
from starter.errors import (
    NotRetainedError,
    TemporalUnavailableError,
    WorkerUnavailableError,
    of_failed_workflow,
    temporal_errors,
    told,
)
from workflows.invoice import InvoiceWorkflow

_PATIENCE: Final = timedelta(seconds=10)
_PAUSE_SECONDS: Final = 2.0

Answer = TypeVar("Answer")


class Invoice:
    """A handle: cheap, without a connection of its own, and no proof that the invoice exists.

    Every method raises NotRetainedError when Temporal retains no such invoice, and all
    but `receipt` raise TemporalUnavailableError when it does not answer.
    """

    def __init__(self, client: Client, payment_hash: PaymentHash) -> None:
        self.payment_hash = payment_hash
        self._id = ids.invoice_id(payment_hash)
        self._handle: WorkflowHandle[InvoiceWorkflow, InvoiceReceipt] = (
            client.get_workflow_handle_for(InvoiceWorkflow.run, self._id)
        )

    def __repr__(self) -> str:
        return f"Invoice({self.payment_hash})"

    async def receipt(self) -> InvoiceReceipt:
        """Waits for the end, for as long as that takes, and rides out a Temporal that is away.

        Bound it with `asyncio.timeout` where that is too patient.
        """
        while True:
            try:
                with temporal_errors():
                    return await self._handle.result()
            except TemporalUnavailableError:
                await asyncio.sleep(_PAUSE_SECONDS)
            except WorkflowFailureError as failure:
                raise of_failed_workflow(failure, self._id) from failure

    async def view(self) -> InvoiceView:
        """How it stands. Raises WorkerUnavailableError where no worker answers."""
        with temporal_errors():
            return await self._handle.query(InvoiceWorkflow.view, rpc_timeout=_PATIENCE)

    async def settle(self, settlement: Settlement) -> InvoiceView:
        """Takes what is held. Raises InvalidRequestError when nothing is (any more)."""
        return await self._ordering(
            self._handle.execute_update(InvoiceWorkflow.settle, settlement, rpc_timeout=_PATIENCE)
        )

    async def cancel(self, cancellation: InvoiceCancellation) -> InvoiceView:
        """Calls it off; what is held goes back. Raises InvalidRequestError when it has ended."""
        return await self._ordering(
            self._handle.execute_update(InvoiceWorkflow.cancel, cancellation, rpc_timeout=_PATIENCE)
        )

    async def _ordering(self, order: Awaitable[InvoiceView]) -> InvoiceView:
        try:
            with temporal_errors():
                return await order
        except WorkflowUpdateFailedError as failed:
            raise told(failed.cause) or FulguriteError(str(failed.cause)) from failed
        except WorkflowUpdateRPCTimeoutOrCancelledError as late:
            raise WorkerUnavailableError(
                f"no worker answered within {_PATIENCE.seconds} s, and the order may still be "
                "carried out: start `fulgurite-worker`, then look at the invoice"
            ) from late
        except NotRetainedError as error:
            # An update does not tell an ended workflow from an unknown one; a query does.
            view = await self.view()
            raise InvalidRequestError(f"too late: the invoice is {view.state}") from error
