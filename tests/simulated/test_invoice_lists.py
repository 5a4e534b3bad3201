"""Lists come in pages, whatever is missing between their records."""

from __future__ import annotations

import dataclasses

import grpc

from devnet.node import LightningNode
from devnet.simulated import SimulatedNetwork
from protos.invoicesrpc import invoices_pb2
from protos.lnrpc import lightning_pb2

from .driving import refused, to_pay
from .following import add_many, told

UNKNOWN = grpc.StatusCode.UNKNOWN


async def _page(node: LightningNode, **query: int) -> tuple[list[int], int, int]:
    request = lightning_pb2.ListInvoiceRequest(**query)  # type: ignore[arg-type]
    async with node.lightning() as lightning:
        page = await lightning.ListInvoices(request)
    indexes = [invoice.add_index for invoice in page.invoices]
    return indexes, page.first_index_offset, page.last_index_offset


async def test_invoices_are_listed_in_pages_forwards_and_backwards(bob: LightningNode) -> None:
    await add_many(bob, 7)
    assert await _page(bob, num_max_invoices=3) == ([1, 2, 3], 1, 3)
    assert await _page(bob, num_max_invoices=3, index_offset=3) == ([4, 5, 6], 4, 6)
    assert await _page(bob, num_max_invoices=3, index_offset=6) == ([7], 7, 7)
    assert await _page(bob, index_offset=7) == ([], 0, 0)
    assert await _page(bob, num_max_invoices=3, reversed=1) == ([5, 6, 7], 5, 7)
    assert await _page(bob, num_max_invoices=3, reversed=1, index_offset=5) == ([2, 3, 4], 2, 4)
    assert await _page(bob, reversed=1, index_offset=1) == ([], 0, 0)
    assert await _page(bob, num_max_invoices=2, reversed=1, index_offset=99) == ([6, 7], 6, 7)


async def test_a_page_is_of_a_hundred_unless_another_number_is_named(bob: LightningNode) -> None:
    await add_many(bob, 103)
    assert (await _page(bob))[1:] == (1, 100)
    assert (await _page(bob, reversed=1))[1:] == (4, 103)
    assert [invoice.add_index for invoice in await bob.list_invoices(page_size=25)] == [
        *range(1, 104)
    ]


