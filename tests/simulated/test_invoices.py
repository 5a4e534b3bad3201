"""Invoices open, are held, settle and are canceled as lnd's do."""

from __future__ import annotations

import hashlib
import secrets

import bolt11
import grpc
import pytest

from devnet.node import ACCEPTED, CANCELED, SETTLED, LightningNode, TestInvoice
from devnet.simulated import SimulatedNetwork
from protos.invoicesrpc import invoices_pb2
from protos.lnrpc import lightning_pb2

from .driving import Payment, Reason, refused, send, sending, to_pay

UNKNOWN = grpc.StatusCode.UNKNOWN
OPEN = lightning_pb2.Invoice.OPEN

MAINNET_ADDRESS = "bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4"


async def test_an_invoice_reads_as_it_was_written(bob: LightningNode) -> None:
    invoice = await bob.invoice(12_345_678, memo="a lamp", expiry_seconds=900)
    read = bolt11.decode(invoice.payment_request)
    assert (read.currency, read.amount_msat, read.description) == ("bcrt", 12_345_678, "a lamp")
    assert (read.payment_hash, read.expiry) == (invoice.payment_hash.hex(), 900)
    assert read.payee == (await bob.info()).identity_pubkey

    async with bob.lightning() as lightning:
        decoded = await lightning.DecodePayReq(
            lightning_pb2.PayReqString(pay_req=invoice.payment_request)
        )
        with refused(UNKNOWN, "invoice not for current active network 'regtest'"):
            await lightning.DecodePayReq(lightning_pb2.PayReqString(pay_req="lnbc1qqqqqq"))
    assert decoded.destination == read.payee
    assert decoded.payment_addr.hex() == read.payment_secret
    assert (decoded.num_msat, decoded.cltv_expiry, decoded.expiry) == (12_345_678, 80, 900)


async def test_an_invoice_without_memo_has_an_empty_description(bob: LightningNode) -> None:
    invoice = await bob.invoice(1_000)
    read = bolt11.decode(invoice.payment_request, ignore_exceptions=True)
    assert not read.description
    assert bolt11.TagChar.description in [tag.char for tag in read.tags]


async def test_another_network_of_ours_reads_it_too(
    alice: LightningNode,
) -> None:
    """An invoice that no node here wrote is parsed, not remembered."""
    text = (
        "lnbcrt12345670p1pj48ugqpp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygsdqqcqzzsxqrr"
        "sssp5yg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3q9qyysgq7hd0dmr47rwv63pdwkvlcyhpd"
        "2m22cjwz0k7k44razrr4hh98fdkwztc5p9u2a60qkl3quyr2pahvwlsawd8v83akuvz2lu964ss4acpkt5fd0"
    )
    async with alice.lightning() as lightning:
        read = await lightning.DecodePayReq(lightning_pb2.PayReqString(pay_req=text))
    assert (read.num_msat, read.timestamp) == (1_234_567, 1_700_000_000)
    with refused(UNKNOWN, "invoice expired. Valid until 2023-11-14 23:13:20 +0000 UTC"):
        await send(alice, to_pay(text))


async def test_a_hash_makes_one_invoice(bob: LightningNode) -> None:
    preimage = secrets.token_bytes(32)
    async with bob.lightning() as lightning, bob.invoices() as invoices:
        await lightning.AddInvoice(lightning_pb2.Invoice(r_preimage=preimage, value_msat=1_000))
        with refused(UNKNOWN, "invoice with payment hash already exists"):
            await invoices.AddHoldInvoice(
                invoices_pb2.AddHoldInvoiceRequest(hash=hashlib.sha256(preimage).digest())
            )


async def test_an_invoice_is_canceled_by_time(bob: LightningNode) -> None:
    invoice = await bob.invoice(1_000_000, expiry_seconds=1)
    await bob.wait_for_invoice(invoice, CANCELED, timeout_seconds=5)


