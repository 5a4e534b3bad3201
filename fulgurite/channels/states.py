"""What the closing of a channel can be, and why it moves."""

from __future__ import annotations

from enum import StrEnum

from fulgurite.lifecycle import Edge, Lifecycle


class CloseState(StrEnum):
    """Where a channel's closing stands. Words that LND has are LND's."""

    REQUESTED = "REQUESTED"  # LND has not been asked for anything
    CLOSING = "CLOSING"  # being asked for; LND may already do it
    WAITING_CLOSE = "WAITING_CLOSE"  # the closing transaction is published and not confirmed
    FORCE_CLOSING = "FORCE_CLOSING"  # confirmed; outputs wait for their time, or for their sweep
    CLOSED = "CLOSED"  # every output of ours is resolved
    CALLED_OFF = "CALLED_OFF"  # nothing was asked of LND: the reason was gone before
    REFUSED = "REFUSED"  # LND cannot close it so; nothing has happened


class CloseEvent(StrEnum):
    """What moves it."""

    ORDERED = "ORDERED"  # a worker looks, and asks LND
    PUBLISHED = "PUBLISHED"  # seen among LND's waiting closes, whoever closed it
    CONFIRMED = "CONFIRMED"  # seen among LND's pending force closes
    RESOLVED = "RESOLVED"  # seen among LND's closed channels
    REORGED = "REORGED"  # the confirmation was taken back
    CALLED_OFF = "CALLED_OFF"  # what it was ordered for is resolved, and the channel is open
    REFUSED = "REFUSED"  # LND said no


_S, _E = CloseState, CloseEvent

CLOSE = Lifecycle(
    start=_S.REQUESTED,
    edges=[
        Edge(_S.REQUESTED, _E.ORDERED, _S.CLOSING, "somebody wants it closed"),
        # Closed by the peer, by LND itself or by a person: followed all the same.
        Edge(_S.REQUESTED, _E.PUBLISHED, _S.WAITING_CLOSE, "already being closed"),
        Edge(_S.REQUESTED, _E.CONFIRMED, _S.FORCE_CLOSING, "already confirmed"),
        Edge(_S.REQUESTED, _E.RESOLVED, _S.CLOSED, "already over"),
        Edge(_S.REQUESTED, _E.CALLED_OFF, _S.CALLED_OFF, "no reason is left"),
        Edge(_S.REQUESTED, _E.REFUSED, _S.REFUSED, "no such channel"),
        Edge(_S.CLOSING, _E.PUBLISHED, _S.WAITING_CLOSE, "LND has published it"),
        Edge(_S.CLOSING, _E.CONFIRMED, _S.FORCE_CLOSING, "a block was faster than we"),
        Edge(_S.CLOSING, _E.RESOLVED, _S.CLOSED, "a block was faster than we"),
        Edge(_S.CLOSING, _E.CALLED_OFF, _S.CALLED_OFF, "the HTLC was resolved off chain"),
        Edge(_S.CLOSING, _E.REFUSED, _S.REFUSED, "LND cannot close it so"),
        Edge(_S.WAITING_CLOSE, _E.CONFIRMED, _S.FORCE_CLOSING, "in a block"),
        Edge(_S.WAITING_CLOSE, _E.RESOLVED, _S.CLOSED, "nothing of it has to wait"),
        Edge(_S.FORCE_CLOSING, _E.REORGED, _S.WAITING_CLOSE, "its block was taken back"),
        Edge(_S.FORCE_CLOSING, _E.RESOLVED, _S.CLOSED, "the last output is resolved"),
    ],
)
