"""What a payee's node says of the HTLCs that reach it."""

from __future__ import annotations

import secrets
import time
from collections.abc import AsyncIterator

import grpc
import pytest

from devnet.node import ACCEPTED, CANCELED, SETTLED, LightningNode
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from protos.lnrpc import lightning_pb2
from protos.routerrpc import router_pb2

from .driving import Payment, Reason, refused, sending, to_pay
from .following import Followed, following

UNKNOWN_DETAILS = lightning_pb2.Failure.INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS
Detail = router_pb2.FailureDetail


@pytest.fixture
async def heard(bob: LightningNode) -> AsyncIterator[Followed[router_pb2.HtlcEvent]]:
    """Bob's events, those of the subscription itself left out."""
    async with bob.router() as router:
        stream = router.SubscribeHtlcEvents(router_pb2.SubscribeHtlcEventsRequest())
        async with following(stream) as followed:
            [subscribed] = await followed.count(1)
            assert subscribed.HasField("subscribed_event")
            followed.messages.clear()
            yield followed


async def test_a_payment_after_the_expiry_is_told_by_nothing_but_the_htlc(
    alice: LightningNode, bob: LightningNode, heard: Followed[router_pb2.HtlcEvent]
) -> None:
    invoice = await bob.invoice(1_000_000, expiry_seconds=1)
    before = await bob.wait_for_invoice(invoice, CANCELED, timeout_seconds=5)
    receipt = await alice.pay_unread(invoice.payment_request)
    assert receipt.failure_reason == Reason.FAILURE_REASON_INCORRECT_PAYMENT_DETAILS

    failed, final = await heard.count(2)
    assert failed.event_type == router_pb2.HtlcEvent.RECEIVE
    [channel] = {c.chan_id for c in await bob.channels()} & {failed.incoming_channel_id}
    assert (channel, failed.incoming_htlc_id, failed.outgoing_channel_id) == (channel, 0, 0)
    reason = failed.link_fail_event
    assert (reason.wire_failure, reason.failure_detail, reason.failure_string) == (
        UNKNOWN_DETAILS,
        Detail.INVOICE_NOT_OPEN,
        "invoice no longer open",
    )
    assert (reason.info.incoming_amt_msat, reason.info.outgoing_amt_msat) == (1_000_000, 0)
    assert reason.info.incoming_timelock == receipt.htlcs[0].route.total_time_lock

    assert final.event_type == router_pb2.HtlcEvent.UNKNOWN
    assert (final.incoming_channel_id, final.incoming_htlc_id) == (channel, 0)
    assert final.final_htlc_event == router_pb2.FinalHtlcEvent(settled=False, offchain=True)
    assert await bob.lookup(invoice) == before


async def test_a_payment_after_the_expiry_but_before_the_cancel_is_accepted(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    invoice = await bob.invoice(1_000_000, expiry_seconds=1)
    network.registry("bob").stop()  # the watcher of the clock, and nothing else

    async def expired() -> bool:
        return time.time() > (await bob.lookup(invoice)).creation_date + 1

    await eventually(expired, what="the expiry")
    with refused(grpc.StatusCode.UNKNOWN, "invoice expired"):
        await alice.pay(invoice.payment_request)
    assert (await alice.pay_unread(invoice.payment_request)).status == Payment.SUCCEEDED
    network.registry("bob").start()
    assert (await bob.lookup(invoice)).state == SETTLED


async def test_settling_is_told_with_the_preimage(
    alice: LightningNode, bob: LightningNode, heard: Followed[router_pb2.HtlcEvent]
) -> None:
    invoice = await bob.invoice(1_000_000)
    await alice.pay(invoice.payment_request)
    settled, final = await heard.count(2)
    assert settled.event_type == router_pb2.HtlcEvent.RECEIVE
    assert settled.settle_event.preimage == invoice.preimage
    assert final.final_htlc_event == router_pb2.FinalHtlcEvent(settled=True, offchain=True)


async def test_a_held_htlc_is_told_of_when_it_is_sent_back(
    alice: LightningNode, bob: LightningNode, heard: Followed[router_pb2.HtlcEvent]
) -> None:
    invoice = await bob.hold_invoice(1_000_000)
    async with sending(alice, to_pay(invoice.payment_request)) as stream:
        await bob.wait_for_invoice(invoice, ACCEPTED)
        assert heard.messages == []
        await bob.cancel(invoice)
        await stream
    failed, _ = await heard.count(2)
    reason = failed.link_fail_event
    assert (reason.failure_detail, reason.failure_string) == (Detail.INVOICE_CANCELED, "canceled")
    # Only the state says whether money came: the amount stays where it was.
    assert (await bob.lookup(invoice)).amt_paid_msat == 1_000_000


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ("hash", (Detail.UNKNOWN_INVOICE, "invoice not found")),
        ("address", (Detail.ADDRESS_MISMATCH, "payment address mismatch")),
        ("amount", (Detail.SET_TOTAL_TOO_LOW, "set total too low for invoice")),
        ("expiry", (Detail.INVOICE_EXPIRY_TOO_SOON, "expiry too soon")),
    ],
)
async def test_the_operator_reads_more_than_the_payer(
    alice: LightningNode,
    bob: LightningNode,
    heard: Followed[router_pb2.HtlcEvent],
    wrong: str,
    said: tuple[Detail.ValueType, str],
) -> None:
    invoice = await bob.lookup(await bob.invoice(1_000_000))
    request = router_pb2.SendPaymentRequest(
        dest=bytes.fromhex((await bob.info()).identity_pubkey),
        payment_hash=secrets.token_bytes(32) if wrong == "hash" else invoice.r_hash,
        payment_addr=bytes(32) if wrong == "address" else invoice.payment_addr,
        amt_msat=999_999 if wrong == "amount" else 1_000_000,
        final_cltv_delta=60 if wrong == "expiry" else 80,
        timeout_seconds=10,
    )
    async with alice.router() as router:
        receipt = [update async for update in router.SendPaymentV2(request)][-1]
    assert receipt.htlcs[0].failure.code == UNKNOWN_DETAILS
    failed, _ = await heard.count(2)
    reason = failed.link_fail_event
    assert (reason.failure_detail, reason.failure_string) == said


async def test_an_over_payment_is_taken_whole(alice: LightningNode, bob: LightningNode) -> None:
    invoice = await bob.invoice(1_000_000)
    receipt = await alice.pay_unread(invoice.payment_request, amount_msat=1_500_000)
    assert receipt.status == Payment.SUCCEEDED
    settled = await bob.lookup(invoice)
    assert (settled.value_msat, settled.amt_paid_msat) == (1_000_000, 1_500_000)
    assert [htlc.mpp_total_amt_msat for htlc in settled.htlcs] == [1_500_000]
