"""What the telling of events asks of the world."""

from __future__ import annotations

from pydantic import Field

from fulgurite.calls import Call
from fulgurite.events.catalogue import Event, EventId
from fulgurite.invoices.requests import EndpointName
from fulgurite.model import Model


class Emitted(Model):
    """Who will be told."""

    endpoints: tuple[EndpointName, ...] = Field(description="empty: nobody wants this event")


class Posting(Model):
    """One try to deliver an event to an endpoint."""

    endpoint: EndpointName
    event: Event


class Posted(Model):
    """The endpoint took it."""

    status: int
    milliseconds: int


class Turn(Model):
    """An event at an endpoint that wants order."""

    endpoint: EndpointName
    event_id: EventId


class Before(Model):
    """What an endpoint must be through with first."""

    event_id: EventId | None = Field(description="null: nothing")


EMIT_EVENT = Call("event.emit", Event, Emitted)
SEND_WEBHOOK = Call("event.send", Posting, Posted)
FIND_BEFORE = Call("event.find_before", Turn, Before)
