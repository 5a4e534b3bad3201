"""A closing in words, for those who watch it."""

from __future__ import annotations

from fulgurite.chain.pace import in_blocks
from fulgurite.channels.closing import CloseOutput, ClosePhase, Closing, OutputOutcome
from fulgurite.channels.progress import CloseProgress


def details(progress: CloseProgress) -> str:
    """Markdown for the Temporal UI: where it stands, what is still out, how it came there."""
    request, closing = progress.request, progress.closing
    lines = [
        f"### {progress.state}",
        f"{request.kind} of `{request.channel_point}` on **{request.node}**",
        "",
    ]
    if progress.because:
        lines.append(f"- {progress.because}")
    if progress.is_in_vain and closing is not None and closing.phase is ClosePhase.UNKNOWN:
        lines.append("- **in none of LND's lists**: so it is while LND punishes a breach")
    if closing is not None and closing.phase not in {ClosePhase.OPEN, ClosePhase.UNKNOWN}:
        lines += _of_closing(closing)
    if forgotten := progress.forgotten():
        lines.append(f"- **LND does not sweep {len(forgotten)} of its outputs: restart LND**")
    if request.fees.budget_sat:
        lines.append(
            f"- bumps may spend {progress.bumped_sat:,} of {request.fees.budget_sat:,} sat"
        )
    lines.append("")
    if closing is not None and closing.outputs:
        lines += ["| output | amount | outcome | |", "|---|---|---|---|"]
        lines += [_row(each, closing.tip.height) for each in closing.outputs]
        lines.append("")
    return "\n".join([*lines, *(f"- {line}" for line in progress.timeline)])


def _of_closing(closing: Closing) -> list[str]:
    how = f" {closing.close_type}" if closing.close_type else ""
    where = f" at height {closing.close_height:,}" if closing.close_height else ", unconfirmed"
    return [
        f"-{how} transaction `{closing.closing_txid or 'unknown'}`{where}",
        f"- {closing.limbo_sat:,} sat in limbo, {closing.recovered_sat:,} sat recovered",
        f"- it has cost {closing.cost_sat:,} sat on chain",
    ]


def _row(output: CloseOutput, height: int) -> str:
    matures, word = output.maturity_height, ""
    if output.sweep_txid:
        word = f"`{output.sweep_txid}`"
    elif output.outcome is OutputOutcome.PENDING and matures is not None and matures > height:
        word = f"from height {matures:,}, in {in_blocks(matures - height)}"
    stage = f" stage {output.stage}" if output.stage else ""
    return f"| {output.kind}{stage} | {output.amount_sat:,} sat | {output.outcome} | {word} |"
