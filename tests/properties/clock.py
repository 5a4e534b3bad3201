"""An event loop whose time passes only by waiting, and then at once.

Code under test sleeps, times out and compares dates as it does in production; a day of it
takes milliseconds, and the same choices always lead to the same course.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, TypeVar

Result = TypeVar("Result")

EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class _Instant(selectors.DefaultSelector):
    """Does not wait: the time that it was to wait has passed when it returns."""

    passed_seconds = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise RuntimeError("nothing will ever happen any more: the code under test hangs")
        if not ready and timeout:
            self.passed_seconds += timeout
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """See above. `now` is the date, `time()` the seconds since EPOCH."""

    def __init__(self) -> None:
        self._instant = _Instant()
        super().__init__(self._instant)

    def time(self) -> float:
        return self._instant.passed_seconds

    @property
    def now(self) -> datetime:
        return EPOCH + timedelta(seconds=self.time())


class VirtualDatetime(datetime):
    """Stands in for `datetime` in a module under test."""

    @classmethod
    def now(cls, tz: tzinfo | None = None) -> datetime:  # type: ignore[override]
        loop = asyncio.get_running_loop()
        assert isinstance(loop, VirtualLoop)
        return loop.now.astimezone(tz)


def run(work: Coroutine[Any, Any, Result]) -> Result:
    """Runs to the end, in virtual time, and cancels what is left."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(work)
