"""A rebalance in words and events, for those who watch."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from fulgurite.events.catalogue import OF_REBALANCE, Event, event
from fulgurite.ids import rebalance_id
from fulgurite.rebalances.calls import Side
from fulgurite.rebalances.progress import Progress
from fulgurite.rebalances.requests import RebalanceRequest
from fulgurite.rebalances.states import REBALANCE

_BAR: Final = 20


def details(progress: Progress, request: RebalanceRequest) -> str:
    """Markdown for the Temporal UI: how far it is, how the channels stand, how it came there."""
    cap = f"at most {request.cap.sat:,} sat and {request.cap.ppm:,} ppm"
    goal = progress.goal_msat if progress.goal_msat is not None else "what is not looked at yet"
    lines = [
        f"### {progress.state}",
        f"{progress.moved_msat} of {goal} moved for {progress.fee_msat}; {cap}",
        "",
    ]
    if progress.stop:
        lines += [f"**{progress.stop}** {progress.because}", ""]
    before = {side.channel_point: side for side in progress.before}
    for side in progress.now:
        out = side.channel_point in request.from_channels
        was = before.get(side.channel_point)
        moved = f" (was {was.local_sat:,})" if was and was.local_sat != side.local_sat else ""
        lines.append(
            f"- {'from' if out else 'to'} `{side.channel_id}` {bar(side)} "
            f"{side.local_sat:,}{moved} of {side.capacity_sat:,} sat, "
            f"{side.peer_alias or side.peer[:16]}"
        )
    return "\n".join([*lines, "", *(f"- {line}" for line in progress.timeline)])


def bar(side: Side, width: int = _BAR) -> str:
    """How much of a channel is local, at a glance."""
    filled = (side.local_sat * width + side.capacity_sat // 2) // max(1, side.capacity_sat)
    filled = min(width, filled)
    return "█" * filled + "░" * (width - filled)


def news(progress: Progress, request: RebalanceRequest, at: datetime) -> Event | None:
    """The event of the present state, if it is one that others are told of."""
    kind = OF_REBALANCE.get(progress.state)
    if kind is None or (progress.state in REBALANCE.terminal and progress.stop is None):
        return None
    ended = progress.state in REBALANCE.terminal
    number = "" if ended else f"-{progress.number}"
    return event(
        kind,
        progress.receipt(request, at) if ended else progress.view(request),
        subject=f"{request.identity()}{number}",
        resource=rebalance_id(request.key),
        node=request.node,
        timestamp=at,
    )
