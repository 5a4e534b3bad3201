"""`fulgurite schedules …`: what runs by itself."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.text import Text

from starter import schedules
from starter.cli import rendering
from starter.cli.exits import EPILOG, ExitCode
from starter.cli.running import Json, command, err, out, print_json, temporal, wide
from starter.schedules import Change, ScheduleSummary

app = typer.Typer(help="What runs by itself, from one file.", no_args_is_help=True)

_COLORS: dict[Change, str] = {
    Change.CREATED: "green",
    Change.UPDATED: "yellow",
    Change.DELETED: "red",
}


@app.command(epilog=EPILOG)
@command
async def apply(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Such as schedules.toml.")],
    prune: Annotated[
        bool, typer.Option("--prune", help="Delete schedules of ours that are not in the file.")
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Do nothing; say what would change.")
    ] = False,
    as_json: Json = False,
) -> ExitCode:
    """Brings Temporal's schedules to what the file says. A second time changes nothing."""
    wanted = schedules.read(file)
    async for each in schedules.apply(await temporal(), wanted, prune=prune, dry_run=dry_run):
        if as_json:
            print_json(each)
            continue
        color = _COLORS.get(each.change, "dim")
        out.print(Text.assemble((f"{each.change:<9}", color), f"  {each.name}"), soft_wrap=True)
        for what in each.what:
            out.print(Text(f"           {what}"), soft_wrap=True)
    if dry_run and not as_json:
        err.print("Nothing was done: this was a dry run.")
    return ExitCode.DONE


@app.command("list", epilog=EPILOG)
@command
async def list_(as_json: Json = False) -> ExitCode:
    """Lists schedules with their next run and their last result. With --json one a line."""
    found = [each async for each in schedules.listed(await temporal())]
    if as_json:
        for each in found:
            print_json(each)
        return ExitCode.DONE
    if not found:
        err.print("No schedules: `fulgurite schedules apply FILE` makes them.")
        return ExitCode.DONE
    table = rendering.Columns("name", "times", "next run", "last run", "last result")
    for each in found:
        table.add_row(each.name, each.times, _next(each), _last(each), each.last_result or "")
    wide.print(table)
    return ExitCode.DONE


def _next(each: ScheduleSummary) -> Text:
    if each.paused:
        return Text(f"paused {each.note}".rstrip(), style="yellow")
    return Text(rendering.time_of(each.next_runs[0]) if each.next_runs else "never")


def _last(each: ScheduleSummary) -> str:
    return rendering.time_of(each.last_started_at) if each.last_started_at else ""
