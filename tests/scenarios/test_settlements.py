"""What is paid is told once and as it was, by whatever way it came and whatever died."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from temporalio.client import Client

from devnet.house import House
from devnet.receiver import HANG, Delivery, Receiver
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.events.catalogue import Event, EventType
from fulgurite.identity import NodePubkey, PaymentHash
from fulgurite.invoices.receipts import InvoiceReceipt
from fulgurite.invoices.requests import InvoiceCancellation
from fulgurite.invoices.states import InvoiceState
from fulgurite.payments.requests import PaymentRequest
from fulgurite.sealing import UnsealingKey
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient, keysend
from starter.errors import NotPaidError

from .merchants import event_id
from .receiving import (
    AMOUNT_MSAT,
    LndPayment,
    assert_true,
    being_paid,
    in_lnd,
    issued,
    lnd_has,
    notes,
    shop_hears,
    to_hold,
    to_receive,
    told_of,
    working_as,
)

IN_PROCESS = pytest.mark.usefixtures("working")

SETTLED_EVENT = EventType.INVOICE_SETTLED
# Started, and a task that begins to wait; the signal, and a task that tells and ends.
MOST_EVENTS = 16


def told_by(event: Event) -> InvoiceReceipt:
    return InvoiceReceipt.model_validate(event.data)


@IN_PROCESS
async def test_a_payment_is_told_once_by_a_signed_webhook(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    created, invoice = await issued(client, to_receive(metadata={"order": "1234"}))
    paid = await home.network.nodes["alice"].pay(created.payment_request)
    receipt = await invoice.settled()
    [event] = await shop_hears(shop, created.payment_hash, SETTLED_EVENT)

    assert paid.status == LndPayment.SUCCEEDED
    assert receipt.status is InvoiceState.SETTLED
    assert (receipt.amount_msat, receipt.paid_msat, receipt.parts) == (AMOUNT_MSAT, AMOUNT_MSAT, 1)
    assert (receipt.managed, receipt.metadata) == (True, {"order": "1234"})
    assert told_by(event) == receipt
    assert (event.node, event.resource) == ("carol", ids.invoice_id(created.payment_hash))
    await assert_true(home, receipt)


@IN_PROCESS
async def test_parts_are_told_as_one_payment(
    home: House, client: FulguriteClient, shop: Receiver, more_than_a_channel_msat: int
) -> None:
    created, invoice = await issued(client, to_receive(amount_msat=more_than_a_channel_msat))
    await home.network.nodes["alice"].pay(created.payment_request, fee_limit_msat=10_000_000)
    receipt = await invoice.settled()
    await shop_hears(shop, created.payment_hash, SETTLED_EVENT)

    assert receipt.parts > 1
    assert (receipt.paid_msat, receipt.partial_msat) == (more_than_a_channel_msat, 0)
    await assert_true(home, receipt)


@IN_PROCESS
async def test_the_payer_chooses_where_no_amount_was_asked_for(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    created, invoice = await issued(client, to_receive(amount_msat=None))
    await home.network.nodes["alice"].pay(created.payment_request, amount_msat=12_345_678)
    receipt = await invoice.settled()
    await shop_hears(shop, created.payment_hash, SETTLED_EVENT)

    assert (receipt.amount_msat, receipt.paid_msat, receipt.overpaid_msat) == (None, 12_345_678, 0)
    await assert_true(home, receipt)


@IN_PROCESS
async def test_what_was_paid_beyond_what_was_asked_is_told(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    created, invoice = await issued(client, to_receive())
    await home.network.nodes["alice"].pay_unread(
        created.payment_request, amount_msat=AMOUNT_MSAT + 4_321
    )
    receipt = await invoice.settled()
    [event] = await shop_hears(shop, created.payment_hash, SETTLED_EVENT)

    assert (receipt.paid_msat, receipt.overpaid_msat) == (AMOUNT_MSAT + 4_321, 4_321)
    assert told_by(event) == receipt
    await assert_true(home, receipt)


@IN_PROCESS
async def test_parts_that_never_became_a_payment_are_told(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    """Carol's side of the last hop takes less than the sum, which the payer cannot know."""
    alice, bob, carol = (home.network.nodes[name] for name in ("alice", "bob", "carol"))
    in_the_way = await carol.hold_invoice(1_000_000_000)
    occupying = asyncio.create_task(bob.pay(in_the_way.payment_request))
    await carol.wait_for_invoice(in_the_way, lightning_pb2.Invoice.ACCEPTED)
    asked_msat = 1_700_000_000
    created, invoice = await issued(client, to_receive(amount_msat=asked_msat))

    async def came() -> int:
        told = await carol.lookup(in_lnd(created))
        return sum(h.amt_msat for h in told.htlcs if h.state == lightning_pb2.ACCEPTED)

    async with being_paid(alice, created, fee_limit_msat=10_000_000) as paying:
        came_msat = await eventually(came, what="parts held by carol")
        await invoice.cancel(InvoiceCancellation(by="ada", reason="out of stock"))
    receipt = await invoice.receipt()
    [event] = await shop_hears(shop, created.payment_hash, EventType.INVOICE_CANCELED)
    await carol.cancel(in_the_way)
    await occupying

    assert (await paying).status == LndPayment.FAILED
    assert receipt.status is InvoiceState.CANCELED
    assert 0 < came_msat <= receipt.partial_msat < asked_msat
    assert told_by(event) == receipt
    await assert_true(home, receipt)


