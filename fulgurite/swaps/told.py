"""What loopd says of a swap."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from fulgurite.identity import PaymentHash
from fulgurite.model import Line, Model
from fulgurite.swaps.limits import Cost, Direction
from fulgurite.swaps.reasons import NOT_FINAL, SwapReason
from fulgurite.swaps.states import SwapEvent


class LoopState(StrEnum):
    """loopd's own word."""

    INITIATED = "INITIATED"
    PREIMAGE_REVEALED = "PREIMAGE_REVEALED"
    HTLC_PUBLISHED = "HTLC_PUBLISHED"
    INVOICE_SETTLED = "INVOICE_SETTLED"
    SUCCESS = "SUCCESS"
    FAILED = "FAILED"


class LoopSwap(Model):
    """One swap as loopd lists it at one moment."""

    swap_hash: PaymentHash = Field(description="the payment hash that both sides hang on")
    direction: Direction
    label: str
    amount_sat: int
    state: LoopState
    reason: SwapReason = SwapReason.NONE
    cost: Cost = Cost()
    htlc_address: Line = ""
    initiated_at: datetime
    updated_at: datetime

    @property
    def final(self) -> bool:
        """Whether loopd has said its last word."""
        failed = self.state is LoopState.FAILED and self.reason not in NOT_FINAL
        return self.state is LoopState.SUCCESS or failed

    @property
    def event(self) -> SwapEvent:
        """What its state means for the lifecycle."""
        if self.state is not LoopState.FAILED:
            return _EVENTS[self.state]
        if self.reason in NOT_FINAL:
            return SwapEvent.STALLED
        abandoned = self.reason is SwapReason.ABANDONED
        return SwapEvent.ABANDONED if abandoned else SwapEvent.FAILED


_EVENTS = {
    LoopState.INITIATED: SwapEvent.FOUND,
    LoopState.PREIMAGE_REVEALED: SwapEvent.REVEALED,
    LoopState.HTLC_PUBLISHED: SwapEvent.PUBLISHED,
    LoopState.INVOICE_SETTLED: SwapEvent.PAID,
    LoopState.SUCCESS: SwapEvent.SUCCEEDED,
}


class Sighting(Model):
    """What loopd has under a workflow's labels, and how much it has that it does not list.

    loopd lists from memory and counts in its database. What is stored and not listed is an
    orphan, its own or somebody else's: it begins to run when loopd starts again.
    """

    swaps: tuple[LoopSwap, ...] = Field(default=(), description="oldest first")
    unlisted: int = Field(default=0, description="stored swaps of this direction, not listed")

    @property
    def why_not_begin(self) -> str:
        """Why none may be begun, though none of ours is listed; empty: none of ours is there."""
        if not self.unlisted:
            return ""
        return (
            f"loopd has stored {self.unlisted} swap(s) that it does not list: restart it, and "
            "what it then lists is found"
        )
