"""What a payment can be, and why it moves."""

from __future__ import annotations

from datetime import timedelta
from enum import StrEnum

from fulgurite.lifecycle import Edge, Lifecycle


class PaymentState(StrEnum):
    """Where a payment stands. Words that LND has are LND's."""

    REQUESTED = "REQUESTED"  # accepted by us; nothing has moved
    AWAITING_APPROVAL = "AWAITING_APPROVAL"  # a person must say yes; nothing has moved
    RESERVING = "RESERVING"  # its budgets are asked for its worst case; nothing has moved
    DISPATCHING = "DISPATCHING"  # being tracked or sent; LND may already have it
    IN_FLIGHT = "IN_FLIGHT"  # LND has it; only LND can end it
    STUCK = "STUCK"  # in flight for longer than the caller thinks normal
    RESOLVING_ON_CHAIN = "RESOLVING_ON_CHAIN"  # its channel is closed; the chain will decide
    BACKING_OFF = "BACKING_OFF"  # LND's verdict was FAILED; a new attempt waits its time
    AWAITING_LIQUIDITY = "AWAITING_LIQUIDITY"  # LND's verdict was FAILED; a remedy is waited for
    SUCCEEDED = "SUCCEEDED"  # settled: the payee showed the preimage
    FAILED = "FAILED"  # LND's terminal verdict, and no further attempt
    REJECTED = "REJECTED"  # a person said no
    OVER_BUDGET = "OVER_BUDGET"  # a budget has no room for it; nothing was sent
    EXPIRED = "EXPIRED"  # approval, deadline or invoice ran out before anything was sent
    CANCELED = "CANCELED"  # called off before anything was sent
    REFUSED = "REFUSED"  # the request cannot be carried out as it is


class PaymentEvent(StrEnum):
    """What moves a payment."""

    NEEDS_APPROVAL = "NEEDS_APPROVAL"  # the amount is above a threshold
    APPROVED = "APPROVED"
    REJECTED = "REJECTED"
    NEEDS_BUDGET = "NEEDS_BUDGET"  # a budget counts it, and has not granted it yet
    RESERVED = "RESERVED"  # every budget that counts it has granted its worst case
    OVER_BUDGET = "OVER_BUDGET"  # a budget has refused it
    LAPSED = "LAPSED"  # time ran out, and LND does not know the hash
    CANCELED = "CANCELED"  # asked for while LND certainly had nothing
    REFUSED = "REFUSED"  # the input is wrong; found before anything moved
    DISPATCHED = "DISPATCHED"  # a worker starts to track and send
    ACCEPTED = "ACCEPTED"  # LND has it and has not ended it
    OVERDUE = "OVERDUE"  # in flight for too long
    SETTLED = "SETTLED"  # LND: SUCCEEDED
    WENT_ON_CHAIN = "WENT_ON_CHAIN"  # a channel that carries it is being closed
    FAILED = "FAILED"  # LND: FAILED, and the policy for its reason ends the payment
    FAILED_FOR_NOW = "FAILED_FOR_NOW"  # LND: FAILED, and the policy allows another attempt
    NEEDS_LIQUIDITY = "NEEDS_LIQUIDITY"  # LND: FAILED, and the caller rather waits for a remedy
    GIVEN_UP = "GIVEN_UP"  # after a FAILED: canceled, or out of time for another attempt


_S, _E = PaymentState, PaymentEvent

