"""A lease of inbound liquidity: quoted, bid for, won, and followed to the end of its term."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from pydantic import ValidationError
from temporalio import workflow
from temporalio.exceptions import ApplicationError

from fulgurite import ids
from fulgurite.errors import InvalidRequestError
from fulgurite.events.catalogue import Event
from fulgurite.leases.calls import (
    LOOK_AT_LEASE,
    OPEN_ACCOUNT,
    QUOTE_LEASE,
    RENEW_ACCOUNT,
    SUBMIT_BID,
    WITHDRAW_BID,
    LeaseOrder,
    LookAtLease,
    OpenAccount,
    QuoteLease,
    RenewAccount,
    SubmitBid,
    WithdrawBid,
)
from fulgurite.leases.deciding import must_reserve, next_move, next_order
from fulgurite.leases.marks import mark_of
from fulgurite.leases.progress import LeaseProgress
from fulgurite.leases.receipts import LeaseReceipt, LeaseView
from fulgurite.leases.requests import LeaseCancellation, LeaseRequest
from fulgurite.leases.states import BEFORE_THE_BID, IN_THE_MARKET, LEASE, LeaseEvent, LeaseState
from fulgurite.leases.troubles import notice
from fulgurite.leases.words import details
from fulgurite.payments.requests import Approval, Rejection
from workflows import lease_budget, metrics, reserving, search_attributes
from workflows.announcing import emit
from workflows.awaiting import ChainTime
from workflows.calling import ACTIVITY_ERRORS, refused, start_on
from workflows.enduring import to_its_end

_ONE_LOOK = timedelta(minutes=2)
# poold is given time to answer, and looked at before and after.
_ONE_ORDER = timedelta(minutes=5)
_PAUSE_AFTER_DEFECT = timedelta(seconds=30)

_MAY_CANCEL = frozenset({*BEFORE_THE_BID, *IN_THE_MARKET})


@workflow.defn(name="LeaseWorkflow")
class LeaseWorkflow:
    """Leases inbound channels in Pool's market. Its id is `lease/<key>`: one key, one bid.

    What it does next is decided in `fulgurite.leases.deciding`, from what poold and LND say. It
    never gives up a bid that may be out, nor channels that were paid for.
    """

    @workflow.init
    def __init__(self, request: Any = None, carried: Any = None) -> None:
        # As in a payment: `request` is any JSON, and what an earlier run carried over is ours.
        info = workflow.info()
        began_at = info.workflow_start_time
        self._lease = (
            LeaseProgress.model_validate(carried)
            if carried is not None and info.continued_run_id
            else LeaseProgress(requested_at=began_at, entered_at=began_at)
        )
        self._refusal: ApplicationError | None = None
        self._moved = False  # somebody said something since the last look
        self._carried_out: LeaseOrder | None = None  # since the last wait
        self._untold: list[Event] = []
        self._request: LeaseRequest
        self._chain: ChainTime
        try:
            self._request = LeaseRequest.model_validate(request)
            self._chain = ChainTime(self._request.node)
            self._check_id()
        except (ValidationError, InvalidRequestError) as error:
            self._refusal = refused(error)

    @workflow.run
    async def run(self, request: Any = None, carried: Any = None) -> LeaseReceipt:  # noqa: ARG002 - read in __init__
        """Raises ApplicationError for a request that makes no sense."""
        if self._refusal:
            raise self._refusal
        # Temporal's own cancel is an order like any other: it takes the bid back, and
        # never our knowledge of what was won.
        return await to_its_end(self._story(), lambda: self._cancel("canceled in Temporal"))

    async def _story(self) -> LeaseReceipt:
        if not workflow.info().continued_run_id:
            self._lease.holder = reserving.known_as(self._request.node, self._request.budgets)
            workflow.upsert_search_attributes(
                search_attributes.of_lease(self._request, self._lease.state)
            )
        while True:
            self._moved = False
            try:
                moved = await self._step()
            except ACTIVITY_ERRORS as error:
                # A defect of ours, with a bid that may be out: never a reason to end.
                self._note(f"an activity broke, looking again: {error.cause or error}")
                await workflow.sleep(_PAUSE_AFTER_DEFECT, summary="pause after a defect")
                continue
            await lease_budget.settle(self._lease, self._request)
            self._notice()
            await self._tell()
            if self._lease.state in LEASE.terminal:
                break
            if not moved:
                await self._wait()
            if workflow.info().is_continue_as_new_suggested():
                await workflow.wait_condition(workflow.all_handlers_finished)
                workflow.continue_as_new(args=[self._request, self._lease])
        await self._chain.forget()
        await workflow.wait_condition(workflow.all_handlers_finished)
        receipt = self._lease.receipt(self._request, workflow.now())
        metrics.count_lease(receipt)
        return receipt

    async def _step(self) -> bool:
        """A look, and what follows from it. False: nothing does, before something happens."""
        await self._look()
        if move := next_move(self._lease, self._request, workflow.now()):
            self._fire(*move)
            return True
        if must_reserve(self._lease, self._request):
            await lease_budget.reserve(self._lease, self._request)
            return True
        order = next_order(self._lease, self._request, workflow.now())
        if order is None or order == self._carried_out:
            return False
        self._carried_out = order
        await self._carry_out(order)
        return True

    async def _look(self) -> None:
        lease = self._lease
        picture = await start_on(
            ids.lease_queue(self._request.node),
            LOOK_AT_LEASE,
            LookAtLease(
                node=self._request.node,
                mark=mark_of(self._request.node, self._request.key),
                known=tuple(lease.channels.values()),
                ask_poold=lease.state is not LeaseState.LEASED,
                tip=self._chain.tip,
            ),
            at_most=_ONE_LOOK,
            summary="look",
        )
        lease.saw(picture)
        self._show()

    def _notice(self) -> None:
        """Tells operators what wants a person."""
        for trouble in notice(self._lease, self._request, workflow.now()):
            metrics.count_lease_trouble(self._request.node, trouble)
            self._show()

    async def _carry_out(self, order: LeaseOrder) -> None:
        """Asks poold. What the answer leaves open, the next look tells."""
        lease, queue = self._lease, ids.lease_queue(self._request.node)
        match order:
            case QuoteLease():
                lease.quoted(
                    await start_on(queue, QUOTE_LEASE, order, at_most=_ONE_ORDER, summary="quote")
                )
            case OpenAccount(value_sat=value_sat):
                summary = f"open an account with {value_sat:,} sat"
                opened = await start_on(
                    queue, OPEN_ACCOUNT, order, at_most=_ONE_ORDER, summary=summary
                )
                lease.heard_of_account(opened, workflow.now())
            case RenewAccount(expiry_height=height):
                summary = f"renew the account until {height:,}"
                renewed = await start_on(
                    queue, RENEW_ACCOUNT, order, at_most=_ONE_ORDER, summary=summary
                )
                lease.heard_of_account(renewed, workflow.now())
            case SubmitBid():
                summary = f"bid for {self._request.amount_sat:,} sat"
                made = await start_on(queue, SUBMIT_BID, order, at_most=_ONE_ORDER, summary=summary)
                lease.submitted(made, workflow.now())
            case WithdrawBid():
                withdrawn = await start_on(
                    queue, WITHDRAW_BID, order, at_most=_ONE_ORDER, summary="take the bid back"
                )
                lease.withdrawn(withdrawn, workflow.now())
        self._show()

    async def _wait(self) -> None:
        """For the next block that matters, for a word, or for the market."""
        lease = self._lease
        await self._chain.wait(
            lease.wake_height(),
            seen=lease.tip,
            interrupted=lambda: self._moved,
            until=lease.wake_at(self._request, workflow.now()),
        )
        self._carried_out = None

    def _fire(self, event: LeaseEvent, words: str) -> None:
        lease = self._lease
        lease.fire(event, workflow.now(), words)
        workflow.logger.info("lease moved", extra={"moved_by": event, "state": lease.state})
        workflow.upsert_search_attributes([search_attributes.STATE.value_set(lease.state)])
        if news := lease.news(self._request, workflow.now()):
            self._untold.append(news)
        self._show()

    async def _tell(self) -> None:
        while self._untold:
            await emit(self._untold.pop(0))

    def _note(self, words: str) -> None:
        self._lease.note(words, workflow.now())
        self._show()

    def _show(self) -> None:
        workflow.set_current_details(details(self._lease, self._request))

    def _cancel(self, reason: str) -> None:
        if not self._lease.cancel_requested and self._lease.state in _MAY_CANCEL:
            self._lease.cancel_requested = self._moved = True
            self._note(f"to be called off: {reason}")

    def _check_id(self) -> None:
        expected = ids.lease_id(self._request.key)
        if workflow.info().workflow_id != expected:
            raise InvalidRequestError(f"this lease's workflow id must be {expected}")

    # What operators and callers say, and what the chain tells.

    @workflow.update
    def approve(self, approval: Approval) -> LeaseView:
        """A person allows what it can cost."""
        return self._decide(approval)

    @workflow.update
    def reject(self, rejection: Rejection) -> LeaseView:
        """A person says no: nothing has moved, and nothing will."""
        return self._decide(rejection)

    @approve.validator
    def _check_approval(self, approval: Approval) -> None:  # noqa: ARG002 - any approval will do
        self._must_await_a_decision()

    @reject.validator
    def _check_rejection(self, rejection: Rejection) -> None:  # noqa: ARG002 - any rejection will do
        self._must_await_a_decision()

    @workflow.update
    def cancel(self, cancellation: LeaseCancellation) -> LeaseView:
        """Takes the bid back. What it has won by then is followed to its end all the same."""
        self._cancel(cancellation.reason or "by the caller")
        return self._lease.view(self._request)

    @cancel.validator
    def _check_cancellation(self, cancellation: LeaseCancellation) -> None:  # noqa: ARG002 - any reason will do
        if self._refusal:
            raise self._refusal
        if self._lease.state not in _MAY_CANCEL:
            raise refused(
                InvalidRequestError(f"nothing to call off: the lease is {self._lease.state}")
            )

    @workflow.signal
    def block(self, *given: Any) -> None:
        """A block that was waited for, from the node's chain time."""
        if not self._refusal:
            self._chain.hear(*given)

    @workflow.query
    def view(self) -> LeaseView:
        if self._refusal:
            raise self._refusal
        return self._lease.view(self._request)

    def _decide(self, decision: Approval | Rejection) -> LeaseView:
        self._lease.decision, self._moved = decision, True
        return self._lease.view(self._request)

    def _must_await_a_decision(self) -> None:
        if self._refusal:
            raise self._refusal
        if self._lease.state is not LeaseState.AWAITING_APPROVAL:
            raise refused(
                InvalidRequestError(f"nothing to decide: the lease is {self._lease.state}")
            )
        if self._lease.decision:
            raise refused(InvalidRequestError("somebody has decided already"))
