"""What a rebalance can be, and why it moves."""

from __future__ import annotations

from enum import StrEnum

from fulgurite.lifecycle import Edge, Lifecycle


class RebalanceState(StrEnum):
    """Where a rebalance stands."""

    REQUESTED = "REQUESTED"  # accepted; nothing has moved
    RESERVING = "RESERVING"  # its budgets are asked for the cap; nothing has moved
    WAITING = "WAITING"  # others have its channels; nothing is in flight
    PLANNING = "PLANNING"  # it looks for a route that is worth it; nothing is in flight
    SENDING = "SENDING"  # one attempt is with LND, or may be; only LND can end it
    STUCK = "STUCK"  # and is in flight for longer than the caller thinks normal
    MOVED = "MOVED"  # all that was asked for
    PARTLY_MOVED = "PARTLY_MOVED"  # some of it, and then there was a reason to stop
    NOT_MOVED = "NOT_MOVED"  # there was a reason to stop before anything moved
    CANCELED = "CANCELED"  # called off before anything moved
    OVER_BUDGET = "OVER_BUDGET"  # a budget has no room for its cap; nothing was sent
    REFUSED = "REFUSED"  # the request cannot be carried out as it is


class RebalanceEvent(StrEnum):
    """What moves it."""

    NEEDS_BUDGET = "NEEDS_BUDGET"  # budgets count it
    OVER_BUDGET = "OVER_BUDGET"  # one of them said no, and nothing has moved
    ALLOWED = "ALLOWED"  # nothing stands in its way but others on its channels
    GRANTED = "GRANTED"  # the channels are its own for a while
    DISPATCHED = "DISPATCHED"  # an attempt is about to be sent: its hash and route are written down
    SETTLED = "SETTLED"  # LND: SUCCEEDED; a part has moved
    FAILED = "FAILED"  # LND: FAILED, or it certainly never had it; nothing of this part moved
    OVERDUE = "OVERDUE"  # in flight for too long
    REACHED = "REACHED"  # all has moved
    STOPPED = "STOPPED"  # a reason to stop, after some has moved
    STOPPED_EMPTY = "STOPPED_EMPTY"  # the same, before anything has
    CANCELED = "CANCELED"  # asked for before anything has moved
    REFUSED = "REFUSED"  # a channel is none of the node's


_S, _E = RebalanceState, RebalanceEvent

# LND has an attempt, or may have.
WITH_LND = (_S.SENDING, _S.STUCK)

REBALANCE = Lifecycle(
    start=_S.REQUESTED,
    edges=[
        Edge(_S.REQUESTED, _E.REFUSED, _S.REFUSED, "found before anything moved"),
        Edge(_S.REQUESTED, _E.REACHED, _S.MOVED, "the channels are full enough already"),
        Edge(_S.REQUESTED, _E.NEEDS_BUDGET, _S.RESERVING, "its worst case is reserved first"),
        Edge(_S.REQUESTED, _E.ALLOWED, _S.WAITING, "no budget counts it"),
        # Asked for again: what an earlier run has sent is followed before anything else.
        Edge(_S.REQUESTED, _E.DISPATCHED, _S.SENDING, "an earlier run's, found again"),
        Edge(_S.PLANNING, _E.NEEDS_BUDGET, _S.RESERVING, "the rest, after what was found again"),
        Edge(_S.PLANNING, _E.ALLOWED, _S.WAITING, "the rest, after what was found again"),
        Edge(_S.RESERVING, _E.ALLOWED, _S.WAITING, "every budget has room for it"),
        Edge(_S.RESERVING, _E.OVER_BUDGET, _S.OVER_BUDGET, "fails closed"),
        Edge(_S.WAITING, _E.GRANTED, _S.PLANNING, "one writer a channel"),
        Edge(_S.PLANNING, _E.DISPATCHED, _S.SENDING, "one attempt at a time"),
        Edge(_S.PLANNING, _E.REACHED, _S.MOVED, "what is left is less than the smallest part"),
        *(Edge(each, _E.SETTLED, _S.PLANNING, "LND's verdict") for each in WITH_LND),
        *(Edge(each, _E.FAILED, _S.PLANNING, "LND's verdict") for each in WITH_LND),
        Edge(_S.SENDING, _E.OVERDUE, _S.STUCK, "time is no verdict: it is followed as before"),
        *(
            edge
            for each in (_S.RESERVING, _S.WAITING, _S.PLANNING)
            for edge in (
                Edge(each, _E.STOPPED, _S.PARTLY_MOVED, "a reason to stop"),
                Edge(each, _E.STOPPED_EMPTY, _S.NOT_MOVED, "a reason to stop"),
                Edge(each, _E.CANCELED, _S.CANCELED, "nothing has moved"),
            )
        ),
    ],
)


class StopReason(StrEnum):
    """Why it does not go on."""

    REACHED = "REACHED"  # nothing is left to move
    OVER_CAP = "OVER_CAP"  # the cheapest route costs more than the cap allows
    NO_GAIN = "NO_GAIN"  # the cheapest route costs as much as the liquidity will earn
    NO_ROUTE = "NO_ROUTE"  # no route carries even the smallest part
    NO_LIQUIDITY = "NO_LIQUIDITY"  # our own channels have too little on the right side
    ATTEMPTS_SPENT = "ATTEMPTS_SPENT"
    DEADLINE = "DEADLINE"
    NO_TURN = "NO_TURN"  # others had the channels until the deadline
    GAVE_WAY = "GAVE_WAY"  # something urgent, such as a close, wants one of the channels
    CHANNEL_GONE = "CHANNEL_GONE"  # one of them is no longer open
    CANCELED = "CANCELED"
    FEE_ABOVE_CAP = "FEE_ABOVE_CAP"  # LND paid more than it was allowed: look at that node
    LND_REFUSES = "LND_REFUSES"  # LND takes no attempt, in words that we do not know
    OVER_BUDGET = "OVER_BUDGET"


ADVICE: dict[StopReason, str] = {
    StopReason.REACHED: "",
    StopReason.OVER_CAP: "Raise the cap, wait for cheaper days, or swap.",
    StopReason.NO_GAIN: "It would cost what it earns: leave it, or raise the channel's fees.",
    StopReason.NO_ROUTE: "Nobody carries it: other channels, a smaller part, or a swap.",
    StopReason.NO_LIQUIDITY: "Choose channels that have local balance to give, and room to take.",
    StopReason.ATTEMPTS_SPENT: "Allow more attempts, or choose other channels.",
    StopReason.DEADLINE: "Give it more time.",
    StopReason.NO_TURN: "Something else had the channels: look at turns/<node>, and ask again.",
    StopReason.GAVE_WAY: "A channel was wanted urgently: look at its closing.",
    StopReason.CHANNEL_GONE: "A channel is closed or closing: ask again without it.",
    StopReason.CANCELED: "",
    StopReason.FEE_ABOVE_CAP: "LND paid more than it was allowed: read its log before you go on.",
    StopReason.LND_REFUSES: "Read the timeline, and LND's log.",
    StopReason.OVER_BUDGET: "Wait for the budget's next window, or raise it.",
}
