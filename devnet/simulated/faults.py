"""Trouble on request: what a test orders, and how often it shall happen.

A fault of a call is ordered for a node, a method (its short name, such as
`SendPaymentV2`) and a number of calls. Faults of one method are used up in the order in
which they were added, one a call.
"""

from __future__ import annotations

from collections import defaultdict, deque
from dataclasses import dataclass

import grpc

from devnet.simulated.holds import Holds, HtlcHold
from devnet.simulated.invoice_database import InvoiceDatabase
from devnet.simulated.misbehavior import Misbehavior
from devnet.simulated.onchain.view import ChainView
from devnet.simulated.payments import PaymentEngine
from devnet.simulated.requests import PaymentIntent
from protos.lnrpc import lightning_pb2


@dataclass(frozen=True)
class Refuse:
    """The call ends with this status before anything has happened."""

    code: grpc.StatusCode = grpc.StatusCode.UNAVAILABLE
    text: str = "connection refused"


@dataclass(frozen=True)
class DropAnswer:
    """The call takes effect; then, instead of its answer, UNAVAILABLE."""


@dataclass(frozen=True)
class Delay:
    """The call is looked at only after so long, also when its caller has gone by then."""

    seconds: float


@dataclass(frozen=True)
class Stall:
    """A stream takes effect, gives `after_messages` messages, then stays open and silent."""

    after_messages: int = 0


@dataclass(frozen=True)
class Break:
    """A stream gives `after_messages` messages, then loses its connection."""

    after_messages: int


@dataclass(frozen=True)
class RepeatMessages:
    """A stream sends every message twice."""


@dataclass(frozen=True)
class NeverClose:
    """A stream sends all it has, and does not end."""


@dataclass(frozen=True)
class RestartNode:
    """The node dies, and comes back by itself: after the call's effect, or before it."""

    after_effect: bool = True


Fault = Refuse | DropAnswer | Delay | Stall | Break | RepeatMessages | NeverClose | RestartNode

NOT_YET_INDEXED = Refuse(grpc.StatusCode.NOT_FOUND, "payment isn't initiated")


class Faults:
    """Everything that can be ordered to go wrong in a simulated network."""

    def __init__(self) -> None:
        self.holds = Holds()
        self.misbehavior = Misbehavior()
        self._calls: defaultdict[tuple[str, str], deque[Fault]] = defaultdict(deque)
        self._slow_starts: dict[str, float] = {}
        self._invoices: dict[str, InvoiceDatabase] = {}
        self._payments: dict[str, PaymentEngine] = {}
        self._views: dict[str, ChainView] = {}

    def add(self, node: str, method: str, fault: Fault, *, times: int = 1) -> None:
        """Orders `fault` for the next `times` calls of `method` at `node`."""
        self._calls[node, method].extend([fault] * times)

    def hide_payments(self, node: str, *, times: int = 1) -> None:
        """TrackPaymentV2 answers NOT_FOUND though the payment exists: an index that lags."""
        self.add(node, "TrackPaymentV2", NOT_YET_INDEXED, times=times)

    def hold_htlcs(self, node: str, *, payment_hash: bytes | None = None) -> HtlcHold:
        """Holds HTLCs that reach `node` as forwarder or payee; all, or those of one hash."""
        return self.holds.add(node, payment_hash)

    def end_next_payment(
        self, node: str, reason: lightning_pb2.PaymentFailureReason.ValueType, *, times: int = 1
    ) -> None:
        """The next payments of `node` end FAILED for `reason`, without an attempt."""
        for _ in range(times):
            self.misbehavior.order_verdict(node, reason)

    def overcharge_next_payment(self, node: str, fee_msat: int) -> None:
        """The next payment of `node` pays so much more in fees, whatever its fee limit."""
        self.misbehavior.order_surcharge(node, fee_msat)

    def reset_settle_index(self, node: str, *, keep: int = 0) -> None:
        """A migration: the last `keep` settlements become 1 to `keep`, the next one follows.

        What settled before those has no settle_index any more, and is in no backlog.
        """
        self._invoices[node].renumber_settlements(keep)

    def skip_add_indexes(self, node: str, count: int = 1) -> None:
        """The next invoice of `node` gets an add_index `count` further on: a gap."""
        self._invoices[node].skip_add_indexes(count)

    def use_sql_invoices(self, node: str) -> None:
        """A SQL back end: the backlog of settles comes in the order of adding."""
        self._invoices[node].is_sql = True

    def forget_canceled_invoices(self, node: str) -> None:
        """The node deletes what it cancels, as lnd with --gc-canceled-invoices-on-the-fly."""
        self._invoices[node].forgets_canceled = True

    def note_payment(self, node: str, intent: PaymentIntent) -> None:
        """The node has a payment of which no HTLC was ever sent; its next start fails it."""
        self._payments[node].initiate(intent)

    def delete_payment(self, node: str, payment_hash: bytes) -> None:
        """The node forgets a payment that is over, as by DeletePayment."""
        self._payments[node].forget(payment_hash)

    def lose_backend(self, node: str) -> None:
        """The node answers, says synced_to_chain=false, and stays at its height.

        Until `find_backend` or a restart of it; then it hears of every block it has missed.
        """
        self._views[node].lose_backend()

    def find_backend(self, node: str) -> None:
        self._views[node].find_backend()

    def slow_next_start(self, node: str, seconds: float) -> None:
        """The node's next start spends so long answering that it is not yet ready."""
        self._slow_starts[node] = seconds

    def clear(self) -> None:
        """Forgets every fault that has not happened yet, and releases every held HTLC."""
        for invoices in self._invoices.values():
            invoices.skip_add_indexes(0)
            invoices.is_sql = False
            invoices.forgets_canceled = False
        for view in self._views.values():
            view.find_backend()
        self._calls.clear()
        self._slow_starts.clear()
        self.misbehavior.clear()
        self.holds.release_all()

    def watch_invoices(self, node: str, database: InvoiceDatabase) -> None:
        """Lets the faults of a node's invoice database be ordered."""
        self._invoices[node] = database

    def watch_payments(self, node: str, payments: PaymentEngine) -> None:
        """Lets a node's payments be noted and deleted."""
        self._payments[node] = payments

    def watch_chain(self, node: str, view: ChainView) -> None:
        """Lets a node's view of the chain be taken from it."""
        self._views[node] = view

    def take(self, node: str, method: str) -> Fault | None:
        """The fault for a call that just came in."""
        orders = self._calls.get((node, method))
        return orders.popleft() if orders else None

    def take_slow_start(self, node: str) -> float:
        return self._slow_starts.pop(node, 0)
