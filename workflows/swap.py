"""A swap: quoted, held against its limits, begun once, and followed to loopd's last word."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from fulgurite import ids
from fulgurite.errors import InvalidRequestError
from fulgurite.events.catalogue import Event
from fulgurite.payments.requests import Approval, Cancellation, Rejection
from fulgurite.swaps.limits import Direction
from fulgurite.swaps.progress import Swap
from fulgurite.swaps.receipts import AtRisk, SwapReceipt, SwapView
from fulgurite.swaps.requests import Abandonment, Adoption, SwapRequest, Word
from fulgurite.swaps.states import BEFORE, SWAP, UNDER_WAY, SwapEvent, SwapState
from fulgurite.swaps.words import details
from workflows import metrics, reserving, search_attributes
from workflows.announcing import emit
from workflows.calling import refused
from workflows.enduring import to_its_end
from workflows.swap_beginning import Beginning
from workflows.swap_following import Following

_UNDECIDED = frozenset({SwapState.ORPHAN_WATCH, SwapState.UNCERTAIN})


@workflow.defn(name="SwapWorkflow")
class SwapWorkflow:
    """Swaps once. Its id is `swap/<key>`.

    loopd is asked to begin it at most once without a person's word, and only within every
    limit. What loopd has begun is followed to its end, whatever is asked of this workflow.
    """

    @workflow.init
    def __init__(self, request: Any = None, carried: Any = None) -> None:
        info = workflow.info()
        began_at = info.workflow_start_time
        self._swap = (
            Swap.model_validate(carried)
            if carried is not None and info.continued_run_id
            else Swap(label_prefix=f"{info.workflow_id}#", began_at=began_at, entered_at=began_at)
        )
        self._refusal: ApplicationError | None = None
        self._untold: list[Event] = []
        self._orders = self._swap.orders
        self._request: SwapRequest
        self._beginning: Beginning
        self._following: Following
        try:
            self._request = SwapRequest.model_validate(request)
            self._beginning = Beginning(self._swap, self._request, self._fire, self._stops)
            self._following = Following(self._swap, self._request, self._fire, self._show)
            self._check_id()
        except (ValidationError, InvalidRequestError) as error:
            self._refusal = refused(error)

    @workflow.run
    async def run(self, request: Any = None, carried: Any = None) -> SwapReceipt:  # noqa: ARG002 - read in __init__
        """Raises ApplicationError for a request that makes no sense."""
        if self._refusal:
            raise self._refusal
        return await to_its_end(self._story(), self._canceled)

    def _canceled(self) -> None:
        # Temporal's own cancel is an order like any other: it calls off what has not
        # begun, and never our knowledge of what has.
        self._orders.canceling = True

    async def _story(self) -> SwapReceipt:
        if not workflow.info().continued_run_id:
            self._swap.holder = reserving.known_as(self._request.node, self._request.budgets)
            workflow.upsert_search_attributes(
                search_attributes.of_swap(self._request, self._swap.state)
            )
        while self._swap.state not in SWAP.terminal:
            await self._step()
            await self._tell()
            if workflow.info().is_continue_as_new_suggested():
                await self._carry_on_in_a_new_run()
        await self._beginning.settle()
        await workflow.wait_condition(workflow.all_handlers_finished)
        receipt = self._swap.receipt(self._request, workflow.now())
        metrics.count_swap(receipt)
        return receipt

    async def _step(self) -> None:
        swap = self._swap
        if swap.state in BEFORE and self._stopped():
            return
        match swap.state:
            case SwapState.QUOTING:
                await self._beginning.quote()
            case SwapState.PAUSED | SwapState.AWAITING_APPROVAL:
                await self._ask_a_person()
            case SwapState.READY:
                await self._beginning.begin()
                await self._beginning.pause_unless_asked()
            case SwapState.ORPHAN_WATCH | SwapState.UNCERTAIN:
                await self._following.look_for_it()
            case _:
                await self._following.follow()

    def _stops(self) -> bool:
        """Whether what has not begun shall not begin now."""
        lapsed = workflow.now() >= self._swap.deadline(self._request)
        pausing = self._orders.pausing and self._swap.state is not SwapState.PAUSED
        return self._orders.canceling or pausing or lapsed

    def _stopped(self) -> bool:
        """Carries out what `_stops` says; whether it did."""
        if self._orders.canceling:
            self._fire(SwapEvent.CANCELED, "loopd was not asked")
        elif workflow.now() >= self._swap.deadline(self._request):
            self._fire(SwapEvent.LAPSED, "its deadline")
        elif self._orders.pausing and self._swap.state is not SwapState.PAUSED:
            self._fire(SwapEvent.PAUSED, "by a person")
        else:
            return False
        self._orders.pausing = False
        return True

    async def _ask_a_person(self) -> None:
        swap = self._swap
        until = swap.deadline(self._request)
        if swap.state is SwapState.AWAITING_APPROVAL:
            patience = timedelta(seconds=self._request.approval_expires_seconds)
            until = min(until, swap.entered_at + patience)
        try:
            await workflow.wait_condition(
                lambda: swap.decision is not None or self._orders.resuming or self._stops(),
                timeout=max(until - workflow.now(), timedelta(0)),
                timeout_summary="a person's word",
            )
        except TimeoutError:
            self._fire(SwapEvent.LAPSED, "nobody answered in time")
            return
        if self._orders.canceling or self._orders.pausing:
            return  # carried out by the next step
        if self._orders.resuming:
            self._orders.resuming = False
            self._fire(SwapEvent.RESUMED, "")
            return
        match swap.decision:
            case Approval(approver=who, note=note):
                self._fire(SwapEvent.APPROVED, f"by {who} {note}".rstrip())
            case Rejection(approver=who, reason=why):
                self._fire(SwapEvent.REJECTED, f"by {who} {why}".rstrip())

    # What the states share.

    def _fire(self, moved_by: SwapEvent, words: str) -> None:
        swap = self._swap
        swap.fire(moved_by, workflow.now(), words)
        workflow.logger.info("swap moved", extra={"moved_by": moved_by, "state": swap.state})
        workflow.upsert_search_attributes([search_attributes.STATE.value_set(swap.state)])
        if news := swap.news(self._request, workflow.now()):
            self._untold.append(news)
        self._show()

    async def _tell(self) -> None:
        while self._untold:
            await emit(self._untold.pop(0))

    def _note(self, words: str) -> None:
        self._swap.note(words, workflow.now())
        self._show()

    def _show(self) -> None:
        workflow.set_current_details(details(self._swap, self._request))

    async def _carry_on_in_a_new_run(self) -> None:
        if self._swap.state in SWAP.terminal:
            return
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(args=[self._request, self._swap])

    def _check_id(self) -> None:
        expected = ids.swap_id(self._request.key)
        if workflow.info().workflow_id != expected:
            raise InvalidRequestError(f"this swap's workflow id must be {expected}")

    # What people say and ask.

    @workflow.update
    def approve(self, approval: Approval) -> SwapView:
        self._swap.decision = approval
        return self._view()

    @workflow.update
    def reject(self, rejection: Rejection) -> SwapView:
        self._swap.decision = rejection
        return self._view()

    @workflow.update
    def pause(self, word: Word) -> SwapView:
        """Before it has begun: nothing is begun until `resume`."""
        self._orders.pausing = True
        self._note(f"to be paused by {word.by} {word.note}".rstrip())
        return self._view()

    @workflow.update
    def resume(self, word: Word) -> SwapView:
        self._orders.resuming = True
        self._note(f"to be resumed by {word.by} {word.note}".rstrip())
        return self._view()

    @workflow.update
    def cancel(self, cancellation: Cancellation) -> SwapView:
        """Before it has begun: it never begins."""
        self._orders.canceling = True
        self._note(f"to be called off: {cancellation.reason}")
        return self._view()

    @workflow.update
    def initiate_again(self, word: Word) -> SwapView:
        """An uncertain one, of which loopd has nothing stored: another try, on a new look."""
        self._orders.again = word
        return self._view()

    @workflow.update
    def adopt(self, adoption: Adoption) -> SwapView:
        """An uncertain one: it is this swap of loopd's, whatever its label."""
        self._orders.adopting = adoption
        return self._view()

    @workflow.update
    def give_up(self, word: Word) -> SwapView:
        """An uncertain one is looked for no more. It can turn up yet, and nobody follows it."""
        self._orders.giving_up = word
        return self._view()

    @workflow.update
    def abandon(self, abandonment: Abandonment) -> SwapView:
        """Has loopd stop caring for a swap in. Once its HTLC is published that can lose it."""
        self._orders.abandoning = abandonment
        return self._view()

    @approve.validator
    def _may_approve(self, approval: Approval) -> None:  # noqa: ARG002 - any will do
        self._must_be(SwapState.AWAITING_APPROVAL)

    @reject.validator
    def _may_reject(self, rejection: Rejection) -> None:  # noqa: ARG002 - any will do
        self._must_be(SwapState.AWAITING_APPROVAL)

    @pause.validator
    def _may_pause(self, word: Word) -> None:  # noqa: ARG002 - any will do
        self._must_be(*(state for state in BEFORE if state is not SwapState.PAUSED))

    @resume.validator
    def _may_resume(self, word: Word) -> None:  # noqa: ARG002 - any will do
        self._must_be(SwapState.PAUSED)

    @cancel.validator
    def _may_cancel(self, cancellation: Cancellation) -> None:  # noqa: ARG002 - any will do
        self._must_be(*BEFORE)

    @initiate_again.validator
    def _may_try_again(self, word: Word) -> None:  # noqa: ARG002 - any will do
        self._must_be(SwapState.UNCERTAIN)
        if because := self._following.why_not_again():
            raise refused(InvalidRequestError(f"not yet: {because}"))

    @adopt.validator
    def _may_adopt(self, adoption: Adoption) -> None:  # noqa: ARG002 - any will do
        self._must_be(*_UNDECIDED)

    @give_up.validator
    def _may_give_up(self, word: Word) -> None:  # noqa: ARG002 - any will do
        self._must_be(SwapState.UNCERTAIN)

    @abandon.validator
    def _may_abandon(self, abandonment: Abandonment) -> None:
        self._must_be(*UNDER_WAY)
        if self._request.direction is Direction.OUT:
            raise refused(InvalidRequestError("loopd can abandon no swap out"))
        published = self._swap.state is not SwapState.INITIATED
        if published and not abandonment.even_if_published:
            raise refused(
                InvalidRequestError(
                    "its HTLC is on chain, and loopd would not take it back: give "
                    '"even_if_published" if somebody else will'
                )
            )

    def _must_be(self, *states: SwapState) -> None:
        if self._refusal:
            raise self._refusal
        if self._swap.state not in states:
            raise refused(InvalidRequestError(f"not now: the swap is {self._swap.state}"))

    @workflow.query
    def view(self) -> SwapView:
        if self._refusal:
            raise self._refusal
        return self._view()

    @workflow.query
    def at_risk(self) -> AtRisk:
        """What of the money is not where it was, and what could be lost of it yet."""
        return self.view().at_risk

    def _view(self) -> SwapView:
        return self._swap.view(self._request)
