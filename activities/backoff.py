"""Exponential backoff with full jitter, and never no pause at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

_SHORTEST_SECONDS: Final = 0.1
_FIRST_SECONDS: Final = 0.2
_LONGEST_SECONDS: Final = 30.0


class Backoff:
    """Pauses between failures. `draw` gives the jitter, 0 … 1."""

    def __init__(self, draw: Callable[[], float]) -> None:
        self._draw = draw
        self._longest = _FIRST_SECONDS

    async def pause(self) -> None:
        seconds = max(_SHORTEST_SECONDS, self._longest * self._draw())
        self._longest = min(2 * self._longest, _LONGEST_SECONDS)
        await asyncio.sleep(seconds)

    def begin_anew(self) -> None:
        """What failed has worked for a while."""
        self._longest = _FIRST_SECONDS
