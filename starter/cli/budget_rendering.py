"""What a person reads of budgets: spent, reserved and free, as a bar and in numbers."""

from __future__ import annotations

from collections.abc import Iterable

from rich.text import Text

from fulgurite.budgets.policy import BudgetPolicy, BudgetState
from fulgurite.budgets.receipts import BudgetView
from fulgurite.money import Msat
from starter.cli.progress import plain
from starter.cli.rendering import Columns, fields, span, time_of

_BAR_WIDTH = 30

_COLORS: dict[BudgetState, str] = {
    BudgetState.NOT_SET: "bold red",
    BudgetState.OPEN: "green",
    BudgetState.LOW: "bold yellow",
    BudgetState.SPENT: "bold red",
}

MEANINGS: dict[BudgetState, str] = {
    BudgetState.NOT_SET: "nobody has said how much it allows: nothing is granted",
    BudgetState.OPEN: "there is room",
    BudgetState.LOW: "nearly spent",
    BudgetState.SPENT: "nothing is free",
}


def summaries(views: Iterable[BudgetView]) -> Columns:
    """One line a budget, with the limit that is nearer to its end."""
    rows = Columns("budget", "state", "spent, reserved, free", "allows")
    for view in views:
        rows.add_row(view.name, _state(view), _nearest(view), str(view.policy or ""))
    return rows


def view(view: BudgetView) -> Text:
    """One budget, and who holds some of it."""
    policy = view.policy
    lines = [
        Text.assemble(_state(view), f"  {view.name}  ", (f"{policy}" if policy else "", "bold")),
        Text(f"  {MEANINGS[view.state]}", style="dim"),
    ]
    if policy and policy.amount is not None:
        lines += _measure("amounts and fees", policy.amount, view.spent_msat, view.reserved_msat)
    if policy and policy.fee is not None:
        lines += _measure("fees", policy.fee, view.spent_fee_msat, view.reserved_fee_msat)
    rows = [
        ("window", _window(view)),
        ("moves", time_of(view.changes_at) if view.changes_at else None),
        ("holders", f"{view.holders:,}" if view.holders else None),
        ("refused", f"{view.refused:,} orders" if view.refused else None),
        ("set by", f"{view.set_by}, {time_of(view.set_at)}" if view.set_at else None),
    ]
    if any(value for _, value in rows):
        lines.append(fields(rows))
    for each in view.oldest:
        for_how_long = span((view.at - each.since).total_seconds())
        words = f"{each.amount_msat} + {each.fee_msat} for {for_how_long}"
        lines.append(
            Text.assemble("  ", (f"{each.purpose:<9}", "dim"), f"  {words}  {each.holder}")
        )
    if view.holders > len(view.oldest):
        lines.append(Text(f"  and {view.holders - len(view.oldest):,} more", style="dim"))
    return Text("\n").join(lines)


def changed(name: str, before: BudgetPolicy | None, after: BudgetPolicy) -> Text:
    """What is about to be set."""
    was = f"{before}" if before else "nothing is set"
    return Text.assemble(f"  {name}  ", (was, "dim"), "  →  ", (f"{after}", "bold"))


def _measure(what: str, limit: Msat, spent: Msat, reserved: Msat) -> list[Text]:
    free = Msat(max(0, int(limit) - spent - reserved))
    bar = _bar(limit, spent, reserved)
    words = f"spent {spent}, reserved {reserved}, free {free} of {limit}"
    return [Text.assemble("  ", bar, f"  {what}"), Text(f"  {words}")]


def _bar(limit: Msat, spent: Msat, reserved: Msat) -> Text:
    """█ is spent, ▒ reserved at its worst, · free. What is not nothing shows."""
    used = _cells(spent, limit)
    held = min(_cells(reserved, limit), _BAR_WIDTH - used)
    return Text.assemble(
        ("█" * used, "red"), ("▒" * held, "yellow"), ("·" * (_BAR_WIDTH - used - held), "green")
    )


def _cells(part: Msat, limit: Msat) -> int:
    if not part:
        return 0
    return max(1, min(_BAR_WIDTH, part * _BAR_WIDTH // limit)) if limit else _BAR_WIDTH


def _nearest(view: BudgetView) -> Text:
    policy = view.policy
    if policy is None:
        return Text()
    measures = [
        (limit, spent, reserved)
        for limit, spent, reserved in (
            (policy.amount, view.spent_msat, view.reserved_msat),
            (policy.fee, view.spent_fee_msat, view.reserved_fee_msat),
        )
        if limit is not None
    ]
    return _bar(*max(measures, key=lambda each: (each[1] + each[2]) / max(1, each[0])))


def _window(view: BudgetView) -> str | None:
    return f"counts what was spent from {time_of(view.counts_from)}" if view.counts_from else None


def _state(view: BudgetView) -> Text:
    return Text(plain(view.state), style=_COLORS[view.state])
