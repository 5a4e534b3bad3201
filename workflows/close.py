"""The end of a channel, from the order, or from the first sight of it, to its last output."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.exceptions import ActivityError, ApplicationError

from fulgurite import ids
from fulgurite.channels.calls import (
    BUMP_CLOSE,
    CLOSE_CHANNEL,
    LOOK_AT_CLOSE,
    BeginClose,
    Bump,
    ChannelOf,
)
from fulgurite.channels.closing import ClosePhase, Closing
from fulgurite.channels.progress import CloseProgress
from fulgurite.channels.receipts import CloseReceipt, CloseView
from fulgurite.channels.requests import CloseKind, CloseRequest
from fulgurite.channels.states import CLOSE, CloseEvent, CloseState
from fulgurite.channels.words import details
from fulgurite.errors import InvalidRequestError, NothingHangsError
from fulgurite.events.catalogue import Event
from workflows import metrics, search_attributes, turns
from workflows.announcing import emit
from workflows.awaiting import ChainTime
from workflows.calling import ACTIVITY_ERRORS, read_signal, refusal, refused, start_on, try_on
from workflows.enduring import to_its_end
from workflows.listeners import Listeners

_ONE_LOOK = timedelta(minutes=2)
_CLOSE_AT_MOST = timedelta(minutes=10)
_ONE_BUMP = timedelta(minutes=1)
_TURNS = "turns"
# LND may not be asked for days where nobody holds the close credential: others go on then.
_TURN, _WAIT_FOR_TURN = timedelta(minutes=30), timedelta(minutes=10)
# What LND has not published yet, no block brings: it is looked for again.
_LOOK_AGAIN = timedelta(seconds=30)
_PAUSE_AFTER_DEFECT = timedelta(seconds=30)
_UNSEEN = frozenset({CloseState.REQUESTED, CloseState.CLOSING})
_SEEN = frozenset({CloseState.WAITING_CLOSE, CloseState.FORCE_CLOSING, CloseState.CLOSED})


@workflow.defn(name="ChannelCloseWorkflow")
class ChannelCloseWorkflow:
    """Has a channel closed once, whoever orders it and how often. Its id is `close/<point>`.

    It ends when every output is resolved, or as CALLED_OFF or REFUSED when nothing was done.
    """

    @workflow.init
    def __init__(self, request: Any = None, carried: Any = None) -> None:
        # As in a payment: `request` is any JSON, and what an earlier run carried over is ours.
        info = workflow.info()
        self._refusal: ApplicationError | None = None
        self._stirred = False  # an order or a listener came since the last look
        self._untold: list[Event] = []
        self._progress: CloseProgress
        self._chain: ChainTime
        if carried is not None and info.continued_run_id:
            self._progress = CloseProgress.model_validate(carried)
        else:
            try:
                order = CloseRequest.model_validate(request)
                self._progress = CloseProgress(requested_at=info.workflow_start_time, request=order)
                self._check_id()
            except (ValidationError, InvalidRequestError) as error:
                self._refusal = refused(error)
                return
        self._chain = ChainTime(self._progress.request.node)
        self._listeners = Listeners(self._progress.listeners, "closing_moved")

    @workflow.run
    async def run(self, request: Any = None, carried: Any = None) -> CloseReceipt:  # noqa: ARG002 - read in __init__
        """Raises ApplicationError for a request that makes no sense."""
        if self._refusal:
            raise self._refusal
        # Whether LND does it already, nobody can say for certain; so it is followed.
        return await to_its_end(
            self._story(),
            lambda: self._note("a cancel in Temporal takes back nothing: still followed"),
        )

    async def _story(self) -> CloseReceipt:
        if not workflow.info().typed_search_attributes.get(search_attributes.NODE):
            # Started by a plain client: costs one action, and makes it findable.
            node = search_attributes.NODE.value_set(self._progress.request.node)
            state = search_attributes.STATE.value_set(self._progress.state)
            workflow.upsert_search_attributes([state, node])
        while self._progress.state not in CLOSE.terminal:
            self._stirred = False
            try:
                await self._next()
            except ACTIVITY_ERRORS as error:
                # A defect of ours, with a channel closing: never a reason to end.
                self._note(f"an activity broke, looking again: {error.cause or error}")
                await workflow.sleep(_PAUSE_AFTER_DEFECT, summary="pause after a defect")
            await self._tell()
            if workflow.info().is_continue_as_new_suggested():
                await self._carry_on_in_a_new_run()
        await self._chain.forget()
        await workflow.wait_condition(workflow.all_handlers_finished)
        await self._tell()
        receipt = self._progress.receipt(workflow.now())
        metrics.count_close(receipt)
        return receipt

    async def _next(self) -> None:
        match self._progress.state:
            case CloseState.REQUESTED:
                await self._begin()
            case CloseState.CLOSING:
                await self._ask_in_turn()
            case CloseState.WAITING_CLOSE | CloseState.FORCE_CLOSING:
                await self._follow()

    # The states, in the order in which a closing meets them.

    async def _begin(self) -> None:
        progress = self._progress
        closing = await self._look()
        if self._hear(closing):
            return
        if closing.phase is ClosePhase.OPEN and progress.to_ask:
            self._fire(CloseEvent.ORDERED, progress.request.kind)
        elif given_up := progress.given_up():
            self._fire(*given_up)
        else:
            await self._look_again()

    async def _ask_in_turn(self) -> None:
        """In agreement a channel closes only at rest: what of ours is on it is asked to stop.

        A force close waits for nobody, and neither does this one for long.
        """
        asked = self._progress.request
        if asked.kind is CloseKind.COOPERATIVE and workflow.patched(_TURNS):
            with suppress(turns.NoTurnError):
                async with turns.held(
                    asked.node,
                    [asked.channel_point],
                    at_most=_TURN,
                    urgent=True,
                    patience=_WAIT_FOR_TURN,
                    unless=lambda: self._progress.request.kind is not asked.kind,
                ):
                    await self._ask_lnd()
                    return
        await self._ask_lnd()

    async def _ask_lnd(self) -> None:
        """Once, whatever becomes of the answer: whoever asks looks before, and after."""
        asked = self._progress.request
        asking = start_on(
            ids.close_queue(asked.node),
            CLOSE_CHANNEL,
            asked,
            at_most=_CLOSE_AT_MOST,
            summary=f"{asked.kind.lower()} close",
        )
        overtaken = True
        try:
            overtaken = await self._overtaken(asking, asked)
        finally:
            if overtaken:
                # Two must never ask at the same time.
                asking.cancel()
                await workflow.wait([asking], return_when=asyncio.ALL_COMPLETED)
        if overtaken:
            return
        try:
            closing = await asking
        except ACTIVITY_ERRORS as error:
            reason = refusal(error)
            if reason is None:
                raise
            self._refuse(reason, asked)
            return
        if not self._hear(closing):
            await self._look_again()

    async def _overtaken(
        self, asking: workflow.ActivityHandle[Closing], asked: CloseRequest
    ) -> bool:
        """Whether the channel closes already, or is to be closed otherwise, before LND answered.

        Nobody may have LND's close credential for days, and meanwhile the peer can close.
        """
        progress = self._progress

        def interrupted() -> bool:
            other = progress.request.kind is not asked.kind
            return asking.done() or other or workflow.info().is_continue_as_new_suggested()

        while not interrupted():
            assert progress.closing is not None
            seen = progress.closing.tip
            if await self._chain.wait(seen.height + 1, seen=seen, interrupted=interrupted):
                closing = await self._look()
                if asking.done():
                    break
                if self._hear(closing):
                    return True
        return not asking.done()

    def _refuse(self, reason: ApplicationError, asked: CloseRequest) -> None:
        """Nothing was done. What was ordered meanwhile is another question."""
        if self._progress.request != asked:
            self._note(f"asking again for what was ordered meanwhile: {reason.message}")
        elif reason.type == NothingHangsError.__name__:
            self._fire(CloseEvent.CALLED_OFF, reason.message)
        else:
            self._fire(CloseEvent.REFUSED, reason.message)

    async def _follow(self) -> None:
        """One look: a block has come, or what was ordered is another than before."""
        progress = self._progress
        closing = await self._look()
        self._hear(closing)
        if progress.state in CLOSE.terminal:
            return
        await self._raise_fees()
        self._untold += progress.news_of_forgotten(workflow.now())
        await self._tell()
        await self._chain.wait(
            progress.wake_height(), seen=closing.tip, interrupted=self._has_to_stop_waiting
        )

    async def _raise_fees(self) -> None:
        """Of what is slow, near its deadline; within the budget, and what it is worth."""
        progress = self._progress
        for order in progress.bumps_due():
            what = order.outpoint or "the closing transaction"
            if not order.again:
                until = f"by block {order.deadline_height:,}"
                self._note(f"up to {order.budget_sat:,} sat for {what}, {until}")
            try:
                answer = await try_on(
                    ids.close_queue(progress.request.node),
                    BUMP_CLOSE,
                    Bump(
                        node=progress.request.node,
                        channel_point=progress.request.channel_point,
                        outpoint=order.outpoint,
                        budget_sat=order.budget_sat,
                        deadline_height=order.deadline_height,
                    ),
                    at_most=_ONE_BUMP,
                    start_within=_ONE_BUMP,
                    summary=f"bump {what}"[:200],
                )
            except ActivityError as error:
                # It may have been done: the budget that it had stays given out.
                self._note(f"no word on a bump, asking again: {error.cause or error}")
                continue
            progress.bumped(order.outpoint, answer)
            if not answer.taken and not order.again:
                self._note(f"LND did not take it: {answer.because}")
        if limit := progress.at_the_limit():
            self._note(limit)

    # What the states share.

    async def _look(self) -> Closing:
        request = self._progress.request
        return await start_on(
            ids.chain_queue(request.node),
            LOOK_AT_CLOSE,
            ChannelOf(node=request.node, channel_point=request.channel_point, tip=self._chain.tip),
            at_most=_ONE_LOOK,
            summary="look",
        )

    async def _look_again(self) -> None:
        """In a moment, or at the next block, or when something else is ordered."""
        assert self._progress.closing is not None
        moment = None if self._progress.is_in_vain else workflow.now() + _LOOK_AGAIN
        seen = self._progress.closing.tip
        await self._tell()
        await self._chain.wait(
            seen.height + 1,
            seen=seen,
            interrupted=self._has_to_stop_waiting,
            until=moment,
        )

    def _has_to_stop_waiting(self) -> bool:
        """Also by signals alone a history can grow, for as long as a CSV takes."""
        return self._stirred or workflow.info().is_continue_as_new_suggested()

    def _hear(self, closing: Closing) -> bool:
        """Whether LND's word has moved it."""
        before = self._progress.closing
        move = self._progress.heard(closing)
        if move:
            self._fire(*move)
        elif words := self._progress.block_news(before):
            self._note(words)
        else:
            self._show()
        return move is not None

    def _fire(self, event: CloseEvent, words: str) -> None:
        progress = self._progress
        unseen = progress.state in _UNSEEN
        progress.fire(event, workflow.now(), words)
        if unseen and progress.state in _SEEN:
            metrics.count_closing(progress.request.node)
        workflow.logger.info("closing moved", extra={"moved_by": event, "state": progress.state})
        workflow.upsert_search_attributes([search_attributes.STATE.value_set(progress.state)])
        self._untold += progress.news(workflow.now())
        self._show()

    async def _tell(self) -> None:
        """The world, of what happened since; and whoever wants to hear of each move."""
        while self._untold:
            await emit(self._untold.pop(0))
        await self._listeners.tell(self._progress.word(), self._progress.moved_by())

    def _note(self, words: str) -> None:
        self._progress.note(words, workflow.now())
        self._show()

    def _show(self) -> None:
        workflow.set_current_details(details(self._progress))

    async def _carry_on_in_a_new_run(self) -> None:
        if self._progress.state in CLOSE.terminal:
            return
        await workflow.wait_condition(workflow.all_handlers_finished)
        workflow.continue_as_new(args=[self._progress.request, self._progress])

    def _check_id(self) -> None:
        request = self._progress.request
        expected = ids.close_id(request.channel_point)
        # The other end of the channel can be ours too, and then one of them has a longer id.
        if workflow.info().workflow_id not in {expected, f"{expected}/{request.node}"}:
            raise InvalidRequestError(f"this closing's workflow id must be {expected}")

    # What others order and ask.

    @workflow.signal
    def join(self, *given: Any) -> None:
        """A BeginClose: another order for this channel, and who wants to hear of it."""
        order = read_signal(BeginClose, given)
        if order is None or self._refusal:
            return
        mine, other = self._progress.request, order.request
        if (other.node, other.channel_point) != (mine.node, mine.channel_point):
            workflow.logger.warning("an order for another channel was dropped")
            return
        if self._progress.joined(other):
            self._stirred = True
            now = self._progress.request
            if (now.kind, now.fees) != (mine.kind, mine.fees):
                self._note(f"ordered too: {other.kind}, {other.fees.budget_sat:,} sat for bumps")
        self._progress.was_told(order.commit_fee_sat)
        if order.listener:
            self._stirred |= self._listeners.add(order.listener)

    @workflow.signal
    def listen(self, *given: Any) -> None:
        """The id of a workflow that is told of each move by its signal `closing_moved`.

        What it is told is the view without outputs and timeline: those are for who asks.
        """
        match given:
            case [str(workflow_id)] if not self._refusal:
                self._stirred |= self._listeners.add(workflow_id)
            case _:
                workflow.logger.warning("a signal that is no workflow id was dropped")

    @workflow.signal
    def block(self, *given: Any) -> None:
        """A block that was waited for, from the node's chain time."""
        if not self._refusal:
            self._chain.hear(*given)

    @workflow.query
    def view(self) -> CloseView:
        if self._refusal:
            raise self._refusal
        return self._progress.view()