async def test_a_list_is_not_put_out_by_a_gap(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    await add_many(bob, 2)
    network.faults.skip_add_indexes("bob", 10)
    await add_many(bob, 2)
    assert (await _page(bob))[0] == [1, 2, 13, 14]
    for offset in (2, 5, 12):
        assert (await _page(bob, index_offset=offset))[0] == [13, 14]
        assert (await _page(bob, index_offset=offset + 1, reversed=1))[0] == [1, 2]


async def test_pending_is_what_can_still_be_settled_or_canceled(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    settled, _, _ = await add_many(bob, 3)
    canceled, held = await add_many(bob, 2, hold=True)
    network.receive("bob", settled)
    network.receive("bob", held)
    async with bob.invoices() as invoices:
        await invoices.CancelInvoice(invoices_pb2.CancelInvoiceMsg(payment_hash=canceled))
    assert (await _page(bob, pending_only=1))[0] == [2, 3, 5]
    # A page is full of what passes, not of what was looked at.
    assert await _page(bob, pending_only=1, num_max_invoices=2, index_offset=2) == ([3, 5], 3, 5)


async def test_invoices_are_listed_by_their_date(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    hashes = await add_many(bob, 3)
    for payment_hash, created in zip(hashes, (1_000, 2_000, 3_000), strict=True):
        _backdate(network, payment_hash, created)
    assert (await _page(bob, creation_date_start=2_000))[0] == [2, 3]
    assert (await _page(bob, creation_date_end=2_000))[0] == [1, 2]
    assert (await _page(bob, creation_date_start=1_001, creation_date_end=2_999))[0] == [2]
    with refused(UNKNOWN, "start date(5) must be before end date(5)"):
        await _page(bob, creation_date_start=5, creation_date_end=5)


def _backdate(network: SimulatedNetwork, payment_hash: bytes, created: int) -> None:
    invoice = network.registry("bob").database.find(payment_hash)
    assert invoice is not None
    invoice.request = dataclasses.replace(invoice.request, timestamp=created)


async def test_an_invoice_is_found_by_its_hash_or_its_address(bob: LightningNode) -> None:
    invoice = await bob.invoice(1_000, memo="here")
    known = await bob.lookup(invoice)
    message = invoices_pb2.LookupInvoiceMsg
    async with bob.invoices() as invoices:
        for reference in (
            message(payment_hash=known.r_hash),
            message(payment_addr=known.payment_addr),
        ):
            assert await invoices.LookupInvoiceV2(reference) == known
        for unknown in (
            message(payment_hash=bytes(32)),
            message(payment_addr=bytes(32)),
            message(set_id=bytes(32)),
        ):
            with refused(grpc.StatusCode.NOT_FOUND, "unable to locate invoice"):
                await invoices.LookupInvoiceV2(unknown)
        for invalid, text in (
            (message(), "invoice ref must be set"),
            (message(payment_hash=b"\1"), "unable to parse pay hash: invalid hash length of 1"),
        ):
            with refused(grpc.StatusCode.INVALID_ARGUMENT, text):
                await invoices.LookupInvoiceV2(invalid)


async def test_payments_are_listed_in_pages_like_invoices(
    alice: LightningNode, bob: LightningNode
) -> None:
    for _ in range(4):
        await alice.pay((await bob.invoice(1_000)).payment_request)
    failed = await bob.hold_invoice(1_000)
    await bob.cancel(failed)
    await alice.pay(failed.payment_request)

    async def page(**query: int) -> tuple[list[int], int, int, int]:
        request = lightning_pb2.ListPaymentsRequest(**query)  # type: ignore[arg-type]
        async with alice.lightning() as lightning:
            answer = await lightning.ListPayments(request)
        return (
            [payment.payment_index for payment in answer.payments],
            answer.first_index_offset,
            answer.last_index_offset,
            answer.total_num_payments,
        )

    assert await page() == ([1, 2, 3, 4], 1, 4, 0)
    assert await page(include_incomplete=1, count_total_payments=1) == ([1, 2, 3, 4, 5], 1, 5, 5)
    assert await page(max_payments=2, index_offset=1) == ([2, 3], 2, 3, 0)
    assert await page(max_payments=2, reversed=1) == ([3, 4], 3, 4, 0)
    assert await page(max_payments=2, reversed=1, index_offset=3) == ([1, 2], 1, 2, 0)
    assert await page(creation_date_end=1_000) == ([], 0, 0, 0)
    with refused(UNKNOWN, "start date(5) must be before end date(5)"):
        await page(creation_date_start=5, creation_date_end=5)


async def test_payments_too_come_a_hundred_at_a_time(
    alice: LightningNode, bob: LightningNode
) -> None:
    async with alice.router() as router, bob.lightning() as lightning:
        for _ in range(102):
            added = await lightning.AddInvoice(lightning_pb2.Invoice(value=1))
            async for _update in router.SendPaymentV2(to_pay(added.payment_request)):
                pass
    async with alice.lightning() as lightning:
        page = await lightning.ListPayments(lightning_pb2.ListPaymentsRequest())
    assert (len(page.payments), page.last_index_offset) == (100, 100)
    assert len(await alice.payments()) == 102


async def test_the_list_and_the_look_up_say_the_same(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    invoice = await bob.invoice(1_000)
    network.receive("bob", invoice.payment_hash)
    [listed] = await bob.list_invoices()
    assert listed == await bob.lookup(invoice)
    assert told([listed]) == [("SETTLED", 1, 1)]
