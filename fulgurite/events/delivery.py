"""How an event reaches an endpoint: days of tries, then the dead letters."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import Field

from fulgurite.events.catalogue import Event
from fulgurite.invoices.requests import EndpointName
from fulgurite.lifecycle import Edge, Lifecycle
from fulgurite.model import Model


class DeliveryState(StrEnum):
    """Where the delivery of one event to one endpoint stands."""

    WAITING = "WAITING"  # for its turn: the endpoint wants the events of a resource in order
    SENDING = "SENDING"  # being sent, or waiting for the next try
    DELIVERED = "DELIVERED"  # the endpoint answered with a 2xx
    DEAD = "DEAD"  # no tries are left, or the endpoint wants no more; can be replayed


class DeliveryEvent(StrEnum):
    """What moves a delivery."""

    TURN_CAME = "TURN_CAME"  # the event before has been delivered, or is dead
    TAKEN = "TAKEN"  # 2xx
    GIVEN_UP = "GIVEN_UP"  # after the last try, or 410


_S, _E = DeliveryState, DeliveryEvent

DELIVERY = Lifecycle(
    start=_S.WAITING,
    edges=[
        Edge(_S.WAITING, _E.TURN_CAME, _S.SENDING, "at once, where order was not asked for"),
        Edge(_S.SENDING, _E.TAKEN, _S.DELIVERED, "the endpoint answered with a 2xx"),
        Edge(_S.SENDING, _E.GIVEN_UP, _S.DEAD, "no tries left, or 410 Gone"),
    ],
)

# The pauses after the first, second, … try, as the Standard Webhooks specification advises;
# about three days in all. Each is drawn out by up to a fifth, so that what failed together
# does not come back together.
PAUSES: tuple[timedelta, ...] = (
    timedelta(seconds=5),
    timedelta(minutes=5),
    timedelta(minutes=30),
    timedelta(hours=2),
    timedelta(hours=5),
    timedelta(hours=10),
    timedelta(hours=14),
    timedelta(hours=20),
    timedelta(hours=24),
)
JITTER = 0.2

_SUMMARY_LENGTH = 200


def pause_after(tries: int, draw: float) -> timedelta | None:
    """The pause after so many failed tries; None when that was the last. `draw`: 0 … 1."""
    if tries > len(PAUSES):
        return None
    return PAUSES[tries - 1] * (1 + JITTER * draw)


def in_a_line(names: Collection[EndpointName]) -> str:
    """For a workflow's summary, which Temporal limits to 400 bytes."""
    whole = ", ".join(names)
    return whole if len(whole) <= _SUMMARY_LENGTH else f"{len(names)} endpoints"


class Recipient(Model):
    """An endpoint that wants the event, as it was configured when the event happened."""

    endpoint: EndpointName
    ordered: bool = False


class DeliveryStatus(Model):
    """One endpoint's delivery."""

    endpoint: EndpointName
    state: DeliveryState = DELIVERY.start
    tries: int = 0
    last_problem: str = ""
    next_try_at: datetime | None = None
    delivered_at: datetime | None = None


class EventDelivery(Model):
    """What the workflow of an event starts with."""

    event: Event
    recipients: tuple[Recipient, ...]
    only: tuple[EndpointName, ...] | None = Field(
        default=None, description="a replay to some of the recipients; null: to all"
    )

    others: tuple[DeliveryStatus, ...] = Field(
        default=(), description="how those stand whom this run does not tell"
    )

    @property
    def told(self) -> tuple[Recipient, ...]:
        """Whom this run tells."""
        return tuple(
            each for each in self.recipients if self.only is None or each.endpoint in self.only
        )


class EventReceipt(Model):
    """The result of an event's workflow, and the answer to its query."""

    event: Event
    deliveries: tuple[DeliveryStatus, ...] = Field(description="one an endpoint that wanted it")
