"""A shop of the bench: a house, a receiver of its webhooks, and when each of them came."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Collection, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from temporalio.client import Client

from devnet.house import House, endpoint, house
from devnet.progress import say
from devnet.receiver import Delivery, Receiver, new_secret
from devnet.waiting import eventually
from fulgurite.events.catalogue import EventType
from starter.client import FulguriteClient
from starter.connect import connect

_SAY_EVERY = 1_000


class Arrivals:
    """When each webhook was there for the first time, in seconds since the epoch, by its id."""

    def __init__(self) -> None:
        self.at: dict[str, float] = {}

    def note(self, delivery: Delivery) -> None:
        if delivery.taken:
            self.at.setdefault(delivery.id, time.time())

    def of_settlements(self, hashes: Iterable[str]) -> dict[str, float]:
        """Of those invoices whose webhook has come, by payment hash."""
        news = {each: settled_event(each) for each in hashes}
        return {each: self.at[id_] for each, id_ in news.items() if id_ in self.at}

    async def are_there(self, hashes: Collection[str], timeout_seconds: float) -> None:
        """Waits until the settlement of each of these was told; says how it goes."""
        news = {settled_event(each) for each in hashes}
        say_at = len(news) - _SAY_EVERY

        async def missing() -> int:
            nonlocal say_at
            count = len(news - self.at.keys())
            if count <= say_at:
                say(f"{len(news) - count:,} of {len(news):,} webhooks are there")
                say_at = count - _SAY_EVERY
            return count

        await eventually(
            missing,
            lambda count: count == 0,
            what="webhooks that are missing",
            timeout_seconds=timeout_seconds,
        )


def settled_event(payment_hash: str) -> str:
    """The id of the news that an invoice settled."""
    return f"{EventType.INVOICE_SETTLED.replace('.', '-')}-{payment_hash}"


@dataclass(frozen=True)
class Shop:
    """`home` has no worker yet."""

    home: House
    temporal: Client
    client: FulguriteClient
    receiver: Receiver
    arrivals: Arrivals


@asynccontextmanager
async def shop(kind: str, state_dir: Path, *, nodes: tuple[str, ...] = ()) -> AsyncIterator[Shop]:
    """Its receiver is told of everything, of these nodes or of all."""
    secret_path, arrivals = state_dir / "shop.secret", Arrivals()
    secret_path.write_text(new_secret())
    async with Receiver(secret_path.read_text(), on_delivery=arrivals.note) as receiver:
        told = endpoint(receiver, secret_path).model_copy(update={"nodes": nodes})
        async with house(kind, state_dir, webhooks={"shop": told}) as home:
            temporal = await connect(home.settings)
            yield Shop(home, temporal, FulguriteClient(temporal), receiver, arrivals)
