"""Workflows that Temporal's own cancel does not end."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

Result = TypeVar("Result")


async def to_its_end(story: Coroutine[Any, Any, Result], canceled: Callable[[], None]) -> Result:
    """The story's result, however often Temporal cancels: `canceled` is told, each time.

    A cancel is an order like any other. It may end attempts, and never our knowledge of what
    is in flight, was won, or is held.
    """
    telling = asyncio.create_task(story)
    while not telling.done():
        try:
            await asyncio.shield(telling)
        except asyncio.CancelledError:
            canceled()
    return telling.result()
