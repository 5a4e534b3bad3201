"""A thousand payments hang at once, and every call is counted."""

from __future__ import annotations

import asyncio
import time

import pytest

from devnet.node import LightningNode
from devnet.simulated import SimulatedNetwork

from .chain_time import CLOSE_CONFIRMATIONS, CSV_BLOCKS, mine_to
from .driving import Payment

COUNT, CHANNELS = 1_000, 20


async def test_a_thousand_hang_without_a_call_and_end_on_chain(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    before = network.calls.count()
    began = time.monotonic()
    invoices = await network.hang("alice", "bob", count=COUNT, channels=CHANNELS)
    took_seconds = time.monotonic() - began
    assert network.calls.count() == before
    assert took_seconds < 20
    hung = [c for c in await alice.channels() if c.pending_htlcs]
    assert [len(c.pending_htlcs) for c in hung] == [COUNT // CHANNELS] * CHANNELS
    assert len({i.payment_hash for i in invoices}) == COUNT
    expiry_height = hung[0].pending_htlcs[0].expiration_height

    await network.stop_node("bob")
    await mine_to(network, expiry_height)
    pending = await alice.pending_channels()
    assert len(pending.waiting_close_channels) == CHANNELS
    await network.mine(CLOSE_CONFIRMATIONS)
    await network.mine(1)
    statuses = [p.status for p in await alice.payments()]
    assert statuses == [Payment.FAILED] * COUNT
    await network.mine(CSV_BLOCKS)
    assert len(await alice.closed_channels()) == CHANNELS
    network.ledger.assert_balanced()


async def test_settled_by_hand_they_are_payments_like_any_other(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    paid, canceled = await network.hang("alice", "bob", count=2, channels=1, amount_msat=5_000_000)
    await bob.settle(paid)
    await bob.cancel(canceled)
    receipts = {p.payment_hash: p.status for p in await alice.payments()}
    assert receipts == {
        paid.payment_hash.hex(): Payment.SUCCEEDED,
        canceled.payment_hash.hex(): Payment.FAILED,
    }
    assert network.ledger.received_msat("bob", paid.payment_hash) == 5_000_000


async def test_calls_are_counted_by_node_and_by_method(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    network.calls.forget()
    await asyncio.gather(alice.info(), alice.info(), bob.info(), alice.channels())
    assert network.calls.count() == 4
    assert network.calls.count("alice") == 3
    assert network.calls.count(method="GetInfo") == 3
    assert network.calls.count("bob", "ListChannels") == 0
    assert network.calls.by_method("alice") == {"GetInfo": 2, "ListChannels": 1}


@pytest.mark.parametrize("pair", [("bob", "alice"), ("alice", "carol")])
async def test_channels_open_between_any_two(
    network: SimulatedNetwork, pair: tuple[str, str]
) -> None:
    opener, peer = pair
    point = network.open_channel(opener, peer, capacity_sat=300_000, push_sat=100_000)
    pending = (await network.nodes[peer].pending_channels()).pending_open_channels
    assert [each.channel.channel_point for each in pending] == [point]
    await network.mine(3)
    [opened] = [c for c in await network.nodes[peer].channels() if c.channel_point == point]
    assert (opened.active, opened.initiator, opened.local_balance) == (True, False, 100_000)
    await network.nodes[peer].close_channel(point, force=True)
    await network.mine(CLOSE_CONFIRMATIONS + CSV_BLOCKS)
    assert [c.channel_point for c in await network.nodes[opener].closed_channels()] == [point]
