"""Endpoints are told for days, each for itself, and none is given up before its time."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from datetime import timedelta
from typing import Any

from fulgurite.events.calls import SEND_WEBHOOK, Posted, Posting
from fulgurite.events.delivery import (
    PAUSES,
    DeliveryState,
    DeliveryStatus,
    EventDelivery,
    EventReceipt,
    Recipient,
)
from tests.properties.clock import EPOCH
from tests.unit.stage import World, failed, play
from tests.unit.test_event_delivery import settled
from workflows import calling, event, metrics
from workflows.event import EventWorkflow

NEWS = settled(EPOCH)
DAY = timedelta(days=1)


class Endpoints:
    """Each fails so often, and takes so long, as is written here."""

    def __init__(self, **failures: int) -> None:
        self.failures = failures
        self.answers_after_seconds: defaultdict[str, float] = defaultdict(float)
        self.error = "DeliveryError"
        self.tries: list[str] = []

    async def answer(self, name: str, ask: Any) -> Posted:
        assert name == SEND_WEBHOOK.name
        assert isinstance(ask, Posting)
        assert ask.event == NEWS
        self.tries.append(ask.endpoint)
        await asyncio.sleep(self.answers_after_seconds[ask.endpoint])
        if self.tries.count(ask.endpoint) <= self.failures[ask.endpoint]:
            raise failed(self.error)
        return Posted(status=200, milliseconds=1)

    def told(self) -> dict[str, DeliveryStatus]:
        """How each delivery ended."""
        order = EventDelivery(
            event=NEWS, recipients=tuple(Recipient(endpoint=name) for name in self.failures)
        )
        receipt = play(
            World(self.answer),
            f"event/{NEWS.id}",
            (calling, event, metrics),
            lambda: EventWorkflow(order).run(order),
        )
        assert isinstance(receipt, EventReceipt)
        return {each.endpoint: each for each in receipt.deliveries}


def test_an_endpoint_that_failed_is_told_by_a_later_try() -> None:
    told = Endpoints(shop=len(PAUSES)).told()["shop"]

    assert (told.state, told.tries) == (DeliveryState.DELIVERED, len(PAUSES) + 1)
    assert told.delivered_at is not None
    assert told.delivered_at > EPOCH + 3 * DAY


def test_what_no_try_could_deliver_is_dead_after_days_and_says_why() -> None:
    told = Endpoints(shop=1_000).told()["shop"]

    assert (told.state, told.tries) == (DeliveryState.DEAD, len(PAUSES) + 1)
    assert "it did not work" in told.last_problem


def test_an_endpoint_that_wants_no_more_is_asked_no_more() -> None:
    gone = Endpoints(shop=1_000)
    gone.error = "EndpointGoneError"

    assert gone.told()["shop"].state is DeliveryState.DEAD
    assert gone.tries == ["shop"]


def test_no_endpoint_waits_for_another() -> None:
    endpoints = Endpoints(deaf=1_000, slow=0, shop=0)
    endpoints.answers_after_seconds["slow"] = 60
    told = endpoints.told()

    assert told["deaf"].state is DeliveryState.DEAD
    assert told["slow"].delivered_at == EPOCH + timedelta(minutes=1)
    assert told["shop"].delivered_at == EPOCH
