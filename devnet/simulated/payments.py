"""A node's outgoing payments: what lnd's control tower and payment lifecycle are to lnd."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import grpc

from devnet.simulated.errors import RpcError
from devnet.simulated.graph import Graph
from devnet.simulated.htlcs import Failed, FailureCode, Onion, Outcome, RoutedHtlc, Settled, Switch
from devnet.simulated.ledger import AttemptRecord, Ledger, SendRecord
from devnet.simulated.misbehavior import Misbehavior
from devnet.simulated.paging import PageQuery, page_of
from devnet.simulated.pathfinding import (
    InsufficientBalanceError,
    NoRouteError,
    Restrictions,
    find_route,
)
from devnet.simulated.requests import PaymentIntent
from devnet.simulated.routes import Route
from protos.lnrpc import lightning_pb2

Payment = lightning_pb2.Payment
Reason = lightning_pb2.PaymentFailureReason

# lnd splits no further than this.
MIN_SHARD_MSAT = 10_000_000

# How lnd answers a send of a hash that it already has and that has not failed.
_REFUSALS = {
    Payment.INITIATED: "payment already exists",
    Payment.IN_FLIGHT: "payment is in transition",
    Payment.SUCCEEDED: "invoice is already paid",
}


@dataclass(eq=False)
class Attempt:
    """One HTLC of a payment. `outcome` is None while it is in flight; times in ns."""

    attempt_id: int
    route: Route
    launched_ns: int
    record: AttemptRecord
    resolved_ns: int = 0
    outcome: Outcome | None = None


@dataclass(eq=False)
class OutgoingPayment:
    """A payment as its node's database has it, and who listens to it."""

    intent: PaymentIntent
    index: int
    created_ns: int
    record: SendRecord
    attempts: list[Attempt] = field(default_factory=list)
    failure_reason: Reason.ValueType = Reason.FAILURE_REASON_NONE
    avoided_msat: dict[tuple[str, str], int] = field(default_factory=dict)
    deadline: asyncio.TimerHandle | None = None
    listeners: list[Callable[[], None]] = field(default_factory=list)
    pursued: bool = False
    resumed: bool = False
    is_by_route: bool = False  # somebody else chooses the routes, one call a route

    @property
    def in_flight(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.outcome is None]

    @property
    def settled(self) -> list[Attempt]:
        return [a for a in self.attempts if isinstance(a.outcome, Settled)]

    @property
    def status(self) -> Payment.PaymentStatus.ValueType:
        """As lnd's table has it: what is in flight outweighs all, then what has settled.

        A reason alone makes no failure: TIMEOUT beside an HTLC in flight is no verdict.
        """
        if self.in_flight:
            return Payment.IN_FLIGHT
        if self.settled:
            return Payment.SUCCEEDED
        if self.failure_reason != Reason.FAILURE_REASON_NONE:
            return Payment.FAILED
        return Payment.IN_FLIGHT if self.attempts else Payment.INITIATED

    @property
    def is_terminal(self) -> bool:
        return self.status in (Payment.SUCCEEDED, Payment.FAILED)

    @property
    def remaining_msat(self) -> int:
        """What no attempt carries yet."""
        carried = sum(
            a.route.delivered_msat for a in self.attempts if not isinstance(a.outcome, Failed)
        )
        return self.intent.amount_msat - carried

    @property
    def remaining_fee_msat(self) -> int:
        """What of the fee limit the attempts in flight have left."""
        spent = sum(a.route.fees_msat for a in self.attempts if not isinstance(a.outcome, Failed))
        return max(0, self.intent.fee_limit_msat - spent)

    @property
    def wants_attempts(self) -> bool:
        return (
            self.failure_reason == Reason.FAILURE_REASON_NONE
            and not self.settled
            and self.remaining_msat > 0
            and (self.resumed or not self.is_by_route)
        )


