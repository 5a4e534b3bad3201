"""Waiting for the end of what goes on without us, and leaving it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

from fulgurite.model import Model
from starter.cli.exits import ExitCode
from starter.cli.progress import Moment, teller, wait_for
from starter.cli.running import err, out, print_json
from starter.handle import Handle

Result = TypeVar("Result")
View = TypeVar("View")


async def followed(
    handle: Handle[Result, View],
    in_words: Callable[[View], Moment],
    *,
    as_json: bool,
    when_left: str = "Left under way.",
) -> Result | None:
    """Its receipt, with progress on stderr; None when Ctrl-C has left it under way."""
    try:
        with teller(err, quiet=as_json) as progress:
            return await wait_for(handle.receipt(), handle.watch, in_words, progress)
    except asyncio.CancelledError:
        # Ctrl-C.
        err.print(f"\n{when_left}")
        return None


def left_under_way(outcome: Model, words: str, to_look: str, *, as_json: bool) -> ExitCode:
    """No verdict yet: the `outcome` without a receipt, or how to look at it."""
    if as_json:
        print_json(outcome)
    else:
        out.print(words)
        out.print(f"  {to_look}", soft_wrap=True)
    return ExitCode.NO_VERDICT
