"""A busy day at a shop, with things that die: what was paid must be told, once each.

The same recipe serves the tests and `python -m bench.reliability`.
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Self

import grpc

from devnet.node import SETTLED, LightningNode
from devnet.receiver import Receiver
from devnet.waiting import eventually
from fulgurite.invoices.receipts import CreatedInvoice
from fulgurite.invoices.requests import InvoiceRequest
from fulgurite.money import Msat
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient

AMOUNT_MSAT = Msat(1_000_000)
_AT_ONCE = 20
_PAUSE_SECONDS = 0.5


class Sales:
    """Invoices that are made by us and paid by a neighbour, whatever dies meanwhile."""

    def __init__(self, made: Sequence[CreatedInvoice], payee: LightningNode) -> None:
        self.made = made
        self.paid = 0
        self._payee = payee

    @classmethod
    async def make(cls, client: FulguriteClient, payee: LightningNode, count: int) -> Self:
        """So many invoices of `payee`, a few at once."""
        gate = asyncio.Semaphore(_AT_ONCE)

        async def make() -> CreatedInvoice:
            async with gate:
                return await client.create_invoice(
                    InvoiceRequest(
                        key=str(uuid.uuid4()), node=payee.name, amount_msat=AMOUNT_MSAT, memo="sale"
                    )
                )

        return cls(await asyncio.gather(*(make() for _ in range(count))), payee)

    async def pay(self, payer: LightningNode, at_once: int = _AT_ONCE) -> None:
        """Pays all, a few at once; who fails to while the payee is away tries again."""
        gate = asyncio.Semaphore(at_once)

        async def pay(invoice: CreatedInvoice) -> None:
            async with gate:
                while not await self._is_settled(invoice):
                    with suppress(grpc.aio.AioRpcError):
                        # An earlier try may still be in flight: then this one is refused.
                        await payer.pay(invoice.payment_request, timeout_seconds=5)
                    if not await self._is_settled(invoice):
                        await asyncio.sleep(_PAUSE_SECONDS)
                self.paid += 1

        await asyncio.gather(*(pay(invoice) for invoice in self.made))

    async def are_paid(self, count: int, timeout_seconds: float = 180) -> None:
        """Waits until so many have been paid."""

        async def paid() -> int:
            return self.paid

        await eventually(
            paid, lambda seen: seen >= count, what="paid", timeout_seconds=timeout_seconds
        )

    async def _is_settled(self, invoice: CreatedInvoice) -> bool:
        with suppress(grpc.aio.AioRpcError):
            async with self._payee.lightning() as lightning:
                found = await lightning.LookupInvoice(
                    lightning_pb2.PaymentHash(r_hash=invoice.payment_hash.raw()), timeout=5
                )
                return found.state == SETTLED
        return False


@dataclass(frozen=True)
class Reckoning:
    """What LND says was paid against what the shop was told."""

    settled: int
    told: int
    missing: int
    twice: int
    wrong: int  # told of what LND does not have as settled, or of another amount

    @property
    def agrees(self) -> bool:
        return (self.missing, self.twice, self.wrong) == (0, 0, 0) and self.settled == self.told


async def reckon(sales: Sales, payee: LightningNode, shop: Receiver) -> Reckoning:
    """Compares by payment hash; counts only what the shop could verify."""
    ours = {invoice.payment_hash for invoice in sales.made}
    settled = {
        invoice.r_hash.hex(): invoice.amt_paid_msat
        for invoice in await payee.list_invoices()
        if invoice.state == SETTLED and invoice.r_hash.hex() in ours
    }
    deliveries = [
        json.loads(each.body)["data"]
        for each in shop.deliveries
        if each.taken and each.type in {"invoice.settled", "invoice.paid_late"}
    ]
    told = Counter(data["payment_hash"] for data in deliveries if data["payment_hash"] in ours)
    wrong = [
        data
        for data in deliveries
        if data["payment_hash"] in ours and settled.get(data["payment_hash"]) != data["paid_msat"]
    ]
    return Reckoning(
        settled=len(settled),
        told=len(told),
        missing=len(settled.keys() - told.keys()),
        twice=sum(times > 1 for times in told.values()),
        wrong=len(wrong),
    )


async def all_told(
    sales: Sales, payee: LightningNode, shop: Receiver, timeout_seconds: float = 180
) -> Reckoning:
    """Waits until nothing is missing; the reckoning then, or TimeoutError with the last one."""
    looking: Callable[[], Awaitable[Reckoning]] = lambda: reckon(sales, payee, shop)  # noqa: E731
    return await eventually(
        looking,
        lambda seen: seen.missing == 0 and seen.settled == len(sales.made),
        what="every settlement told",
        timeout_seconds=timeout_seconds,
        every_seconds=0.5,
    )
