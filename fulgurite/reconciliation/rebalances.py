"""What LND has paid to itself for a rebalance, against the receipt of its workflow."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from fulgurite.money import Msat
from fulgurite.rebalances.receipts import RebalanceReceipt
from fulgurite.reconciliation.comparing import Execution
from fulgurite.reconciliation.differences import DifferenceKind
from fulgurite.reconciliation.saying import Said

_K = DifferenceKind


@dataclass(frozen=True)
class Moved:
    """The attempts of one rebalance that have settled, by LND's books."""

    parts: int
    amount: Msat
    fee: Msat | None  # None: LND has deleted one of the payments, and its fee with it
    last_at: datetime

    def __str__(self) -> str:
        fee = "a fee that LND has deleted" if self.fee is None else str(self.fee)
        return _sum(self.parts, self.amount, fee)


def compare_rebalance(ours: Said[RebalanceReceipt] | None, theirs: Moved) -> DifferenceKind | None:
    """What the two differ in; None when they agree, or are about to.

    `ours` None: no workflow is known, and of what has settled one would have to be.
    """
    if ours is None or ours.by_force:
        return _K.UNFOLLOWED_REBALANCE
    receipt = ours.receipt
    if ours.execution is Execution.RUNNING or receipt is None:
        return None  # it asks LND itself before it ends
    if (receipt.parts, receipt.moved_msat) != (theirs.parts, theirs.amount):
        return _K.AMOUNT_DIFFERS
    return _K.COST_DIFFERS if theirs.fee not in {None, receipt.fee_msat} else None


def our_words(ours: Said[RebalanceReceipt] | None) -> str:
    if ours is None:
        return "no workflow"
    receipt = ours.receipt
    return ours.words(
        _sum(receipt.parts, receipt.moved_msat, str(receipt.fee_msat)) if receipt else ""
    )


def _sum(parts: int, amount: Msat, fee: str) -> str:
    return f"{amount} in {parts:,} part{'' if parts == 1 else 's'} for {fee}"
