"""Several swaps, one after another: split, spaced by blocks, within one total, changeable."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import ActivityError, ApplicationError, WorkflowAlreadyStartedError

from fulgurite import ids
from fulgurite.errors import InvalidRequestError
from fulgurite.payments.requests import Cancellation
from fulgurite.swaps.calls import QUOTE_SWAP, QuoteSwap
from fulgurite.swaps.receipts import SwapReceipt
from fulgurite.swaps.requests import SwapRequest, Word
from fulgurite.swaps.sequence import (
    SEQUENCE,
    Sequence,
    SequenceEvent,
    SequenceReceipt,
    SequenceState,
    SequenceView,
)
from fulgurite.swaps.sequence_requests import Piece, SequenceChange, SwapSequenceRequest
from workflows import search_attributes
from workflows.awaiting import ChainTime
from workflows.calling import refused, try_on
from workflows.enduring import to_its_end
from workflows.swap import SwapWorkflow

_ONE_CALL = timedelta(minutes=2)
_START_WITHIN = timedelta(minutes=1)
_PAUSE = timedelta(seconds=30)
_BETWEEN = frozenset({SequenceState.PLANNING, SequenceState.PAUSED, SequenceState.SPACING})


@workflow.defn(name="SwapSequenceWorkflow")
class SwapSequenceWorkflow:
    """Swaps by swaps. Its id is `swap-sequence/<key>`, and those of its swaps `swap/<key>.<n>`.

    Each is a swap like any other, which goes on if this workflow is ended by force. What may
    be spent is held against the worst case of the next one, before it is begun.
    """

    @workflow.init
    def __init__(self, request: Any = None, carried: Any = None) -> None:
        info = workflow.info()
        self._refusal: ApplicationError | None = None
        self._request: SwapSequenceRequest
        self._sequence: Sequence
        self._chain: ChainTime
        try:
            self._request = SwapSequenceRequest.model_validate(request)
            self._sequence = (
                Sequence.model_validate(carried)
                if carried is not None and info.continued_run_id
                else Sequence(began_at=info.workflow_start_time, order=self._request.order)
            )
            self._chain = ChainTime(self._request.node)
            self._check_id()
        except (ValidationError, InvalidRequestError) as error:
            self._refusal = refused(error)

    @workflow.run
    async def run(self, request: Any = None, carried: Any = None) -> SequenceReceipt:  # noqa: ARG002 - read in __init__
        """Raises ApplicationError for a request that makes no sense."""
        if self._refusal:
            raise self._refusal
        return await to_its_end(self._story(), self._canceled)

    def _canceled(self) -> None:
        # As `cancel`: no further swap. The one under way goes to its end.
        self._sequence.canceling = True

    async def _story(self) -> SequenceReceipt:
        sequence = self._sequence
        if not workflow.info().continued_run_id:
            workflow.upsert_search_attributes(
                search_attributes.of_sequence(self._request, sequence.state)
            )
        while sequence.state not in SEQUENCE.terminal:
            if sequence.state in _BETWEEN and self._stopped():
                continue
            match sequence.state:
                case SequenceState.PLANNING:
                    await self._plan()
                case SequenceState.SWAPPING:
                    await self._swap()
                case SequenceState.SPACING:
                    await self._space()
                case _:
                    await workflow.wait_condition(
                        lambda: self._sequence.resuming or self._sequence.canceling
                    )
            # Only between swaps: a new run cannot wait for the child of an earlier one.
            between = sequence.state in _BETWEEN
            if between and workflow.info().is_continue_as_new_suggested():
                await workflow.wait_condition(workflow.all_handlers_finished)
                workflow.continue_as_new(args=[self._request, sequence])
        await self._chain.forget()
        await workflow.wait_condition(workflow.all_handlers_finished)
        return sequence.receipt(self._request, workflow.now())

    def _stopped(self) -> bool:
        """Carries out what people have said between two swaps; whether anything was."""
        state = self._sequence.state
        if self._sequence.canceling:
            self._fire(SequenceEvent.CANCELED, "no further swap is begun")
        elif self._sequence.pausing and state is not SequenceState.PAUSED:
            self._fire(SequenceEvent.PAUSED)
        elif self._sequence.resuming and state is SequenceState.PAUSED:
            self._fire(SequenceEvent.RESUMED)
        elif self._sequence.changed and state is SequenceState.SPACING:
            self._fire(SequenceEvent.RESUMED, "changed: what is left is split anew")
        else:
            return False
        self._sequence.pausing = self._sequence.resuming = self._sequence.changed = False
        return True

    async def _plan(self) -> None:
        """By the server's present terms, which a quote of anything tells."""
        self._sequence.changed = False
        whole = Piece(number=0, amount_sat=max(1_000, self._sequence.order.amount_sat))
        probe = self._request.swap(0, whole, self._sequence.order, self._sequence.left_sat)
        try:
            offer = await try_on(
                ids.swap_queue(self._request.node),
                QUOTE_SWAP,
                QuoteSwap(request=probe, label_prefix=f"{ids.swap_id(probe.key)}#"),
                at_most=_ONE_CALL,
                start_within=_START_WITHIN,
                summary="ask for the terms",
            )
        except ActivityError as error:
            self._note(f"no terms: {error.cause or error}")
            await self._idle()
            return
        if offer.terms is None:
            self._note(f"no terms: {offer.reason} {offer.because}")
            await self._idle()
            return
        if not self._stops():
            self._fire(*self._sequence.plan(self._request, offer.terms))

    async def _swap(self) -> None:
        sequence = self._sequence
        piece = sequence.to_come[0]
        order, left_sat = sequence.order, sequence.left_sat
        if left_sat == 0:
            self._fire(SequenceEvent.OVER_BUDGET, f"{sequence.spent_sat:,} sat are spent")
            return
        swap = self._request.swap(piece.number, piece, order, left_sat)
        sequence.under_way = swap.key
        self._show()
        receipt = await self._swapped(swap)
        self._fire(*sequence.heard(piece, swap.key, receipt))

    async def _swapped(self, swap: SwapRequest) -> SwapReceipt:
        """One swap's receipt. One of an earlier run is waited for, and then found by loopd."""
        while True:
            try:
                return await workflow.execute_child_workflow(
                    SwapWorkflow.run,
                    swap,
                    id=ids.swap_id(swap.key),
                    parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                    static_summary=f"{swap.direction} {swap.amount_sat:,} sat, {swap.node}",
                )
            except WorkflowAlreadyStartedError:
                await workflow.sleep(_PAUSE, summary="an earlier run's swap is under way")

    async def _space(self) -> None:
        """For so many blocks after the last swap has ended, or for a person's word."""
        sequence = self._sequence
        if not sequence.order.spacing_blocks:
            self._fire(SequenceEvent.ENOUGH)
            return
        if sequence.ended_height is None:
            await self._chain.wait(0, interrupted=self._stops)
            sequence.ended_height = self._chain.tip.height if self._chain.tip else None
            self._show()
        height = sequence.next_height
        if height is None or self._stops():
            return
        await self._chain.wait(height, seen=self._chain.tip, interrupted=self._stops)
        tip = self._chain.tip
        if tip and tip.height >= height and not self._stops():
            self._fire(SequenceEvent.ENOUGH, f"block {tip.height:,}")

    async def _idle(self) -> None:
        try:
            await workflow.wait_condition(
                self._stops, timeout=_PAUSE, timeout_summary="before another try"
            )
        except TimeoutError:
            return

    def _stops(self) -> bool:
        return self._sequence.canceling or self._sequence.pausing or self._sequence.changed

    def _fire(self, moved_by: SequenceEvent, words: str = "") -> None:
        self._sequence.fire(moved_by, workflow.now(), words)
        workflow.upsert_search_attributes([search_attributes.STATE.value_set(self._sequence.state)])
        self._show()

    def _note(self, words: str) -> None:
        self._sequence.note(words, workflow.now())
        self._show()

    def _show(self) -> None:
        workflow.set_current_details(self._sequence.details(self._request))

    def _check_id(self) -> None:
        expected = ids.swap_sequence_id(self._request.key)
        if workflow.info().workflow_id != expected:
            raise InvalidRequestError(f"this sequence's workflow id must be {expected}")

    # What people and the chain say, and what is asked.

    @workflow.update
    def change(self, change: SequenceChange) -> SequenceView:
        """For swaps that have not begun; the one under way keeps its terms."""
        self._sequence.order = change.of(self._sequence.order)
        self._sequence.changed = True
        self._note(f"changed by {change.by} {change.note}".rstrip())
        return self._view()

    @workflow.update
    def pause(self, word: Word) -> SequenceView:
        """After the swap that is under way, if one is."""
        self._sequence.pausing, self._sequence.resuming = True, False
        self._note(f"to be paused by {word.by} {word.note}".rstrip())
        return self._view()

    @workflow.update
    def resume(self, word: Word) -> SequenceView:
        self._sequence.resuming, self._sequence.pausing = True, False
        self._note(f"to be resumed by {word.by} {word.note}".rstrip())
        return self._view()

    @workflow.update
    def cancel(self, cancellation: Cancellation) -> SequenceView:
        """No further swap. The one that is under way goes to its end."""
        self._sequence.canceling = True
        self._note(f"no further swap: {cancellation.reason}")
        return self._view()

    @change.validator
    def _may_change(self, change: SequenceChange) -> None:
        self._must_run()
        try:
            self._request.check(change.of(self._sequence.order))
        except ValidationError as error:
            raise refused(error) from None

    @pause.validator
    def _may_pause(self, word: Word) -> None:  # noqa: ARG002 - any will do
        self._must_run()

    @resume.validator
    def _may_resume(self, word: Word) -> None:  # noqa: ARG002 - any will do
        self._must_run()
        if not self._sequence.pausing and self._sequence.state is not SequenceState.PAUSED:
            raise refused(InvalidRequestError("it is not paused"))

    @cancel.validator
    def _may_cancel(self, cancellation: Cancellation) -> None:  # noqa: ARG002 - any will do
        self._must_run()

    def _must_run(self) -> None:
        if self._refusal:
            raise self._refusal
        if self._sequence.state in SEQUENCE.terminal:
            raise refused(InvalidRequestError(f"too late: the sequence is {self._sequence.state}"))

    @workflow.signal
    def block(self, *given: Any) -> None:
        """A block that was waited for, from the node's chain time."""
        if not self._refusal:
            self._chain.hear(*given)

    @workflow.query
    def view(self) -> SequenceView:
        if self._refusal:
            raise self._refusal
        return self._view()

    def _view(self) -> SequenceView:
        return self._sequence.view(self._request)