PAYMENT = Lifecycle(
    start=_S.REQUESTED,
    edges=[
        Edge(_S.REQUESTED, _E.DISPATCHED, _S.DISPATCHING, "the happy path"),
        Edge(_S.AWAITING_APPROVAL, _E.APPROVED, _S.DISPATCHING, "a person said yes"),
        Edge(_S.AWAITING_APPROVAL, _E.REJECTED, _S.REJECTED, "a person said no"),
        Edge(_S.AWAITING_APPROVAL, _E.LAPSED, _S.EXPIRED, "nobody answered in time"),
        Edge(_S.AWAITING_APPROVAL, _E.CANCELED, _S.CANCELED, "the caller withdrew the request"),
        Edge(_S.AWAITING_APPROVAL, _E.GIVEN_UP, _S.FAILED, "no yes for another attempt"),
        # A person is asked only when LND has been: what it has already is no longer to decide.
        Edge(_S.DISPATCHING, _E.NEEDS_APPROVAL, _S.AWAITING_APPROVAL, "tracked: unknown; too big"),
        # After the approval, so that nothing is reserved while a person thinks.
        Edge(_S.DISPATCHING, _E.NEEDS_BUDGET, _S.RESERVING, "tracked: unknown; a budget counts it"),
        Edge(_S.RESERVING, _E.RESERVED, _S.DISPATCHING, "its worst case is reserved"),
        Edge(_S.RESERVING, _E.OVER_BUDGET, _S.OVER_BUDGET, "no room, or none in time"),
        Edge(_S.RESERVING, _E.LAPSED, _S.EXPIRED, "a budget gave no answer in time"),
        Edge(_S.RESERVING, _E.CANCELED, _S.CANCELED, "the caller withdrew the request"),
        Edge(_S.RESERVING, _E.GIVEN_UP, _S.FAILED, "no room for another attempt"),
        Edge(_S.DISPATCHING, _E.REFUSED, _S.REFUSED, "tracked: unknown; then found wrong"),
        Edge(_S.DISPATCHING, _E.LAPSED, _S.EXPIRED, "tracked: unknown; and too late to send"),
        Edge(_S.DISPATCHING, _E.CANCELED, _S.CANCELED, "tracked: unknown; and called off"),
        Edge(_S.DISPATCHING, _E.ACCEPTED, _S.IN_FLIGHT, "LND has it"),
        # LND answers a retry of a settled hash with ALREADY_EXISTS: success, told twice.
        Edge(_S.DISPATCHING, _E.SETTLED, _S.SUCCEEDED, "LND's verdict within the fast path"),
        Edge(_S.DISPATCHING, _E.FAILED, _S.FAILED, "LND's verdict within the fast path"),
        Edge(_S.DISPATCHING, _E.FAILED_FOR_NOW, _S.BACKING_OFF, "another attempt can help"),
        Edge(_S.DISPATCHING, _E.GIVEN_UP, _S.FAILED, "a retry came too late; the verdict stands"),
        Edge(_S.IN_FLIGHT, _E.SETTLED, _S.SUCCEEDED, "LND's verdict"),
        Edge(_S.IN_FLIGHT, _E.FAILED, _S.FAILED, "LND's verdict"),
        Edge(_S.IN_FLIGHT, _E.FAILED_FOR_NOW, _S.BACKING_OFF, "another attempt can help"),
        Edge(_S.IN_FLIGHT, _E.GIVEN_UP, _S.FAILED, "canceled or too late; the verdict stands"),
        # Time is no verdict: a stuck payment is followed as before, and somebody is told.
        Edge(_S.IN_FLIGHT, _E.OVERDUE, _S.STUCK, "in flight for longer than expected"),
        Edge(_S.STUCK, _E.SETTLED, _S.SUCCEEDED, "LND's verdict"),
        Edge(_S.STUCK, _E.FAILED, _S.FAILED, "LND's verdict"),
        Edge(_S.STUCK, _E.FAILED_FOR_NOW, _S.BACKING_OFF, "another attempt can help"),
        Edge(_S.STUCK, _E.GIVEN_UP, _S.FAILED, "canceled or too late; the verdict stands"),
        *(
            Edge(each, _E.WENT_ON_CHAIN, _S.RESOLVING_ON_CHAIN, "its ladder says so")
            for each in (_S.IN_FLIGHT, _S.STUCK)
        ),
        Edge(_S.RESOLVING_ON_CHAIN, _E.SETTLED, _S.SUCCEEDED, "by preimage"),
        # No attempt follows: what had to be taken to the chain is not tried again by itself.
        Edge(_S.RESOLVING_ON_CHAIN, _E.FAILED, _S.FAILED, "by timeout"),
        Edge(_S.BACKING_OFF, _E.DISPATCHED, _S.DISPATCHING, "the pause is over"),
        Edge(_S.BACKING_OFF, _E.GIVEN_UP, _S.FAILED, "canceled or out of time"),
        # Only where the caller has asked for it. It is entered as BACKING_OFF is: after a FAILED.
        *(
            Edge(each, _E.NEEDS_LIQUIDITY, _S.AWAITING_LIQUIDITY, "a remedy can help")
            for each in (_S.DISPATCHING, _S.IN_FLIGHT, _S.STUCK)
        ),
        Edge(_S.AWAITING_LIQUIDITY, _E.DISPATCHED, _S.DISPATCHING, "it may have come; LND knows"),
        Edge(_S.AWAITING_LIQUIDITY, _E.GIVEN_UP, _S.FAILED, "canceled or out of time"),
    ],
)


