"""What an invoice can be, and why it moves."""

from __future__ import annotations

from enum import StrEnum

from fulgurite.lifecycle import Edge, Lifecycle

# A held invoice is decided at least this long before its first HTLC expires. LND itself
# cancels at 18 blocks (12 before 0.21), and a channel is closed by force soon after.
DECIDE_BEFORE_EXPIRY_BLOCKS = 24


class InvoiceState(StrEnum):
    """Where an invoice stands. Words that LND has are LND's."""

    OPEN = "OPEN"  # can be paid
    ACCEPTED = "ACCEPTED"  # paid, and held: somebody must settle or cancel in time
    SETTLING = "SETTLING"  # decided: LND is being told to take the money
    CANCELING = "CANCELING"  # decided: LND is being told to send it back
    EXPIRED = "EXPIRED"  # its time is over; watched for those who pay late
    SETTLED = "SETTLED"  # paid in time: the money is ours
    PAID_LATE = "PAID_LATE"  # paid after its time: the money is ours all the same
    CANCELED = "CANCELED"  # called off; what was held went back
    CLOSED = "CLOSED"  # expired, never paid, and LND takes no payment any more


class InvoiceEvent(StrEnum):
    """What moves an invoice."""

    HELD = "HELD"  # LND: ACCEPTED
    SETTLED = "SETTLED"  # LND: SETTLED, and its HTLCs came in time
    SETTLED_LATE = "SETTLED_LATE"  # LND: SETTLED, and an HTLC came after the expiry
    CANCELED = "CANCELED"  # LND: CANCELED, before the expiry or after it was held
    SETTLE_DECIDED = "SETTLE_DECIDED"  # by the policy, a person or a program
    CANCEL_DECIDED = "CANCEL_DECIDED"  # the same; or the deadline's default
    UNUSABLE = "UNUSABLE"  # the preimage that came with the order does not settle it
    TIME_OVER = "TIME_OVER"  # the expiry that is written in the invoice has passed
    WATCHED_ENOUGH = "WATCHED_ENOUGH"  # LND ended it unpaid, and the late watch is over


_S, _E = InvoiceState, InvoiceEvent

INVOICE = Lifecycle(
    start=_S.OPEN,
    edges=[
        Edge(_S.OPEN, _E.SETTLED, _S.SETTLED, "the happy path"),
        Edge(_S.OPEN, _E.SETTLED_LATE, _S.PAID_LATE, "LND took it before our clock rang"),
        Edge(_S.OPEN, _E.HELD, _S.ACCEPTED, "a hold invoice is paid"),
        Edge(_S.OPEN, _E.TIME_OVER, _S.EXPIRED, "nobody paid in time, as far as we know"),
        Edge(_S.OPEN, _E.CANCEL_DECIDED, _S.CANCELING, "called off before it was paid"),
        Edge(_S.OPEN, _E.CANCELED, _S.CANCELED, "somebody canceled it in LND itself"),
        Edge(_S.ACCEPTED, _E.SETTLE_DECIDED, _S.SETTLING, "take the money"),
        Edge(_S.ACCEPTED, _E.CANCEL_DECIDED, _S.CANCELING, "send it back"),
        Edge(_S.ACCEPTED, _E.SETTLED, _S.SETTLED, "somebody settled it in LND itself"),
        Edge(_S.ACCEPTED, _E.SETTLED_LATE, _S.PAID_LATE, "the same, and it was paid late"),
        Edge(_S.ACCEPTED, _E.CANCELED, _S.CANCELED, "canceled in LND itself, or by its own limit"),
        # LND's last word counts, whatever was decided: an order can come too late.
        Edge(_S.SETTLING, _E.SETTLED, _S.SETTLED, "LND took the money"),
        Edge(_S.SETTLING, _E.SETTLED_LATE, _S.PAID_LATE, "LND took it, and it was paid late"),
        Edge(_S.SETTLING, _E.CANCELED, _S.CANCELED, "the decision came too late for LND"),
        Edge(_S.SETTLING, _E.UNUSABLE, _S.ACCEPTED, "the preimage was wrong: decide again"),
        Edge(_S.CANCELING, _E.CANCELED, _S.CANCELED, "LND sent it back"),
        Edge(_S.CANCELING, _E.HELD, _S.ACCEPTED, "it was paid in the same moment: decide again"),
        Edge(_S.CANCELING, _E.SETTLED, _S.SETTLED, "it was settled before the order arrived"),
        Edge(_S.CANCELING, _E.SETTLED_LATE, _S.PAID_LATE, "the same, and it was paid late"),
        # LND looks at no clock when an HTLC arrives: until it cancels, late payers get through.
        Edge(_S.EXPIRED, _E.SETTLED, _S.SETTLED, "it was paid in time; we heard of it late"),
        Edge(_S.EXPIRED, _E.SETTLED_LATE, _S.PAID_LATE, "never lost: told, counted, with advice"),
        Edge(_S.EXPIRED, _E.HELD, _S.ACCEPTED, "a hold invoice was paid at the last moment"),
        Edge(_S.EXPIRED, _E.WATCHED_ENOUGH, _S.CLOSED, "nobody can pay it any more"),
    ],
)


class LndInvoiceState(StrEnum):
    """LND's own word on an invoice. It streams OPEN and SETTLED, and never the other two."""

    OPEN = "OPEN"
    ACCEPTED = "ACCEPTED"
    SETTLED = "SETTLED"
    CANCELED = "CANCELED"
