"""Where a lease stands, and why it moves."""

from __future__ import annotations

from enum import StrEnum

from fulgurite.lifecycle import Edge, Lifecycle


class LeaseState(StrEnum):
    """From the question to the end of the term."""

    QUOTING = "QUOTING"  # poold is asked what it can cost; nothing has moved
    AWAITING_APPROVAL = "AWAITING_APPROVAL"  # a person is asked; nothing has moved
    ACCOUNT_OPENING = "ACCOUNT_OPENING"  # an account is looked for, opened, or renewed
    BIDDING = "BIDDING"  # the bid is with poold, or may be; nothing is matched
    MATCHED = "MATCHED"  # a batch has it, whose channels are not told yet
    CHANNEL_OPENING = "CHANNEL_OPENING"  # it is paid for, and its channels wait for blocks
    LEASED = "LEASED"  # every channel that it has won is open, until its height
    TERM_ENDED = "TERM_ENDED"  # the term is over; a channel may stay open, and may now be closed
    CLOSED_EARLY = "CLOSED_EARLY"  # its channels were closed before their term was over
    EXPIRED = "EXPIRED"  # time ran out, and nothing was won
    CANCELED = "CANCELED"  # called off, and nothing was won
    REJECTED = "REJECTED"  # a person said no; nothing has moved
    REFUSED = "REFUSED"  # limits, funds, poold or the auctioneer do not let it; no bid is out
    FAILED = "FAILED"  # poold gave the bid up, and nothing was won


class LeaseEvent(StrEnum):
    """What moves it."""

    NEEDS_APPROVAL = "NEEDS_APPROVAL"  # it can cost more than a threshold
    QUOTED = "QUOTED"  # within every limit
    APPROVED = "APPROVED"  # a person said yes
    REJECTED = "REJECTED"  # a person said no
    READY = "READY"  # an account is there that can pay
    SHORT = "SHORT"  # another order has taken what the account had, before ours was made
    MATCHED = "MATCHED"  # poold says that a batch has the bid
    UNMATCHED = "UNMATCHED"  # the batch was dropped: the bid is in the book again
    FUNDED = "FUNDED"  # poold tells which channels it has won
    OPENED = "OPENED"  # the bid is over, and all that it has won is open
    TERM_ENDED = "TERM_ENDED"  # the last channel's height has come
    CLOSED_EARLY = "CLOSED_EARLY"  # no channel of it is open any more
    LAPSED = "LAPSED"  # the deadline, or nobody answered in time
    CANCELED = "CANCELED"  # called off
    REFUSED = "REFUSED"  # it cannot be
    FAILED = "FAILED"  # poold: FAILED, and nothing was won


_S, _E = LeaseState, LeaseEvent

# No bid of it is with poold for certain.
BEFORE_THE_BID = (_S.QUOTING, _S.AWAITING_APPROVAL, _S.ACCOUNT_OPENING)
# poold has the bid, or may have it.
IN_THE_MARKET = (_S.BIDDING, _S.MATCHED, _S.CHANNEL_OPENING)

LEASE = Lifecycle(
    start=_S.QUOTING,
    edges=[
        Edge(_S.QUOTING, _E.NEEDS_APPROVAL, _S.AWAITING_APPROVAL, "above a threshold"),
        Edge(_S.QUOTING, _E.QUOTED, _S.ACCOUNT_OPENING, "within every limit"),
        Edge(_S.AWAITING_APPROVAL, _E.APPROVED, _S.ACCOUNT_OPENING, "a person said yes"),
        Edge(_S.AWAITING_APPROVAL, _E.REJECTED, _S.REJECTED, "a person said no"),
        Edge(_S.ACCOUNT_OPENING, _E.READY, _S.BIDDING, "an account can pay"),
        *(
            Edge(each, event, target, "before there was a bid")
            for each in BEFORE_THE_BID
            for event, target in (
                (_E.LAPSED, _S.EXPIRED),
                (_E.CANCELED, _S.CANCELED),
                (_E.REFUSED, _S.REFUSED),
            )
        ),
        # The same key asked again, after its workflow was ended by force: poold knows the bid.
        Edge(_S.QUOTING, _E.READY, _S.BIDDING, "poold has this lease's bid already"),
        Edge(_S.BIDDING, _E.SHORT, _S.ACCOUNT_OPENING, "poold has no bid, and has said why"),
        Edge(_S.BIDDING, _E.MATCHED, _S.MATCHED, "a batch has it"),
        Edge(_S.BIDDING, _E.FUNDED, _S.CHANNEL_OPENING, "seen late"),
        # What a bid has won, it keeps: these only where it has won nothing.
        Edge(_S.BIDDING, _E.LAPSED, _S.EXPIRED, "taken back at its deadline"),
        Edge(_S.BIDDING, _E.CANCELED, _S.CANCELED, "taken back"),
        Edge(_S.BIDDING, _E.REFUSED, _S.REFUSED, "poold or the auctioneer did not take it"),
        Edge(_S.BIDDING, _E.FAILED, _S.FAILED, "poold has given it up"),
        Edge(_S.MATCHED, _E.UNMATCHED, _S.BIDDING, "its batch was dropped"),
        Edge(_S.MATCHED, _E.FUNDED, _S.CHANNEL_OPENING, "its channels are known"),
        Edge(_S.CHANNEL_OPENING, _E.OPENED, _S.LEASED, "LND has them open"),
        Edge(_S.CHANNEL_OPENING, _E.CLOSED_EARLY, _S.CLOSED_EARLY, "gone before they were used"),
        Edge(_S.LEASED, _E.TERM_ENDED, _S.TERM_ENDED, "its height has come"),
        Edge(_S.LEASED, _E.CLOSED_EARLY, _S.CLOSED_EARLY, "somebody closed them"),
    ],
)


class Refusal(StrEnum):
    """Why a lease could not be."""

    NONE = "NONE"
    NO_MARKET = "NO_MARKET"  # Pool has no market for that duration
    ABOVE_COST_LIMIT = "ABOVE_COST_LIMIT"  # it can cost more than `max_cost_sat`
    NO_ACCOUNT = "NO_ACCOUNT"  # none will do, and none may be opened or renewed
    INSUFFICIENT_FUNDS = "INSUFFICIENT_FUNDS"  # the account or the wallet has too little
    OVER_BUDGET = "OVER_BUDGET"  # a budget has no room for it
    NOT_TAKEN = "NOT_TAKEN"  # poold or the auctioneer refused it, in words of their own


class LeaseTrouble(StrEnum):
    """What wants a person, while the lease goes on by itself."""

    AWAITING_APPROVAL = "AWAITING_APPROVAL"  # it can cost more than a threshold
    ACCOUNT_EXPIRES = "ACCOUNT_EXPIRES"  # the bid's account ends soon, and nothing renews it
    NOT_CONNECTED = "NOT_CONNECTED"  # poold has had no auctioneer for a while: nothing is matched


ADVICE: dict[Refusal, str] = {
    Refusal.NONE: "",
    Refusal.NO_MARKET: "choose a duration that Pool lists: `pool auction leasedurations`",
    Refusal.ABOVE_COST_LIMIT: "raise max_cost_sat, or bid less, for shorter, or at a lower rate",
    Refusal.NO_ACCOUNT: "give account.open_with_sat and account.fee_sat_per_vbyte",
    Refusal.INSUFFICIENT_FUNDS: "bid less, open an account with more, or fund the node's wallet",
    Refusal.OVER_BUDGET: "wait for the budget's next window, or raise it",
    Refusal.NOT_TAKEN: "read the words, and poold's log",
}