class PaymentEngine:
    """Makes the payments of one node. Its memory outlives restarts, its plans do not."""

    def __init__(
        self,
        node: str,
        *,
        graph: Graph,
        switch: Switch,
        ledger: Ledger,
        misbehavior: Misbehavior,
        height: Callable[[], int],
    ) -> None:
        self._node = node
        self._graph = graph
        self._switch = switch
        self._ledger = ledger
        self._misbehavior = misbehavior
        self._height = height
        self._by_hash: dict[bytes, OutgoingPayment] = {}
        self._by_index: dict[int, OutgoingPayment] = {}
        self._unfinished: set[OutgoingPayment] = set()
        self._next_index = 1
        self._next_attempt_id = 1

    def start(self) -> None:
        """Resumes as lnd does: results are collected, new attempts are not made."""
        for payment in list(self._unfinished):
            self._pursue(payment)

    def stop(self) -> None:
        """Forgets what it meant to do. Results that come in before `start` find that so."""
        for payment in self._unfinished:
            payment.resumed = True
            payment.listeners.clear()
            if payment.deadline is not None:
                payment.deadline.cancel()

    def find(self, payment_hash: bytes) -> OutgoingPayment | None:
        return self._by_hash.get(payment_hash)

    @property
    def count(self) -> int:
        """How many payments the node remembers."""
        return len(self._by_index)

    def page(self, query: PageQuery, *, include_incomplete: bool) -> list[OutgoingPayment]:
        """A page of ListPayments; incomplete is what has not succeeded."""

        def wanted(payment: OutgoingPayment) -> bool:
            complete = payment.status == Payment.SUCCEEDED
            created = payment.created_ns // 1_000_000_000
            return (complete or include_incomplete) and query.covers(created)

        payments = list(self._by_index.values())
        return page_of(payments, query, index_of=lambda payment: payment.index, wanted=wanted)

    def initiate(self, intent: PaymentIntent) -> OutgoingPayment:
        """Stores a payment; raises ALREADY_EXISTS unless its hash is new or has failed."""
        existing = self._by_hash.get(intent.payment_hash)
        if existing is not None:
            if existing.status in _REFUSALS:
                raise RpcError(_REFUSALS[existing.status], grpc.StatusCode.ALREADY_EXISTS)
            del self._by_index[existing.index]
        payment = OutgoingPayment(
            intent,
            self._next_index,
            time.time_ns(),
            self._ledger.send_accepted(self._node, intent.payment_hash),
        )
        self._next_index += 1
        self._by_hash[intent.payment_hash] = payment
        self._by_index[payment.index] = payment
        self._unfinished.add(payment)
        return payment

    def forget(self, payment_hash: bytes) -> None:
        """What DeletePayment does to one that is over."""
        payment = self._by_hash.pop(payment_hash)
        assert payment.is_terminal, "lnd deletes nothing that is in flight"
        del self._by_index[payment.index]

    def send_to_route(
        self, intent: PaymentIntent, route: Route, *, skip_temp_err: bool
    ) -> tuple[OutgoingPayment, Attempt]:
        """One HTLC by a route that was given, a part of what is under way if there is that.

        As in lnd a failure fails the payment, unless `skip_temp_err`. RpcError where it does
        not fit to what there is.
        """
        payment = self._by_hash.get(intent.payment_hash)
        joins = payment is not None and payment.status in {Payment.INITIATED, Payment.IN_FLIGHT}
        if payment is None or not joins or not intent.payment_addr:
            payment = self.initiate(intent)
            payment.is_by_route = True
        if route.delivered_msat > payment.remaining_msat:
            raise RpcError("attempted value exceeds payment amount")
        dearer = self._misbehavior.overcharge(self._node, route)
        return payment, self._attempt(payment, dearer, is_final=not skip_temp_err)

    def launch(self, payment: OutgoingPayment) -> None:
        """Makes the first attempts; the rest follows from their outcomes.

        Nobody has to listen: a payment belongs to the node, not to whoever asked for it.
        """
        verdict = self._misbehavior.take_verdict(self._node)
        if verdict is not None:
            self._fail(payment, verdict)
            return
        self._pursue(payment)
        if not payment.is_terminal:
            payment.deadline = asyncio.get_running_loop().call_later(
                max(0, payment.intent.timeout_seconds), self._on_deadline, payment
            )

    def _on_deadline(self, payment: OutgoingPayment) -> None:
        # The timeout ends the attempts, not the payment: what is in flight may still settle.
        if payment.failure_reason == Reason.FAILURE_REASON_NONE:
            self._fail(payment, Reason.FAILURE_REASON_TIMEOUT)

    def _pursue(self, payment: OutgoingPayment) -> None:
        """Makes attempts until the amount is under way or there is no route for it."""
        if payment.pursued:
            return
        payment.pursued = True
        while payment.wants_attempts:
            try:
                route = self._find_route(payment)
            except NoRouteError:
                self._fail(payment, Reason.FAILURE_REASON_NO_ROUTE)
            except InsufficientBalanceError:
                self._fail(payment, Reason.FAILURE_REASON_INSUFFICIENT_BALANCE)
            else:
                self._attempt(payment, route)
        payment.pursued = False

    def _find_route(self, payment: OutgoingPayment) -> Route:
        """A route for all that remains or, as lnd splits, for half of it, a quarter and so on."""
        if payment.resumed:
            # lnd gives a payment that it finds at its start an empty payment session.
            raise NoRouteError
        intent = payment.intent
        limits = Restrictions(
            fee_limit_msat=payment.remaining_fee_msat,
            final_cltv_delta_blocks=intent.final_cltv_delta_blocks,
            cltv_limit_blocks=intent.cltv_limit_blocks,
            outgoing_channel_ids=intent.outgoing_channel_ids,
            last_hop=self._graph.name_of(intent.last_hop) or "" if intent.last_hop else None,
            hinted_channel_ids=intent.hinted_channel_ids,
            avoided_msat=payment.avoided_msat,
        )
        payee = self._graph.name_of(intent.destination)
        amount_msat = payment.remaining_msat
        while True:
            try:
                route = find_route(
                    self._graph,
                    limits,
                    payer=self._node,
                    payee=payee,
                    amount_msat=amount_msat,
                    height=self._height(),
                )
            except NoRouteError:
                is_last_part = len(payment.in_flight) + 1 >= intent.max_parts
                amount_msat //= 2
                if is_last_part or amount_msat < MIN_SHARD_MSAT:
                    raise
            else:
                return self._misbehavior.overcharge(self._node, route)

    def _attempt(
        self, payment: OutgoingPayment, route: Route, *, is_final: bool = False
    ) -> Attempt:
        intent = payment.intent
        attempt = Attempt(
            self._next_attempt_id,
            route,
            time.time_ns(),
            self._ledger.attempt_launched(payment.record, self._next_attempt_id, route.total_msat),
        )
        self._next_attempt_id += 1
        payment.attempts.append(attempt)
        self._notify(payment)
        self._switch.send(
            RoutedHtlc(
                intent.payment_hash,
                route,
                Onion(intent.amount_msat, intent.payment_addr, intent.keysend_preimage),
                lambda outcome: self._on_resolved(payment, attempt, outcome, is_final=is_final),
            )
        )
        return attempt

    def _on_resolved(
        self, payment: OutgoingPayment, attempt: Attempt, outcome: Outcome, *, is_final: bool
    ) -> None:
        attempt.outcome = outcome
        attempt.resolved_ns = time.time_ns()
        self._ledger.attempt_ended(attempt.record, settled=isinstance(outcome, Settled))
        self._notify(payment)
        if isinstance(outcome, Failed):
            self._learn(payment, attempt, outcome)
            if is_final and not payment.is_terminal and not payment.resumed:
                self._fail(payment, Reason.FAILURE_REASON_ERROR)
            self._pursue(payment)

    def _learn(self, payment: OutgoingPayment, attempt: Attempt, failure: Failed) -> None:
        """Draws lnd's conclusions from a failure, for the rest of this payment only.

        lnd's mission control would remember across payments, for an hour. A test network
        that did so would let one scenario spoil the next.
        """
        hops = attempt.route.hops
        if failure.code == FailureCode.INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS:
            if payment.failure_reason == Reason.FAILURE_REASON_NONE:
                self._fail(payment, Reason.FAILURE_REASON_INCORRECT_PAYMENT_DETAILS)
        elif failure.source_index < len(hops):
            hop = hops[failure.source_index]
            known_msat = payment.avoided_msat.get((hop.sender, hop.receiver), hop.amount_msat)
            too_much_msat = 0 if failure.code == FailureCode.UNKNOWN_NEXT_PEER else hop.amount_msat
            payment.avoided_msat[hop.sender, hop.receiver] = min(known_msat, too_much_msat)

    def _fail(self, payment: OutgoingPayment, reason: Reason.ValueType) -> None:
        """No further attempts. FAILED at once, or when the last HTLC has come back."""
        payment.failure_reason = reason
        self._notify(payment)

    def _notify(self, payment: OutgoingPayment) -> None:
        if payment.is_terminal:
            self._finish(payment)
        for listener in list(payment.listeners):
            listener()

    def _finish(self, payment: OutgoingPayment) -> None:
        self._unfinished.discard(payment)
        if payment.deadline is not None:
            payment.deadline.cancel()
        self._ledger.send_ended(payment.record)
