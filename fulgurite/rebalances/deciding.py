"""What a rebalance tries next: how much, over which channel, for which fee at most; and when not.

So that no fee cap can be passed, whatever LND answers:

- a part may cost what is left of the cap in sat, its share of the cap in ppm, and less than
  what it will earn, whichever is least; LND is given that limit, the route is held against it
  before it is sent, and the receipt after;
- one attempt at a time, and the next only after LND's verdict on the last.
"""

from __future__ import annotations

from datetime import datetime
from typing import Final

from fulgurite.money import MSAT_PER_SAT, Msat
from fulgurite.rebalances.calls import Attempt, Prepare, Side
from fulgurite.rebalances.progress import MILLION, Progress
from fulgurite.rebalances.requests import RebalanceRequest
from fulgurite.rebalances.states import StopReason

# LND takes nothing, in words that we do not know: more of the same helps nobody.
_REFUSALS_IN_A_ROW: Final = 3


def next_attempt(progress: Progress, request: RebalanceRequest, at: datetime) -> Prepare | None:
    """What to try next; None where it is over, and `stop` says why."""
    if not _may_go_on(progress, request, at):
        return None
    while True:
        target = _target(progress, request)
        if target is None:
            progress.end(*_why_nobody(progress))
            return None
        amount = _amount(progress, request, target)
        if amount >= progress.smallest(request):
            break
        progress.give_up(target.peer, StopReason.NO_LIQUIDITY)
    sources = [side for side in progress.sides(request.from_channels) if side.active]
    avoid = {
        (each.pair.sender, each.pair.receiver): each.pair
        for each in progress.avoided
        if each.from_msat <= amount
    }
    return Prepare(
        attempt=Attempt(
            node=request.node,
            key=request.key,
            identity=request.identity(),
            number=progress.number + 1,  # its own only once there is an invoice under it
            method=request.method,
            amount_msat=amount,
            fee_limit_msat=progress.fee_limit(request, amount),
            outgoing_channels=tuple(side.channel_id for side in sources),
            last_hop=target.peer,
        ),
        avoid=tuple(avoid.values()),
    )


def _may_go_on(progress: Progress, request: RebalanceRequest, at: datetime) -> bool:
    if progress.stop is not None:
        return False
    if progress.left_msat < max(1, progress.smallest(request)):
        progress.end(StopReason.REACHED, "")
    elif progress.cancel_requested:
        progress.end(StopReason.CANCELED, "called off")
    elif missing := progress.missing(request):
        progress.end(StopReason.CHANNEL_GONE, f"{missing[0][:16]}… is not open any more")
    elif progress.attempts >= request.max_attempts:
        progress.end(StopReason.ATTEMPTS_SPENT, f"{progress.attempts} attempts were made")
    elif at >= progress.ends_at(request):
        progress.end(StopReason.DEADLINE, f"{request.deadline_seconds:,} s are over")
    elif progress.refusals >= _REFUSALS_IN_A_ROW:
        progress.end(StopReason.LND_REFUSES, "LND took no attempt, three times in a row")
    return progress.stop is None


def _target(progress: Progress, request: RebalanceRequest) -> Side | None:
    """The channel that has most to gain, of those whose peers are not given up."""
    open_to_us = [
        side
        for side in progress.sides(request.to_channels)
        if side.active and side.peer not in progress.given_up and _room(request, side) > 0
    ]
    return min(
        open_to_us,
        key=lambda side: (side.local_sat * MILLION // side.capacity_sat, side.channel_point),
        default=None,
    )


def _room(request: RebalanceRequest, side: Side) -> Msat:
    """What may come in by this channel."""
    room_sat = side.remote_sat
    if request.target_local_ppm is not None:
        wanted_sat = side.capacity_sat * request.target_local_ppm // MILLION
        room_sat = min(room_sat, max(0, wanted_sat - side.local_sat))
    return Msat.from_sat(room_sat)


def _amount(progress: Progress, request: RebalanceRequest, target: Side) -> Msat:
    """Whole satoshis, since channels and people count in them."""
    fullest_sat = max(
        (side.local_sat for side in progress.sides(request.from_channels) if side.active), default=0
    )
    most = min(progress.left_msat, _room(request, target), fullest_sat * MSAT_PER_SAT)
    for limit in (progress.part_msat, request.largest_part_msat):
        most = most if limit is None else min(most, limit)
    return Msat(most // MSAT_PER_SAT * MSAT_PER_SAT)


def _why_nobody(progress: Progress) -> tuple[StopReason, str]:
    """The reason that says most of those for which the peers were given up."""
    reasons = set(progress.given_up.values())
    for reason in (StopReason.OVER_CAP, StopReason.NO_GAIN, StopReason.NO_ROUTE):
        if reason in reasons:
            return reason, progress.because
    return StopReason.NO_LIQUIDITY, "no channel has both something to give and room to take"
