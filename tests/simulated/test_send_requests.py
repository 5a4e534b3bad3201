"""A request is checked, in lnd's words, before the node looks whether it knows the hash."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from devnet.node import LightningNode
from devnet.waiting import eventually

from .driving import Payment, refused, send, to_pay, track

UNKNOWN = grpc.StatusCode.UNKNOWN


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ({"amt_msat": 1_000}, "amount must not be specified when paying a non-zero amount"),
        ({"amt_msat": -1}, "amount cannot be negative"),
        ({"fee_limit_msat": -1}, "amount cannot be negative"),
        ({"dest": b"\2" * 33}, "dest and payment_request cannot appear together"),
        ({"payment_hash": b"\1" * 32}, "payment_hash and payment_request cannot appear"),
        ({"final_cltv_delta": 40}, "final_cltv_delta and payment_request cannot appear"),
        ({"last_hop_pubkey": b"\2"}, "invalid vertex length"),
        ({"time_pref": 1.5}, "time preference out of range"),
        ({"cltv_limit": 2_017}, "total time lock of 2017 exceeds max allowed 2016"),
        ({"cltv_limit": 83}, "cltv limit 83 should be greater than 83"),
    ],
)
async def test_a_request_that_contradicts_itself_is_refused(
    alice: LightningNode, bob: LightningNode, fields: dict[str, object], text: str
) -> None:
    invoice = await bob.invoice(10_000_000)
    with refused(UNKNOWN, text):
        await send(alice, to_pay(invoice.payment_request, **fields))
    assert await alice.payment(invoice.payment_hash) is None


async def test_an_invoice_without_amount_needs_one(
    alice: LightningNode, bob: LightningNode
) -> None:
    invoice = await bob.invoice(0)
    with refused(UNKNOWN, "amount must be specified when paying a zero amount invoice"):
        await send(alice, to_pay(invoice.payment_request))
    receipt = await alice.pay(invoice.payment_request, amount_msat=7_000_000)
    assert (receipt.status, receipt.value_msat) == (Payment.SUCCEEDED, 7_000_000)


async def test_no_route_is_longer_in_blocks_than_the_limit(
    alice: LightningNode, carol: LightningNode
) -> None:
    """Two hops: the last one's 80 blocks and 3 of padding, and 80 of the node in between."""
    invoice = await carol.invoice(10_000_000)
    for limit, status in ((162, Payment.FAILED), (163, Payment.SUCCEEDED)):
        sent = (await send(alice, to_pay(invoice.payment_request, cltv_limit=limit)))[-1]
        assert sent.status == status


async def test_a_node_does_not_pay_itself_unasked(alice: LightningNode) -> None:
    invoice = await alice.invoice(10_000_000)
    with refused(UNKNOWN, "self-payments not allowed"):
        await send(alice, to_pay(invoice.payment_request))


async def test_an_invoice_of_another_network_is_refused(alice: LightningNode) -> None:
    mainnet = (
        "lnbc20m1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzq"
        "fqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqhp58yjmdan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2"
        "ahrqs9qrsgq7ea976txfraylvgzuxs8kgcw23ezlrszfnh8r6qtfpr6cxga50aj6txm9rxrydzd06dfeawfk6s"
        "wupvz4erwnyutnjq7x39ymw6j38gp7ynn44"
    )
    with refused(UNKNOWN, "invoice not for current active network 'regtest'"):
        await send(alice, to_pay(mainnet))


@pytest.mark.parametrize("text", ["lnbcrt1nonsense", "not an invoice", "lnbcrt"])
async def test_what_is_no_invoice_is_refused(alice: LightningNode, text: str) -> None:
    with refused(UNKNOWN, ""):
        await send(alice, to_pay(text))


async def test_an_expired_invoice_hides_that_it_was_paid(
    alice: LightningNode, bob: LightningNode
) -> None:
    invoice = await bob.invoice(10_000_000, expiry_seconds=1)
    assert (await alice.pay(invoice.payment_request)).status == Payment.SUCCEEDED

    async def refusal() -> str:
        try:
            await send(alice, to_pay(invoice.payment_request))
        except grpc.aio.AioRpcError as error:
            return error.details() or ""
        raise AssertionError("a paid invoice was paid again")

    await eventually(
        refusal,
        lambda text: text.startswith("invoice expired. Valid until "),
        what="the expiry before the duplicate",
        timeout_seconds=5,
    )
    [settled] = await track(alice, invoice.payment_hash)
    assert settled.status == Payment.SUCCEEDED


async def test_a_hundred_callers_make_one_payment(
    alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.invoice(10_000_000)

    async with alice.router() as router:

        async def call() -> grpc.StatusCode:
            stream = router.SendPaymentV2(to_pay(invoice.payment_request))
            try:
                async for _ in stream:
                    pass
            except grpc.aio.AioRpcError as error:
                return error.code()
            return grpc.StatusCode.OK

        codes = await asyncio.gather(*(call() for _ in range(100)))
    assert codes.count(grpc.StatusCode.OK) == 1
    assert codes.count(grpc.StatusCode.ALREADY_EXISTS) == 99