async def test_expiry_does_not_free_what_is_held(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    held = await carol.hold_invoice(1_000_000, expiry_seconds=1)
    later = await carol.invoice(1_000_000, expiry_seconds=1)
    async with sending(alice, to_pay(held.payment_request)) as stream:
        await carol.wait_for_invoice(held, ACCEPTED)
        await carol.wait_for_invoice(later, CANCELED, timeout_seconds=5)
        assert (await carol.lookup(held)).state == ACCEPTED

        # Its height does: 18 blocks before the HTLC expires the node gives up.
        [htlc] = (await carol.lookup(held)).htlcs
        await network.mine(htlc.expiry_height - 18 - network.chain.height - 1)
        assert (await carol.lookup(held)).state == ACCEPTED
        await network.mine(1)
        assert (await carol.lookup(held)).state == CANCELED
        assert (await stream)[-1].status == Payment.FAILED


async def test_settling_twice_is_once_and_canceling_then_is_refused(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.hold_invoice(1_000_000)
    with refused(UNKNOWN, "invoice still open"):
        await carol.settle(invoice)
    async with sending(alice, to_pay(invoice.payment_request)) as stream:
        await carol.wait_for_invoice(invoice, ACCEPTED)
        await carol.settle(invoice)
        assert (await stream)[-1].payment_preimage == invoice.preimage.hex()
    await carol.settle(invoice)
    with refused(UNKNOWN, "invoice already settled"):
        await carol.cancel(invoice)
    settled = await carol.lookup(invoice)
    assert (settled.state, settled.settle_index, settled.r_preimage) == (
        SETTLED,
        1,
        invoice.preimage,
    )
    assert network.ledger.settled_payments(invoice.payment_hash) == 1


async def test_canceling_twice_is_once_and_settling_then_is_refused(carol: LightningNode) -> None:
    invoice = await carol.hold_invoice(1_000_000)
    await carol.cancel(invoice)
    await carol.cancel(invoice)
    with refused(UNKNOWN, "invoice already canceled"):
        await carol.settle(invoice)


async def test_an_unknown_invoice_is_not_located(carol: LightningNode) -> None:
    stranger = TestInvoice("", hashlib.sha256(bytes(32)).digest(), bytes(32))
    with refused(UNKNOWN, "unable to locate invoice"):
        await carol.settle(stranger)
    with refused(UNKNOWN, "unable to locate invoice"):
        await carol.cancel(stranger)
    with refused(grpc.StatusCode.NOT_FOUND, "unable to locate invoice"):
        await carol.lookup(stranger)


async def test_a_set_of_parts_is_held_and_settled_as_one(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.hold_invoice(1_800_000_000)
    request = to_pay(invoice.payment_request, fee_limit_msat=1_000_000)
    async with sending(alice, request) as stream:
        held = await carol.wait_for_invoice(invoice, ACCEPTED)
        assert len(held.htlcs) > 1
        assert network.ledger.settled_payments(invoice.payment_hash) == 0
        await carol.settle(invoice)
        assert (await stream)[-1].status == Payment.SUCCEEDED
    assert network.ledger.received_msat("carol", invoice.payment_hash) == 1_800_000_000


async def test_an_incomplete_set_settles_nothing(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.invoice(1_800_000_000)
    hold = network.faults.hold_htlcs("bob")
    request = to_pay(invoice.payment_request, fee_limit_msat=1_000_000)
    async with sending(alice, request):
        await hold.caught(2)
        network.disconnect("bob", "carol")
        hold.fail(lightning_pb2.Failure.TEMPORARY_NODE_FAILURE)
        assert network.ledger.settled_payments(invoice.payment_hash) == 0
        verdict = (await alice.payments())[0]
    assert (verdict.status, verdict.failure_reason) == (
        Payment.FAILED,
        Reason.FAILURE_REASON_NO_ROUTE,
    )


async def test_what_lnd_would_not_write_is_refused(bob: LightningNode) -> None:
    async with bob.lightning() as lightning:
        for fields, text in (
            ({"memo": "x" * 1025}, "memo too large: 1025 bytes (maxsize=1024)"),
            ({"value_msat": -1}, "amount cannot be negative"),
            ({"value": 1, "value_msat": 1_000}, "sat and msat arguments are mutually exclusive"),
            ({"description_hash": b"\1"}, "description hash is 1 bytes, must be 32"),
            ({"fallback_addr": "nowhere"}, "invalid fallback address"),
            ({"fallback_addr": MAINNET_ADDRESS}, "fallback address is not for regtest"),
            ({"expiry": 365 * 86_400 + 1}, "greater than max expiry"),
            ({"cltv_expiry": 17}, "CLTV delta of 17 must be greater than minimum of 18"),
            ({"cltv_expiry": 65_536}, "CLTV delta of 65536 is too large"),
            ({"route_hints": [{}]}, "number of hop hint within a route must be positive"),
            ({"route_hints": [{"hop_hints": [{"node_id": "zz"}]}]}, "encoding/hex"),
            ({"route_hints": [{}] * 21}, "must not exceed maximum of 20"),
            ({"r_preimage": b"\1"}, "invalid preimage length of 1, want 32"),
        ):
            with refused(UNKNOWN, text):
                await lightning.AddInvoice(lightning_pb2.Invoice(**fields))


async def test_parts_that_nobody_completes_are_sent_back(
    alice: LightningNode,
    bob: LightningNode,
    carol: LightningNode,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("devnet.simulated.invoices.SET_COMPLETION_SECONDS", 0.3)
    drained = await carol.invoice(1_500_000_000)
    assert (await bob.pay(drained.payment_request)).status == Payment.SUCCEEDED

    # Alice cannot know that bob has too little left to forward all of it.
    invoice = await carol.invoice(1_800_000_000)
    request = to_pay(invoice.payment_request, fee_limit_msat=1_000_000)
    states = await send(alice, request)
    waiting = [s for s in states if s.failure_reason == Reason.FAILURE_REASON_NO_ROUTE]
    assert waiting[0].status == Payment.IN_FLIGHT
    assert states[-1].status == Payment.FAILED
    codes = {htlc.failure.code for htlc in states[-1].htlcs}
    assert lightning_pb2.Failure.MPP_TIMEOUT in codes
    assert (await carol.lookup(invoice)).state == OPEN
