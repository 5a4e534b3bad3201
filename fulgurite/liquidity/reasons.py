"""Why a channel's line in a plan says what it says: a code for programs, a sentence for people."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class Reason(StrEnum):
    """One for every action, and one for every non-action."""

    # What is done, and why.
    LOCAL_LOW = "LOCAL_LOW"
    REMOTE_LOW = "REMOTE_LOW"
    DRY_SOON = "DRY_SOON"
    FULL_SOON = "FULL_SOON"
    NODE_BELOW_TARGET = "NODE_BELOW_TARGET"
    NODE_ABOVE_TARGET = "NODE_ABOVE_TARGET"
    PAYMENT_WAITS = "PAYMENT_WAITS"

    # Nothing is wanted.
    BALANCED = "BALANCED"
    PEER_BALANCED = "PEER_BALANCED"
    NODE_AT_TARGET = "NODE_AT_TARGET"
    OTHER_CHOSEN = "OTHER_CHOSEN"
    IS_PARTNER = "IS_PARTNER"
    TOO_SMALL = "TOO_SMALL"

    # Something is wanted, and must not be done now.
    IGNORED = "IGNORED"
    INACTIVE = "INACTIVE"
    IN_FLIGHT = "IN_FLIGHT"
    BACKING_OFF = "BACKING_OFF"
    JUST_MOVED = "JUST_MOVED"
    LEASED = "LEASED"
    TOO_MANY_IN_FLIGHT = "TOO_MANY_IN_FLIGHT"
    NOT_APPROVED = "NOT_APPROVED"

    # Something is wanted, and cannot be had.
    NO_REMEDY = "NO_REMEDY"
    NOT_CONFIGURED = "NOT_CONFIGURED"
    NO_PARTNER = "NO_PARTNER"
    NO_QUOTE = "NO_QUOTE"

    # Something is wanted, and costs too much.
    TOO_EXPENSIVE = "TOO_EXPENSIVE"
    NOT_WORTH_IT = "NOT_WORTH_IT"
    OVER_BUDGET = "OVER_BUDGET"
    BUDGET_UNKNOWN = "BUDGET_UNKNOWN"


_R = Reason

# The reasons to move liquidity. All the others are reasons not to.
WANTED: Final = frozenset(
    {
        *(_R.LOCAL_LOW, _R.REMOTE_LOW, _R.DRY_SOON, _R.FULL_SOON),
        *(_R.NODE_BELOW_TARGET, _R.NODE_ABOVE_TARGET, _R.PAYMENT_WAITS),
    }
)

MEANS: Final[dict[Reason, str]] = {
    _R.LOCAL_LOW: "our side is below its trigger: it is filled",
    _R.REMOTE_LOW: "the peer's side is below its trigger: room to receive is made",
    _R.DRY_SOON: "by its flows our side is used up within `ahead_hours`: it is filled before",
    _R.FULL_SOON: "by its flows the peer's side is used up within `ahead_hours`: room is made",
    _R.NODE_BELOW_TARGET: "easy mode: the node has less than its target, and gets it here",
    _R.NODE_ABOVE_TARGET: "easy mode: the node has more than its target, and gives it here",
    _R.PAYMENT_WAITS: "a payment waits that cannot be sent for want of balance: our side is filled "
    "for it",
    _R.BALANCED: "both sides are above their triggers: nothing is wanted",
    _R.PEER_BALANCED: "all channels with this peer together are above their triggers",
    _R.NODE_AT_TARGET: "easy mode: the node has what it should have, near enough",
    _R.OTHER_CHOSEN: "something is wanted, and another channel of the same peer or node gets it",
    _R.IS_PARTNER: "the other end of another channel's rebalance, in this plan",
    _R.TOO_SMALL: "less than `min_move_sat` is wanted, or has room",
    _R.IGNORED: "its rule says to leave it alone",
    _R.INACTIVE: "the peer is away: nothing passes",
    _R.IN_FLIGHT: "a remedy is under way on it, or may be: one at a time",
    _R.BACKING_OFF: "its last remedy failed less than `backoff_hours` ago",
    _R.JUST_MOVED: "liquidity was moved the other way less than `backoff_hours` ago",
    _R.LEASED: "room was leased for it less than `backoff_hours` ago; or it is such room itself, "
    "which is not filled before its term is over",
    _R.TOO_MANY_IN_FLIGHT: "`max_in_flight` remedies are under way on the node",
    _R.NOT_APPROVED: "a person approved other moves of the plan, and not this one",
    _R.NO_REMEDY: "the policy allows no remedy for what is wanted",
    _R.NOT_CONFIGURED: "the remedies that would do are not configured for this node",
    _R.NO_PARTNER: "no other channel can give, or take, without needing a remedy itself",
    _R.NO_QUOTE: "no remedy could be priced: what has no price is not bought",
    _R.TOO_EXPENSIVE: "the cheapest remedy costs more than `max_fee_ppm` or `max_fee_sat`",
    _R.NOT_WORTH_IT: "doing nothing is cheaper: the forecast income is below the price",
    _R.OVER_BUDGET: "the budget has not enough left for the worst case",
    _R.BUDGET_UNKNOWN: "the budget cannot be read: nothing is spent",
}
