"""How the scenarios ask for money, wait for it, and hold what they are told against the truth."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime

from temporalio.client import Client

import worker
from devnet.house import House
from devnet.node import CANCELED, SETTLED, LightningNode, TestInvoice
from devnet.receiver import Delivery, Receiver
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.events.catalogue import Event, EventType
from fulgurite.identity import PaymentHash
from fulgurite.invoices.receipts import CreatedInvoice, InvoiceReceipt, InvoiceView
from fulgurite.invoices.requests import InvoiceRequest
from fulgurite.invoices.states import InvoiceState
from nodes.registry import Nodes
from nodes.webhooks.sender import Webhooks
from protos.lnrpc import lightning_pb2
from settings import Settings
from starter.client import FulguriteClient
from starter.invoice import PAID, Invoice

AMOUNT_MSAT = 20_000_000

LndInvoice = lightning_pb2.Invoice
LndPayment = lightning_pb2.Payment


def to_receive(**more: object) -> InvoiceRequest:
    """A request for carol, under a key of its own; `more` are fields of InvoiceRequest."""
    fields: dict[str, object] = {
        "key": f"order-{uuid.uuid4().hex}",
        "node": "carol",
        "amount_msat": AMOUNT_MSAT,
        "memo": "glass, molten and cooled",
    }
    return InvoiceRequest.model_validate(fields | more)


def to_hold(*, hold: object = None, **more: object) -> InvoiceRequest:
    """The same for a hold invoice; `hold` are fields of Hold."""
    return to_receive(hold=hold or {}, **more)


async def issued(
    client: FulguriteClient, request: InvoiceRequest
) -> tuple[CreatedInvoice, Invoice]:
    """The invoice that a request gives, and the handle of what watches over it."""
    created = await client.create_invoice(request)
    return created, await client.invoice(created.payment_hash)


def in_lnd(created: CreatedInvoice) -> TestInvoice:
    """The invoice as the driver of a node knows it; its preimage is not for tests."""
    return TestInvoice(created.payment_request, created.payment_hash.raw(), preimage=b"")


async def lnd_has(
    home: House, created: CreatedInvoice, state: LndInvoice.InvoiceState.ValueType
) -> LndInvoice:
    """Waits until the invoice's own node has it in `state`."""
    node = home.network.nodes[created.request.node]
    return await node.wait_for_invoice(in_lnd(created), state)


async def reaches(
    invoice: Invoice, *states: InvoiceState, timeout_seconds: float = 30
) -> InvoiceView:
    """Waits until the invoice is in one of `states`."""
    return await eventually(
        invoice.view,
        lambda view: view.state in states,
        what=f"invoice in {' or '.join(states)}",
        timeout_seconds=timeout_seconds,
    )


async def notes(invoice: Invoice, words: str, timeout_seconds: float = 30) -> InvoiceView:
    """Waits until the invoice's timeline has `words`."""
    return await eventually(
        invoice.view,
        lambda view: any(words in line for line in view.timeline),
        what=f"invoice that notes {words!r}",
        timeout_seconds=timeout_seconds,
    )


async def until(moment: datetime) -> None:
    """Waits for a moment that is written in an invoice: the only thing to wait for is time."""
    await asyncio.sleep(max(0.0, (moment - datetime.now(UTC)).total_seconds()))


@asynccontextmanager
async def being_paid(
    payer: LightningNode, created: CreatedInvoice, *, fee_limit_msat: int = 100_000
) -> AsyncIterator[asyncio.Task[LndPayment]]:
    """Pays beside the block, which decides what becomes of it; then waits for LND's last word."""
    paying = asyncio.create_task(payer.pay(created.payment_request, fee_limit_msat=fee_limit_msat))
    try:
        yield paying
        await paying
    finally:
        paying.cancel()


