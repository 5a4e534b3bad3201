"""One invoice that has been asked for: what became of it, and orders about it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import UTC, datetime
from typing import ClassVar, Final

from temporalio.client import Client

from fulgurite import ids
from fulgurite.identity import PaymentHash
from fulgurite.invoices.receipts import InvoiceReceipt, InvoiceView
from fulgurite.invoices.requests import InvoiceCancellation, Settlement
from fulgurite.invoices.states import INVOICE, InvoiceState
from starter.errors import NotPaidError, TemporalUnavailableError, WorkerUnavailableError
from starter.handle import Handle
from workflows.invoice import InvoiceWorkflow

PAID: Final = frozenset({InvoiceState.SETTLED, InvoiceState.PAID_LATE})

# LND closes an invoice a moment after its expiry, and is asked for its word then.
_AFTER_EXPIRY_SECONDS: Final = 3.0
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 1.0, 60.0


class Invoice(Handle[InvoiceReceipt, InvoiceView]):
    """An invoice that has been asked for: `settled`, `receipt`, `view`, `watch`, and orders.

    `receipt` comes when the workflow has ended, which for an expired invoice is after its
    late watch; who only wants to know whether it is paid waits for `settled`.
    """

    _NOUN: ClassVar = "invoice"

    def __init__(self, client: Client, payment_hash: PaymentHash) -> None:
        super().__init__(
            client.get_workflow_handle_for(InvoiceWorkflow.run, ids.invoice_id(payment_hash)),
            InvoiceWorkflow.view,
        )
        self.payment_hash = payment_hash

    def __repr__(self) -> str:
        return f"Invoice({self.payment_hash})"

    async def settled(self) -> InvoiceReceipt:
        """Waits until it is paid, and the money is ours; late counts as well.

        Rides out Temporal and workers that are away. Raises NotPaidError, with the receipt,
        as soon as LND takes no payment for it any more; otherwise like `receipt`.
        """
        receipt = await self._outcome()
        if receipt.status not in PAID:
            raise NotPaidError(
                f"the invoice is {receipt.status}, and nobody can pay it any more: "
                "make a new one, under a new key",
                receipt,
            )
        return receipt

    async def settle(self, settlement: Settlement) -> InvoiceView:
        """Takes what is held, once, however often it is asked for.

        Raises InvalidRequestError when nothing is held, or it went back.
        """
        return await self._ordering(InvoiceWorkflow.settle, settlement, done=PAID)

    async def cancel(self, cancellation: InvoiceCancellation) -> InvoiceView:
        """Calls it off; what is held goes back. Again, it changes nothing.

        Raises InvalidRequestError when it has ended otherwise.
        """
        return await self._ordering(
            InvoiceWorkflow.cancel, cancellation, done={InvoiceState.CANCELED}
        )

    async def _outcome(self) -> InvoiceReceipt:
        """The end, or what is as good as one.

        Asks nothing between the first look and the expiry: the end is told by itself.
        """
        async with self._ending() as ended:
            pause_seconds = _FIRST_PAUSE_SECONDS
            while not ended.done():
                left_seconds = 0.0
                with suppress(TemporalUnavailableError, WorkerUnavailableError):
                    view = await self.view()
                    if view.unpaid_for_good:
                        return view.receipt
                    left = view.receipt.expires_at - datetime.now(UTC)
                    left_seconds = left.total_seconds() + _AFTER_EXPIRY_SECONDS
                await asyncio.wait({ended}, timeout=max(pause_seconds, left_seconds))
                pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)
            return ended.result()

    def _standing(self, view: InvoiceView) -> str:
        return view.state

    def _is_last(self, view: InvoiceView) -> bool:
        return view.state in INVOICE.terminal
