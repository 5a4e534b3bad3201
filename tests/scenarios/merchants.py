"""Merchants beside the shop: endpoints with habits of their own, and what becomes of webhooks."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import pytest
from temporalio.client import Client

from devnet.house import House, endpoint
from devnet.receiver import Receiver, new_secret
from devnet.waiting import eventually
from fulgurite.events.catalogue import EventId, EventType
from fulgurite.events.delivery import DeliveryStatus
from fulgurite.identity import PaymentHash
from nodes.webhooks.config import WebhookConfig
from starter.client import FulguriteClient
from starter.errors import NotRetainedError

from .receiving import working_as


class Merchants:
    """Endpoints by name, and a worker that knows them and no others."""

    def __init__(self, folder: Path, stack: AsyncExitStack) -> None:
        self.configs: dict[str, WebhookConfig] = {}
        self._folder = folder
        self._stack = stack

    async def open(self, name: str, *events: str, **habits: object) -> Receiver:
        """One that listens. `events` are patterns, `habits` other fields of WebhookConfig."""
        secret = new_secret()
        self.secret_path(name).write_text(secret)
        receiver = await self._stack.enter_async_context(Receiver(secret))
        config = endpoint(receiver, self.secret_path(name), *events)
        self.configs[name] = config.model_copy(update=habits)
        return receiver

    def secret_path(self, name: str) -> Path:
        return self._folder / f"{name}.secret"

    @asynccontextmanager
    async def working(self, home: House, temporal: Client, **limits: int) -> AsyncIterator[None]:
        settings = home.settings.model_copy(update={"webhooks": dict(self.configs), **limits})
        async with working_as(temporal, settings):
            yield


@pytest.fixture
async def merchants(tmp_path: Path) -> AsyncIterator[Merchants]:
    async with AsyncExitStack() as stack:
        yield Merchants(tmp_path, stack)


def event_id(kind: EventType, payment_hash: PaymentHash) -> EventId:
    """Of what happens to an invoice once."""
    return f"{kind.replace('.', '-')}-{payment_hash}"


async def delivery(
    client: FulguriteClient,
    event: EventId,
    name: str,
    until: Callable[[DeliveryStatus], bool],
    timeout_seconds: float = 30,
) -> DeliveryStatus:
    """Waits until the telling of an event to an endpoint stands like that."""

    async def ask() -> DeliveryStatus | None:
        try:
            view = await client.event(event).view()
        except NotRetainedError:
            return None  # it has not happened yet
        return next(each for each in view.deliveries if each.endpoint == name)

    found = await eventually(
        ask,
        lambda status: status is not None and until(status),
        what=f"delivery of {event} to {name}",
        timeout_seconds=timeout_seconds,
    )
    assert found is not None
    return found