class PaymentStatus(StrEnum):
    """LND's own word on a payment. INITIATED is told as IN_FLIGHT: LND has it."""

    IN_FLIGHT = "IN_FLIGHT"
    SUCCEEDED = "SUCCEEDED"
    FAILED = "FAILED"


class FailureReason(StrEnum):
    """LND's reasons, without their prefix. A reason without the status FAILED is no verdict."""

    NONE = "NONE"
    TIMEOUT = "TIMEOUT"
    NO_ROUTE = "NO_ROUTE"
    ERROR = "ERROR"
    INCORRECT_PAYMENT_DETAILS = "INCORRECT_PAYMENT_DETAILS"
    INSUFFICIENT_BALANCE = "INSUFFICIENT_BALANCE"
    CANCELED = "CANCELED"


# After these the same payment can succeed later without anybody doing anything.
# CANCELED is among them because we never cancel an attempt in LND: somebody else did.
_WORTH_ANOTHER_ATTEMPT = frozenset(
    {FailureReason.NO_ROUTE, FailureReason.TIMEOUT, FailureReason.CANCELED}
)

# What liquidity in the right channels can mend.
_FOR_WANT_OF_LIQUIDITY = frozenset({FailureReason.INSUFFICIENT_BALANCE, FailureReason.NO_ROUTE})

ADVICE: dict[FailureReason, str] = {
    FailureReason.NONE: "LND gave no reason; look at the attempts in its log.",
    FailureReason.TIMEOUT: "No attempt succeeded in time: give a longer timeout or deadline.",
    FailureReason.NO_ROUTE: "No route within the fee limit: raise the limit, give a longer "
    "deadline, or open a channel nearer to the destination.",
    FailureReason.ERROR: "LND met an internal error: read its log before paying again.",
    FailureReason.INCORRECT_PAYMENT_DETAILS: "The payee refused: the invoice is unknown, "
    "canceled, expired or of another amount. Ask for a new one.",
    FailureReason.INSUFFICIENT_BALANCE: "The node's own channels cannot send this much: move "
    "liquidity, or pay from another node.",
    FailureReason.CANCELED: "Somebody canceled the payment in LND itself.",
}


def worth_another_attempt(reason: FailureReason) -> bool:
    """Whether a payment that failed for `reason` is tried again while time allows."""
    return reason in _WORTH_ANOTHER_ATTEMPT


def liquidity_may_help(reason: FailureReason) -> bool:
    """Whether a payment that failed for `reason` waits for a remedy, if its caller wants that."""
    return reason in _FOR_WANT_OF_LIQUIDITY


def pause_before_attempt(failures: int) -> timedelta:
    """5 s after the first failure, doubling to at most 5 minutes."""
    return timedelta(seconds=min(5 * 2 ** min(failures - 1, 10), 300))