@asynccontextmanager
async def held(
    home: House, client: FulguriteClient, **request: object
) -> AsyncIterator[tuple[CreatedInvoice, Invoice]]:
    """A hold invoice that alice pays; when the block ends, so has her payment."""
    created, invoice = await issued(client, to_hold(**request))
    async with being_paid(home.network.nodes["alice"], created):
        yield created, invoice


@asynccontextmanager
async def working_as(temporal: Client, settings: Settings) -> AsyncIterator[None]:
    """A worker in this process with settings of its own; to be the only one."""
    nodes, webhooks = Nodes(settings.nodes), Webhooks(settings.webhooks)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(nodes.close)
        stack.push_async_callback(webhooks.close)
        for each in worker.workers(temporal, settings, nodes, webhooks):
            await stack.enter_async_context(each)
        await worker.listen(temporal, nodes)
        yield


def told_of(shop: Receiver, payment_hash: PaymentHash) -> list[Delivery]:
    """Every webhook about an invoice, whatever became of it, in order."""
    resource = f'"resource":"{ids.invoice_id(payment_hash)}"'
    return [delivery for delivery in shop.deliveries if resource in delivery.body]


async def shop_hears(
    shop: Receiver, payment_hash: PaymentHash, *types: EventType, timeout_seconds: float = 30
) -> list[Event]:
    """Waits until the shop was told of all these; each must have come once, verified, alone."""

    async def ask() -> list[Delivery]:
        return told_of(shop, payment_hash)

    deliveries = await eventually(
        ask,
        lambda told: len(told) >= len(types),
        what=f"webhooks {', '.join(types)}",
        timeout_seconds=timeout_seconds,
    )
    events = [Event.model_validate_json(delivery.body) for delivery in deliveries]
    # Sent at once, two events of an invoice may cross on their way.
    assert sorted(event.type for event in events) == sorted(types)
    assert all(delivery.verified and delivery.taken for delivery in deliveries)
    for event, delivery in zip(events, deliveries, strict=True):
        assert delivery.id == event.id == f"{event.type.replace('.', '-')}-{payment_hash}"
    by_type = {event.type: event for event in events}
    return [by_type[each] for each in types]


async def assert_true(home: House, receipt: InvoiceReceipt) -> None:
    """The receipt, the payee's LND and the ledger tell one story."""
    node = home.network.nodes[receipt.node]
    told = await node.lookup(TestInvoice("", receipt.payment_hash.raw(), b""))
    paid = receipt.status in PAID

    assert paid == (told.state == SETTLED)
    assert (receipt.amount_msat or 0) == told.value_msat
    assert receipt.created_at == _time(told.creation_date)
    assert receipt.expires_at == _time(told.creation_date + told.expiry)
    if paid:
        settled = [htlc for htlc in told.htlcs if htlc.state == lightning_pb2.SETTLED]
        came_at = _time(max(htlc.accept_time for htlc in settled))
        assert receipt.paid_msat == told.amt_paid_msat == sum(htlc.amt_msat for htlc in settled)
        assert receipt.parts == len(settled)
        assert (receipt.paid_at, receipt.settled_at) == (came_at, _time(told.settle_date))
        late = came_at > receipt.expires_at
        assert (receipt.status is InvoiceState.PAID_LATE) == late
        assert (receipt.late_seconds is not None) == late
    else:
        assert told.state == CANCELED
        assert receipt.status in {InvoiceState.CANCELED, InvoiceState.CLOSED}
        assert (receipt.paid_msat, receipt.parts, receipt.settled_at) == (0, 0, None)
    beyond_msat = int(receipt.paid_msat) - (receipt.amount_msat or receipt.paid_msat)
    assert receipt.overpaid_msat == max(0, beyond_msat)
    if isinstance(home.network, SimulatedNetwork):
        ledger = home.network.ledger
        payment_hash = receipt.payment_hash.raw()
        assert ledger.settled_payments(payment_hash) == int(paid)
        assert ledger.received_msat(receipt.node, payment_hash) == receipt.paid_msat


def _time(seconds: int) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)
