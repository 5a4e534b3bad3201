"""Payments end as they would on lnd, and the ledger agrees with every receipt."""

from __future__ import annotations

import hashlib
import secrets

from coincurve import PrivateKey

from devnet.node import SETTLED, LightningNode
from devnet.simulated import SimulatedNetwork
from protos.lnrpc import lightning_pb2
from protos.routerrpc import router_pb2

from .driving import Payment, Reason, ends, send, sending, to_pay, track

KEYSEND_RECORD = 5482373484
FEE_OF_50K_SAT_MSAT = 6_000  # 1 sat and 100 ppm at the one forwarder


async def test_one_hop_costs_no_fee(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    invoice = await bob.invoice(50_000_000)
    states = await send(alice, to_pay(invoice.payment_request, fee_limit_msat=0))

    assert [state.status for state in states] == [
        Payment.IN_FLIGHT,
        Payment.IN_FLIGHT,
        Payment.SUCCEEDED,
    ]
    assert [len(state.htlcs) for state in states] == [0, 1, 1]
    assert (states[-1].value_msat, states[-1].fee_msat) == (50_000_000, 0)
    assert bytes.fromhex(states[-1].payment_preimage) == invoice.preimage
    assert network.ledger.received_msat("bob", invoice.payment_hash) == 50_000_000


async def test_two_hops_pay_the_forwarder(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.invoice(50_000_000)
    receipt = await alice.pay(invoice.payment_request)

    assert (receipt.status, receipt.fee_msat) == (Payment.SUCCEEDED, FEE_OF_50K_SAT_MSAT)
    assert [hop.fee_msat for hop in receipt.htlcs[0].route.hops] == [FEE_OF_50K_SAT_MSAT, 0]
    ledger = network.ledger
    assert ledger.sent_msat("alice", invoice.payment_hash) == 50_000_000 + FEE_OF_50K_SAT_MSAT
    assert ledger.received_msat("bob", invoice.payment_hash) == FEE_OF_50K_SAT_MSAT
    assert ledger.received_msat("carol", invoice.payment_hash) == 50_000_000
    paid = await carol.lookup(invoice)
    assert (paid.state, paid.amt_paid_msat) == (SETTLED, 50_000_000)


async def test_a_quiet_stream_tells_only_the_verdict(
    alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.invoice(50_000_000)
    states = await send(alice, to_pay(invoice.payment_request, no_inflight_updates=True))
    assert [state.status for state in states] == [Payment.SUCCEEDED]


async def test_an_amount_above_one_channel_is_split(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.invoice(1_800_000_000)
    receipt = await alice.pay(invoice.payment_request, fee_limit_msat=1_000_000)

    assert receipt.status == Payment.SUCCEEDED
    assert len(receipt.htlcs) > 1
    assert network.ledger.settled_payments(invoice.payment_hash) == 1
    assert network.ledger.received_msat("carol", invoice.payment_hash) == 1_800_000_000
    paid = await carol.lookup(invoice)
    assert len(paid.htlcs) == len(receipt.htlcs)


async def test_one_part_does_not_carry_what_needs_two(
    alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.invoice(1_800_000_000)
    states = await send(
        alice, to_pay(invoice.payment_request, fee_limit_msat=1_000_000, max_parts=1)
    )
    assert (states[-1].status, states[-1].failure_reason) == (
        Payment.FAILED,
        Reason.FAILURE_REASON_NO_ROUTE,
    )


async def test_the_reserve_is_never_spent(alice: LightningNode, bob: LightningNode) -> None:
    # Two channels with 1.2 million each, of which 20,000 is the reserve.
    spendable_msat = 2 * (1_200_000 - 20_000) * 1_000
    too_much = await bob.invoice(spendable_msat + 1)
    receipt = await alice.pay(too_much.payment_request)
    assert receipt.failure_reason == Reason.FAILURE_REASON_INSUFFICIENT_BALANCE

    everything = await bob.invoice(spendable_msat)
    assert (await alice.pay(everything.payment_request)).status == Payment.SUCCEEDED


async def test_outgoing_channel_and_last_hop_are_respected(
    alice: LightningNode, bob: LightningNode, carol: LightningNode
) -> None:
    chosen = (await alice.channels())[1].chan_id
    invoice = await carol.invoice(10_000_000)
    states = await send(
        alice,
        to_pay(
            invoice.payment_request,
            outgoing_chan_ids=[chosen],
            last_hop_pubkey=bytes.fromhex((await bob.info()).identity_pubkey),
        ),
    )
    assert states[-1].htlcs[0].route.hops[0].chan_id == chosen

    elsewhere = await carol.invoice(10_000_000)
    states = await send(
        alice,
        to_pay(
            elsewhere.payment_request,
            last_hop_pubkey=bytes.fromhex((await alice.info()).identity_pubkey),
        ),
    )
    assert states[-1].failure_reason == Reason.FAILURE_REASON_NO_ROUTE


async def test_a_fee_limit_of_zero_means_free_routes_only(
    alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.invoice(50_000_000)
    receipt = await alice.pay(invoice.payment_request, fee_limit_msat=0)
    assert (receipt.status, receipt.failure_reason) == (
        Payment.FAILED,
        Reason.FAILURE_REASON_NO_ROUTE,
    )
    receipt = await alice.pay(invoice.payment_request, fee_limit_msat=FEE_OF_50K_SAT_MSAT)
    assert receipt.status == Payment.SUCCEEDED


async def test_an_unknown_node_has_no_route(alice: LightningNode) -> None:
    states = await send(alice, _keysend(PrivateKey().public_key.format(), secrets.token_bytes(32)))
    assert states[-1].failure_reason == Reason.FAILURE_REASON_NO_ROUTE


async def test_keysend_settles_an_invoice_that_nobody_wrote(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    preimage = secrets.token_bytes(32)
    carol_key = bytes.fromhex((await carol.info()).identity_pubkey)
    states = await send(alice, _keysend(carol_key, preimage))

    assert states[-1].status == Payment.SUCCEEDED
    assert states[-1].payment_preimage == preimage.hex()
    payment_hash = hashlib.sha256(preimage).digest()
    async with carol.lightning() as lightning:
        paid = await lightning.LookupInvoice(lightning_pb2.PaymentHash(r_hash=payment_hash))
    assert (paid.is_keysend, paid.state, paid.amt_paid_msat) == (True, SETTLED, 20_000_000)
    assert network.ledger.settled_payments(payment_hash) == 1


async def test_keysend_with_another_preimage_is_refused(
    alice: LightningNode, bob: LightningNode
) -> None:
    bob_key = bytes.fromhex((await bob.info()).identity_pubkey)
    request = _keysend(bob_key, secrets.token_bytes(32))
    request.payment_hash = secrets.token_bytes(32)
    states = await send(alice, request)
    assert states[-1].failure_reason == Reason.FAILURE_REASON_INCORRECT_PAYMENT_DETAILS


async def test_a_canceled_invoice_fails_for_its_details(
    alice: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.invoice(10_000_000)
    await carol.cancel(invoice)
    receipt = await alice.pay(invoice.payment_request)
    assert (receipt.status, receipt.failure_reason) == (
        Payment.FAILED,
        Reason.FAILURE_REASON_INCORRECT_PAYMENT_DETAILS,
    )
    failure = receipt.htlcs[0].failure
    assert failure.code == lightning_pb2.Failure.INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS
    assert failure.failure_source_index == len(receipt.htlcs[0].route.hops)


async def test_a_payment_to_oneself_goes_round_when_allowed(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    invoice = await alice.invoice(10_000_000)
    states = await send(alice, to_pay(invoice.payment_request, allow_self_payment=True))
    assert states[-1].status == Payment.SUCCEEDED
    left, came = (hop.chan_id for hop in states[-1].htlcs[0].route.hops)
    assert left != came
    assert network.ledger.sent_msat("alice", invoice.payment_hash) == states[-1].fee_msat


async def test_a_part_that_fails_on_its_way_is_split(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode, carol: LightningNode
) -> None:
    # Bob has less left in each channel than alice can know; the first try shows it.
    drained = await carol.invoice(1_500_000_000)
    assert (await bob.pay(drained.payment_request)).status == Payment.SUCCEEDED
    invoice = await carol.invoice(700_000_000)
    receipt = await alice.pay(invoice.payment_request, fee_limit_msat=1_000_000)

    failed = [htlc.failure for htlc in receipt.htlcs if htlc.status == htlc.FAILED]
    assert receipt.status == Payment.SUCCEEDED
    assert [(failure.code, failure.failure_source_index) for failure in failed] == [
        (lightning_pb2.Failure.TEMPORARY_CHANNEL_FAILURE, 1)
    ]
    assert network.ledger.received_msat("carol", invoice.payment_hash) == 700_000_000


async def test_a_held_htlc_is_seen_on_every_channel(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode, carol: LightningNode
) -> None:
    invoice = await carol.hold_invoice(10_000_000)
    async with sending(alice, to_pay(invoice.payment_request)):
        [outgoing] = [htlc for c in await alice.channels() for htlc in c.pending_htlcs]
        [incoming] = [htlc for c in await carol.channels() for htlc in c.pending_htlcs]
        through = [htlc for c in await bob.channels() for htlc in c.pending_htlcs]
        assert (outgoing.incoming, outgoing.forwarding_channel) == (False, 0)
        assert (incoming.incoming, incoming.hash_lock) == (True, invoice.payment_hash)
        assert {htlc.incoming for htlc in through} == {True, False}
        assert all(htlc.forwarding_channel for htlc in through)
        assert outgoing.expiration_height > incoming.expiration_height > network.chain.height
        await carol.settle(invoice)
        await ends(alice, invoice.payment_hash, Payment.SUCCEEDED)
    assert [p.status for p in await track(alice, invoice.payment_hash)] == [Payment.SUCCEEDED]


def _keysend(destination: bytes, preimage: bytes) -> router_pb2.SendPaymentRequest:
    return router_pb2.SendPaymentRequest(
        dest=destination,
        payment_hash=hashlib.sha256(preimage).digest(),
        amt_msat=20_000_000,
        fee_limit_msat=100_000,
        timeout_seconds=60,
        dest_custom_records={KEYSEND_RECORD: preimage},
        dest_features=[lightning_pb2.TLV_ONION_OPT],
    )
