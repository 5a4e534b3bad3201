"""Long activities: they beat while LND is silent, and leave when their worker must."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import Any, TypeVar

from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from fulgurite.model import Model

Result = TypeVar("Result")

HEARTBEAT_TIMEOUT = timedelta(seconds=15)
_EVERY_SECONDS = HEARTBEAT_TIMEOUT.total_seconds() / 3
# A heartbeat also brings a cancel, so what can still send beats faster.
WHILE_SENDING_SECONDS = 1.0
_HAND_OVER = timedelta(milliseconds=100)


@asynccontextmanager
async def heartbeating(
    every_seconds: float = _EVERY_SECONDS, details: Callable[[], Model] | None = None
) -> AsyncIterator[None]:
    """Beats until left. A local activity has no heartbeat; there this does nothing.

    What `details` says is there for the next try, if this one dies.
    """
    if activity.info().is_local:
        yield
        return
    beating = asyncio.create_task(_beat(every_seconds, details))
    try:
        yield
    finally:
        beating.cancel()
        with suppress(asyncio.CancelledError):
            await beating
        if details:
            activity.heartbeat(details())


async def _beat(every_seconds: float, details: Callable[[], Model] | None) -> None:
    while True:
        activity.heartbeat(*([details()] if details else []))
        await asyncio.sleep(every_seconds)


async def until_shutdown(work: Coroutine[Any, Any, Result]) -> Result:
    """The work's result; if this worker has to stop first, an error that moves the work on."""
    working = asyncio.ensure_future(work)
    leaving = asyncio.ensure_future(activity.wait_for_worker_shutdown())
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if working.done():
            return working.result()
        raise ApplicationError(
            "this worker is shutting down: another one takes over",
            # At once, however often workers have come and gone in this activity's life.
            next_retry_delay=_HAND_OVER,
            category=ApplicationErrorCategory.BENIGN,
        )
    finally:
        working.cancel()
        leaving.cancel()
