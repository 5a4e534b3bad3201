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
    """Wait until an endpoint has done with an earlier event of the same resource."""

    event_id: EventId
    endpoint: EndpointName


class TurnCame(Model):
    """It has: delivered, dead, or no longer retained."""


EMIT_EVENT = Call("event.emit", Event, Emitted)
SEND_WEBHOOK = Call("event.send", Posting, Posted)
AWAIT_TURN = Call("event.await_turn", Turn, TurnCame)
