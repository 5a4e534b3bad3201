"""What every list has in common: a limit, a table or lines of JSON, a word on what is missing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Annotated, TypeVar

import typer
from rich.console import RenderableType

from fulgurite.model import Model
from starter.cli.exits import ExitCode
from starter.cli.running import err, print_json, wide

Summary = TypeVar("Summary", bound=Model)

Limit = Annotated[int, typer.Option(min=1, help="At most so many.")]


async def listed(
    found: AsyncIterator[Summary],
    limit: int,
    table: Callable[[Sequence[Summary]], RenderableType],
    *,
    nothing: str,
    as_json: bool,
) -> ExitCode:
    """Prints what was found, and says so where the limit cut it short. `nothing`: if none was."""
    summaries: list[Summary] = []
    async for summary in found:
        summaries.append(summary)
        if as_json:
            print_json(summary)
    if summaries and not as_json:
        wide.print(table(summaries))
    if not summaries and not as_json:
        err.print(nothing, soft_wrap=True)
    if len(summaries) == limit:
        err.print(f"Only {limit} are shown; for more, --limit {10 * limit}", soft_wrap=True)
    return ExitCode.DONE
