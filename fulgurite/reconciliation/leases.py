"""poold's bids, channels and accounts, against the workflows of leases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from fulgurite.leases.market import OVER, Account, AccountState, Bid, LeasedChannel
from fulgurite.leases.receipts import LeaseCost, LeaseReceipt, LeaseView
from fulgurite.leases.states import IN_THE_MARKET, LeaseState
from fulgurite.reconciliation.comparing import Execution
from fulgurite.reconciliation.differences import DifferenceKind
from fulgurite.reconciliation.saying import Said

# Some three days: time for a person to renew an account, or to close it.
SOON_BLOCKS: Final = 432

_K = DifferenceKind
# poold has said that it has the bid.
_WITH_POOLD: Final = frozenset({LeaseState.MATCHED, LeaseState.CHANNEL_OPENING, LeaseState.LEASED})
_NEEDS_ACCOUNT: Final = frozenset({LeaseState.ACCOUNT_OPENING, *IN_THE_MARKET})
_HAS_MONEY: Final = frozenset(
    {AccountState.OPEN, AccountState.EXPIRED, AccountState.PENDING_UPDATE}
)


@dataclass(frozen=True)
class AtPool:
    """What poold has under the mark of one lease."""

    bids: Sequence[Bid] = ()
    channels: Sequence[LeasedChannel] = ()

    @property
    def live(self) -> bool:
        """Whether a bid of it may still be matched."""
        return any(bid.state not in OVER for bid in self.bids)

    @property
    def leased_sat(self) -> int:
        return sum(channel.amount_sat for channel in self.channels)

    def __str__(self) -> str:
        if not self.bids:
            return "unknown"
        cost = LeaseCost.of(self.channels)
        states = ", ".join(bid.state for bid in self.bids)
        return f"{states}, {_sum(self.leased_sat, cost)}"


def compare_lease(ours: Said[LeaseReceipt], theirs: AtPool) -> DifferenceKind | None:
    """What the two differ in; None when they agree, or are about to."""
    if ours.by_force:
        # What was won is paid for, and somebody was to be told.
        return _K.UNFOLLOWED_LEASE if theirs.live or theirs.channels else None
    if ours.execution is Execution.RUNNING:
        unknown = ours.state in _WITH_POOLD and not theirs.bids
        return _K.UNKNOWN_TO_NODE if unknown else None
    receipt = ours.receipt
    if receipt is None:
        return None
    if theirs.live:
        return _K.STATE_DIFFERS
    if receipt.leased_sat != theirs.leased_sat:
        return _K.AMOUNT_DIFFERS
    return None if receipt.cost == LeaseCost.of(theirs.channels) else _K.COST_DIFFERS


def looks_after(lease: LeaseView, account: Account) -> bool:
    """Whether it renews this account, should it need to: its terms must let it.

    One that waits for a person does nothing, and one that has its channels needs no account.
    """
    terms = lease.request.account
    chosen = lease.account.key if lease.account else terms.key
    may = terms.fee_sat_per_vbyte is not None and chosen in {None, account.key}
    return may and lease.state in _NEEDS_ACCOUNT


def expires_soon(account: Account, height: int) -> bool:
    """Whether money is in it that nobody can bid with in some days, or now."""
    return account.state in _HAS_MONEY and account.expiry_height - height <= SOON_BLOCKS


def our_words(ours: Said[LeaseReceipt]) -> str:
    receipt = ours.receipt
    return ours.words(_sum(receipt.leased_sat, receipt.cost) if receipt else "")


def account_words(account: Account, height: int) -> str:
    left = account.expiry_height - height
    when = f"ends in {left:,} blocks" if left > 0 else f"ended {-left:,} blocks ago"
    return f"{account.state}, {account.value_sat:,} sat, {when}"


def _sum(leased_sat: int, cost: LeaseCost) -> str:
    return f"{leased_sat:,} sat leased for {cost.total_sat:,} sat"
