"""Why a swap did not come about, and what to do about it."""

from __future__ import annotations

from enum import StrEnum


class SwapReason(StrEnum):
    """The first ones are loopd's of a swap that it has; the others are of one that never began."""

    NONE = "NONE"
    OFFCHAIN = "OFFCHAIN"
    TIMEOUT = "TIMEOUT"
    SWEEP_TIMEOUT = "SWEEP_TIMEOUT"
    INSUFFICIENT_VALUE = "INSUFFICIENT_VALUE"
    TEMPORARY = "TEMPORARY"
    INCORRECT_AMOUNT = "INCORRECT_AMOUNT"
    ABANDONED = "ABANDONED"
    INSUFFICIENT_CONFIRMED_BALANCE = "INSUFFICIENT_CONFIRMED_BALANCE"
    INCORRECT_HTLC_AMT_SWEPT = "INCORRECT_HTLC_AMT_SWEPT"

    AMOUNT_TOO_LOW = "AMOUNT_TOO_LOW"
    AMOUNT_TOO_HIGH = "AMOUNT_TOO_HIGH"
    SWAP_FEE_LIMIT = "SWAP_FEE_LIMIT"
    PREPAY_LIMIT = "PREPAY_LIMIT"
    MINER_FEE_LIMIT = "MINER_FEE_LIMIT"
    ROUTING_LIMIT = "ROUTING_LIMIT"
    TOTAL_LIMIT = "TOTAL_LIMIT"
    CHANNEL_BALANCE = "CHANNEL_BALANCE"
    WALLET_BALANCE = "WALLET_BALANCE"
    UNKNOWN_CHANNEL = "UNKNOWN_CHANNEL"
    OVER_BUDGET = "OVER_BUDGET"
    UNLISTED = "UNLISTED"
    KEY_REUSED = "KEY_REUSED"
    SERVER_REFUSED = "SERVER_REFUSED"
    LOOPD_REFUSED = "LOOPD_REFUSED"


# loopd calls these failures, and takes the swap up again: after a restart, or when the missing
# part is paid.
NOT_FINAL = frozenset({SwapReason.TEMPORARY, SwapReason.INCORRECT_AMOUNT})

ADVICE: dict[SwapReason, str] = {
    SwapReason.NONE: "",
    SwapReason.OFFCHAIN: "No route to the server within the limits: raise the routing limits, name "
    "other channels, or swap less at once. Nothing is lost but a prepayment that went through.",
    SwapReason.TIMEOUT: "The HTLC did not confirm in time. Out: the payment comes back, the "
    "prepayment may be lost. In: loopd takes the coins back; look at its sweep.",
    SwapReason.SWEEP_TIMEOUT: "The sweep was not confirmed before the HTLC expired: the server may "
    "have taken both sides. Read loopd's log, raise fees earlier, and ask the server.",
    SwapReason.INSUFFICIENT_VALUE: "The server offered less on chain than agreed, and was not "
    "paid. Tell whoever runs it.",
    SwapReason.TEMPORARY: "loopd cannot go on until it is restarted: read its log, restart it; the "
    "swap is followed meanwhile.",
    SwapReason.INCORRECT_AMOUNT: "The HTLC was paid with another amount: loopd takes it back after "
    "its expiry. Pay the exact amount, or none.",
    SwapReason.ABANDONED: "If its HTLC was published, loopd does not take it back: sweep it by "
    "hand.",
    SwapReason.INSUFFICIENT_CONFIRMED_BALANCE: "The wallet has too few confirmed coins for the "
    "HTLC: wait for confirmations, or swap less.",
    SwapReason.INCORRECT_HTLC_AMT_SWEPT: "The HTLC of a wrong amount was taken back: pay the exact "
    "amount next time.",
    SwapReason.AMOUNT_TOO_LOW: "Swap at least the server's minimum; `fulgurite swap out --dry-run` "
    "tells it.",
    SwapReason.AMOUNT_TOO_HIGH: "Swap at most the server's maximum at once: a sequence splits it.",
    SwapReason.SWAP_FEE_LIMIT: "The server asks for more: raise the swap fee limit, or wait.",
    SwapReason.PREPAY_LIMIT: "The server wants a larger prepayment: raise its limit, or wait.",
    SwapReason.MINER_FEE_LIMIT: "The chain is dear: raise the miner fee limit, or the total, "
    "which covers it twice for a Loop In; give a longer confirmation target, or wait.",
    SwapReason.ROUTING_LIMIT: "Raise the routing limit, or name other channels.",
    SwapReason.TOTAL_LIMIT: "All limits together are above the total: raise it, or lower the "
    "others.",
    SwapReason.CHANNEL_BALANCE: "The channels cannot send this much: swap less, or name others.",
    SwapReason.WALLET_BALANCE: "The wallet has too few coins for the HTLC: swap less.",
    SwapReason.UNKNOWN_CHANNEL: "The node has no such open channel: list them with "
    "`fulgurite channel list`.",
    SwapReason.OVER_BUDGET: "The budget is spent: wait for its next window, or raise it.",
    SwapReason.UNLISTED: "loopd has stored a swap that it does not list, and it can be this one: "
    "restart loopd. Until it lists all that it has, nothing is begun.",
    SwapReason.KEY_REUSED: "loopd has another swap under this key: take a new key.",
    SwapReason.SERVER_REFUSED: "The swap server said no: its words are in the timeline.",
    SwapReason.LOOPD_REFUSED: "loopd said no: its words are in the timeline.",
}
