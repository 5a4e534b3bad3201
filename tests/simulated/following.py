"""Streams that a test keeps open beside what it does."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import AsyncIterable, AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Generic, TypeVar

from devnet.node import LightningNode
from devnet.waiting import eventually
from protos.invoicesrpc import invoices_pb2
from protos.lnrpc import lightning_pb2

Message = TypeVar("Message")
State = lightning_pb2.Invoice.InvoiceState

MARK = "a marker, and not what the test is about"


class Followed(Generic[Message]):
    """What a stream has said so far."""

    def __init__(self) -> None:
        self.messages: list[Message] = []
        self.ended = False

    async def until(self, enough: Callable[[list[Message]], bool]) -> list[Message]:
        """Waits until enough has been said."""

        async def ask() -> bool:
            return enough(self.messages)

        await eventually(ask, what="messages", timeout_seconds=10, every_seconds=0.005)
        return self.messages

    async def count(self, count: int) -> list[Message]:
        return await self.until(lambda messages: len(messages) >= count)

    async def end(self) -> list[Message]:
        """All of it, once the stream has ended."""

        async def ask() -> bool:
            return self.ended

        await eventually(ask, what="the stream's end", timeout_seconds=10)
        return self.messages


@asynccontextmanager
async def following(stream: AsyncIterable[Message]) -> AsyncIterator[Followed[Message]]:
    """Reads a stream until the block ends; what it ends with comes out there."""
    followed = Followed[Message]()

    async def read() -> None:
        async for message in stream:
            followed.messages.append(message)
        followed.ended = True

    reading = asyncio.create_task(read())
    try:
        yield followed
    finally:
        if not reading.done():
            reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


@asynccontextmanager
async def subscribed(
    node: LightningNode, add_index: int = 0, settle_index: int = 0
) -> AsyncIterator[Followed[lightning_pb2.Invoice]]:
    """A SubscribeInvoices that is known to stand: its backlog is over, and live it follows."""
    request = lightning_pb2.InvoiceSubscription(add_index=add_index, settle_index=settle_index)
    async with (
        node.lightning() as lightning,
        following(lightning.SubscribeInvoices(request)) as followed,
    ):
        await said_all(node, followed)
        yield followed


async def said_all(
    node: LightningNode, followed: Followed[lightning_pb2.Invoice]
) -> list[lightning_pb2.Invoice]:
    """All that a subscription had to say: what it says before it tells of a new invoice.

    A subscription of lnd's that has no past to tell says nothing until something happens.
    So invoices are made to happen until one is told of, and then left out.
    """

    async def mark() -> bool:
        mark = await node.invoice(1, memo=MARK)
        return any(message.r_hash == mark.payment_hash for message in followed.messages)

    await eventually(mark, what="a marker", timeout_seconds=10)
    followed.messages[:] = [message for message in followed.messages if message.memo != MARK]
    return followed.messages


def told(messages: list[lightning_pb2.Invoice]) -> list[tuple[str, int, int]]:
    """The gist of invoices: state, add_index, settle_index."""
    return [(State.Name(m.state), m.add_index, m.settle_index) for m in messages]


async def add_many(node: LightningNode, count: int, *, hold: bool = False) -> list[bytes]:
    """Invoices of 1 sat over one connection; their hashes."""
    hashes = []
    async with node.lightning() as lightning, node.invoices() as invoices:
        for _ in range(count):
            if hold:
                payment_hash = hashlib.sha256(secrets.token_bytes(32)).digest()
                request = invoices_pb2.AddHoldInvoiceRequest(hash=payment_hash, value=1)
                await invoices.AddHoldInvoice(request)
            else:
                added = await lightning.AddInvoice(lightning_pb2.Invoice(value=1))
                payment_hash = added.r_hash
            hashes.append(payment_hash)
    return hashes
