"""An invoice, from LND's writing it to the last word on it."""

from __future__ import annotations

import asyncio
from datetime import datetime, timedelta
from typing import Any

from temporalio import workflow
from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
)

from fulgurite.errors import InvalidRequestError
from fulgurite.events.catalogue import OF_INVOICE, EventType
from fulgurite.identity import PaymentHash
from fulgurite.invoices.calls import InvoiceOf
from fulgurite.invoices.progress import InvoiceOrder, InvoiceProgress
from fulgurite.invoices.receipts import (
    InvoiceReceipt,
    InvoiceUpdate,
    InvoiceView,
    LateAttempt,
)
from fulgurite.invoices.requests import (
    Decision,
    Hold,
    InvoiceCancellation,
    Settlement,
    Verdict,
)
from fulgurite.invoices.states import INVOICE, InvoiceEvent, InvoiceState, LndInvoiceState
from workflows import at_lnd, metrics, search_attributes
from workflows.calling import read_signal, refusal, refused
from workflows.enduring import to_its_end
from workflows.invoice_news import InvoiceNews

# LND cancels by its own clock, a moment after the expiry; then its word is final.
_AFTER_EXPIRY = timedelta(seconds=2)
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=2), timedelta(minutes=1)
_TAKE_STOCK = timedelta(hours=6)
_PAUSE_AFTER_DEFECT = timedelta(seconds=10)


