"""Telling many events again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Final

from pydantic import Field

from fulgurite.errors import InvalidRequestError
from fulgurite.events.catalogue import EventId
from fulgurite.model import Model
from starter.client import FulguriteClient
from starter.event import Replayed
from starter.summaries import EventSummary

_AT_ONCE: Final = 8


class EventReplay(Model):
    """What a replay did about one event."""

    id: EventId
    did: Replayed | None = Field(default=None, description="null: nothing, or a dry run")
    problem: str = Field(default="", description="why nothing was done")


async def replay_each(
    client: FulguriteClient,
    found: Iterable[EventSummary],
    *,
    endpoint: str | None = None,
    dead_only: bool = False,
    on_each: Callable[[EventReplay], None] = lambda _: None,
) -> tuple[EventReplay, ...]:
    """Replays events as `Announcement.replay` does, several at a time.

    Those of one payment or invoice come one after another, the oldest first, so that
    endpoints that want order get it. `on_each` is told as it goes. Raises
    TemporalUnavailableError or WorkerUnavailableError when it cannot go on; what has been
    done by then is done, and doing it again tells nobody anything new.
    """
    stories: dict[str, list[EventId]] = {}
    for summary in sorted(found, key=lambda each: each.started_at):
        stories.setdefault(summary.payment_hash or summary.id, []).append(summary.id)
    waiting = iter(stories.values())
    done: list[EventReplay] = []

    async def work() -> None:
        for story in waiting:
            for event_id in story:
                replayed = await _replay(client, event_id, endpoint, dead_only=dead_only)
                done.append(replayed)
                on_each(replayed)

    workers = [asyncio.create_task(work()) for _ in range(min(_AT_ONCE, len(stories)))]
    try:
        await asyncio.gather(*workers)
    finally:
        for worker in workers:
            worker.cancel()
    return tuple(done)


async def _replay(
    client: FulguriteClient, event_id: EventId, endpoint: str | None, *, dead_only: bool
) -> EventReplay:
    try:
        did = await client.event(event_id).replay(endpoint=endpoint, dead_only=dead_only)
    except InvalidRequestError as error:
        return EventReplay(id=event_id, problem=str(error))
    return EventReplay(id=event_id, did=did)
