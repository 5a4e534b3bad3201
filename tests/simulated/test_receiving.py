"""Payments from outside: thousands of them, and the books still right."""

from __future__ import annotations

import hashlib

import pytest

from devnet.node import ACCEPTED, CANCELED, SETTLED, LightningNode
from devnet.simulated import SimulatedNetwork
from devnet.simulated.htlcs import Failed, Settled
from protos.lnrpc import lightning_pb2

from .following import add_many, subscribed


async def test_an_invoice_is_paid_from_outside(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    invoice = await bob.invoice(5_000)
    outcome = network.receive("bob", invoice.payment_hash)
    assert outcome == Settled(invoice.preimage)
    assert (await bob.lookup(invoice)).state == SETTLED
    assert network.ledger.received_msat("bob", invoice.payment_hash) == 5_000
    assert network.ledger.settled_payments(invoice.payment_hash) == 1

    again = network.receive("bob", invoice.payment_hash)
    assert isinstance(again, Failed)
    assert again.code == lightning_pb2.Failure.INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS
    with pytest.raises(KeyError, match="bob has no invoice 0000"):
        network.receive("bob", bytes(32))


async def test_an_invoice_without_an_amount_takes_what_is_given(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    invoice = await bob.invoice()
    network.receive("bob", invoice.payment_hash, amount_msat=77)
    assert (await bob.lookup(invoice)).amt_paid_msat == 77


async def test_more_htlcs_are_held_than_one_channel_has_slots(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    hashes = await add_many(bob, 500, hold=True)
    assert {network.receive("bob", payment_hash) for payment_hash in hashes} == {None}
    assert {invoice.state for invoice in await bob.list_invoices()} == {ACCEPTED}
    network.ledger.assert_balanced()
    for invoice in await bob.list_invoices():
        network.registry("bob").cancel(invoice.r_hash)
    assert {invoice.state for invoice in await bob.list_invoices()} == {CANCELED}


async def test_a_node_that_is_down_receives_nothing(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    first, second = await add_many(bob, 2)
    network.receive("bob", first)
    await network.stop_node("bob")
    outcome = network.receive("bob", second)
    assert isinstance(outcome, Failed)
    assert outcome.code == lightning_pb2.Failure.UNKNOWN_NEXT_PEER
    await network.start_node("bob")
    assert isinstance(network.receive("bob", second), Settled)


async def test_the_outside_is_no_way_for_anybody_else(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    for name in ("alice", "carol"):
        network.receive(name, network.issue(name, value_msat=20_000_000_000))
    [outside] = [channel for channel in await alice.channels() if channel.private]
    assert outside.local_balance == 20_000_000
    network.disconnect("alice", "bob")
    receipt = await alice.pay((await carol.invoice(1_000)).payment_request)
    assert receipt.failure_reason == lightning_pb2.FAILURE_REASON_NO_ROUTE


async def test_ten_thousand_payments_reach_a_subscriber_once_each(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    count = 10_000
    hashes = [network.issue("bob", value_msat=1_000) for _ in range(count)]
    assert len(set(hashes)) == count
    async with subscribed(bob) as heard:
        for payment_hash in hashes:
            network.receive("bob", payment_hash)
        messages = await heard.count(count)
    assert [m.r_hash for m in messages if m.state == SETTLED] == hashes
    assert {m.state for m in messages} == {SETTLED}
    assert [hashlib.sha256(m.r_preimage).digest() for m in messages] == hashes

    async with subscribed(bob, settle_index=1) as heard:
        assert [m.settle_index for m in heard.messages] == list(range(2, count + 1))
