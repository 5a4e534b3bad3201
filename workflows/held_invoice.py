"""The invoice that a relay holds: its own workflow is told, and LND has the last word."""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime, timedelta

from temporalio import workflow

from fulgurite import ids
from fulgurite.invoices.calls import InvoiceOf, Watched
from fulgurite.invoices.receipts import CreatedInvoice, InvoiceUpdate
from fulgurite.invoices.requests import Decision, Verdict
from fulgurite.relays.requests import Plan
from fulgurite.sealing import Sealed
from workflows import at_lnd


class HeldInvoice:
    """What upstream says, and what it is told."""

    def __init__(self, plan: Plan, created: CreatedInvoice | None) -> None:
        self._of = InvoiceOf(node=plan.invoice.node, payment_hash=plan.payment_hash)
        self._moved = False
        if created:
            self.written(created)

    def written(self, created: CreatedInvoice) -> None:
        """LND has written it."""
        self._of = self._of.model_copy(update={"payee": created.payee})

    def nudge(self) -> None:
        """Something has moved: whoever waits asks LND."""
        self._moved = True

    async def wait(self, until: datetime, summary: str) -> None:
        """For a nudge, or for as long as that."""
        with suppress(TimeoutError):
            await workflow.wait_condition(
                lambda: self._moved,
                timeout=max(until - workflow.now(), timedelta(0)),
                timeout_summary=summary,
            )
        self._moved = False

    async def word(self) -> InvoiceUpdate:
        """LND's present word."""
        return await at_lnd.look_up(self._of)

    async def word_with_tip(self) -> Watched:
        """The same, and the tip as the receiving node sees it."""
        return await at_lnd.look_up_with_tip(self._of)

    async def word_after(self, at_most: timedelta) -> InvoiceUpdate:
        """LND's word at the next nudge, or after that time."""
        await self.wait(workflow.now() + at_most, "looking upstream anyway")
        return await self.word()

    async def tell(self, verdict: Verdict, sealed_preimage: Sealed | None = None) -> None:
        """Gives the invoice's workflow its order. Raises FailureError when it is gone."""
        payment_hash = self._of.payment_hash
        relay = ids.relay_id(payment_hash)
        await workflow.get_external_workflow_handle(ids.invoice_id(payment_hash)).signal(
            "decide", Decision(verdict=verdict, by=relay, sealed_preimage=sealed_preimage)
        )

    async def settle(self, sealed_preimage: Sealed) -> InvoiceUpdate:
        """Tells LND itself. Raises ActivityError when the preimage cannot be used."""
        return await at_lnd.settle(self._of, sealed_preimage)

    async def cancel(self) -> InvoiceUpdate:
        """Tells LND itself."""
        return await at_lnd.cancel(self._of)
