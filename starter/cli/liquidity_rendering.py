"""A plan for a person: the channels before and after, and a reason for each."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Sequence

from rich.align import AlignMethod
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from fulgurite.liquidity.deeds import Deed, DeedState
from fulgurite.liquidity.flows import Forecast
from fulgurite.liquidity.plans import ChannelLine, LiquidityPlan, PlanState
from fulgurite.liquidity.reasons import Reason
from fulgurite.liquidity.words import headline, what
from fulgurite.money import MSAT_PER_SAT
from starter.cli.progress import Moment
from starter.cli.rendering import Columns, span, time_of

_WIDTH, _NARROW_WIDTH = 32, 22
# Below it nothing is left for a sentence beside the bar: it stands under its row.
_ROOMY = 110
_GAP = "  "
_SIDES: tuple[AlignMethod, ...] = ("left", "left", "right", "right", "left")
_PEER_WIDTH = 16
_COLORS: dict[PlanState, str] = {
    PlanState.PLANNED: "cyan",
    PlanState.BEGUN: "green",
    PlanState.AWAITING_APPROVAL: "bold yellow",
    PlanState.REJECTED: "red",
    PlanState.LAPSED: "red",
    PlanState.BLIND: "red",
}
_OF_DEED: dict[DeedState, str] = {
    DeedState.DONE: "green",
    DeedState.FAILED: "red",
    DeedState.UNKNOWN: "bold yellow",
    DeedState.UNDER_WAY: "cyan",
}
# Nothing is wanted: these need no sentence of their own.
_QUIET = frozenset({Reason.BALANCED, Reason.PEER_BALANCED, Reason.NODE_AT_TARGET})


def plan(plan: LiquidityPlan, plan_id: str = "") -> RenderableType:
    """The whole plan: the moves first, then what is wanted and not done, then the rest."""
    parts: list[RenderableType] = [_head(plan)]
    if plan_id:
        parts.append(Text(f"  {plan_id}", style="dim"))
    if plan.note:
        parts.append(Text(f"  {plan.note}", style="dim"))
    if plan.lines:
        parts += [Text(), _Picture(sorted(plan.lines, key=_order)), Text(), _legend()]
    if plan.purse and plan.purse.named:
        parts.append(_purse(plan))
    if plan.deeds:
        parts += [Text(), deeds(plan.deeds)]
    return Group(*parts)


def width(otherwise: int) -> int:
    """The terminal's, for `plan`; where there is none, nothing has to be broken."""
    return shutil.get_terminal_size((otherwise, 0)).columns


def bar(line: ChannelLine, width: int = _WIDTH) -> Text:
    """Our side and the peer's, with what comes and what goes in between.

    A channel whose commitment and HTLCs take some of it has a gap at the end.
    """

    def cells(sat: int) -> int:
        return round(width * sat / line.capacity_sat)

    before, after = cells(line.local_sat), cells(line.local_after_sat)
    both = cells(min(line.capacity_sat, line.local_sat + line.remote_sat))
    stays, moves = min(before, after), abs(after - before)
    comes = after > before
    return Text.assemble(
        ("█" * stays, "blue"),
        (("▓" if comes else "▒") * moves, "green" if comes else "yellow"),
        ("░" * max(0, both - stays - moves), "dim"),
        " " * max(0, width - max(both, stays + moves)),
    )


def deeds(done: Iterable[Deed]) -> RenderableType:
    """What plans have begun, the newest first."""
    rows = Columns("begun (UTC)", "state", "amount", "cost", "workflow")
    for deed in sorted(done, key=lambda deed: deed.began_at, reverse=True):
        cost = "" if deed.cost_msat is None else f"{deed.cost_msat / MSAT_PER_SAT:,.0f} sat"
        state = Text(deed.state, style=_OF_DEED[deed.state])
        if deed.because and deed.state is not DeedState.DONE:
            state.append(f" {deed.because}", style="dim")
        rows.add_row(
            f"{deed.began_at:%m-%d %H:%M:%S}",
            state,
            f"{deed.amount_sat:,} sat",
            cost,
            deed.workflow_id,
        )
    return rows


def moment(plan: LiquidityPlan) -> Moment:
    """For the one who waits."""
    return Moment(_head(plan), headline(plan) if plan.lines else "looking at the channels", [])


def colored(state: PlanState) -> Text:
    return Text(state, style=_COLORS.get(state, "cyan"))


