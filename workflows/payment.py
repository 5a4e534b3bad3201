"""An outgoing payment, from the request to LND's verdict."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from fulgurite import ids
from fulgurite.errors import FulguriteError, InvalidRequestError, InvoiceExpiredError
from fulgurite.events.catalogue import Event
from fulgurite.payments.calls import DispatchOutcome
from fulgurite.payments.progress import Progress
from fulgurite.payments.receipts import OnChain, PaymentUpdate, PaymentView, Receipt
from fulgurite.payments.requests import (
    Approval,
    Cancellation,
    Order,
    PaymentRequest,
    Rejection,
    understand,
)
from fulgurite.payments.states import PAYMENT, PaymentEvent, PaymentState, pause_before_attempt
from workflows import (
    metrics,
    payment_approval,
    payment_following,
    payment_ladder,
    search_attributes,
)
from workflows.announcing import emit
from workflows.calling import (
    ACTIVITY_ERRORS,
    done_or,
    read_signal,
    refusal,
    refused,
)
from workflows.enduring import to_its_end
from workflows.payment_budget import Budgets
from workflows.payment_dispatch import Dispatcher
from workflows.payment_liquidity import LiquidityWait

_EVENTS = "events"
_LADDER = "ladder"
_WITH_LND = frozenset({PaymentState.IN_FLIGHT, PaymentState.STUCK, PaymentState.RESOLVING_ON_CHAIN})
_PAUSE_AFTER_DEFECT = timedelta(seconds=30)


@workflow.defn(name="PaymentWorkflow")
class PaymentWorkflow:
    """Pays once. Its id is `payment/<payment hash>`, so that a second caller attaches.

    Ends with a receipt for every outcome of the payment, FAILED included, and as a failed
    workflow only where the request was refused before anything moved.
    """

    @workflow.init
    def __init__(self, request: Any = None, carried: Any = None) -> None:
        # `request` is any JSON: a malformed one must be refused, and never wedge the task.
        # What an earlier run carried over is ours: there a wedge is better than forgetting.
        info = workflow.info()
        self._progress = (
            Progress.model_validate(carried)
            if carried is not None and info.continued_run_id
            # Not `start_time`: that is the first workflow task's, which a crash makes later.
            else Progress(requested_at=info.workflow_start_time)
        )
        self._refusal: ApplicationError | None = None
        self._decision: Approval | Rejection | None = None
        self._announces = False  # somebody wants to be told; off the fast path it is asked anew
        self._untold: list[Event] = []
        self._look_again = False
        self._request: PaymentRequest
        self._order: Order
        self._dispatcher: Dispatcher
        self._budgets: Budgets
        self._liquidity: LiquidityWait
        try:
            self._request = PaymentRequest.model_validate(request)
            self._order = understand(self._request)
            this = (self._progress, self._request, self._order)
            self._dispatcher = Dispatcher(*this, self._note)
            self._budgets = Budgets(*this, self._wait_for_room)
            self._liquidity = LiquidityWait(*this, self._note)
            self._check_id()
            if carried is not None and not info.continued_run_id:
                raise InvalidRequestError("give one argument, the request")
        except (ValidationError, FulguriteError) as error:
            if self._progress.state is not PaymentState.REQUESTED:
                raise  # money may be in flight: wait for a worker that understands it
            self._refusal = refused(error)

    @workflow.run
    async def run(self, request: Any = None, carried: Any = None) -> Receipt:  # noqa: ARG002 - read in __init__
        """Raises ApplicationError, named as in `fulgurite.errors`, for a refused request."""
        if self._refusal:
            raise self._refusal
        # Temporal's own cancel is an order like any other: it ends attempts, and
        # never our knowledge of what is in flight.
        return await to_its_end(self._story(), lambda: self._cancel("canceled in Temporal"))

    async def _story(self) -> Receipt:
        while self._progress.state not in PAYMENT.terminal:
            match self._progress.state:
                case PaymentState.REQUESTED:
                    self._begin()
                case PaymentState.AWAITING_APPROVAL:
                    await self._ask_a_person()
                case PaymentState.RESERVING:
                    await self._reserve()
                case PaymentState.DISPATCHING:
                    await self._dispatch()
                case PaymentState.IN_FLIGHT | PaymentState.STUCK | PaymentState.RESOLVING_ON_CHAIN:
                    await self._follow()
                case PaymentState.BACKING_OFF | PaymentState.AWAITING_LIQUIDITY:
                    await self._wait_for_the_next_attempt()
            await self._tell()
            if workflow.info().is_continue_as_new_suggested():
                await self._carry_on_in_a_new_run()
        await self._budgets.settle()
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self._refusal:
            raise self._refusal
        receipt = self._progress.receipt(self._request, self._order, workflow.now())
        metrics.count(receipt)
        return receipt

    # The states, in the order in which a payment meets them.

    def _begin(self) -> None:
        if not workflow.info().typed_search_attributes.get(search_attributes.PAYMENT_HASH):
            # Started by a plain client: costs one action, and makes it findable.
            attributes = search_attributes.of_request(self._request, self._order)
            workflow.upsert_search_attributes(
                [pair.key.value_set(pair.value) for pair in attributes.search_attributes]
            )
        # Thresholds and cancels too: an earlier run, or a person, may have had LND pay this.
        self._fire(PaymentEvent.DISPATCHED)

    async def _ask_a_person(self) -> None:
        self._fire(
            *await payment_approval.asked(
                self._progress, self._request, self._order, lambda: self._decision
            )
        )

    async def _reserve(self) -> None:
        try:
            if heard := await self._budgets.reserve():
                self._fire(*heard)
        except ACTIVITY_ERRORS as error:
            await self._keep_going(error)

    async def _dispatch(self) -> None:
        try:
            dispatched = await self._dispatcher.run()
        except ACTIVITY_ERRORS as error:
            if reason := refusal(error):
                self._refuse(reason)
            else:
                await self._keep_going(error)
            return
        progress = self._progress
        progress.uncertain = False
        progress.sends += dispatched.sent
        progress.initiated |= dispatched.sent
        self._announces |= dispatched.announce
        progress.budgets = tuple(dict.fromkeys([*progress.budgets, *dispatched.budgets]))
        match dispatched.outcome:
            case DispatchOutcome.NEEDS_APPROVAL:
                self._fire(PaymentEvent.NEEDS_APPROVAL, dispatched.because)
            case DispatchOutcome.NEEDS_BUDGET:
                self._fire(PaymentEvent.NEEDS_BUDGET, dispatched.because)
            case DispatchOutcome.LAPSED:
                self._lapse(dispatched.because)
            case _:
                assert dispatched.update is not None
                self._hear(dispatched.update)

    async def _follow(self) -> None:
        progress = self._progress
        if progress.on_chain and progress.state in {PaymentState.IN_FLIGHT, PaymentState.STUCK}:
            self._fire(PaymentEvent.WENT_ON_CHAIN, "see the ladder, stuck/<payment hash>")
            return
        until = payment_following.until(progress, self._request)
        following = payment_following.start(progress, self._request, self._order, until)
        try:
            if not await done_or(following, lambda: self._look_again):
                self._look_again = False
                return
            update = await following
        except ActivityError as error:
            await self._keep_going(error)
            return
        if update.terminal and progress.ladder:
            await payment_ladder.tell(self._order.payment_hash, update)
            await payment_ladder.counted(progress)
        self._hear(update)
        if progress.state is PaymentState.IN_FLIGHT and until == progress.overdue_at(self._request):
            self._fire(PaymentEvent.OVERDUE, "still in flight; only LND can end it")
            # Gated: payments that were stuck before there were ladders go on without one.
            if workflow.patched(_LADDER):
                progress.ladder = True
                await payment_ladder.begin(self._request, self._order.payment_hash)

    async def _wait_for_the_next_attempt(self) -> None:
        if self._progress.state is PaymentState.AWAITING_LIQUIDITY:
            self._fire(*await self._liquidity.over())
            return
        pause = pause_before_attempt(self._progress.failures)
        try:
            await workflow.wait_condition(
                lambda: self._progress.cancel_requested,
                timeout=pause,
                timeout_summary="the next attempt",
            )
        except TimeoutError:
            self._fire(PaymentEvent.DISPATCHED, f"attempt {self._progress.failures + 1}")
        else:
            self._fire(PaymentEvent.GIVEN_UP, "canceled; the last verdict stands")

    # What the states share.

    async def _keep_going(self, error: ActivityError | ApplicationError) -> None:
        """After a defect of ours: LND may be paying, so that giving up would be forgetting."""
        self._progress.uncertain = True
        self._note(f"an activity broke, asking again: {error.cause or error}")
        await workflow.sleep(_PAUSE_AFTER_DEFECT, summary="pause after a defect")

    def _hear(self, update: PaymentUpdate) -> None:
        patience = self._request.wait_for_liquidity_seconds
        if heard := self._progress.heard(update, workflow.now(), self._last_moment, patience):
            self._fire(*heard)

    def _refuse(self, reason: ApplicationError) -> None:
        if self._progress.failures:
            # Something did move before: LND's verdict on it is the outcome.
            self._fire(PaymentEvent.GIVEN_UP, f"no other attempt: {reason.message}")
            return
        self._refusal = reason
        self._fire(PaymentEvent.REFUSED, reason.message)

    def _lapse(self, because: str) -> None:
        expires_at = self._order.expires_at
        if self._progress.failures:
            self._fire(PaymentEvent.GIVEN_UP, because)
        elif self._progress.cancel_requested:
            self._fire(PaymentEvent.CANCELED, "LND does not know the payment")
        elif expires_at and expires_at <= self._progress.requested_at:
            expired = InvoiceExpiredError(
                f"the invoice expired at {expires_at.isoformat()}: ask the payee for a new one"
            )
            self._refuse(refused(expired))
        else:
            self._fire(PaymentEvent.LAPSED, because)

    def _fire(self, event: PaymentEvent, words: str = "") -> None:
        progress = self._progress
        progress.fire(event, workflow.now(), words)
        workflow.logger.info("payment moved", extra={"moved_by": event, "state": progress.state})
        self._show()
        # Gated: payments that were under way before there were events go on without them.
        if (self._announces or progress.in_flight_since) and workflow.patched(_EVENTS):
            news = progress.news(self._request, self._order, workflow.now())
            self._untold += [news] if news else []
        # The fast path, and a budget's answer on it: the attribute is not worth an action yet.
        fast = progress.state in {PaymentState.DISPATCHING, PaymentState.RESERVING}
        if not fast or progress.failures:
            self._index()

    def _index(self) -> None:
        progress = self._progress
        updates = [search_attributes.STATE.value_set(progress.state)]
        if progress.update and progress.failures:
            reason = progress.update.failure_reason
            updates.append(search_attributes.FAILURE_REASON.value_set(reason))
        workflow.upsert_search_attributes(updates)

    async def _tell(self) -> None:
        """The world, of what happened since; durable before anything else happens."""
        while self._untold:
            await emit(self._untold.pop(0))

    def _note(self, words: str) -> None:
        self._progress.note(words, workflow.now())
        self._show()

    def _wait_for_room(self, words: str) -> None:
        self._note(words)
        self._index()

    def _show(self) -> None:
        workflow.set_current_details(self._progress.details(self._request, self._order))

    def _cancel(self, reason: str) -> None:
        if not self._progress.cancel_requested:
            self._progress.cancel_requested = True
            self._note(f"cancel requested: {reason}")

    async def _carry_on_in_a_new_run(self) -> None:
        if self._progress.state in PAYMENT.terminal:
            return
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(args=[self._request, self._progress])

    def _check_id(self) -> None:
        expected = ids.payment_id(self._order.payment_hash)
        if workflow.info().workflow_id != expected:
            raise InvalidRequestError(
                f"this payment's workflow id must be {expected}: it is what keeps the same "
                "invoice from being paid by two workflows"
            )

    # What operators and callers may say and ask.

    @workflow.update
    def approve(self, approval: Approval) -> PaymentView:
        self._decision = approval
        return self._view()

    @workflow.update
    def reject(self, rejection: Rejection) -> PaymentView:
        self._decision = rejection
        return self._view()

    @approve.validator
    def _may_approve(self, approval: Approval) -> None:  # noqa: ARG002 - any approval will do
        self._awaits_a_decision()

    @reject.validator
    def _may_reject(self, rejection: Rejection) -> None:  # noqa: ARG002 - any rejection will do
        self._awaits_a_decision()

    def _awaits_a_decision(self) -> None:
        self._must_be_understood()
        if self._progress.state is not PaymentState.AWAITING_APPROVAL:
            raise refused(
                InvalidRequestError(f"nothing to decide: the payment is {self._progress.state}")
            )
        if self._decision:
            raise refused(InvalidRequestError("somebody has decided already"))

    @workflow.update
    async def cancel(self, cancellation: Cancellation) -> PaymentView:
        """Once it returns, nothing more is sent. What is in flight stays until LND ends it."""
        self._cancel(cancellation.reason or "by the caller")
        await workflow.wait_condition(lambda: not self._dispatcher.may_send)
        return self._view()

    @cancel.validator
    def _may_cancel(self, cancellation: Cancellation) -> None:  # noqa: ARG002 - any reason will do
        self._must_be_understood()
        if self._progress.state in PAYMENT.terminal:
            raise refused(
                InvalidRequestError(f"nothing to cancel: the payment is {self._progress.state}")
            )

    @workflow.signal
    def look_again(self, *_: Any) -> None:
        """Reconciliation has heard a verdict that this payment has not: LND is asked anew."""
        self._look_again |= self._progress.state in _WITH_LND

    @workflow.signal
    def went_on_chain(self, *given: Any) -> None:
        """The ladder: a channel of this payment is closing, and what that has cost so far."""
        progress = self._progress
        if progress.state in _WITH_LND and (outcome := read_signal(OnChain, given)):
            progress.on_chain, progress.ladder = outcome, True
            self._look_again |= progress.state is not PaymentState.RESOLVING_ON_CHAIN
            self._show()

    @workflow.signal
    def liquidity_moved(self, *_: Any) -> None:
        """The autopilot, or whoever has moved some on the node: what waits for it goes on now."""
        if not self._refusal:
            self._liquidity.hear()

    @workflow.query
    def view(self) -> PaymentView:
        self._must_be_understood()
        return self._view()

    def _must_be_understood(self) -> None:
        if self._refusal:
            raise self._refusal

    def _view(self) -> PaymentView:
        return self._progress.view(self._request, self._order)

    @property
    def _last_moment(self) -> datetime:
        return self._progress.last_moment(self._request, self._order)
