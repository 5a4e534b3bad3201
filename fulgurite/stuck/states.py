"""Where the ladder of a stuck payment stands, and why it moves."""

from __future__ import annotations

from enum import StrEnum

from fulgurite.lifecycle import Edge, Lifecycle


class LadderState(StrEnum):
    """The rung."""

    LOOKING = "LOOKING"  # LND is asked on which channels it hangs
    RECONNECTING = "RECONNECTING"  # somebody was alerted; the peer is called, and given time
    AWAITING_APPROVAL = "AWAITING_APPROVAL"  # a person is asked for the force close
    WAITING = "WAITING"  # nobody may order it, or a person said no: LND or the chain will move it
    CLOSING = "CLOSING"  # a force close is ordered; LND may not have published it yet
    CONFIRMING = "CONFIRMING"  # the commitment is published; a block must take it
    MATURING = "MATURING"  # confirmed; the HTLC waits for a preimage or for its expiry
    SWEEPING = "SWEEPING"  # LND has its verdict; what is ours comes back, after CSV
    RESOLVED_OFF_CHAIN = "RESOLVED_OFF_CHAIN"  # LND's verdict came without the chain
    RESOLVED_ON_CHAIN = "RESOLVED_ON_CHAIN"  # the chain has decided, and the last sweep is in
    REFUSED = "REFUSED"  # this node has no such payment


class LadderEvent(StrEnum):
    """What moves it."""

    HUNG = "HUNG"  # the HTLC is there: on which channels is known
    OVERSTAYED = "OVERSTAYED"  # the peer had its time; a person is to be asked
    NOT_ASKED = "NOT_ASKED"  # the peer had its time; nobody may order more yet
    APPROVED = "APPROVED"  # a person ordered the force close
    REJECTED = "REJECTED"  # a person said no
    DUE = "DUE"  # the policy orders it: expiry is near, or the peer is away for too long
    CALLED_OFF = "CALLED_OFF"  # the order was not carried out: no HTLC of it was there any more
    PUBLISHED = "PUBLISHED"  # a channel of it is closing, whoever closed it
    CONFIRMED = "CONFIRMED"  # in a block
    REORGED = "REORGED"  # and taken out of it again
    VERDICT = "VERDICT"  # LND: SUCCEEDED or FAILED
    SWEPT = "SWEPT"  # every output of its channels is resolved
    REFUSED = "REFUSED"  # LND does not know the payment


_S, _E = LadderState, LadderEvent

# Nothing of it is on chain: LND's verdict ends it here, whatever the rung.
OFF_CHAIN = (_S.LOOKING, _S.RECONNECTING, _S.AWAITING_APPROVAL, _S.WAITING)

LADDER = Lifecycle(
    start=_S.LOOKING,
    edges=[
        Edge(_S.LOOKING, _E.HUNG, _S.RECONNECTING, "alert, then call the peer"),
        *(
            Edge(each, _E.REFUSED, _S.REFUSED, "LND does not know the payment, or no more")
            for each in OFF_CHAIN
        ),
        Edge(_S.RECONNECTING, _E.OVERSTAYED, _S.AWAITING_APPROVAL, "a person is to decide"),
        Edge(_S.RECONNECTING, _E.NOT_ASKED, _S.WAITING, "only expiry, time or LND can move it"),
        *(
            Edge(each, _E.REJECTED, _S.WAITING, "LND goes to the chain at expiry")
            for each in (_S.RECONNECTING, _S.AWAITING_APPROVAL)
        ),
        Edge(_S.WAITING, _E.REJECTED, _S.WAITING, "the policy may not order it any more"),
        *(
            Edge(each, _E.APPROVED, _S.CLOSING, "a person ordered it")
            for each in (_S.RECONNECTING, _S.AWAITING_APPROVAL, _S.WAITING)
        ),
        *(
            Edge(each, _E.DUE, _S.CLOSING, "the policy's condition holds")
            for each in (_S.RECONNECTING, _S.WAITING)
        ),
        # Off-chain resolution at any rung ends it; LND itself, or the peer, can close at any.
        *(Edge(each, _E.VERDICT, _S.RESOLVED_OFF_CHAIN, "LND's verdict") for each in OFF_CHAIN),
        *(Edge(each, _E.PUBLISHED, _S.CONFIRMING, "LND or the peer closes") for each in OFF_CHAIN),
        # Ladders that began long ago skipped a rung that they saw late; nowadays none does.
        *(Edge(each, _E.CONFIRMED, _S.MATURING, "an old run: seen late") for each in OFF_CHAIN),
        Edge(_S.CLOSING, _E.CALLED_OFF, _S.LOOKING, "it went on elsewhere: look again"),
        Edge(_S.CLOSING, _E.PUBLISHED, _S.CONFIRMING, "LND has published the commitment"),
        Edge(_S.CLOSING, _E.CONFIRMED, _S.MATURING, "an old run: seen late"),
        Edge(_S.CONFIRMING, _E.CONFIRMED, _S.MATURING, "in a block"),
        Edge(_S.CONFIRMING, _E.VERDICT, _S.SWEEPING, "an old run: heard before the block"),
        Edge(_S.MATURING, _E.REORGED, _S.CONFIRMING, "its block was taken back"),
        Edge(_S.MATURING, _E.VERDICT, _S.SWEEPING, "by preimage or by timeout"),
        Edge(_S.SWEEPING, _E.SWEPT, _S.RESOLVED_ON_CHAIN, "every output is resolved"),
        Edge(_S.MATURING, _E.SWEPT, _S.RESOLVED_ON_CHAIN, "and LND has forgotten the payment"),
    ],
)