def _head(plan: LiquidityPlan) -> Text:
    head = Text.assemble((plan.state, _COLORS.get(plan.state, "cyan")), f"  {plan.node}  ")
    if plan.planned_at:
        head.append(f"{plan.mode}, {time_of(plan.planned_at)}  ", style="dim")
    return head.append(headline(plan) if plan.lines or plan.note else "", style="bold")


def _order(line: ChannelLine) -> tuple[int, str]:
    rank = 0 if line.move else 3 if line.reason in _QUIET else 2
    return (1 if line.reason is Reason.IS_PARTNER else rank, line.channel_id)


class _Picture:
    """The channels, and a reason for each: beside its row, or under it where that is narrow."""

    def __init__(self, lines: Sequence[ChannelLine]) -> None:
        self._lines = lines

    def __rich_console__(self, _: Console, options: ConsoleOptions) -> RenderResult:
        reasons = [_reason(line) for line in self._lines]
        rows = _aligned(self._lines, _WIDTH)
        # What people copy stays in one piece: no id is cut in two.
        longest = max(len(word) for reason in reasons for word in reason.plain.split())
        if options.max_width >= max(_ROOMY, rows[0].cell_len + len(_GAP) + longest):
            table = Table.grid(padding=(0, len(_GAP), 0, 0))
            table.add_column(no_wrap=True)
            table.add_column(overflow="fold")
            for row, reason in zip(rows, [Text("reason", style="dim"), *reasons], strict=True):
                table.add_row(row, reason)
            yield table
            return
        head, *rows = _aligned(self._lines, _NARROW_WIDTH, peers_at_most=_PEER_WIDTH)
        yield head
        for row, reason in zip(rows, reasons, strict=True):
            yield row
            yield Padding(reason, (0, 0, 0, 4))


def _aligned(
    lines: Iterable[ChannelLine], bar_width: int, *, peers_at_most: int | None = None
) -> list[Text]:
    """The columns without their reasons, and the line above them."""
    rows = [[Text(word, style="dim") for word in ("channel", "peer", "capacity", "local", "")]]
    for line in lines:
        peer = Text(line.peer_alias or f"{line.peer[:10]}…")
        if peers_at_most:
            peer.truncate(peers_at_most, overflow="ellipsis")
        capacity, ratio = Text(f"{line.capacity_sat:,}"), Text(_ratio(line))
        rows.append([Text(line.channel_id), peer, capacity, ratio, bar(line, bar_width)])
    widths = [max(cell.cell_len for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        for cell, width, side in zip(row, widths, _SIDES, strict=True):
            cell.align(side, width)
    return [Text(_GAP) + Text(_GAP).join(row) for row in rows]


def _ratio(line: ChannelLine) -> str:
    before = f"{line.local_sat / line.capacity_sat:.0%}"
    if line.local_after_sat == line.local_sat:
        return before
    return f"{before} → {line.local_after_sat / line.capacity_sat:.0%}"


def _reason(line: ChannelLine) -> Text:
    color = "green" if line.move else "dim" if line.reason in _QUIET else "yellow"
    told = Text(line.reason, style=color)
    if line.move:
        told.append(f"  {what(line.move)}", style="bold")
        if line.move.workflow_id:
            told.append(f"\n{line.move.workflow_id}", style="cyan")
    if line.reason not in _QUIET:
        told.append(f"\n{line.words}", style="dim")
    if outlook := _outlook(line.forecast):
        told.append(f"\n{outlook}", style="dim")
    return told


def _outlook(forecast: Forecast) -> str:
    for hours, how in ((forecast.dry_in_hours, "dry"), (forecast.full_in_hours, "full")):
        if hours is not None:
            return f"{how} in {span(hours * 3_600)} by its flows"
    return ""


def _legend() -> Text:
    return Text.assemble(
        "  ", ("█", "blue"), " ours  ", ("▓", "green"), " comes  ", ("▒", "yellow"), " goes  ",
        ("░", "dim"), " the peer's",
    )  # fmt: skip


def _purse(plan: LiquidityPlan) -> Text:
    assert plan.purse is not None
    left = plan.purse.left_msat
    told = plan.purse.because if left is None else f"{left // MSAT_PER_SAT:,} sat left for fees"
    name = plan.policy.budget if plan.policy else None
    return Text(f"  budget {name}: {told}", style="bold yellow" if left is None else "dim")
