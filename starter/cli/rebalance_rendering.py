"""What a person reads of a rebalance: what moved, for how much, and how the channels stand."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.text import Text

from fulgurite.channels.channel import Channel
from fulgurite.rebalances.calls import Side
from fulgurite.rebalances.receipts import RebalanceReceipt, RebalanceView
from fulgurite.rebalances.requests import RebalanceRequest
from fulgurite.rebalances.states import REBALANCE, RebalanceState
from fulgurite.rebalances.words import bar
from starter.cli.progress import Moment
from starter.cli.rendering import Columns, ended_by_force, fields, span, time_of
from starter.summaries import RebalanceSummary

_COLORS: dict[RebalanceState, str] = {
    RebalanceState.MOVED: "green",
    RebalanceState.PARTLY_MOVED: "yellow",
    RebalanceState.NOT_MOVED: "yellow",
    RebalanceState.CANCELED: "yellow",
    RebalanceState.OVER_BUDGET: "yellow",
    RebalanceState.STUCK: "bold red",
    RebalanceState.REFUSED: "red",
}

MEANINGS: dict[RebalanceState, str] = {
    RebalanceState.REQUESTED: "nothing has moved",
    RebalanceState.RESERVING: "its budgets are asked for the whole fee cap; nothing has moved",
    RebalanceState.WAITING: "something else has its channels: it waits for its turn",
    RebalanceState.PLANNING: "it looks for a way that is worth it; nothing is in flight",
    RebalanceState.SENDING: "an attempt is with LND; only LND can end it",
    RebalanceState.STUCK: "in flight for longer than expected; it has a ladder",
    RebalanceState.MOVED: "all that was asked for",
    RebalanceState.PARTLY_MOVED: "some of it, and then there was a reason to stop",
    RebalanceState.NOT_MOVED: "nothing moved, and nothing was paid",
    RebalanceState.CANCELED: "called off before anything moved",
    RebalanceState.OVER_BUDGET: "a budget has no room for it; nothing was sent",
    RebalanceState.REFUSED: "it cannot be done so; nothing was sent",
}


def summaries(found: Iterable[RebalanceSummary]) -> Columns:
    """One line a rebalance."""
    rows = Columns("state", "node", "begun", "key")
    for each in found:
        state = Text(each.state, style=_COLORS.get(each.state, "cyan"))
        state.append_text(ended_by_force(each.workflow_status))
        rows.add_row(state, each.node or "", time_of(each.started_at), each.key)
    return rows


def plan(request: RebalanceRequest, channels: Sequence[Channel]) -> Text:
    """What would be done, and how its channels stand."""
    how_much = (
        f"{request.amount_msat}"
        if request.amount_msat is not None
        else f"until {(request.target_local_ppm or 0) / 10_000:g} % of each is local"
    )
    earns = None
    if request.earns_ppm is not None:
        earns = f"less than {max(0, request.earns_ppm - request.forgoes_ppm):,} ppm, which it earns"
    stand = sides(map(Side.of, channels), (), request.from_channels)
    rows = fields(
        [
            ("key", request.key),
            ("node", request.node),
            ("move", how_much),
            ("at most", f"{request.cap.sat:,} sat, and {request.cap.ppm:,} ppm of each part"),
            ("and", earns),
            ("budgets", ", ".join(request.budgets) or None),
        ]
    )
    return Text("\n").join([rows, *stand])


def moment(view: RebalanceView) -> Moment:
    """What is shown while it is watched."""
    words = MEANINGS[view.state]
    if view.state in REBALANCE.terminal and view.because:
        words = f"{words}: {view.because}"
    return Moment(_headline(view.state, view), words, view.timeline)


def view(told: RebalanceView) -> Text:
    return Text("\n").join(
        [
            _headline(told.state, told),
            Text(f"  {MEANINGS[told.state]}"),
            fields(
                [
                    ("key", told.key),
                    ("reason", f"{told.reason} {told.because}".strip() if told.reason else None),
                    ("at most", f"{told.cap.sat:,} sat, and {told.cap.ppm:,} ppm of each part"),
                    ("attempts", f"{told.attempts}"),
                    ("under way", f"{told.attempt.amount_msat}" if told.attempt else None),
                ]
            ),
            *sides(told.now, told.before, ()),
            *(Text(f"  {line.replace('**', '')}", style="dim") for line in told.timeline),
        ]
    )


def receipt(told: RebalanceReceipt) -> Text:
    took = (told.completed_at - told.requested_at).total_seconds()
    return Text("\n").join(
        [
            Text.assemble(_headline(told.status, told), (f"  {span(took)}", "dim")),
            fields(
                [
                    ("key", told.key),
                    ("reason", f"{told.reason} {told.because}".strip()),
                    ("fee", f"{told.fee_msat} ({told.fee_ppm:,} ppm)" if told.parts else "none"),
                    ("attempts", f"{told.attempts}, of which {told.parts} moved something"),
                    ("next", told.advice or None),
                ]
            ),
            *sides(told.after, told.before, ()),
        ]
    )


def sides(now: Iterable[Side], before: Iterable[Side], out: Sequence[str]) -> list[Text]:
    """One line a channel: whose it is by now, and what it was before."""
    was = {side.channel_point: side for side in before}
    lines = []
    for side in now:
        earlier = was.get(side.channel_point)
        moved = side.local_sat - earlier.local_sat if earlier else 0
        towards = "from" if side.channel_point in out else "to  " if out else "    "
        line = Text(f"  {towards} ")
        if earlier and moved:
            line.append(bar(earlier), "dim").append(" → ")
        line.append(bar(side), "green" if side.active else "dim")
        line.append(f"  {side.local_sat:>12,} of {side.capacity_sat:,} sat")
        line.append(f"  {moved:+,}" if moved else "", "bold")
        lines.append(line.append(f"  {side.peer_alias or side.peer[:16]}", "dim"))
    return lines


def _headline(state: RebalanceState, told: RebalanceView | RebalanceReceipt) -> Text:
    goal = f" of {told.goal_msat}" if told.goal_msat is not None else ""
    return Text.assemble(
        (state, _COLORS.get(state, "cyan")),
        f"  {told.moved_msat}{goal} moved for {told.fee_msat} on {told.node}",
    )
