"""Very many invoices of one simulated node, and whether each of them had its one effect."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections import deque
from contextlib import suppress

from bench.shop import Shop
from devnet.outages import Reckoning, reckon
from devnet.simulated import SimulatedNetwork
from fulgurite.invoices.requests import InvoiceRequest
from fulgurite.money import Msat

NODE = "alice"
_AMOUNT_MSAT = Msat(10_000)
_MADE_AT_ONCE = 20

# A day's worth of expiry, as most invoices have.
_EXPIRY_SECONDS = 86_400


class Crowd:
    """Ours are made through Temporal, others' by somebody else on the node."""

    def __init__(self, at: Shop) -> None:
        assert isinstance(at.home.network, SimulatedNetwork)
        self._shop = at
        self.network = at.home.network
        self.hashes: list[str] = []
        self._unpaid: deque[bytes] = deque()

    async def make_ours(self, count: int) -> None:
        gate = asyncio.Semaphore(_MADE_AT_ONCE)

        async def make() -> None:
            async with gate:
                created = await self._shop.client.create_invoice(
                    InvoiceRequest(
                        key=f"crowd-{uuid.uuid4()}",
                        node=NODE,
                        amount_msat=_AMOUNT_MSAT,
                        expiry_seconds=_EXPIRY_SECONDS,
                    )
                )
            self._made(created.payment_hash.raw())

        await asyncio.gather(*(make() for _ in range(count)))

    async def make_others(self, count: int) -> None:
        for number in range(count):
            self._made(self.network.issue(NODE, value_msat=_AMOUNT_MSAT))
            if number % 100 == 0:
                await asyncio.sleep(0)

    async def settle(self, count: int | None = None) -> None:
        """So many, or all that are left: paid from outside the network, in any order."""
        unpaid = self._unpaid
        random.shuffle(unpaid)
        for number in range(len(unpaid) if count is None else min(count, len(unpaid))):
            self.network.receive(NODE, unpaid.popleft())
            if number % 20 == 0:
                # Everybody else shares this loop: the node's streams, and the receiver.
                await asyncio.sleep(0)

    async def told(self, timeout_seconds: float) -> Reckoning:
        """When as many webhooks have come as were made, or time is up."""
        with suppress(TimeoutError):
            await self._shop.arrivals.are_there(self.hashes, timeout_seconds)
        node = self.network.nodes[NODE]
        return await reckon(set(self.hashes), node, self._shop.receiver)

    def _made(self, payment_hash: bytes) -> None:
        self.hashes.append(payment_hash.hex())
        self._unpaid.append(payment_hash)
