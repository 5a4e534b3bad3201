"""The payment hash is the idempotency key, and a payment outlives whoever asked for it."""

from __future__ import annotations

import asyncio

import grpc

from devnet.node import ACCEPTED, LightningNode
from devnet.simulated import SimulatedNetwork
from protos.lnrpc import lightning_pb2
from protos.routerrpc import router_pb2

from .driving import Payment, Reason, ends, refused, send, sending, to_pay, track, word

ALREADY_EXISTS = grpc.StatusCode.ALREADY_EXISTS


async def test_in_flight_and_settled_hashes_are_refused(
    alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.hold_invoice(10_000_000)
    async with sending(alice, to_pay(invoice.payment_request)) as stream:
        with refused(ALREADY_EXISTS, "payment is in transition"):
            await send(alice, to_pay(invoice.payment_request))
        await carol.settle(invoice)
        assert (await stream)[-1].status == Payment.SUCCEEDED
    with refused(ALREADY_EXISTS, "invoice is already paid"):
        await send(alice, to_pay(invoice.payment_request))


async def test_a_failed_hash_is_sent_again(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.invoice(10_000_000)
    refused_for_fee = await alice.pay(invoice.payment_request, fee_limit_msat=0)
    assert refused_for_fee.status == Payment.FAILED

    receipt = await alice.pay(invoice.payment_request)
    assert receipt.status == Payment.SUCCEEDED
    assert receipt.payment_index > refused_for_fee.payment_index
    assert [p.payment_hash for p in await alice.payments()] == [invoice.payment_hash.hex()]
    assert len(network.ledger.sends(invoice.payment_hash)) == 2


async def test_tracking_what_was_never_sent_is_not_found(alice: LightningNode) -> None:
    with refused(grpc.StatusCode.NOT_FOUND, "payment isn't initiated"):
        await track(alice, bytes(32))


async def test_tracking_gives_the_present_state_first_and_ends_with_the_verdict(
    alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.hold_invoice(10_000_000)
    async with sending(alice, to_pay(invoice.payment_request)):
        tracking = asyncio.create_task(track(alice, invoice.payment_hash))
        await carol.wait_for_invoice(invoice, ACCEPTED)
        await carol.cancel(invoice)
        states = await tracking
    assert states[0].status == Payment.IN_FLIGHT
    assert (states[-1].status, states[-1].failure_reason) == (
        Payment.FAILED,
        Reason.FAILURE_REASON_INCORRECT_PAYMENT_DETAILS,
    )


async def test_a_client_that_leaves_does_not_stop_the_payment(
    alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.hold_invoice(10_000_000)
    async with sending(alice, to_pay(invoice.payment_request)) as stream:
        stream.cancel()
    assert await word(alice, invoice.payment_hash) == ("IN_FLIGHT", "FAILURE_REASON_NONE")
    await carol.settle(invoice)
    await ends(alice, invoice.payment_hash, Payment.SUCCEEDED)


async def test_a_timeout_beside_an_htlc_in_flight_is_no_verdict(
    alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.hold_invoice(10_000_000)
    async with sending(alice, to_pay(invoice.payment_request, timeout_seconds=1)) as stream:
        timed_out = None
        async with alice.router() as router:
            call = router.TrackPaymentV2(
                router_pb2.TrackPaymentRequest(payment_hash=invoice.payment_hash)
            )
            async for update in call:
                if update.failure_reason == Reason.FAILURE_REASON_TIMEOUT:
                    timed_out = update
                    call.cancel()
                    break
        assert timed_out is not None
        assert timed_out.status == Payment.IN_FLIGHT
        assert not stream.done()
        with refused(ALREADY_EXISTS, "payment is in transition"):
            await send(alice, to_pay(invoice.payment_request))

        await carol.settle(invoice)
        assert (await stream)[-1].status == Payment.SUCCEEDED


async def test_payments_are_listed_a_page_at_a_time(
    alice: LightningNode, bob: LightningNode
) -> None:
    for _ in range(3):
        await alice.pay((await bob.invoice(1_000_000)).payment_request)
    canceled = await bob.invoice(1_000_000)
    await bob.cancel(canceled)
    await alice.pay(canceled.payment_request)

    async with alice.lightning() as lightning:

        async def page(**fields: object) -> list[int]:
            answer = await lightning.ListPayments(
                lightning_pb2.ListPaymentsRequest(**fields)  # type: ignore[arg-type]
            )
            return [payment.payment_index for payment in answer.payments]

        assert await page() == [1, 2, 3]
        assert await page(include_incomplete=True) == [1, 2, 3, 4]
        assert await page(include_incomplete=True, index_offset=2) == [3, 4]
        assert await page(include_incomplete=True, max_payments=2) == [1, 2]
        assert await page(include_incomplete=True, max_payments=2, reversed=True) == [3, 4]
        assert await page(index_offset=3, max_payments=1, reversed=True) == [2]
