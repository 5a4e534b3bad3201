"""Telling the world: how a workflow emits an event."""

from __future__ import annotations

from fulgurite.events.calls import EMIT_EVENT, Emitted
from fulgurite.events.catalogue import Event
from workflows.calling import call_local


async def emit(event: Event) -> Emitted:
    """Durable once it returns. The same event, emitted again, is told once.

    Costs nothing more than its marker where no endpoint wants it.
    """
    return await call_local(EMIT_EVENT, event, summary=f"emit {event.type}", for_ever=True)