@workflow.defn(name="InvoiceWorkflow")
class InvoiceWorkflow:
    """Watches one invoice of ours. Its id is `invoice/<payment hash>`.

    It hears of a settlement from the node's stream, from reconciliation, or by asking LND
    itself once the invoice has expired: whichever comes first, and it takes effect once.
    """

    @workflow.init
    def __init__(self, order: InvoiceOrder) -> None:
        self._invoice = order.invoice
        self._sealed_preimage = order.sealed_preimage
        self._progress = order.carried or InvoiceProgress()
        self._heard = [order.heard] if order.heard else []
        self._cancel: InvoiceCancellation | None = None
        self._world = InvoiceNews(self._invoice, self._progress)
        self._this = InvoiceOf(node=self._node, payment_hash=self._hash, payee=order.invoice.payee)

    @workflow.run
    async def run(self, order: InvoiceOrder) -> InvoiceReceipt:  # noqa: ARG002 - read in __init__
        """The receipt, whatever became of the invoice."""
        return await to_its_end(self._story(), self._canceled)

    def _canceled(self) -> None:
        # An order like any other: LND must be told, and has the last word.
        cancellation = InvoiceCancellation(by="canceled in Temporal")
        if why := self._only_its_workflow_may_cancel:
            self._world.note(f"{cancellation.by}: {why}")
        else:
            self._cancel = self._cancel or cancellation

    async def _story(self) -> InvoiceReceipt:
        while self._progress.state not in INVOICE.terminal:
            match self._progress.state:
                case InvoiceState.OPEN:
                    await self._wait_for_payer()
                case InvoiceState.ACCEPTED:
                    await self._decide()
                case InvoiceState.SETTLING:
                    await self._settle()
                case InvoiceState.CANCELING:
                    await self._call_off()
                case InvoiceState.EXPIRED:
                    await self._watch_for_late_payers()
            if workflow.info().is_continue_as_new_suggested():
                await self._carry_on_in_a_new_run()
        await workflow.wait_condition(workflow.all_handlers_finished)
        receipt = self._progress.receipt(self._invoice)
        metrics.count_invoice(receipt)
        return receipt

    # The states, in the order in which an invoice meets them.

    async def _wait_for_payer(self) -> None:
        if not await self._news(
            until=self._invoice.expires_at + _AFTER_EXPIRY,
            summary="the invoice's expiry",
            watch=LndInvoiceState.OPEN if self._hold else None,
        ):
            await self._fire(InvoiceEvent.TIME_OVER, "asking LND for its last word")
        elif self._cancel and self._progress.state is InvoiceState.OPEN:
            await self._fire(InvoiceEvent.CANCEL_DECIDED, self._by(self._cancel))

    async def _watch_for_late_payers(self) -> None:
        """LND's last word first; then those who come when it takes no payment any more."""
        pause = _FIRST_PAUSE
        while not self._progress.ended_unpaid:
            self._heard.append(await at_lnd.look_up(self._this))
            await self._hear()
            if self._progress.state is not InvoiceState.EXPIRED:
                return
            if not self._progress.ended_unpaid:
                # LND was away at the expiry, or its clock is behind ours.
                await self._news(until=workflow.now() + pause, summary="LND's last word")
                pause = min(pause * 2, _LONGEST_PAUSE)
                if _history_is_long():
                    return
        await self._world.announce(EventType.INVOICE_EXPIRED)
        over = self._invoice.expires_at + timedelta(
            seconds=self._invoice.request.late_watch_seconds
        )
        if not await self._news(until=over, summary="the late watch"):
            await self._fire(InvoiceEvent.WATCHED_ENOUGH)

    async def _decide(self) -> None:
        hold, progress = self._hold, self._progress
        assert hold is not None
        verdict = progress.verdict or (
            Verdict.CANCEL if self._cancel else progress.verdict_of_policy(hold)
        )
        if verdict is None:
            asking = asyncio.create_task(self._world.ask_for_a_verdict(hold, lambda: self._decided))
            try:
                verdict = await self._verdict_in_time(hold)
            finally:
                asking.cancel()
        if self._progress.state is not InvoiceState.ACCEPTED:
            return
        match verdict:
            case Verdict.SETTLE:
                await self._fire(InvoiceEvent.SETTLE_DECIDED, self._decided_by())
            case Verdict.CANCEL:
                await self._fire(InvoiceEvent.CANCEL_DECIDED, self._decided_by())

    async def _verdict_in_time(self, hold: Hold) -> Verdict | None:
        """The decision, or its default at the deadline; None when LND had the last word."""
        progress = self._progress
        until = progress.decide_before(hold)
        assert until is not None
        told = progress.undecided_told
        if told and hold.default is not Verdict.KEEP:
            return hold.default  # held again, after that was carried out
        if await self._news(
            until=workflow.now() + _TAKE_STOCK if told else until,
            summary="the decision",
            watch=LndInvoiceState.ACCEPTED,
            until_height=None if told else progress.decide_before_height(),
        ):
            return progress.verdict or (Verdict.CANCEL if self._cancel else None)
        if not told:
            progress.undecided_told = True
            if hold.default is not Verdict.KEEP:
                # Before anybody is told: an order that comes meanwhile comes too late, and is
                # not taken.
                progress.verdict = hold.default
            self._world.note(f"nobody decided in time: {hold.default}")
            await self._world.announce(EventType.INVOICE_UNDECIDED)
        return progress.verdict

    async def _settle(self) -> None:
        settlement = self._progress.settlement
        theirs = settlement.sealed_preimage if settlement else None
        sealed = theirs or self._sealed_preimage
        assert sealed is not None  # the update's validator, or the making of the invoice, saw to it
        try:
            # The preimage is in the history by now: it outlives whatever dies here.
            update = await at_lnd.settle(self._this, sealed)
        except ActivityError as error:
            reason = refusal(error)
            if settlement is not self._progress.settlement:
                return  # another order came meanwhile
            if theirs and reason:
                self._progress.settlement = None
                await self._fire(InvoiceEvent.UNUSABLE, reason.message)
                return
            # Ours is right, so the worker is not: it waits for one with the key.
            self._world.note(f"could not settle, asking again: {error.cause or error}")
            await workflow.sleep(_PAUSE_AFTER_DEFECT, summary="pause after a defect")
            return
        await self._hear_or_rest(update)

    async def _call_off(self) -> None:
        update = await at_lnd.cancel(self._this)
        self._cancel = None
        await self._hear_or_rest(update)

    # What the states share.

    async def _news(
        self,
        *,
        until: datetime,
        summary: str,
        watch: LndInvoiceState | None = None,
        until_height: int | None = None,
    ) -> bool:
        """Waits for LND's word or an order; False when neither came in time.

        Also comes back, as if there were news, when the history has grown so long that a new
        run must go on.

        `watch`: also follows the invoice itself, which tells what the node's stream does not.
        """
        before = self._progress.state, self._progress.ended_unpaid
        watching = asyncio.create_task(self._watch(watch, until, until_height)) if watch else None
        try:
            while before == (self._progress.state, self._progress.ended_unpaid):
                if self._decided:
                    return True
                if watching and watching.done() and not self._heard:
                    watching.result()
                    return False  # the height is reached
                if _history_is_long() and not self._heard:
                    return True
                await workflow.wait_condition(
                    lambda: (
                        bool(self._heard)
                        or self._decided
                        or (watching is not None and watching.done())
                        or _history_is_long()
                    ),
                    timeout=max(until - workflow.now(), timedelta(0)),
                    timeout_summary=summary,
                )
                await self._hear()
        except TimeoutError:
            return False
        finally:
            if watching and not watching.done():
                watching.cancel()
        return True

    @property
    def _decided(self) -> bool:
        """Somebody has given an order that the present state can carry out."""
        if self._progress.state is InvoiceState.OPEN:
            return self._cancel is not None
        held = self._progress.state is InvoiceState.ACCEPTED
        return held and (self._cancel is not None or self._progress.verdict is not None)

    async def _watch(self, state: LndInvoiceState, until: datetime, height: int | None) -> None:
        if word := await at_lnd.next_word(self._this, state, until, height):
            self._heard.append(word)

    async def _hear_or_rest(self, update: InvoiceUpdate) -> None:
        """After an order: LND's word on it; a pause where it has not been carried out yet."""
        before = self._progress.state
        self._heard.append(update)
        await self._hear()
        if self._progress.state is before:
            await workflow.sleep(_FIRST_PAUSE, summary="LND has not carried it out yet")

    async def _hear(self) -> None:
        while self._heard:
            update = self._heard.pop(0)
            if moved := self._progress.heard(self._invoice, update, workflow.now()):
                await self._fire(*moved)

    async def _fire(self, moved_by: InvoiceEvent, words: str = "") -> None:
        progress = self._progress
        progress.fire(moved_by, workflow.now(), words)
        workflow.logger.info("invoice moved", extra={"moved_by": moved_by, "state": progress.state})
        self._world.show()
        workflow.upsert_search_attributes([search_attributes.STATE.value_set(progress.state)])
        if kind := OF_INVOICE.get(progress.state):
            await self._world.announce(kind)

    async def _carry_on_in_a_new_run(self) -> None:
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self._progress.state not in INVOICE.terminal and not self._heard and not self._decided:
            workflow.continue_as_new(
                InvoiceOrder(
                    invoice=self._invoice,
                    sealed_preimage=self._sealed_preimage,
                    carried=self._progress,
                )
            )

    def _decided_by(self) -> str:
        progress = self._progress
        if self._cancel:
            return self._by(self._cancel)
        if progress.settlement:
            return f"by {progress.settlement.by}"
        return "nobody decided in time" if progress.undecided_told else "by the policy"

    @staticmethod
    def _by(order: InvoiceCancellation) -> str:
        return f"by {order.by} {order.reason}".rstrip()

    # What the stream, operators and callers may say and ask.

    @workflow.signal
    def heard(self, *given: Any) -> None:
        """LND's word, an InvoiceUpdate, from whoever heard it. Again, it changes nothing."""
        if update := read_signal(InvoiceUpdate, given):
            self._heard.append(update)

    @workflow.signal
    async def late_attempt(self, *given: Any) -> None:
        """A LateAttempt: somebody tried to pay when LND took it no more."""
        if attempt := read_signal(LateAttempt, given):
            await self._world.came_late(attempt)

    @workflow.update
    def settle(self, settlement: Settlement) -> InvoiceView:
        """Take what is held. The order is durable once this returns; LND is told next."""
        self._take(settlement)
        return self._world.view()

    @settle.validator
    def _may_settle(self, settlement: Settlement) -> None:
        progress = self._progress
        canceled = self._cancel is not None or progress.verdict is Verdict.CANCEL
        # The same order again is no mistake: its answer may have been lost.
        if progress.state not in {InvoiceState.ACCEPTED, InvoiceState.SETTLING} or canceled:
            raise self._too_late("settle")
        theirs = self._hold is not None and self._hold.payment_hash is not None
        if theirs and settlement.sealed_preimage is None:
            why = 'it was made for a hash of yours: bring the "sealed_preimage"'
            raise refused(InvalidRequestError(why))
        if settlement.sealed_preimage is not None and not theirs:
            raise refused(InvalidRequestError('we have its preimage: leave out "sealed_preimage"'))

    def _take(self, settlement: Settlement) -> None:
        self._progress.settlement = settlement
        self._progress.verdict = Verdict.SETTLE

    @workflow.update
    def cancel(self, cancellation: InvoiceCancellation) -> InvoiceView:
        """Call it off. The order is durable once this returns; LND is told next."""
        self._cancel = cancellation
        return self._world.view()

    @cancel.validator
    def _may_cancel(self, cancellation: InvoiceCancellation) -> None:
        if not cancellation:  # JSON's null becomes None, whatever the update's type
            raise refused(InvalidRequestError('say who cancels: {"by": "…"}'))
        if why := self._only_its_workflow_may_cancel:
            raise refused(InvalidRequestError(why))
        self._check_not_decided()

    def _check_not_decided(self) -> None:
        progress = self._progress
        allowed = {InvoiceState.OPEN, InvoiceState.ACCEPTED, InvoiceState.CANCELING}
        if progress.state not in allowed or progress.verdict is Verdict.SETTLE:
            raise self._too_late("cancel")

    def _too_late(self, verb: str) -> ApplicationError:
        decided = ", and somebody has decided otherwise" if self._decided else ""
        return refused(
            InvalidRequestError(
                f"nothing to {verb}: the invoice is {self._progress.state}{decided}"
            )
        )

    @workflow.signal
    def decide(self, *given: Any) -> None:
        """The Decision of the workflow that it is held for. Too late, it changes nothing."""
        decision = read_signal(Decision, given)
        if decision is None:
            return
        by = decision.by
        try:
            match decision.verdict:
                case Verdict.SETTLE:
                    settlement = Settlement(by=by, sealed_preimage=decision.sealed_preimage)
                    self._may_settle(settlement)
                    self._take(settlement)
                case Verdict.CANCEL:
                    cancellation = InvoiceCancellation(by=by, reason=decision.reason)
                    self._check_not_decided()
                    self._cancel = cancellation
        except ApplicationError as too_late:
            self._world.note(f"{by} says {decision.verdict}: {too_late.message}")

    @workflow.query
    def view(self) -> InvoiceView:
        return self._world.view()

    @property
    def _only_its_workflow_may_cancel(self) -> str:
        """Why nobody else may, where it is held against a payment; empty where anybody may."""
        hold = self._hold
        if hold is None or hold.default is not Verdict.KEEP or not hold.workflow_id:
            return ""
        return (
            f"it is held against another payment, and only {hold.workflow_id} knows what became "
            "of that: cancel that workflow"
        )

    @property
    def _hold(self) -> Hold | None:
        return self._invoice.request.hold

    @property
    def _node(self) -> str:
        return self._invoice.request.node

    @property
    def _hash(self) -> PaymentHash:
        return self._invoice.payment_hash


def _history_is_long() -> bool:
    return workflow.info().is_continue_as_new_suggested()