@IN_PROCESS
async def test_an_invoice_that_is_called_off_takes_no_payment(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    created, invoice = await issued(client, to_receive())
    await invoice.cancel(InvoiceCancellation(by="ada"))
    with pytest.raises(NotPaidError) as ended:
        await invoice.settled()
    refused = await home.network.nodes["alice"].pay(created.payment_request)
    receipt = await invoice.receipt()
    await shop_hears(shop, created.payment_hash, EventType.INVOICE_CANCELED)

    assert refused.status == LndPayment.FAILED
    assert ended.value.receipt == receipt
    assert receipt.status is InvoiceState.CANCELED
    await assert_true(home, receipt)


@IN_PROCESS
async def test_an_invoice_canceled_in_lnd_itself_is_told_as_such(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    """lnd streams no cancellation; the next scan of its list finds it."""
    created, invoice = await issued(client, to_receive())
    await home.network.nodes["carol"].cancel(in_lnd(created))
    receipt = await invoice.receipt()
    await shop_hears(shop, created.payment_hash, EventType.INVOICE_CANCELED)

    assert receipt.status is InvoiceState.CANCELED
    await assert_true(home, receipt)


@IN_PROCESS
async def test_an_invoice_that_was_made_by_others_is_told_as_not_ours(
    home: House, shop: Receiver
) -> None:
    carol = home.network.nodes["carol"]
    invoice = await carol.invoice(AMOUNT_MSAT, memo="made at the node's own keyboard")
    await home.network.nodes["alice"].pay(invoice.payment_request)
    [event] = await shop_hears(shop, PaymentHash.of_bytes(invoice.payment_hash), SETTLED_EVENT)
    receipt = told_by(event)

    assert (receipt.managed, receipt.key, receipt.status) == (False, None, InvoiceState.SETTLED)
    assert receipt.memo == "made at the node's own keyboard"
    await assert_true(home, receipt)


@IN_PROCESS
async def test_a_keysend_that_comes_in_is_told_as_not_ours(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    carol = home.network.nodes["carol"]
    key = home.settings.unsealing_key().sealing_key
    gift = keysend(NodePubkey((await carol.info()).identity_pubkey), sealing_key=key)
    payment = await client.pay(
        PaymentRequest.model_validate(
            {"node": "alice", "keysend": gift, "amount_msat": 7_001, "fee_limit": {"sat": 10}}
        )
    )
    sent = await payment.receipt()
    [event] = await shop_hears(shop, gift.payment_hash, SETTLED_EVENT)
    receipt = told_by(event)

    assert (receipt.managed, receipt.paid_msat) == (False, sent.amount_msat)
    await assert_true(home, receipt)


@IN_PROCESS
async def test_a_payment_between_two_of_our_nodes_is_told_on_both_sides(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    created, invoice = await issued(client, to_receive())
    payment = await client.pay(
        PaymentRequest.model_validate(
            {"node": "alice", "invoice": created.payment_request, "fee_limit": {"sat": 10}}
        )
    )
    sent, received = await asyncio.gather(payment.receipt(), invoice.settled())
    await shop_hears(shop, created.payment_hash, SETTLED_EVENT)

    assert (sent.payment_hash, sent.amount_msat) == (received.payment_hash, received.paid_msat)
    await assert_true(home, received)


@IN_PROCESS
async def test_the_happy_path_costs_little_and_keeps_its_secret(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    request = to_receive()
    created, invoice = await issued(client, request)
    await home.network.nodes["alice"].pay(created.payment_request)
    await invoice.settled()

    preimage = home.settings.unsealing_key().preimage_of(request.node, request.key).reveal()
    of_both = b""
    for name in (ids.invoice_id(created.payment_hash), ids.invoice_key_id(request.key)):
        history = await temporal.get_workflow_handle(name).fetch_history()
        assert len(history.events) <= MOST_EVENTS
        of_both += b"".join(event.SerializeToString() for event in history.events)
    assert preimage not in of_both
    assert preimage.hex().encode() not in of_both


async def test_a_settlement_is_told_once_though_the_worker_is_killed_before_it_can_tell(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    async with home.worker("doomed") as doomed:
        invoices = [await issued(client, to_receive()) for _ in range(6)]
        await doomed.kill()
    for created, _ in invoices:
        paid = await home.network.nodes["alice"].pay(created.payment_request)
        assert paid.status == LndPayment.SUCCEEDED
    async with home.worker("heir"):
        for created, invoice in invoices:
            await shop_hears(shop, created.payment_hash, SETTLED_EVENT, timeout_seconds=90)
            await assert_true(home, await invoice.settled())


async def test_a_webhook_whose_answer_is_lost_with_its_worker_comes_again_as_the_same(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    async with home.worker("doomed") as doomed:
        created, _ = await issued(client, to_receive())
        shop.answer = HANG
        await home.network.nodes["alice"].pay(created.payment_request)

        async def came() -> list[Delivery]:
            return told_of(shop, created.payment_hash)

        await eventually(came, what="a webhook that is not answered")
        await doomed.kill()
    shop.answer = 200
    async with home.worker("heir"):
        told = await eventually(came, lambda each: len(each) > 1, what="the same webhook again")

    assert [each.id for each in told] == [event_id(SETTLED_EVENT, created.payment_hash)] * 2
    assert told[0].body == told[1].body
    assert [each.taken for each in told] == [False, True]


@pytest.mark.parametrize("blocks_left", [24, 17], ids=["ours to decide", "lnd has decided"])
async def test_nobody_was_there_when_a_held_invoice_had_to_be_decided(
    home: House, client: FulguriteClient, temporal: Client, blocks_left: int
) -> None:
    """What was due is done at once; what LND did by its own limit is told as it was."""
    carol = home.network.nodes["carol"]
    async with working_as(temporal, home.settings):
        created, invoice = await issued(client, to_hold(cltv_expiry_blocks=48))
    async with being_paid(home.network.nodes["alice"], created) as paying:
        held = await lnd_has(home, created, lightning_pb2.Invoice.ACCEPTED)
        first_expiry = min(htlc.expiry_height for htlc in held.htlcs)
        height = (await carol.info()).block_height
        await home.network.mine(first_expiry - blocks_left - height)
        async with working_as(temporal, home.settings):
            receipt = await invoice.receipt()

    assert (await paying).status == LndPayment.FAILED
    assert receipt.status is InvoiceState.CANCELED
    assert (await carol.info()).block_height == first_expiry - blocks_left
    await assert_true(home, receipt)


async def test_a_worker_with_another_key_leaves_the_settling_to_one_that_has_it(
    home: House, client: FulguriteClient, temporal: Client, tmp_path: Path
) -> None:
    """The policy has decided; that this worker cannot open the preimage changes nothing of it."""
    other_key = tmp_path / "other.key"
    other_key.write_text(UnsealingKey.generate().secret_text())
    mistaken = home.settings.model_copy(update={"unsealing_key_path": other_key})
    async with working_as(temporal, home.settings):
        created, invoice = await issued(client, to_hold(hold={"decide_by": "ACCEPT_ALL"}))
    async with being_paid(home.network.nodes["alice"], created):
        async with working_as(temporal, mistaken):
            view = await notes(invoice, "could not settle")
            assert view.state is InvoiceState.SETTLING
        async with working_as(temporal, home.settings):
            receipt = await invoice.settled()
            timeline = (await invoice.view()).timeline

    assert sum("**SETTLING**" in line for line in timeline) == 1
    await assert_true(home, receipt)
