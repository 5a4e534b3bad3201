"""What a relay can be, and why it moves.

Upstream is the invoice that is held for us, downstream the payment that we make of the same
hash. Whoever is paid downstream shows the preimage, and that preimage takes the money upstream:
so nothing is lost as long as upstream is canceled only when downstream has certainly failed.
"""

from __future__ import annotations

from enum import StrEnum

from fulgurite.lifecycle import Edge, Lifecycle


class RelayState(StrEnum):
    """Where a relay stands."""

    REQUESTED = "REQUESTED"  # accepted by us; nothing has moved
    OPEN = "OPEN"  # upstream can be paid
    HELD = "HELD"  # upstream is paid and held; the blocks are counted before anything is sent
    PAYING = "PAYING"  # downstream may have it: only its verdict moves this on
    SETTLING = "SETTLING"  # downstream is paid and the preimage is kept: upstream is to be taken
    CANCELING = "CANCELING"  # nothing is or will be in flight downstream: upstream goes back
    LOSS_POSSIBLE = "LOSS_POSSIBLE"  # upstream went back while downstream may still be paid
    SETTLED = "SETTLED"  # upstream is ours
    CANCELED = "CANCELED"  # upstream went back, and downstream was not paid
    EXPIRED = "EXPIRED"  # nobody paid upstream in time; nothing was sent
    REFUSED = "REFUSED"  # it cannot be carried out as it is; nothing has moved
    LOST = "LOST"  # downstream was paid, and upstream went back: money is gone


class RelayEvent(StrEnum):
    """What moves a relay."""

    CREATED = "CREATED"  # upstream is written, and its workflow watches it
    REFUSED = "REFUSED"  # found impossible before anything moved
    HELD = "HELD"  # LND: upstream is ACCEPTED
    UNPAID = "UNPAID"  # LND: upstream is CANCELED, at its expiry
    CALLED_OFF = "CALLED_OFF"  # by a person or a program, before upstream was held
    DISPATCHED = "DISPATCHED"  # the payment's workflow is asked to pay, or only to ask LND
    PAID = "PAID"  # the payment SUCCEEDED, and its sealed preimage is in the history
    NOT_PAID = "NOT_PAID"  # the payment ended otherwise: nothing is in flight, nothing will be
    UPSTREAM_SETTLED = "UPSTREAM_SETTLED"  # LND: upstream is SETTLED
    UPSTREAM_CANCELED = "UPSTREAM_CANCELED"  # LND: upstream is CANCELED; downstream has nothing
    UPSTREAM_LOST = "UPSTREAM_LOST"  # LND: upstream is CANCELED; downstream is paid, or may be


_S, _E = RelayState, RelayEvent

RELAY = Lifecycle(
    start=_S.REQUESTED,
    edges=[
        Edge(_S.REQUESTED, _E.CREATED, _S.OPEN, "the payer can be given the payment request"),
        Edge(_S.REQUESTED, _E.REFUSED, _S.REFUSED, "it could only have ended badly"),
        Edge(_S.OPEN, _E.HELD, _S.HELD, "the happy path"),
        Edge(_S.OPEN, _E.UNPAID, _S.EXPIRED, "nobody paid, and nobody can any more"),
        Edge(_S.OPEN, _E.CALLED_OFF, _S.CANCELING, "nothing was sent, and nothing will be"),
        Edge(_S.OPEN, _E.UPSTREAM_CANCELED, _S.CANCELED, "somebody canceled it in LND itself"),
        # A relay that was ended by force and asked for again finds what the first one did.
        Edge(_S.OPEN, _E.UPSTREAM_SETTLED, _S.PAYING, "settled before: was downstream paid?"),
        Edge(_S.OPEN, _E.UPSTREAM_LOST, _S.LOSS_POSSIBLE, "the same, and upstream went back"),
        # Too few blocks, too late, called off: downstream is asked about all the same, and not
        # sent. What an earlier run of this relay may have sent is not forgotten so.
        Edge(_S.HELD, _E.DISPATCHED, _S.PAYING, "pay, or only ask where it is too late to pay"),
        Edge(_S.HELD, _E.UPSTREAM_CANCELED, _S.CANCELED, "in LND itself; nothing was sent"),
        Edge(_S.HELD, _E.UPSTREAM_SETTLED, _S.PAYING, "by somebody else: was downstream paid?"),
        Edge(_S.HELD, _E.UPSTREAM_LOST, _S.LOSS_POSSIBLE, "and LND has a payment of the hash"),
        Edge(_S.PAYING, _E.PAID, _S.SETTLING, "the preimage is durable: take the money"),
        Edge(_S.PAYING, _E.NOT_PAID, _S.CANCELING, "certainly not paid: send it back"),
        Edge(_S.PAYING, _E.UPSTREAM_LOST, _S.LOSS_POSSIBLE, "only the payment's verdict can tell"),
        Edge(_S.SETTLING, _E.UPSTREAM_SETTLED, _S.SETTLED, "the happy path"),
        Edge(_S.SETTLING, _E.UPSTREAM_LOST, _S.LOST, "LND gave it back before it could be taken"),
        Edge(_S.CANCELING, _E.UPSTREAM_CANCELED, _S.CANCELED, "the payer has it back"),
        Edge(_S.CANCELING, _E.UPSTREAM_SETTLED, _S.SETTLED, "somebody who knew the preimage did"),
        Edge(_S.LOSS_POSSIBLE, _E.NOT_PAID, _S.CANCELED, "no loss: downstream was not paid"),
        Edge(_S.LOSS_POSSIBLE, _E.PAID, _S.LOST, "paid, and nothing received"),
    ],
)
