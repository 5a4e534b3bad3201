"""What a ladder does next: one function a rung, from what is known to the event that follows.

Everything that may cost a channel is decided here, and in `due` what is done without a person.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Final

from fulgurite.chain.pace import in_blocks
from fulgurite.payments.requests import Approval, Rejection
from fulgurite.stuck.policy import ForceCloseBy
from fulgurite.stuck.progress import Ladder
from fulgurite.stuck.states import OFF_CHAIN, LadderEvent, LadderState
from fulgurite.stuck.words import where

Move = tuple[LadderEvent, str]


def next_move(ladder: Ladder, at: datetime, *, skips_rungs: bool = False) -> Move | None:
    """What follows from all that is known; None: wait.

    `skips_rungs`: as ladders once did, whose histories are still about.
    """
    if skips_rungs and (move := _skipping(ladder)):
        return move
    if ladder.state in OFF_CHAIN:
        # The chain before the verdict: what was resolved there has a cost to be told.
        if ladder.published():
            return _to_the_chain(ladder)
        if ladder.verdict:
            return LadderEvent.VERDICT, ladder.verdict.status
        if ladder.unknown and not ladder.stakes:
            return LadderEvent.REFUSED, "this node does not know the payment"
    rung = _RUNGS.get(ladder.state)
    return rung(ladder, at) if rung else None


def due(ladder: Ladder, at: datetime) -> Move | None:
    """Whether the policy orders the force close now; see `Ladder.due`."""
    tip, points = ladder.tip, ladder.due(at)
    if tip is None or not points or tip.height <= ladder.ordered_at_height:
        return None  # or the last order came to nothing at this very height
    if ladder.policy.after_seconds is not None:
        return LadderEvent.DUE, "the peer is away for too long"
    blocks = min(ladder.stakes[point].expiry_height for point in points) - tip.height
    return LadderEvent.DUE, f"{in_blocks(blocks)} before its expiry"


def _looking(ladder: Ladder, _: datetime) -> Move | None:
    return (LadderEvent.HUNG, where(ladder)) if ladder.stakes else None


def _reconnecting(ladder: Ladder, at: datetime) -> Move | None:
    if move := _decided(ladder) or due(ladder, at):
        return move
    if at < ladder.entered_at + timedelta(seconds=ladder.policy.reconnect_seconds):
        return None
    if ladder.policy.force_close_by is ForceCloseBy.PERSON:
        return LadderEvent.OVERSTAYED, "a person is asked for the force close"
    return LadderEvent.NOT_ASKED, "LND goes to the chain when the HTLC expires"


def _waiting(ladder: Ladder, at: datetime) -> Move | None:
    return _decided(ladder) or due(ladder, at)


def _awaiting_approval(ladder: Ladder, _: datetime) -> Move | None:
    return _decided(ladder)


def _closing(ladder: Ladder, _: datetime) -> Move | None:
    if ladder.published():
        return _to_the_chain(ladder)
    if ladder.called_off():
        views = [ladder.closes[point] for point in ladder.ordered]
        return LadderEvent.CALLED_OFF, "; ".join(str(view.state) for view in views)
    return None


def _confirming(ladder: Ladder, _: datetime) -> Move | None:
    # A verdict by the chain comes after that, whoever hears of which first.
    if ladder.confirmed():
        return LadderEvent.CONFIRMED, "the commitment is in a block"
    return None


def _maturing(ladder: Ladder, _: datetime) -> Move | None:
    if ladder.taken_back():
        return LadderEvent.REORGED, "the block of the commitment was taken back"
    if ladder.unknown and ladder.swept():
        return LadderEvent.SWEPT, "and LND has forgotten the payment"
    return _verdict(ladder)


def _sweeping(ladder: Ladder, _: datetime) -> Move | None:
    outcome = ladder.outcome()
    if outcome is None or not outcome.complete:
        return None
    return LadderEvent.SWEPT, f"it cost {outcome.cost_sat:,} sat on chain"


_RUNGS: Final[Mapping[LadderState, Callable[[Ladder, datetime], Move | None]]] = {
    LadderState.LOOKING: _looking,
    LadderState.RECONNECTING: _reconnecting,
    LadderState.AWAITING_APPROVAL: _awaiting_approval,
    LadderState.WAITING: _waiting,
    LadderState.CLOSING: _closing,
    LadderState.CONFIRMING: _confirming,
    LadderState.MATURING: _maturing,
    LadderState.SWEEPING: _sweeping,
}


def _decided(ladder: Ladder) -> Move | None:
    match ladder.decision:
        case Approval(approver=who, note=note):
            return LadderEvent.APPROVED, f"by {who} {note}".rstrip()
        case Rejection(approver=who, reason=why):
            return LadderEvent.REJECTED, f"by {who} {why}".rstrip()
        case None:
            return None


def _to_the_chain(ladder: Ladder) -> Move:
    """Rung by rung, also where a block was faster than we: one story, however busy the machine."""
    return LadderEvent.PUBLISHED, f"a channel is being closed {_by_whom(ladder)}"


def _skipping(ladder: Ladder) -> Move | None:
    """What was seen late, by ladders that began before there was this rule."""
    if ladder.state in {*OFF_CHAIN, LadderState.CLOSING} and ladder.confirmed():
        return LadderEvent.CONFIRMED, f"a channel was closed {_by_whom(ladder)}"
    if ladder.state is LadderState.CONFIRMING and not ladder.confirmed():
        return _verdict(ladder)
    return None


def _by_whom(ladder: Ladder) -> str:
    by_us = any(point in ladder.ordered for point in ladder.published())
    return "by our order" if by_us else "and not by our order"


def _verdict(ladder: Ladder) -> Move | None:
    return (LadderEvent.VERDICT, ladder.verdict.status) if ladder.verdict else None
