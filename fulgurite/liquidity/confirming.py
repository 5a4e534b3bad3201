"""A plan once more, at the moment when its moves are begun: what no longer holds is left out.

Between the two a person may have thought for days, and other plans may have begun theirs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from fulgurite.identity import ChannelId, ChannelPoint
from fulgurite.liquidity.calls import Asking
from fulgurite.liquidity.needs import Judgement, Want, room
from fulgurite.liquidity.plans import ChannelLine, Move
from fulgurite.liquidity.pricing import Purse
from fulgurite.liquidity.reasons import Reason
from fulgurite.money import MSAT_PER_SAT

_Verdict = tuple[Reason, str]


def confirmed(
    lines: Iterable[ChannelLine],
    judgement: Judgement,
    purse: Purse,
    only: Sequence[ChannelId] = (),
) -> tuple[ChannelLine, ...]:
    """The lines, with the moves that are wanted yet and within every limit of now.

    `judgement` and `purse` are of now. `only`: the channels that a person named; none: all.
    """
    lines = tuple(lines)
    wants = {want.holding.channel_point: want for want in judgement.wants}
    pressing = {point: place for place, point in enumerate(wants)}
    moves = [(line, line.move) for line in lines if line.move]
    moves.sort(key=lambda each: pressing.get(each[0].channel_point, len(pressing)))
    slots = judgement.policy.max_in_flight - len(judgement.memory.under_way())
    left_msat = purse.left_msat
    dropped: dict[ChannelPoint, _Verdict] = {}
    spared: set[ChannelPoint] = set()
    for line, move in moves:
        point = line.channel_point
        verdict = _not_approved(line, only) or (
            _not_wanted(line, move, judgement, wants.get(point))
            or _beyond_limits(move, purse, left_msat, slots, judgement)
        )
        if verdict:
            dropped[point] = verdict
            spared |= {move.partner} if move.partner else set()
            continue
        slots -= 1
        if left_msat is not None:
            left_msat -= move.limit_msat
    return tuple(_written(line, dropped.get(line.channel_point), spared) for line in lines)


def not_asked_yet(
    lines: Iterable[ChannelLine], asking: Iterable[Asking]
) -> tuple[ChannelLine, ...]:
    """The lines, without the moves whose peer is asked about already, for the same need."""
    # Who asks first counts: others may be about to give way themselves.
    latest_first = sorted(asking, key=lambda each: each.asks_since, reverse=True)
    by = {(each.peer, each.need): each.plan for each in latest_first}
    return tuple(
        without(line, Reason.IN_FLIGHT, f"{plan} waits for a person's word on it")
        if line.move and (plan := by.get((line.peer, line.move.need)))
        else line
        for line in lines
    )


def without(line: ChannelLine, reason: Reason, words: str) -> ChannelLine:
    """The line of a channel whose move is not begun."""
    update = {"move": None, "reason": reason, "words": words, "local_after_sat": line.local_sat}
    return line.model_copy(update=update)


def _written(line: ChannelLine, verdict: _Verdict | None, spared: set[ChannelPoint]) -> ChannelLine:
    if verdict:
        return without(line, *verdict)
    if line.channel_point in spared:
        return without(line, line.reason, f"{line.words}: left out")
    return line


def _not_approved(line: ChannelLine, only: Sequence[ChannelId]) -> _Verdict | None:
    if only and line.channel_id not in only:
        return Reason.NOT_APPROVED, "a person approved other moves"
    return None


def _not_wanted(
    line: ChannelLine, move: Move, judgement: Judgement, want: Want | None
) -> _Verdict | None:
    """What would be said of the channel now; a price is not asked for again."""
    if want is None:
        gone = Reason.INACTIVE, "the channel is no more"
        return judgement.settled.get(line.channel_point, gone)
    if want.need is not move.need:
        return Reason.JUST_MOVED, f"by now it is the other side that is short: {want.words}"
    if (room_sat := room(want.holding, want.need)) < move.amount_sat:
        return Reason.TOO_SMALL, f"{want.words}; by now there is room for {room_sat:,} sat"
    if move.partner and not judgement.is_still_partner(move.partner, want, move.amount_sat):
        return Reason.NO_PARTNER, f"{want.words}; {move.partner_id} has a part in it no more"
    return None


def _beyond_limits(
    move: Move, purse: Purse, left_msat: int | None, slots: int, judgement: Judgement
) -> _Verdict | None:
    if purse.named and left_msat is None:
        return Reason.BUDGET_UNKNOWN, f"the budget cannot be read: {purse.because}"
    if left_msat is not None and move.limit_msat > left_msat:
        return Reason.OVER_BUDGET, f"the budget has {left_msat // MSAT_PER_SAT:,} sat left by now"
    if slots <= 0:
        most = judgement.policy.max_in_flight
        return Reason.TOO_MANY_IN_FLIGHT, f"{most} at once are the most on the node"
    return None
