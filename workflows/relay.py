"""Receive, hold, pay, and only then take: an invoice held against a payment of its hash."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError, FailureError

from fulgurite import ids
from fulgurite.errors import FulguriteError, InvalidRequestError, KeyReusedError
from fulgurite.invoices.calls import CREATE_INVOICE
from fulgurite.invoices.receipts import InvoiceUpdate
from fulgurite.invoices.requests import Verdict
from fulgurite.invoices.states import LndInvoiceState
from fulgurite.relays.calls import Outlook
from fulgurite.relays.progress import NOT_PAID, RelayProgress
from fulgurite.relays.receipts import RelayReceipt, RelayView
from fulgurite.relays.requests import (
    Plan,
    RelayCancellation,
    RelayRequest,
    check_not_the_payees,
    check_possible,
    understand_relay,
)
from fulgurite.relays.states import RELAY, RelayEvent, RelayState
from fulgurite.sealing import Sealed
from workflows import metrics, search_attributes
from workflows.announcing import emit
from workflows.calling import ACTIVITY_ERRORS, call_here_or_on, refusal, refused
from workflows.enduring import to_its_end
from workflows.held_invoice import HeldInvoice
from workflows.relayed_payment import Ending, RelayedPayment

_ONE_CALL = timedelta(minutes=2)
# LND cancels by its own clock, a moment after the expiry; then its word is final.
_AFTER_EXPIRY = timedelta(seconds=2)
_FIRST_PAUSE, _LONGEST_PAUSE = timedelta(seconds=2), timedelta(minutes=5)
# The invoice's workflow tells what happens upstream; beside that LND is asked so often.
_LOOK_EVERY = timedelta(hours=1)
# Blocks that were counted longer ago are counted again before anything is sent.
_FRESH = timedelta(minutes=5)
# So long the invoice's workflow has to carry out an order before LND is told directly.
_ORDERED = timedelta(seconds=10)
# After a payment's workflow was ended by force: what it was sending has arrived by then.
_AFTER_FORCE = timedelta(minutes=1)
_AFTER_DEFECT = timedelta(seconds=30)


@workflow.defn(name="RelayWorkflow")
class RelayWorkflow:
    """Takes what comes in only by the preimage of what went out. Its id is `relay/<hash>`.

    Upstream is never canceled while downstream is open: only a payment workflow that ended
    without success, or an upstream that was never held, lets it go back.
    """

    @workflow.init
    def __init__(self, request: Any = None, carried: Any = None) -> None:
        # As in a payment: `request` is any JSON, and what an earlier run carried over is ours.
        info = workflow.info()
        self._progress = (
            RelayProgress.model_validate(carried)
            if carried is not None and info.continued_run_id
            else RelayProgress(requested_at=info.workflow_start_time)
        )
        self._refusal: ApplicationError | None = None
        self._waits = 0  # for another payment of the hash, one after another
        self._looked = False  # just now, at whoever else pays the hash
        self._request: RelayRequest
        self._plan: Plan
        self._upstream: HeldInvoice
        self._downstream: RelayedPayment
        try:
            self._request = RelayRequest.model_validate(request)
            self._plan = understand_relay(self._request)
            self._upstream = HeldInvoice(self._plan, self._progress.created)
            self._downstream = RelayedPayment(self._plan)
            expected = ids.relay_id(self._plan.payment_hash)
            if info.workflow_id != expected:
                raise InvalidRequestError(f"this relay's workflow id must be {expected}")
        except (ValidationError, FulguriteError) as error:
            if self._progress.state is not RelayState.REQUESTED:
                raise  # money may be in flight: wait for a worker that understands it
            self._refusal = refused(error)

    @workflow.run
    async def run(self, request: Any = None, carried: Any = None) -> RelayReceipt:  # noqa: ARG002 - read in __init__
        """Raises ApplicationError, named as in `fulgurite.errors`, for a refused request."""
        if self._refusal:
            raise self._refusal
        # An order like any other: what is in flight is followed to its end.
        return await to_its_end(self._story(), lambda: self._call_off("canceled in Temporal"))

    async def _story(self) -> RelayReceipt:
        while self._progress.state not in RELAY.terminal:
            try:
                await self._next()
            except ACTIVITY_ERRORS as error:
                # A defect of ours, with money held: never a reason to end.
                self._note(f"an activity broke, asking again: {error.cause or error}")
                await workflow.sleep(_AFTER_DEFECT, summary="pause after a defect")
            await self._tell()
            if workflow.info().is_continue_as_new_suggested():
                await self._carry_on_in_a_new_run()
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self._refusal:
            raise self._refusal
        receipt = self._progress.receipt(self._plan, workflow.now())
        metrics.count_relay(receipt)
        return receipt

    async def _next(self) -> None:
        match self._progress.state:
            case RelayState.REQUESTED:
                await self._begin()
            case RelayState.OPEN:
                await self._wait_for_payer()
            case RelayState.HELD:
                await self._count_blocks()
            case RelayState.PAYING | RelayState.LOSS_POSSIBLE:
                await self._pay()
            case RelayState.SETTLING:
                await self._settle()
            case RelayState.CANCELING:
                await self._send_back()

    # The states, in the order in which a relay meets them.

    async def _begin(self) -> None:
        plan, progress = self._plan, self._progress
        if not workflow.info().typed_search_attributes.get(search_attributes.PAYMENT_HASH):
            attributes = search_attributes.of_relay(plan)
            workflow.upsert_search_attributes(
                [pair.key.value_set(pair.value) for pair in attributes.search_attributes]
            )
        try:
            progress.outlook = await self._downstream.look()
            progress.resumed = progress.outlook.invoice_key == plan.invoice.key
            if not progress.resumed:
                check_possible(plan, progress.outlook, workflow.now())
            created = await call_here_or_on(
                ids.invoice_queue(plan.invoice.node),
                CREATE_INVOICE,
                plan.invoice,
                at_most=_ONE_CALL,
                summary="the incoming invoice",
            )
            check_not_the_payees(plan, created)
        except FulguriteError as error:
            self._refuse(refused(error))
            return
        except ACTIVITY_ERRORS as error:
            reason = refusal(error)
            if reason is None:
                raise
            self._refuse(reason)
            return
        progress.created = created
        self._upstream.written(created)
        # An earlier run may have come further: where upstream is, only LND can say.
        update = await self._upstream.word() if progress.resumed else None
        self._fire(RelayEvent.CREATED, "again: an earlier run was ended by force" if update else "")
        if update:
            self._hear(update)

    async def _wait_for_payer(self) -> None:
        created = self._progress.created
        assert created is not None
        until, pause = created.expires_at + _AFTER_EXPIRY, _FIRST_PAUSE
        while self._progress.state is RelayState.OPEN:
            if not self._progress.cancel_requested:
                await self._upstream.wait(until, "the incoming invoice's expiry")
            if self._progress.cancel_requested:
                self._fire(RelayEvent.CALLED_OFF)
                return
            self._hear(await self._upstream.word())
            if workflow.now() >= until:
                # LND was away at the expiry, or its clock is behind ours.
                until, pause = workflow.now() + pause, min(pause * 2, _LONGEST_PAUSE)

    async def _count_blocks(self) -> None:
        """Whether what goes out can end well before what came in must be decided."""
        plan, progress = self._plan, self._progress
        counted_at = workflow.now()
        progress.outlook = await self._downstream.look()
        watched = await self._upstream.word_with_tip()
        self._hear(watched.update)
        if progress.state is not RelayState.HELD:
            return
        if watched.update.state is not LndInvoiceState.ACCEPTED:
            await workflow.sleep(_FIRST_PAUSE, summary="LND does not hold it yet")
        elif workflow.now() <= counted_at + _FRESH:
            tip = max(watched.height, progress.outlook.height)
            why = progress.weigh(plan, watched.update, tip, counted_at)
            self._fire(RelayEvent.DISPATCHED, why)
            self._looked = True

    async def _pay(self) -> None:
        """Until the payment has its verdict. Whatever is unknown is asked again."""
        payment, progress = self._downstream, self._progress
        if not payment.under_way:
            outlook = await self._outlook()
            if progress.untold:
                return
            first = not outlook.payment_retained
            request = progress.to_begin(self._plan)
            if outlook.payment_runs or not await payment.begin(request, only_the_first=first):
                await self._wait_for_another_payment(outlook)
                return
            self._waits = 0
            progress.payments_begun += 1
        await self._listen_to_both()
        if payment.ended:
            await self._hear_downstream(await payment.ending())

    async def _outlook(self) -> Outlook:
        """Before every payment: whether it may still be sent, and who else may have paid."""
        progress = self._progress
        if not self._looked or progress.outlook is None:
            if progress.state is RelayState.PAYING:
                self._hear(await self._upstream.word())
            progress.outlook = await self._downstream.look(progress.outlook)
        self._looked = False
        return progress.outlook

    async def _wait_for_another_payment(self, outlook: Outlook) -> None:
        if not self._waits:
            where = f" from {outlook.elsewhere}" if outlook.elsewhere else ""
            self._note(f"another workflow pays this hash{where}: waiting for its end")
        if outlook.payment_ours and self._cancel_is_due:
            await self._pass_on_the_cancel()
        pause = min(_FIRST_PAUSE * 2**self._waits, _LONGEST_PAUSE)
        self._waits = min(self._waits + 1, 10)
        await self._upstream.wait(workflow.now() + pause, "the end of another payment")

    async def _pass_on_the_cancel(self) -> None:
        try:
            await self._downstream.cancel()
        except FailureError as error:
            self._note(f"the payment could not be told: {error}")

    async def _listen_to_both(self) -> None:
        """Returns at the payment's end, and when something else must be done before it."""
        listening = asyncio.create_task(self._listen_upstream())
        try:
            # At once: before anything else is done, the payment might be sent.
            while not await self._interrupted(listening):
                await self._pass_on_the_cancel()
        finally:
            if listening.done():
                listening.result()
            listening.cancel()

    async def _interrupted(self, listening: asyncio.Task[None]) -> bool:
        """True when there is something to do; False when the payment is to be told first."""
        await workflow.wait_condition(
            lambda: (
                self._cancel_is_due
                or self._downstream.ended
                or bool(self._progress.untold)
                or workflow.info().is_continue_as_new_suggested()
                or listening.done()
            )
        )
        return self._downstream.ended or not self._cancel_is_due

    async def _listen_upstream(self) -> None:
        while True:
            self._hear(await self._upstream.word_after(_LOOK_EVERY))

    async def _hear_downstream(self, ending: Ending) -> None:
        if ending.refused:
            self._fire(RelayEvent.NOT_PAID, f"the payment was refused: {ending.refused}")
        elif ending.receipt and (
            heard := self._progress.heard_downstream(self._plan, ending.receipt)
        ):
            self._fire(*heard)
        elif ending.receipt and ending.receipt.status in NOT_PAID:
            self._note(f"{ending.receipt.node} has not paid it: {ending.receipt.status}")
        else:
            self._note(f"the payment ended without a verdict, asking again: {ending.words}")
            await workflow.sleep(_AFTER_FORCE, summary="what was being sent arrives meanwhile")

    async def _settle(self) -> None:
        receipt = self._progress.receipt_of_payment
        assert receipt is not None
        # It came with the payment's result, so that it is in the history by now.
        sealed = receipt.sealed_preimage
        assert sealed is not None
        if await self._told(Verdict.SETTLE, sealed):
            return
        try:
            self._hear(await self._upstream.settle(sealed))
        except ActivityError as error:
            self._note(f"the preimage could not be used, trying again: {error.cause or error}")
        await self._rest_in(RelayState.SETTLING)

    async def _send_back(self) -> None:
        if not await self._told(Verdict.CANCEL):
            self._hear(await self._upstream.cancel())
            await self._rest_in(RelayState.CANCELING)

    # What the states share.

    async def _told(self, verdict: Verdict, sealed_preimage: Sealed | None = None) -> bool:
        """Orders upstream's workflow to do it; True once LND has carried it out.

        False: it is gone, or hangs. LND takes the same order from us, and twice is once.
        """
        before = self._progress.state
        try:
            await self._upstream.tell(verdict, sealed_preimage)
        except FailureError as error:
            self._note(f"the invoice's workflow could not be told: {error}")
            return False
        self._hear(await self._upstream.word_after(_ORDERED))
        return self._progress.state is not before

    async def _rest_in(self, state: RelayState) -> None:
        if self._progress.state is state:
            await workflow.sleep(_ORDERED, summary="LND has not carried it out yet")

    def _hear(self, update: InvoiceUpdate) -> None:
        if heard := self._progress.heard_upstream(update, workflow.now()):
            self._fire(*heard)

    def _fire(self, moved_by: RelayEvent, words: str = "") -> None:
        progress = self._progress
        progress.fire(moved_by, workflow.now(), words)
        loud = progress.state in {RelayState.LOSS_POSSIBLE, RelayState.LOST}
        say = workflow.logger.error if loud else workflow.logger.info
        say("relay moved", extra={"moved_by": moved_by, "state": progress.state})
        self._show()
        workflow.upsert_search_attributes([search_attributes.STATE.value_set(progress.state)])

    async def _tell(self) -> None:
        """Tells the world what it must hear. The same news, told again, is one event."""
        while self._progress.untold:
            await emit(self._progress.news(self._plan, workflow.now()))
            self._progress.untold.pop(0)

    def _refuse(self, reason: ApplicationError) -> None:
        self._refusal = reason
        self._fire(RelayEvent.REFUSED, reason.message)

    def _call_off(self, reason: str) -> None:
        if not self._progress.cancel_requested:
            self._progress.cancel_requested = True
            self._upstream.nudge()
            self._note(f"cancel requested: {reason}")

    @property
    def _cancel_is_due(self) -> bool:
        return self._progress.sends_no_more and not self._downstream.cancel_passed_on

    def _note(self, words: str) -> None:
        self._progress.note(words, workflow.now())
        self._show()

    def _show(self) -> None:
        workflow.set_current_details(self._progress.details(self._plan))

    async def _carry_on_in_a_new_run(self) -> None:
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self._progress.state not in RELAY.terminal:
            # The next run does not hear of a payment under way: it waits, and asks LND.
            workflow.continue_as_new(args=[self._request, self._progress])

    # What callers, operators and the invoice's workflow may say and ask.

    @workflow.signal
    def invoice_accepted(self, *_: Any) -> None:  # an InvoiceView; LND is asked itself
        """Upstream is paid, and held for us."""
        self._moved()

    @workflow.signal
    def fulgurite_event(self, *_: Any) -> None:  # an Event; LND is asked itself
        """Something happened upstream."""
        self._moved()

    def _moved(self) -> None:
        if not self._refusal:
            self._upstream.nudge()

    @workflow.update
    async def payment_request(self, request: Any) -> RelayView:  # noqa: ARG002 - the validator's
        """What the payer is to be given, as soon as LND has written it and it is watched.

        Raises like the relay itself where it is refused, and where it has ended already.
        """
        await workflow.wait_condition(lambda: self._progress.state is not RelayState.REQUESTED)
        if self._refusal:
            raise self._refusal
        if self._progress.state in RELAY.terminal:
            ended = f"this relay is {self._progress.state}: ask the payee for a new invoice"
            raise refused(InvalidRequestError(ended))
        return self._progress.view(self._plan)

    @payment_request.validator
    def _same_request(self, request: Any) -> None:
        self._must_be_understood()
        try:
            same = RelayRequest.model_validate(request) == self._request
        except ValidationError as error:
            raise refused(error) from error
        if not same:
            raise refused(KeyReusedError("a relay of this invoice is under way on other terms"))

    @workflow.update
    def cancel(self, cancellation: RelayCancellation) -> RelayView:
        """Nothing more is sent; what is in flight is followed, and decides."""
        self._call_off(f"by {cancellation.by} {cancellation.reason}".rstrip())
        return self._progress.view(self._plan)

    @cancel.validator
    def _may_cancel(self, cancellation: RelayCancellation) -> None:  # noqa: ARG002 - any will do
        self._must_be_understood()
        if self._progress.state in RELAY.terminal:
            ended = f"nothing to cancel: the relay is {self._progress.state}"
            raise refused(InvalidRequestError(ended))

    @workflow.query
    def view(self) -> RelayView:
        self._must_be_understood()
        return self._progress.view(self._plan)

    def _must_be_understood(self) -> None:
        """A refusal of what could not even be read: there is nothing to look at."""
        if self._refusal and self._progress.state is RelayState.REQUESTED:
            raise self._refusal
