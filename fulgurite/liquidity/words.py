"""A plan in words, for those who watch and for those who decide."""

from __future__ import annotations

from typing import Final

from fulgurite.liquidity.deeds import Deed
from fulgurite.liquidity.plans import ChannelLine, LiquidityPlan, Move, PlanState
from fulgurite.liquidity.policy import Mode
from fulgurite.money import MSAT_PER_SAT

# Of a node with very many channels the UI gets the ones with something to say.
_SHOWN: Final = 100


def headline(plan: LiquidityPlan) -> str:
    """The whole of it in a line."""
    moves = plan.moves
    if not plan.lines:
        return plan.note or "no channels"
    if not moves:
        return f"{len(plan.lines)} channels, nothing to move"
    moved = sum(line.move.amount_sat for line in moves if line.move)
    return (
        f"{len(moves)} of {len(plan.lines)} channels: {moved:,} sat for "
        f"{plan.cost_msat / MSAT_PER_SAT:,.0f} sat, at most {plan.limit_msat // MSAT_PER_SAT:,}"
    )


def what(move: Move) -> str:
    """A move without its reason."""
    partner = f" with {move.partner_id}" if move.partner_id else ""
    term = f" for {move.term_blocks:,} blocks" if move.term_blocks else ""
    return f"{move.remedy.lower().replace('_', ' ')} {move.amount_sat:,} sat{partner}{term}"


def details(plan: LiquidityPlan) -> str:
    """Markdown for the Temporal UI."""
    lines = [f"### {plan.state}", f"**{plan.node}**, {plan.mode}: {headline(plan)}", ""]
    if plan.state is PlanState.AWAITING_APPROVAL:
        lines += ["**Move it? A person is asked: update `approve` or `reject`.**", ""]
    if plan.purse and plan.purse.named:
        left = plan.purse.left_msat
        lines.append(
            f"- the budget cannot be read: {plan.purse.because}"
            if left is None
            else f"- the budget has {left // MSAT_PER_SAT:,} sat left"
        )
    if plan.note:
        lines.append(f"- {plan.note}")
    if plan.lines:
        lines += ["", "| channel | peer | local | reason | |", "|---|---|--:|---|---|"]
        shown = sorted(plan.lines, key=lambda line: line.move is None)[:_SHOWN]
        lines += map(_row, shown)
        if left := len(plan.lines) - len(shown):
            lines.append(f"\nand {left:,} more")
    if plan.deeds:
        lines += ["", *map(_deed, plan.deeds)]
    return "\n".join(lines)


def summary(node: str, mode: Mode | None) -> str:
    """What the UI's list shows."""
    return f"liquidity of {node}" + (f", {mode}" if mode else "")


def _row(line: ChannelLine) -> str:
    ratio = f"{line.local_sat / line.capacity_sat:.0%}"
    if line.local_after_sat != line.local_sat:
        ratio += f" → {line.local_after_sat / line.capacity_sat:.0%}"
    peer = line.peer_alias or f"{line.peer[:16]}…"
    move = f"**{what(line.move)}**: " if line.move else ""
    return f"| `{line.channel_id}` | {peer} | {ratio} | {line.reason} | {move}{line.words} |"


def _deed(deed: Deed) -> str:
    told = f": {deed.because}" if deed.because else ""
    return f"- `{deed.workflow_id}` {deed.state}{told}"
