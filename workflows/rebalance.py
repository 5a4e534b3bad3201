"""Liquidity that goes around: attempt by attempt, within the caps, until there is enough."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from fulgurite import ids
from fulgurite.errors import ChannelNotFoundError, FulguriteError, InvalidRequestError
from fulgurite.events.catalogue import Event
from fulgurite.rebalances import deciding, learning
from fulgurite.rebalances.calls import (
    LOOK_AT_CHANNELS,
    PREPARE_ATTEMPT,
    RECALL_ATTEMPTS,
    SEND_ATTEMPT,
    LookAtChannels,
    Prepare,
    Recall,
    SendAttempt,
    SendOutcome,
    Sent,
)
from fulgurite.rebalances.progress import Progress, UnderWay
from fulgurite.rebalances.receipts import RebalanceReceipt, RebalanceView
from fulgurite.rebalances.requests import RebalanceCancellation, RebalanceRequest
from fulgurite.rebalances.states import (
    REBALANCE,
    RebalanceEvent,
    RebalanceState,
    StopReason,
)
from fulgurite.rebalances.words import details, news
from workflows import (
    metrics,
    rebalance_budget,
    rebalance_ladder,
    reserving,
    search_attributes,
    turns,
)
from workflows.announcing import emit
from workflows.calling import done_or, refusal, refused, start_on
from workflows.enduring import to_its_end

_ONE_CALL = timedelta(minutes=2)
# Two calls a number, of as many as an attempt may have had.
_RECALL = timedelta(minutes=20)
# A turn outlives an attempt that hangs for a while; whoever wants it then waits.
_TURN = timedelta(hours=1)
# How long one activity follows what is stuck before the workflow takes stock.
_FOLLOW = timedelta(hours=6)
_PAUSE_AFTER_DEFECT = timedelta(seconds=30)


@workflow.defn(name="RebalanceWorkflow")
class RebalanceWorkflow:
    """Moves liquidity between channels of one node. Its id is `rebalance/<key>`.

    What an earlier run of the same id has sent is accounted for before anything else. Then one
    attempt at a time. Its invoice, hash and route are written down before it is sent, and
    the next begins only after LND's verdict on it. Ends with a receipt for every outcome, and
    as a failed workflow only where the request was refused before anything moved.
    """

    @workflow.init
    def __init__(self, request: Any = None, carried: Any = None) -> None:
        # As in a payment: `request` is any JSON, and what an earlier run carried over is ours.
        info = workflow.info()
        self._progress = (
            Progress.model_validate(carried)
            if carried is not None and info.continued_run_id
            else Progress(requested_at=info.workflow_start_time)
        )
        self._refusal: ApplicationError | None = None
        self._untold: list[Event] = []
        self._turn: turns.HeldTurn | None = None
        self._may_send = False  # a send is under way that may not have reached LND yet
        self._request: RebalanceRequest
        try:
            self._request = RebalanceRequest.model_validate(request)
            self._check_id()
            if carried is not None and not info.continued_run_id:
                raise InvalidRequestError("give one argument, the request")
        except (ValidationError, FulguriteError) as error:
            if self._progress.state is not RebalanceState.REQUESTED:
                raise  # money may be in flight: wait for a worker that understands it
            self._refusal = refused(error)

    @workflow.run
    async def run(self, request: Any = None, carried: Any = None) -> RebalanceReceipt:  # noqa: ARG002 - read in __init__
        """Raises ApplicationError, named as in `fulgurite.errors`, for a refused request."""
        if self._refusal:
            raise self._refusal
        # It ends attempts, and never our knowledge of what is in flight.
        return await to_its_end(self._story(), lambda: self._cancel("canceled in Temporal"))

    async def _story(self) -> RebalanceReceipt:
        progress, request = self._progress, self._request
        if not workflow.info().continued_run_id:
            progress.holder = reserving.known_as(request.node, request.budgets)
        if progress.under_way:
            await self._follow()  # an earlier run's: it needs no turn to be followed
        if not progress.recalled:
            await self._recall()
            await self._begin()
        if progress.state in {RebalanceState.WAITING, RebalanceState.PLANNING}:
            await self._take_turns()
        await rebalance_budget.settle(progress, request)
        await self._tell()
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self._refusal:
            raise self._refusal
        receipt = progress.receipt(request, workflow.now())
        metrics.count_rebalance(receipt)
        return receipt

    # The states, in the order in which a rebalance meets them.

    async def _recall(self) -> None:
        """Whatever an earlier run has sent counts, and is followed to LND's verdict."""
        progress, request = self._progress, self._request
        workflow.upsert_search_attributes(search_attributes.of_rebalance(request, progress.state))
        await self._look()
        while not progress.recalled:
            answer = await start_on(
                ids.rebalance_queue(request.node),
                RECALL_ATTEMPTS,
                Recall(
                    node=request.node,
                    key=request.key,
                    identity=request.identity(),
                    after=progress.number,
                    look_ahead=request.max_attempts,
                ),
                at_most=_RECALL,
                summary="look for what an earlier run has sent",
            )
            if words := learning.recalled(progress, request, answer, workflow.now()):
                self._fire(RebalanceEvent.DISPATCHED, words)
                await self._follow()
                await self._begin_a_new_run_if_due()
        await rebalance_budget.count_what_was_found(progress, request)

    async def _begin(self) -> None:
        progress, request = self._progress, self._request
        missing = progress.missing(request)
        if missing and progress.state is RebalanceState.REQUESTED:
            self._refusal = refused(
                ChannelNotFoundError(
                    f"{request.node} has no open channel {missing[0]}: copy it from "
                    "`fulgurite channel list`"
                )
            )
            progress.end(StopReason.CHANNEL_GONE, self._refusal.message)
            self._fire(RebalanceEvent.REFUSED, self._refusal.message)
        elif not progress.left_msat:
            progress.end(StopReason.REACHED, "the channels are full enough already")
            self._fire(RebalanceEvent.REACHED, progress.because)
        elif request.budgets:
            self._fire(RebalanceEvent.NEEDS_BUDGET, ", ".join(request.budgets))
            self._fire(*await rebalance_budget.reserve(progress, request))
        else:
            self._fire(RebalanceEvent.ALLOWED)

    async def _take_turns(self) -> None:
        progress, request = self._progress, self._request
        try:
            async with turns.held(
                request.node,
                request.channels,
                at_most=_TURN,
                patience=self._patience(),
                unless=self._is_called_off,
            ) as turn:
                self._turn = turn
                if progress.state is RebalanceState.WAITING:
                    self._fire(RebalanceEvent.GRANTED)
                await self._go_around(turn)
        except turns.NoTurnError as error:
            if progress.cancel_requested:
                progress.end(StopReason.CANCELED, "called off")
            else:
                progress.end(StopReason.NO_TURN, str(error))
        if progress.state not in REBALANCE.terminal:
            self._fire(progress.ending(), f"{progress.stop}: {progress.because}".rstrip(": "))

    async def _go_around(self, turn: turns.HeldTurn) -> None:
        """Attempt after attempt, while it is worth it."""
        progress, request = self._progress, self._request
        while True:
            await self._renew(turn)
            await self._look()
            if turn.wanted and turn.wanted.urgent:
                progress.end(StopReason.GAVE_WAY, f"to {turn.wanted.by}")
            ask = deciding.next_attempt(progress, request, workflow.now())
            if ask is None:
                return
            try:
                await self._prepare(ask)
            except ActivityError as error:
                reason = refusal(error)
                progress.refusals += 1
                self._note(f"LND refuses to plan: {reason.message if reason else error.cause}")
                if reason is None:
                    await workflow.sleep(_PAUSE_AFTER_DEFECT, summary="pause after a defect")
            if progress.under_way:
                await self._follow()
            await self._begin_a_new_run_if_due()

    async def _renew(self, turn: turns.HeldTurn) -> None:
        await turn.renew(patience=self._patience(), unless=self._is_called_off)

    def _patience(self) -> timedelta:
        return max(self._progress.ends_at(self._request) - workflow.now(), timedelta(0))

    def _is_called_off(self) -> bool:
        return self._progress.cancel_requested

    async def _begin_a_new_run_if_due(self) -> None:
        if workflow.info().is_continue_as_new_suggested():
            await workflow.wait_condition(workflow.all_handlers_finished)
            workflow.continue_as_new(args=[self._request, self._progress])

    async def _prepare(self, ask: Prepare) -> None:
        """Whatever it finds is in the history before anything is sent."""
        attempt = ask.attempt
        answer = await start_on(
            ids.rebalance_queue(self._request.node),
            PREPARE_ATTEMPT,
            ask,
            at_most=_ONE_CALL,
            summary=f"a way for {attempt.amount_msat}, at most {attempt.fee_limit_msat}",
        )
        words = learning.prepared(self._progress, self._request, ask, answer, workflow.now())
        if self._progress.under_way:
            self._fire(RebalanceEvent.DISPATCHED, words)
        else:
            self._note(words)

    async def _follow(self) -> None:
        """The attempt under way, to LND's verdict, however long that takes."""
        progress = self._progress
        while under_way := progress.under_way:
            until = workflow.now() + _FOLLOW
            if progress.state is RebalanceState.SENDING:
                patience = timedelta(seconds=self._request.stuck_after_seconds)
                until = under_way.began_at + patience
            send_before = self._send_before(under_way)
            try:
                sending = start_on(
                    ids.rebalance_queue(self._request.node),
                    SEND_ATTEMPT,
                    SendAttempt(
                        attempt=under_way.attempt,
                        payment_hash=under_way.payment_hash,
                        route=under_way.route,
                        until=until,
                        send_before=send_before,
                    ),
                    at_most=_FOLLOW + timedelta(hours=1),
                    summary=f"send {under_way.attempt.amount_msat}",
                )
                if send_before and not await self._done(sending):
                    continue  # LND is asked whether it has it; if not, nothing is sent any more
                answer = await sending
            except ActivityError as error:
                # A defect of ours, and LND may have it: never a reason to end.
                self._note(f"an activity broke, asking again: {error.cause or error}")
                await workflow.sleep(_PAUSE_AFTER_DEFECT, summary="pause after a defect")
                continue
            if answer.outcome is not SendOutcome.IN_FLIGHT:
                if progress.state is RebalanceState.STUCK:
                    await rebalance_ladder.tell(under_way.payment_hash, answer)
                self._fire(*learning.sent(progress, self._request, answer))
            elif progress.state is RebalanceState.SENDING:
                self._fire(RebalanceEvent.OVERDUE, "still in flight; only LND can end it")
                await rebalance_ladder.begin(self._request.node, under_way.payment_hash)
            await self._tell()

    async def _done(self, sending: workflow.ActivityHandle[Sent]) -> bool:
        """False: it was called off meanwhile, and sends no more."""
        self._may_send = True
        try:
            return await done_or(sending, self._is_called_off)
        finally:
            self._may_send = False

    def _send_before(self, under_way: UnderWay) -> datetime | None:
        """Until when it may still be sent, by its deadline and its turn; None: no more."""
        if not under_way.may_send or self._progress.cancel_requested or self._turn is None:
            return None
        until = min(self._progress.ends_at(self._request), self._turn.until)
        return until if workflow.now() < until else None

    # What the states share.

    async def _look(self) -> None:
        request = self._request
        seen = await start_on(
            ids.rebalance_queue(request.node),
            LOOK_AT_CHANNELS,
            LookAtChannels(node=request.node, channel_points=request.channels),
            at_most=_ONE_CALL,
            summary="look at the channels",
        )
        self._progress.saw(request, seen.sides)
        self._show()

    def _fire(self, event: RebalanceEvent, words: str = "") -> None:
        progress = self._progress
        progress.fire(event, workflow.now(), words)
        workflow.logger.info("rebalance moved", extra={"moved_by": event, "state": progress.state})
        workflow.upsert_search_attributes([search_attributes.STATE.value_set(progress.state)])
        if told := news(progress, self._request, workflow.now()):
            self._untold.append(told)
        self._show()

    async def _tell(self) -> None:
        while self._untold:
            await emit(self._untold.pop(0))

    def _note(self, words: str) -> None:
        self._progress.note(words, workflow.now())
        self._show()

    def _show(self) -> None:
        workflow.set_current_details(details(self._progress, self._request))

    def _cancel(self, reason: str) -> None:
        if not self._progress.cancel_requested:
            self._progress.cancel_requested = True
            self._note(f"cancel requested: {reason}")

    def _check_id(self) -> None:
        expected = ids.rebalance_id(self._request.key)
        if workflow.info().workflow_id != expected:
            raise InvalidRequestError(
                f"this rebalance's workflow id must be {expected}: it is what keeps the same "
                "key from being moved twice"
            )

    # What operators and callers may say and ask.

    @workflow.update
    async def cancel(self, cancellation: RebalanceCancellation) -> RebalanceView:
        """Once it returns, nothing more is sent. What is in flight stays until LND ends it."""
        self._cancel(cancellation.reason or "by the caller")
        await workflow.wait_condition(lambda: not self._may_send)
        return self._progress.view(self._request)

    @cancel.validator
    def _may_cancel(self, cancellation: RebalanceCancellation) -> None:  # noqa: ARG002 - any reason will do
        if self._refusal:
            raise self._refusal
        if self._progress.state in REBALANCE.terminal:
            raise refused(InvalidRequestError(f"nothing to cancel: it is {self._progress.state}"))

    @workflow.query
    def view(self) -> RebalanceView:
        if self._refusal and self._progress.state is RebalanceState.REQUESTED:
            raise self._refusal
        return self._progress.view(self._request)

    @workflow.query
    def request(self) -> RebalanceRequest:
        """What it was asked for: one key, one intent."""
        if self._refusal and self._progress.state is RebalanceState.REQUESTED:
            raise self._refusal
        return self._request
