"""Two books, record by record: which pairs agree, and what a pair that does not is called."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from fulgurite.identity import PaymentHash
from fulgurite.invoices.receipts import InvoiceUpdate
from fulgurite.invoices.states import InvoiceState, LndInvoiceState
from fulgurite.money import Msat
from fulgurite.payments.states import PaymentState, PaymentStatus
from fulgurite.reconciliation.differences import DifferenceKind


class Execution(StrEnum):
    """Temporal's own word on a workflow."""

    RUNNING = "RUNNING"
    COMPLETED = "COMPLETED"  # it came to its own end: its state is its last word
    FAILED = "FAILED"  # the request was refused
    CANCELED = "CANCELED"  # this one and those below: ended by force
    TERMINATED = "TERMINATED"
    TIMED_OUT = "TIMED_OUT"


@dataclass(frozen=True)
class Ours:
    """What a workflow of ours says, by Temporal's index or by Temporal itself."""

    payment_hash: PaymentHash
    execution: Execution
    state: str
    amount: Msat | None

    def __str__(self) -> str:
        by_itself = self.execution in {Execution.RUNNING, Execution.COMPLETED}
        workflow = "" if by_itself else f", workflow {self.execution}"
        return f"{self.state}{workflow}, {_words(self.amount)}"


@dataclass(frozen=True)
class Theirs:
    """What a node says of one payment or invoice. `changed_at`: last, as far as it tells."""

    payment_hash: PaymentHash
    status: PaymentStatus | LndInvoiceState
    amount: Msat | None  # of an invoice: asked for
    changed_at: datetime | None
    update: InvoiceUpdate | None = None  # what an invoice's workflow can be told

    def __str__(self) -> str:
        return f"{self.status}, {_words(self.amount)}"


def _words(amount: Msat | None) -> str:
    return str(amount) if amount else "any amount"


_S, _K = InvoiceState, DifferenceKind

_SAME_INVOICE: dict[str, LndInvoiceState] = {
    _S.SETTLED: LndInvoiceState.SETTLED,
    _S.PAID_LATE: LndInvoiceState.SETTLED,
    _S.CANCELED: LndInvoiceState.CANCELED,
    _S.CLOSED: LndInvoiceState.CANCELED,
}


def compare_invoice(ours: Ours, theirs: Theirs) -> DifferenceKind | None:
    """What the two differ in; None when they agree, or are about to."""
    match ours.execution:
        case Execution.RUNNING:
            difference = _waiting_invoice(ours.state, theirs.status)
        case Execution.COMPLETED:
            same = _SAME_INVOICE.get(ours.state) is theirs.status
            difference = None if same else _K.STATE_DIFFERS
        case _:
            harmless = theirs.status is LndInvoiceState.CANCELED
            difference = None if harmless else _K.UNFOLLOWED_INVOICE
    return difference or _amounts(ours.amount, theirs.amount or Msat(0))


def _waiting_invoice(state: str, status: str) -> DifferenceKind | None:
    match status:
        case LndInvoiceState.SETTLED:
            return _K.MISSED_SETTLEMENT
        case LndInvoiceState.ACCEPTED if state in {_S.OPEN, _S.EXPIRED}:
            return _K.MISSED_HOLD
        # EXPIRED knows, and watches for late payers; SETTLING and CANCELING are asking.
        case LndInvoiceState.CANCELED if state in {_S.OPEN, _S.ACCEPTED}:
            return _K.STALE_INVOICE
        case _:
            return None


def compare_payment(ours: Ours, theirs: Theirs) -> DifferenceKind | None:
    """What the two differ in; None when they agree, or are about to."""
    match ours.execution:
        case Execution.RUNNING:
            return _running_payment(ours.state, theirs.status)
        case Execution.COMPLETED:
            return _ended_payment(ours, theirs)
        case _ if theirs.status is PaymentStatus.IN_FLIGHT:
            return _K.UNFOLLOWED_PAYMENT
        case _ if theirs.status is PaymentStatus.SUCCEEDED:
            # Our caller was told of no success, and money went.
            return _K.STATE_DIFFERS
        case _:
            return None


def _running_payment(state: str, status: str) -> DifferenceKind | None:
    if state == PaymentState.AWAITING_APPROVAL:
        # "Nothing has moved" is what the person who is asked believes.
        return None if status == PaymentStatus.FAILED else _K.STATE_DIFFERS
    if status == PaymentStatus.SUCCEEDED:
        return _K.STALE_IN_FLIGHT
    # Elsewhere a FAILED can be that of an earlier attempt, which another one follows.
    waits = state in {PaymentState.IN_FLIGHT, PaymentState.STUCK}
    return _K.STALE_IN_FLIGHT if waits and status == PaymentStatus.FAILED else None


def _ended_payment(ours: Ours, theirs: Theirs) -> DifferenceKind | None:
    if ours.state != PaymentState.SUCCEEDED:
        # FAILED, or nothing was sent: neither is true of what the node has not ended.
        return None if theirs.status is PaymentStatus.FAILED else _K.STATE_DIFFERS
    if theirs.status is not PaymentStatus.SUCCEEDED:
        return _K.STATE_DIFFERS
    return _amounts(ours.amount, theirs.amount)


def _amounts(ours: Msat | None, theirs: Msat | None) -> DifferenceKind | None:
    """None also where we have no amount: started by a client that indexes nothing."""
    return None if ours is None or ours == theirs else _K.AMOUNT_DIFFERS


def expects_invoice(ours: Ours) -> bool:
    """Whether the node must know of it. LND may be set to forget what it has canceled."""
    return ours.execution is Execution.RUNNING and ours.state != InvoiceState.EXPIRED


def expects_payment(ours: Ours) -> bool:
    """Whether the node must know of it: LND has said that it has it."""
    in_flight = ours.state in {PaymentState.IN_FLIGHT, PaymentState.STUCK}
    return ours.execution is Execution.RUNNING and in_flight
