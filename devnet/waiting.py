"""Waiting for a condition of the world outside, which nobody announces."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

Value = TypeVar("Value")


async def eventually(
    ask: Callable[[], Awaitable[Value]],
    until: Callable[[Value], bool] = bool,
    *,
    what: str,
    timeout_seconds: float = 120,
    every_seconds: float = 0.05,
) -> Value:
    """Asks until the answer satisfies `until`, and returns that answer.

    Raises TimeoutError naming `what` was waited for and the last answer, so that a
    failing run says what was missing and not only that time was up.
    """
    deadline = asyncio.get_running_loop().time() + timeout_seconds
    while not until(answer := await ask()):
        if asyncio.get_running_loop().time() > deadline:
            raise TimeoutError(f"{what}: still {answer!r} after {timeout_seconds:g} s")
        await asyncio.sleep(every_seconds)
    return answer
