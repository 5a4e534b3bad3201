"""`fulgurite reconcile`: what we say of a node's money against what it and its daemons say."""

from __future__ import annotations

import asyncio
from typing import Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from fulgurite.reconciliation.calls import Reconciliation
from fulgurite.reconciliation.differences import (
    ReconciliationReport,
    ReconciliationState,
)
from starter.cli import rendering
from starter.cli.exits import ExitCode
from starter.cli.options import asked, seconds
from starter.cli.progress import Moment, teller, wait_for
from starter.cli.running import Json, command, err, print_json, temporal, wide
from starter.reconciliation import ReconciliationBegun
from starter.reconciliation import reconcile as start

_OF_STATE: dict[ReconciliationState, ExitCode] = {
    ReconciliationState.AGREES: ExitCode.DONE,
    ReconciliationState.DIFFERS: ExitCode.DIFFERS,
    ReconciliationState.INCOMPLETE: ExitCode.NO_VERDICT,
}
_COLORS: dict[ReconciliationState, str] = {
    ReconciliationState.AGREES: "green",
    ReconciliationState.DIFFERS: "bold yellow",
    ReconciliationState.INCOMPLETE: "bold yellow",
}


@command
async def reconcile(
    node: Annotated[str, typer.Argument(metavar="NODE", help="The configured node.")],
    wait: Annotated[
        bool, typer.Option("--wait/--no-wait", help="Wait for the report, or only start it.")
    ] = True,
    grace: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Leave out what changed within so long. [60s]"),
    ] = None,
    as_json: Json = False,
) -> ExitCode:
    """Compares our payments, invoices, swaps, rebalances and leases with the node's.

    A settlement that was missed is delivered. What differs is printed, told as an event and
    shown in Temporal. Nothing is ever paid.
    """
    order = asked(Reconciliation, node=node, grace_seconds=seconds("--grace", grace))
    run = await start(await temporal(), order)
    if not wait:
        if as_json:
            print_json(ReconciliationBegun(workflow_id=run.id))
        else:
            err.print(f"Under way: {run.id}", soft_wrap=True)
        return ExitCode.NO_VERDICT
    try:
        with teller(err, quiet=as_json) as told:
            report = await wait_for(run.receipt(), run.watch, _moment, told)
    except asyncio.CancelledError:
        err.print(f"\nLeft under way: {run.id}")
        return ExitCode.NO_VERDICT
    if as_json:
        print_json(report)
    else:
        wide.print(_rendered(report))
    return _OF_STATE[report.state]


def _moment(report: ReconciliationReport) -> Moment:
    compared = ", ".join(
        f"{counts.all:,} {book.lower()}" for book, counts in report.counts().items()
    )
    differing = sum(report.kinds.values())
    meaning = f"{compared} compared, {differing:,} differ"
    return Moment(_headline(report), meaning, [meaning])


def _headline(report: ReconciliationReport) -> Text:
    color = _COLORS.get(report.state, "cyan")
    return Text.assemble((report.state, color), f"  {report.node}")


def _rendered(report: ReconciliationReport) -> RenderableType:
    assert report.ended_at is not None
    took = (report.ended_at - report.began_at).total_seconds()
    counts = Table(box=None, pad_edge=False, header_style="dim")
    for header in ("", "ours", "agree", "differ", "not ours", "too young"):
        counts.add_column(header, justify="right" if header else "left")
    for book, figures in report.counts().items():
        counts.add_row(f"  {book.lower()}", *figures.cells())
    parts: list[RenderableType] = [_headline(report).append(f"  {took:,.1f} s", "dim"), counts]
    parts += [
        Text.assemble((f"  {book.lower()}", "bold yellow"), f"  not all compared: {why}")
        for book, why in report.not_compared.items()
    ]
    if report.differences:
        parts.append(Text())
    for each in report.differences:
        parts += [
            Text.assemble((each.kind, "bold"), f"  {each.resource}"),
            rendering.fields([("ours", each.ours), ("node", each.theirs), ("", each.action)]),
        ]
    if (left := sum(report.kinds.values()) - len(report.differences)) > 0:
        parts.append(Text(f"and {left:,} more"))
    return Group(*parts)
