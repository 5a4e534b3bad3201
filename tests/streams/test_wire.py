"""`LndInvoices` on a node, simulated and real: LND's own words, and what we make of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from uuid import uuid4

import pytest

from devnet.house import House
from devnet.node import LightningNode
from fulgurite.bolt11 import read_invoice
from fulgurite.errors import (
    InvalidRequestError,
    InvoiceDecidedError,
    InvoiceExistsError,
    InvoiceNotFoundError,
)
from fulgurite.identity import Preimage
from fulgurite.invoices.requests import Hold, InvoiceRequest
from fulgurite.invoices.states import LndInvoiceState
from nodes.lnd.invoices import LndInvoices, NodeInvoice
from nodes.registry import Nodes

OPEN, ACCEPTED = LndInvoiceState.OPEN, LndInvoiceState.ACCEPTED
SETTLED, CANCELED = LndInvoiceState.SETTLED, LndInvoiceState.CANCELED
FEE_LIMIT_MSAT = 100_000


def a_request(**fields: object) -> InvoiceRequest:
    defaults = {"key": f"k-{uuid4()}", "node": "bob", "amount_msat": 7_000, "memo": "tea"}
    return InvoiceRequest.model_validate(defaults | fields)


@pytest.fixture
async def invoices(home: House) -> AsyncIterator[LndInvoices]:
    nodes = Nodes(home.settings.nodes)
    assert "bob" in nodes.receiving()
    yield nodes.invoices("bob")
    await nodes.close()


@pytest.fixture
def payer(home: House) -> LightningNode:
    return home.network.nodes["alice"]


@pytest.fixture
def preimage() -> Preimage:
    return Preimage.generate()


@pytest.fixture
def paying() -> Iterator[list[asyncio.Task[object]]]:
    """Payments under way; canceled at the end."""
    tasks: list[asyncio.Task[object]] = []
    yield tasks
    for task in tasks:
        task.cancel()


async def until(changes: AsyncIterator[NodeInvoice], state: LndInvoiceState) -> NodeInvoice:
    async with asyncio.timeout(30):
        async for invoice in changes:
            if invoice.state is state:
                return invoice
    raise AssertionError(f"the stream ended before {state}")


async def test_an_invoice_reads_as_it_was_asked_for(
    invoices: LndInvoices, preimage: Preimage
) -> None:
    await invoices.add(a_request(expiry_seconds=77), preimage.hash(), preimage)
    invoice = await invoices.look_up(preimage.hash())
    read = read_invoice(invoice.payment_request)

    assert (invoice.state, invoice.amount, invoice.memo) == (OPEN, 7_000, "tea")
    assert (read.payment_hash, read.amount, read.description) == (preimage.hash(), 7_000, "tea")
    assert (read.created_at, read.expires_at) == (invoice.created_at, invoice.expires_at)
    assert invoice.expiry_seconds == 77
    assert not invoice.is_hold


async def test_an_invoice_of_any_amount_has_none(invoices: LndInvoices, preimage: Preimage) -> None:
    await invoices.add(a_request(amount_msat=None), preimage.hash(), preimage)

    assert (await invoices.look_up(preimage.hash())).amount is None


async def test_a_hash_makes_one_invoice(invoices: LndInvoices, preimage: Preimage) -> None:
    request = a_request()
    await invoices.add(request, preimage.hash(), preimage)

    with pytest.raises(InvoiceExistsError):
        await invoices.add(request, preimage.hash(), preimage)


async def test_what_lnd_does_not_know_is_not_found(
    invoices: LndInvoices, preimage: Preimage
) -> None:
    with pytest.raises(InvoiceNotFoundError):
        await invoices.look_up(preimage.hash())
    with pytest.raises(InvoiceNotFoundError):
        await invoices.cancel(preimage.hash())
    with pytest.raises(InvoiceNotFoundError):
        await invoices.settle(preimage)


@pytest.mark.parametrize(
    "address", ["bcrt1qqqqqqqqqqqqqqqqqqq", "1BvBMSEYstWetqTFn5Au4m4GFg7xJaNVN2"]
)
async def test_what_lnd_refuses_is_the_callers_to_mend(
    invoices: LndInvoices, preimage: Preimage, address: str
) -> None:
    with pytest.raises(InvalidRequestError):
        await invoices.add(a_request(fallback_address=address), preimage.hash(), preimage)


async def test_a_held_invoice_is_followed_and_settled_once(
    invoices: LndInvoices,
    payer: LightningNode,
    preimage: Preimage,
    paying: list[asyncio.Task[object]],
) -> None:
    await invoices.add(a_request(hold=Hold()), preimage.hash(), None)
    with pytest.raises(InvoiceDecidedError, match="still open"):
        await invoices.settle(preimage)

    async with invoices.watch(preimage.hash()) as changes:
        opened = await until(changes, OPEN)
        assert opened.is_hold
        paying.append(
            asyncio.create_task(payer.pay(opened.payment_request, fee_limit_msat=FEE_LIMIT_MSAT))
        )
        held = await until(changes, ACCEPTED)
        assert (held.paid, held.parts) == (7_000, 1)
        assert held.paid_at is not None
        assert held.first_expiry_height is not None
        assert held.first_expiry_height > await invoices.height() + 100
        await invoices.settle(preimage)
        settled = await until(changes, SETTLED)
        assert (settled.paid, settled.settled_at is not None) == (7_000, True)
        assert settled.settle_index > 0
        assert [each async for each in changes] == []

    await invoices.settle(preimage)
    with pytest.raises(InvoiceDecidedError, match="already settled"):
        await invoices.cancel(preimage.hash())


async def test_a_canceled_invoice_stays_so(invoices: LndInvoices, preimage: Preimage) -> None:
    await invoices.add(a_request(hold=Hold()), preimage.hash(), None)
    await invoices.cancel(preimage.hash())
    await invoices.cancel(preimage.hash())

    assert (await invoices.look_up(preimage.hash())).state is CANCELED
    with pytest.raises(InvoiceDecidedError, match="already canceled"):
        await invoices.settle(preimage)


async def test_invoices_are_listed_in_pages_both_ways(invoices: LndInvoices) -> None:
    before = (await invoices.page(after_index=0, limit=1, backwards=True)).last_index
    made = [Preimage.generate() for _ in range(5)]
    for each in made:
        await invoices.add(a_request(), each.hash(), each)
    hashes = [each.hash() for each in made]
    await invoices.cancel(hashes[1])

    first = await invoices.page(after_index=before, limit=3)
    rest = await invoices.page(after_index=first.last_index, limit=3)
    end = await invoices.page(after_index=rest.last_index, limit=3)
    assert [each.payment_hash for each in (*first.invoices, *rest.invoices)] == hashes
    assert (end.invoices, end.last_index) == ((), rest.last_index)

    newest = await invoices.page(after_index=0, limit=2, backwards=True)
    older = await invoices.page(after_index=newest.last_index, limit=3, backwards=True)
    assert [each.payment_hash for each in (*older.invoices, *newest.invoices)] == hashes

    pending = await invoices.page(after_index=before, limit=9, pending_only=True)
    assert [each.payment_hash for each in pending.invoices] == [hashes[0], *hashes[2:]]


async def test_adds_and_settles_are_told_as_they_come(
    invoices: LndInvoices, payer: LightningNode, preimage: Preimage
) -> None:
    known = Preimage.generate()
    await invoices.add(a_request(), known.hash(), known)
    begin = (await invoices.look_up(known.hash())).add_index
    await invoices.add(a_request(), preimage.hash(), preimage)

    async with invoices.subscribe(begin, 0) as updates:
        # The past comes first, so that what follows is told to one who listens.
        added = await until(updates, OPEN)
        assert added.payment_hash == preimage.hash()
        await payer.pay(added.payment_request, fee_limit_msat=FEE_LIMIT_MSAT)
        settled = await until(updates, SETTLED)

    assert (settled.payment_hash, settled.paid) == (preimage.hash(), 7_000)
