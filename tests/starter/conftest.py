"""What these tests share: merchants who are told of invoices, and a node that hangs."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from temporalio.client import Client

import worker
from activities.events import Announcer
from devnet.house import House, endpoint
from devnet.receiver import Delivery, Receiver, new_secret
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.events.catalogue import Event, EventType, event
from fulgurite.events.delivery import EventReceipt
from fulgurite.identity import PaymentHash
from fulgurite.invoices.receipts import InvoiceReceipt
from fulgurite.invoices.states import InvoiceState
from nodes.registry import Nodes
from nodes.webhooks.sender import Webhooks
from starter.client import FulguriteClient
from starter.event import Announcement

from .hanging import HangingNode
from .hanging_workers import hanging_node


@dataclass(frozen=True)
class Town:
    """Workers that tell two merchants of every invoice: one in any order, one in order."""

    shop: Receiver
    till: Receiver
    client: FulguriteClient
    announcer: Announcer

    async def happens(
        self,
        kind: EventType = EventType.INVOICE_SETTLED,
        payment_hash: PaymentHash | None = None,
        after: Event | None = None,
    ) -> Event:
        """An event of an invoice that nobody made: cheap, and on its way once this returns."""
        now = datetime.now(UTC)
        payment_hash = payment_hash or PaymentHash(secrets.token_hex(32))
        news = event(
            kind,
            InvoiceReceipt(
                status=InvoiceState.SETTLED,
                payment_hash=payment_hash,
                node="carol",
                created_at=now,
                expires_at=now + timedelta(hours=1),
            ),
            subject=payment_hash,
            resource=ids.invoice_id(payment_hash),
            node="carol",
            timestamp=now,
            after=after.id if after else None,
        )
        await self.announcer.emit(news)
        return news

    async def dies(self, receiver: Receiver, **about: Any) -> Announcement:
        """An event that one of the two does not want (410), and that has ended."""
        receiver.answer = 410
        told = self.client.event((await self.happens(**about)).id)
        await told.receipt()
        receiver.answer = 200
        return told

    async def heard(self, receiver: Receiver, news: str, times: int) -> list[Delivery]:
        """Waits until it was sent so often, taken or not."""

        async def ask() -> list[Delivery]:
            return [delivery for delivery in receiver.deliveries if delivery.id == news]

        return await eventually(ask, lambda told: len(told) >= times, what=f"{news}, {times} times")


@pytest.fixture
async def town(
    home: House, temporal: Client, shop: Receiver, tmp_path: Path
) -> AsyncIterator[Town]:
    """Instead of `working`: it has workers of its own."""
    secret = new_secret()
    (tmp_path / "till.secret").write_text(secret)
    async with AsyncExitStack() as stack:
        till = await stack.enter_async_context(Receiver(secret))
        ordered = endpoint(till, tmp_path / "till.secret", "invoice.*").model_copy(
            update={"ordered": True}
        )
        settings = home.settings.model_copy(
            update={"webhooks": {**home.settings.webhooks, "till": ordered}}
        )
        nodes, webhooks = Nodes(settings.nodes), Webhooks(settings.webhooks)
        stack.push_async_callback(nodes.close)
        stack.push_async_callback(webhooks.close)
        for each in worker.workers(temporal, settings, nodes, webhooks):
            await stack.enter_async_context(each)
        yield Town(shop, till, FulguriteClient(temporal), Announcer(temporal, webhooks))
        shop.answer = 200


@pytest.fixture
async def node(temporal: Client) -> AsyncIterator[HangingNode]:
    """A node of which payments hang, instead of `working`: it has workers of its own."""
    async with hanging_node(temporal) as hanging:
        yield hanging


def states(receipt: EventReceipt) -> dict[str, str]:
    """Endpoint → how its delivery stands."""
    return {each.endpoint: str(each.state) for each in receipt.deliveries}
