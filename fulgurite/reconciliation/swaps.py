"""loopd's swaps against their workflows: what a pair that does not agree is called."""

from __future__ import annotations

import re
from typing import Final

from fulgurite.invoices.requests import Key
from fulgurite.reconciliation.comparing import Execution
from fulgurite.reconciliation.differences import DifferenceKind
from fulgurite.reconciliation.saying import Said
from fulgurite.swaps.limits import Cost
from fulgurite.swaps.reasons import SwapReason
from fulgurite.swaps.receipts import SwapReceipt
from fulgurite.swaps.states import SWAP, UNDER_WAY, SwapState
from fulgurite.swaps.told import LoopSwap

# `swap/<key>#<attempt>`, as our workflows label what they begin.
_LABEL: Final = re.compile(r"swap/(?P<key>[A-Za-z0-9][A-Za-z0-9._:@-]{0,99})#\d{1,9}")
_K = DifferenceKind
# A person has been told that nothing has moved.
_ASKED: Final = frozenset({SwapState.PAUSED, SwapState.AWAITING_APPROVAL})


def key_of(label: str) -> Key | None:
    """Of a swap of ours; None: it is somebody else's."""
    ours = _LABEL.fullmatch(label)
    return ours["key"] if ours else None


def compare_swap(ours: Said[SwapReceipt] | None, theirs: LoopSwap) -> DifferenceKind | None:
    """What the two differ in; None when they agree, or are about to.

    `ours` None: no workflow is known, and of this swap one would have to be.
    """
    if ours is None or ours.by_force:
        return _K.UNFOLLOWED_SWAP
    if ours.execution is Execution.RUNNING:
        return _running(ours.state, theirs)
    receipt = ours.receipt
    if receipt is None or _says_so_itself(receipt, theirs):
        return None
    if receipt.swap_hash != theirs.swap_hash or not _same_end(receipt, theirs):
        return _K.STATE_DIFFERS
    if receipt.amount_sat != theirs.amount_sat:
        return _K.AMOUNT_DIFFERS
    return None if receipt.cost == theirs.cost else _K.COST_DIFFERS


def _says_so_itself(receipt: SwapReceipt, theirs: LoopSwap) -> bool:
    """More than one was begun; or the key was another request's, whose swap has ended."""
    reused = receipt.reason is SwapReason.KEY_REUSED and theirs.final
    return reused or theirs.swap_hash in receipt.others


def _running(state: str, theirs: LoopSwap) -> DifferenceKind | None:
    if state in _ASKED:
        return _K.STATE_DIFFERS
    # One that has heard it may still have its budgets to tell.
    waits = state not in SWAP.terminal
    return _K.STALE_SWAP if waits and theirs.final else None


def _same_end(receipt: SwapReceipt, theirs: LoopSwap) -> bool:
    """Whether loopd has ended it as we say: its last words are named as our ends are."""
    return theirs.final and receipt.status.value == theirs.event.value


def expects_swap(ours: Said[SwapReceipt]) -> bool:
    """Whether loopd must list it: it has said that it has it."""
    return ours.execution is Execution.RUNNING and ours.state in UNDER_WAY


def our_words(ours: Said[SwapReceipt] | None) -> str:
    if ours is None:
        return "no workflow"
    receipt = ours.receipt
    return ours.words(_sum(receipt.amount_sat, receipt.cost) if receipt else "")


def loopds_words(theirs: LoopSwap) -> str:
    return f"{theirs.state}, {_sum(theirs.amount_sat, theirs.cost)}"


def _sum(amount_sat: int, cost: Cost) -> str:
    return (
        f"{amount_sat:,} sat for {cost.total_sat:,} sat (server {cost.server_sat:,}, chain "
        f"{cost.on_chain_sat:,}, routing {cost.off_chain_sat:,})"
    )
