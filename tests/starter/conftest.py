"""What these tests share: the command, in this process and in one of its own."""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import sys
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from temporalio.client import Client
from typer.testing import CliRunner, Result

import worker
from activities.events import Announcer
from devnet.house import ROOT, House, endpoint
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
from settings import CONFIG_VARIABLE
from starter.cli.main import app
from starter.client import FulguriteClient
from starter.event import Announcement
from starter.schemas import FOLDER


@dataclass(frozen=True)
class Command:
    """`fulgurite`, configured for the house."""

    environment: dict[str, str]

    async def __call__(self, *arguments: str, answer: str | None = None) -> Result:
        """Runs it in this process. `answer` is what stdin holds; None: nothing, at once."""
        return await asyncio.to_thread(
            CliRunner(env=self.environment).invoke, app, list(arguments), input=answer
        )

    async def process(self, *arguments: str) -> asyncio.subprocess.Process:
        """Starts it as a process of its own, to be interrupted."""
        return await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "starter.cli", *arguments),
            cwd=ROOT,
            env=os.environ | self.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )


@pytest.fixture
def fulgurite(home: House) -> Command:
    return Command({CONFIG_VARIABLE: str(home.config_path)})


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


def states(receipt: EventReceipt) -> dict[str, str]:
    """Endpoint → how its delivery stands."""
    return {each.endpoint: str(each.state) for each in receipt.deliveries}


def valid(text: str, name: str) -> Any:
    """The JSON document, valid by the published schema `name`."""
    schema = json.loads((FOLDER / f"{name}.schema.json").read_text())
    document = json.loads(text)
    jsonschema.validate(
        document, schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    return document
