"""A payment that hangs in flight: up the ladder, rung by rung, until LND has its verdict."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.exceptions import ApplicationError, FailureError

from fulgurite import ids
from fulgurite.channels.calls import BEGIN_CLOSE, RECONNECT_PEER, BeginClose, Reconnect
from fulgurite.channels.receipts import CloseView
from fulgurite.channels.requests import CloseKind, CloseRequest
from fulgurite.errors import InvalidRequestError
from fulgurite.events.catalogue import Event
from fulgurite.identity import ChannelPoint
from fulgurite.payments.receipts import OnChain, PaymentUpdate
from fulgurite.payments.requests import Approval, Rejection
from fulgurite.stuck.calls import LOOK_AT_STUCK, LookAtStuck
from fulgurite.stuck.climbing import next_move
from fulgurite.stuck.progress import Ladder, pace
from fulgurite.stuck.receipts import LadderReceipt, LadderView, Picture
from fulgurite.stuck.requests import StuckRequest
from fulgurite.stuck.states import LADDER, OFF_CHAIN, LadderEvent, LadderState
from fulgurite.stuck.words import details
from workflows import metrics, search_attributes
from workflows.announcing import emit
from workflows.awaiting import ChainTime
from workflows.calling import (
    call_local,
    read_signal,
    refused,
    start_on,
    try_on,
)

_ONE_CALL = timedelta(minutes=2)
# Gated: ladders that were under way before go on as they did.
_RUNG_BY_RUNG = "rung-by-rung"
_COUNTED = "counted"
_CALL_PEER = timedelta(seconds=30)
# After so long without a word of a channel that closes, its workflow is looked for.
_SILENT = timedelta(minutes=30)

_MAY_APPROVE = frozenset(
    {LadderState.RECONNECTING, LadderState.AWAITING_APPROVAL, LadderState.WAITING}
)
# Where a peer that goes away is called again.
_CALLS = frozenset({LadderState.AWAITING_APPROVAL, LadderState.WAITING})


@workflow.defn(name="StuckPaymentWorkflow")
class StuckPaymentWorkflow:
    """Ends a payment that hangs, with as little harm as possible. Its id is `stuck/<hash>`.

    It only ever orders a force close: by a person's word, or as its policy says. What becomes
    of the payment is LND's verdict, which comes by the payment's own workflow or by asking.
    """

    @workflow.init
    def __init__(self, request: Any = None, carried: Any = None) -> None:
        info = workflow.info()
        began_at = info.workflow_start_time
        self._ladder = (
            Ladder.model_validate(carried)
            if carried is not None and info.continued_run_id
            else Ladder(began_at=began_at, entered_at=began_at)
        )
        self._refusal: ApplicationError | None = None
        self._moved = False  # something was said since the last look
        self._untold: list[Event] = []
        self._request: StuckRequest
        self._chain: ChainTime
        try:
            self._request = StuckRequest.model_validate(request)
            self._chain = ChainTime(self._request.node)
            self._check_id()
        except (ValidationError, InvalidRequestError) as error:
            self._refusal = refused(error)

    @workflow.run
    async def run(self, request: Any = None, carried: Any = None) -> LadderReceipt:  # noqa: ARG002 - read in __init__
        """Raises ApplicationError for a request that makes no sense."""
        if self._refusal:
            raise self._refusal
        if carried is None or not workflow.info().continued_run_id:
            workflow.upsert_search_attributes(
                search_attributes.of_ladder(self._request, self._ladder.state)
            )
        while True:
            self._moved = False
            await self._look()
            skips = not workflow.patched(_RUNG_BY_RUNG)
            if move := next_move(self._ladder, workflow.now(), skips_rungs=skips):
                self._fire(*move)
                await self._climb()
            await self._tell()
            if self._ladder.state in LADDER.terminal or self._ladder.is_anothers():
                break
            if not move:
                await self._wait()
            if workflow.info().is_continue_as_new_suggested():
                await workflow.wait_condition(workflow.all_handlers_finished)
                workflow.continue_as_new(args=[self._request, self._ladder])
        await self._chain.forget()
        await workflow.wait_condition(workflow.all_handlers_finished)
        if self._ladder.is_anothers():
            workflow.continue_as_new(args=[self._request, None])
        receipt = self._ladder.receipt(self._request, workflow.now())
        metrics.count_ladder(receipt)
        return receipt

    async def _look(self) -> None:
        """LND's present word: on the chain, on the HTLCs, on the channels."""
        ladder = self._ladder
        picture = await self._picture()
        told, away = ladder.verdict is not None, set(ladder.away_since)
        ladder.saw(picture, workflow.now())
        if ladder.state in _CALLS and not set(ladder.away_since) <= away:
            await self._call_the_peers()
        if ladder.verdict and not told:
            # Asked for, and not told: the payment's own workflow may not have heard it either.
            await self._say_to_the_payment("look_again", ladder.verdict)
        for point in ladder.unfollowed():
            await self._begin_close(point, CloseKind.FOLLOW)
        self._show()

    async def _picture(self) -> Picture:
        ladder = self._ladder
        queue = ids.node_queue(self._request.node)
        ask = LookAtStuck(
            request=self._request,
            known=tuple(ladder.stakes),
            # A payment's own workflow tells its verdict; where that may have been lost,
            # and where nobody tells it, LND is asked.
            ask_payment=not self._request.followed
            or ladder.state is LadderState.LOOKING
            or ladder.swept(),
        )
        # Not as a local activity, which would be a third of the tasks: its answer and a signal that
        # comes meanwhile can be replayed in another order than they came, and the ladder is wedged.
        return await start_on(queue, LOOK_AT_STUCK, ask, at_most=_ONE_CALL, summary="look")

    async def _climb(self) -> None:
        """What is done on the rung that was just reached."""
        match self._ladder.state:
            case LadderState.RECONNECTING:
                await self._call_the_peers()
            case LadderState.CLOSING:
                for point in self._ladder.ordered:
                    await self._begin_close(point, CloseKind.FORCE)

    async def _call_the_peers(self) -> None:
        for stake in list(self._ladder.stakes.values()):
            if stake.peer_online:
                continue
            peer = stake.peer_alias or stake.peer[:16]
            # Where nobody may call peers, or none answers, the ladder goes on all the same.
            with suppress(FailureError):
                answer = await try_on(
                    ids.close_queue(self._request.node),
                    RECONNECT_PEER,
                    Reconnect(node=self._request.node, peer=stake.peer),
                    at_most=_CALL_PEER,
                    start_within=_CALL_PEER,
                    summary=f"call {peer}",
                )
                word = "is back" if answer.online else f"does not answer: {answer.because}"
                self._note(f"peer {peer} {word}")

    async def _begin_close(self, point: ChannelPoint, kind: CloseKind) -> None:
        """Once for each channel, however many ladders order it: it has one workflow."""
        forced, stake = kind is CloseKind.FORCE, self._ladder.stakes.get(point)
        await call_local(
            BEGIN_CLOSE,
            BeginClose(
                request=CloseRequest(
                    node=self._request.node,
                    channel_point=point,
                    kind=kind,
                    fees=self._ladder.policy.fees,
                    for_payments=(self._request.payment_hash,) if forced else (),
                    expire_by_height=stake.expiry_height if forced and stake else None,
                    only_while_away=forced and self._ladder.by_time,
                ),
                listener=workflow.info().workflow_id,
                commit_fee_sat=stake.commit_fee_sat + stake.anchors_sat if stake else 0,
            ),
            summary=f"{kind.lower()} {point[:16]}…",
            for_ever=True,
        )

    async def _wait(self) -> None:
        """For the next block that matters, for a word, or for the end of a rung's patience."""
        ladder = self._ladder
        woken = await self._chain.wait(
            ladder.wake_height(followed=self._request.followed),
            seen=ladder.tip,
            interrupted=lambda: self._moved,
            until=ladder.wake_at(workflow.now()),
            every_blocks=pace(followed=self._request.followed)
            if workflow.patched(_RUNG_BY_RUNG)
            else None,
        )
        silent = workflow.now() - ladder.heard_at >= _SILENT if ladder.heard_at else True
        if woken and silent and ladder.state not in OFF_CHAIN:
            # Whoever closes the channel may have been ended by force, and know of nobody.
            ladder.heard_at = workflow.now()
            forced = ladder.state is LadderState.CLOSING
            for point in ladder.ordered if forced else ladder.unresolved():
                await self._begin_close(point, CloseKind.FORCE if forced else CloseKind.FOLLOW)

    def _fire(self, event: LadderEvent, words: str) -> None:
        ladder = self._ladder
        ladder.fire(event, workflow.now(), words)
        workflow.logger.info("ladder moved", extra={"moved_by": event, "state": ladder.state})
        workflow.upsert_search_attributes([search_attributes.STATE.value_set(ladder.state)])
        metrics.count_rung(self._request.node, ladder.state)
        if news := ladder.news(self._request, workflow.now()):
            self._untold.append(news)
        self._show()

    async def _tell(self) -> None:
        """The world of the rung, and the payment of what the chain costs."""
        while self._untold:
            await emit(self._untold.pop(0))
        ladder = self._ladder
        outcome = ladder.outcome()
        if outcome is None or outcome == ladder.told_payment or ladder.again:
            return
        if ladder.is_counted(workflow.now()) and workflow.patched(_COUNTED):
            return
        ladder.told_payment = outcome
        await self._say_to_the_payment("went_on_chain", outcome)

    async def _say_to_the_payment(self, signal: str, data: OnChain | PaymentUpdate) -> None:
        payment = ids.payment_id(self._request.payment_hash)
        with suppress(FailureError):  # none of ours, or it has ended
            await workflow.get_external_workflow_handle(payment).signal(signal, data)

    def _note(self, words: str) -> None:
        self._ladder.note(words, workflow.now())
        self._show()

    def _show(self) -> None:
        workflow.set_current_details(details(self._ladder, self._request))

    def _check_id(self) -> None:
        expected = ids.stuck_id(self._request.payment_hash)
        if workflow.info().workflow_id != expected:
            raise InvalidRequestError(f"this ladder's workflow id must be {expected}")

    # What operators, the payment, the channel and the chain say.

    @workflow.update
    def approve(self, approval: Approval) -> LadderView:
        """A person orders the force close."""
        self._ladder.decide(approval)
        self._moved = True
        return self._ladder.view(self._request)

    @workflow.update
    def reject(self, rejection: Rejection) -> LadderView:
        """A person forbids it: only LND itself goes to the chain, when the HTLC expires."""
        self._ladder.decide(rejection)
        self._moved = True
        return self._ladder.view(self._request)

    @approve.validator
    def _check_approval(self, approval: Approval) -> None:  # noqa: ARG002 - any approval will do
        self._must_be_open(self._ladder.state in _MAY_APPROVE)

    @reject.validator
    def _check_rejection(self, rejection: Rejection) -> None:  # noqa: ARG002 - any rejection will do
        self._must_be_open(self._ladder.may_be_rejected())

    def _must_be_open(self, is_open: bool) -> None:
        if self._refusal:
            raise self._refusal
        if not is_open:
            raise refused(
                InvalidRequestError(f"nothing to decide: the ladder is {self._ladder.state}")
            )
        if self._ladder.decision:
            raise refused(InvalidRequestError("somebody has decided already"))

    @workflow.signal
    def verdict(self, *given: Any) -> None:
        """LND's word on the payment, from the payment's own workflow."""
        if (update := read_signal(PaymentUpdate, given)) and update.terminal:
            self._ladder.verdict, self._moved = update, True

    @workflow.signal
    def hangs_again(self, *_: Any) -> None:
        """Another attempt of the payment hangs: the verdict on the one before is no longer its.

        Where that is being swept, the ladder begins anew: a sweep can take weeks.
        """
        if not self._refusal:
            self._moved |= self._ladder.hangs_again()

    @workflow.signal
    def closing_moved(self, *given: Any) -> None:
        """How a channel of the payment closes, from that channel's own workflow."""
        if (view := read_signal(CloseView, given)) and not self._refusal:
            self._ladder.heard(view, workflow.now())
            self._moved = True

    @workflow.signal
    def block(self, *given: Any) -> None:
        """A block that was waited for, from the node's chain time."""
        if not self._refusal:
            self._chain.hear(*given)

    @workflow.query
    def view(self) -> LadderView:
        if self._refusal:
            raise self._refusal
        return self._ladder.view(self._request)
