"""A busy day at a shop, with things that die: what was paid must be told, once each.

The same recipe serves the tests and `python -m bench.reliability`.
"""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from typing import Self

import grpc

from devnet.node import ACCEPTED, SETTLED, LightningNode, TestInvoice
from devnet.receiver import Receiver
from devnet.waiting import eventually
from fulgurite.invoices.receipts import CreatedInvoice
from fulgurite.invoices.requests import InvoiceRequest
from fulgurite.money import FeeLimit, Msat
from fulgurite.payments.requests import PaymentRequest
from fulgurite.payments.states import PaymentState
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient
from starter.payment import Payment

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

    @property
    def hashes(self) -> Collection[str]:
        """In hex."""
        return {invoice.payment_hash for invoice in self.made}

    async def _is_settled(self, invoice: CreatedInvoice) -> bool:
        with suppress(grpc.aio.AioRpcError):
            async with self._payee.lightning() as lightning:
                found = await lightning.LookupInvoice(
                    lightning_pb2.PaymentHash(r_hash=invoice.payment_hash.raw()), timeout=5
                )
                return found.state == SETTLED
        return False


@dataclass(frozen=True)
class HeldPayment:
    """A payment of ours that its payee holds in flight, and what the payee will do with it."""

    payment: Payment
    invoice: TestInvoice
    payee: LightningNode
    will: PaymentState  # SUCCEEDED or FAILED

    @classmethod
    async def make(
        cls, client: FulguriteClient, payer: str, payees: Sequence[LightningNode], count: int
    ) -> list[Self]:
        """So many, in turn to each of `payees`; the first half will settle."""

        async def make(number: int) -> Self:
            payee = payees[number % len(payees)]
            invoice = await payee.hold_invoice(AMOUNT_MSAT)
            payment = await client.pay(
                PaymentRequest(
                    node=payer, invoice=invoice.payment_request, fee_limit=FeeLimit(sat=100)
                )
            )
            await payee.wait_for_invoice(invoice, ACCEPTED)
            settles = number < count // 2
            will = PaymentState.SUCCEEDED if settles else PaymentState.FAILED
            return cls(payment, invoice, payee, will)

        return await asyncio.gather(*(make(number) for number in range(count)))

    async def resolve(self) -> None:
        """The payee takes it, or sends it back."""
        if self.will is PaymentState.SUCCEEDED:
            await self.payee.settle(self.invoice)
        else:
            await self.payee.cancel(self.invoice)

    async def comes_out_right(self) -> bool:
        """Waits for our last word on it, and tells whether it is what the payee did."""
        return (await self.payment.receipt()).status is self.will


@asynccontextmanager
async def witnessing(node: LightningNode) -> AsyncIterator[dict[str, float]]:
    """When each invoice of a node settled, in seconds since the epoch, by its hash in hex.

    By a stream of our own: LND's own times are whole seconds.
    """
    settled: dict[str, float] = {}
    async with node.lightning() as lightning:
        stream = lightning.SubscribeInvoices(lightning_pb2.InvoiceSubscription())

        async def witness() -> None:
            async for invoice in stream:
                if invoice.state == SETTLED:
                    settled.setdefault(invoice.r_hash.hex(), time.time())

        witnessing = asyncio.create_task(witness())
        try:
            yield settled
        finally:
            witnessing.cancel()
            await asyncio.gather(witnessing, return_exceptions=True)


@dataclass(frozen=True)
class Reckoning:
    """What LND says was paid against what the shop was told."""

    settled: int
    told: int
    missing: int
    twice: int  # as two events: a receiver would credit both
    repeated: int  # the same event again, which a receiver drops by its id
    wrong: int  # told of what LND does not have as settled, or of another amount

    @property
    def agrees(self) -> bool:
        """Each once. Who kills a sender in the middle of a sending may see that one repeated."""
        return (self.missing, self.twice, self.wrong) == (0, 0, 0) and self.settled == self.told


async def reckon(hashes: Collection[str], payee: LightningNode, shop: Receiver) -> Reckoning:
    """Compares by payment hash; counts only what the shop could verify."""
    settled = {
        invoice.r_hash.hex(): invoice.amt_paid_msat
        for invoice in await payee.list_invoices()
        if invoice.state == SETTLED and invoice.r_hash.hex() in hashes
    }
    ours = [
        event
        for event in (
            json.loads(each.body)
            for each in shop.deliveries
            if each.taken and each.type in {"invoice.settled", "invoice.paid_late"}
        )
        if event["data"]["payment_hash"] in hashes
    ]
    events = {(event["data"]["payment_hash"], event["id"]) for event in ours}
    told = Counter(payment_hash for payment_hash, _ in events)
    amounts = [(event["data"]["payment_hash"], event["data"]["paid_msat"]) for event in ours]
    return Reckoning(
        settled=len(settled),
        told=len(told),
        missing=len(settled.keys() - told.keys()),
        twice=sum(times > 1 for times in told.values()),
        repeated=len(ours) - len(events),
        wrong=sum(settled.get(payment_hash) != msat for payment_hash, msat in amounts),
    )


async def all_told(
    sales: Sales, payee: LightningNode, shop: Receiver, timeout_seconds: float = 180
) -> Reckoning:
    """Waits until nothing is missing; the reckoning then, or TimeoutError with the last one."""
    looking: Callable[[], Awaitable[Reckoning]] = lambda: reckon(sales.hashes, payee, shop)  # noqa: E731
    return await eventually(
        looking,
        lambda seen: seen.missing == 0 and seen.settled == len(sales.made),
        what="every settlement told",
        timeout_seconds=timeout_seconds,
        every_seconds=0.5,
    )
