"""Who is told of an invoice, and who is asked about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta

from temporalio import workflow
from temporalio.exceptions import ActivityError, FailureError, is_cancelled_exception

from fulgurite import ids
from fulgurite.events.catalogue import EventType, event
from fulgurite.invoices.calls import ASK_CALLBACK, Asking
from fulgurite.invoices.progress import InvoiceProgress
from fulgurite.invoices.receipts import CreatedInvoice, InvoiceView, LateAttempt
from fulgurite.invoices.requests import Hold, Verdict
from fulgurite.invoices.states import InvoiceState
from fulgurite.model import Model
from workflows.announcing import emit
from workflows.calling import try_on

_ASK_AT_MOST = timedelta(minutes=2)
_ASK_AGAIN, _ASK_AGAIN_LATER = timedelta(seconds=15), timedelta(minutes=5)
# Earlier versions dropped such an attempt; the histories that they wrote still replay.
_LATE_WHILE_OPEN = "late attempts while open"


class InvoiceNews:
    """What an invoice's workflow says: to operators, endpoints and other workflows."""

    def __init__(self, invoice: CreatedInvoice, progress: InvoiceProgress) -> None:
        """`progress` is the workflow's own, and is read and written here."""
        self._invoice = invoice
        self._progress = progress
        self._telling = asyncio.Lock()

    def view(self) -> InvoiceView:
        return self._progress.view(self._invoice)

    def note(self, words: str) -> None:
        """A line in the timeline."""
        self._progress.note(words, workflow.now())
        self.show()

    def show(self) -> None:
        """What operators read in the Temporal UI."""
        workflow.set_current_details(self._progress.details(self._invoice))

    async def announce(self, kind: EventType, number: int | None = None) -> None:
        """Tells the world. Once an invoice and kind, however often it is said."""
        async with self._telling:
            await self._tell(kind, number)

    async def came_late(self, attempt: LateAttempt) -> None:
        """Counts and tells of somebody whom LND turned away."""
        progress = self._progress
        if progress.state is InvoiceState.OPEN:
            # LND closes it at the expiry, and our own clock rings later.
            overdue = attempt.at > self._invoice.expires_at
            looked_out_for = overdue and workflow.patched(_LATE_WHILE_OPEN)
        else:
            looked_out_for = progress.state is InvoiceState.EXPIRED
        if looked_out_for and progress.late(attempt):
            self.note(f"a late payer came with {attempt.amount_msat}")
            await self.announce(EventType.INVOICE_LATE_ATTEMPT, progress.late_attempts)

    async def _tell(self, kind: EventType, number: int | None) -> None:
        payment_hash = self._invoice.payment_hash
        data: Model = (
            self.view()
            if kind in {EventType.INVOICE_ACCEPTED, EventType.INVOICE_UNDECIDED}
            else self._progress.receipt(self._invoice)
        )
        news = event(
            kind,
            data,
            subject=payment_hash if number is None else f"{payment_hash}-{number}",
            resource=ids.invoice_id(payment_hash),
            node=self._invoice.request.node,
            timestamp=workflow.now(),
            # Not one that nobody wanted: nobody could wait for its turn.
            after=self._progress.last_wanted,
        )
        if news.id in self._progress.told:
            return  # held again, after an order that could not be carried out
        self._progress.told.append(news.id)
        if (await emit(news)).endpoints:
            self._progress.last_wanted = news.id
        if to := self._invoice.request.notify_workflow_id:
            await self.signal(to, "fulgurite_event", news)

    async def signal(self, workflow_id: str, signal: str, data: Model) -> bool:
        """Whether there is such a workflow to be signalled."""
        try:
            await workflow.get_external_workflow_handle(workflow_id).signal(signal, data)
        except FailureError as error:
            self.note(f"could not signal {workflow_id}: {error}")
            return False
        return True

    async def ask_for_a_verdict(self, hold: Hold, decided: Callable[[], bool]) -> None:
        """Whoever the policy names, until somebody has decided."""
        progress, pause = self._progress, _ASK_AGAIN
        while hold.workflow_id and not progress.asked:
            progress.asked = await self.signal(hold.workflow_id, "invoice_accepted", self.view())
            if not progress.asked:
                await workflow.sleep(pause, summary=f"signal {hold.workflow_id[:100]} again")
                pause = min(pause * 2, _ASK_AGAIN_LATER)
        while hold.callback and progress.verdict is None:
            try:
                answer = await try_on(
                    ids.webhook_queue(hold.callback),
                    ASK_CALLBACK,
                    Asking(endpoint=hold.callback, view=self.view()),
                    at_most=_ASK_AT_MOST,
                    start_within=_ASK_AT_MOST,
                    summary=f"ask {hold.callback}",
                )
            except ActivityError as error:
                if is_cancelled_exception(error):
                    return  # somebody else has decided
                self.note(f"{hold.callback} did not decide: {error.cause or error}")
            else:
                if decided():
                    return  # somebody else was faster
                if answer.verdict in {Verdict.SETTLE, Verdict.CANCEL}:
                    progress.verdict = answer.verdict
                    self.note(f"{hold.callback} says {answer.verdict}")
                    return
            await workflow.sleep(pause, summary=f"ask {hold.callback} again")
            pause = min(pause * 2, _ASK_AGAIN_LATER)
