"""Blocks as a node tells of them, and a node that tells of none."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from devnet.node import LightningNode
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import Break, Stall
from protos.chainrpc import chainnotifier_pb2

from .chain_time import CLOSE_CONFIRMATIONS, forced, hanging, mine_to, waiting
from .driving import refused, word
from .following import following

Epoch = chainnotifier_pb2.BlockEpoch


async def test_the_present_tip_comes_first_and_then_every_block(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    height = network.chain.height
    async with (
        alice.notifier() as notifier,
        following(notifier.RegisterBlockEpochNtfn(Epoch())) as told,
    ):
        await told.count(1)
        await network.mine(3)
        epochs = await told.count(4)
    assert [epoch.height for epoch in epochs] == list(range(height, height + 4))
    assert len({epoch.hash for epoch in epochs}) == 4
    # As on the wire: the other way round than people write it.
    assert epochs[-1].hash[::-1].hex() == (await alice.info()).block_hash


async def test_who_names_a_block_hears_what_came_after_it(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    known = await _tip(alice)
    await network.mine(2)
    async with (
        alice.notifier() as notifier,
        following(notifier.RegisterBlockEpochNtfn(known)) as told,
    ):
        epochs = await told.count(2)
        assert [epoch.height for epoch in epochs] == [known.height + 1, known.height + 2]
        await network.mine(1)
        assert (await told.count(3))[-1].height == known.height + 3


async def test_a_stream_can_fall_silent_and_break(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    network.faults.add("alice", "RegisterBlockEpochNtfn", Stall(after_messages=1))
    async with (
        alice.notifier() as notifier,
        following(notifier.RegisterBlockEpochNtfn(Epoch())) as silent,
    ):
        await silent.count(1)
        await network.mine(2)
        await alice.info()
        assert len(silent.messages) == 1
    network.faults.add("alice", "RegisterBlockEpochNtfn", Break(after_messages=2))
    async with alice.notifier() as notifier:
        stream = aiter(notifier.RegisterBlockEpochNtfn(Epoch()))
        await anext(stream)
        await network.mine(1)
        await anext(stream)
        with refused(grpc.StatusCode.UNAVAILABLE, ""):
            await anext(stream)


async def test_a_node_that_dies_takes_its_streams_with_it(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    async with alice.notifier() as notifier:
        stream = aiter(notifier.RegisterBlockEpochNtfn(Epoch()))
        await anext(stream)
        await network.stop_node("alice")
        with refused(grpc.StatusCode.UNAVAILABLE, ""):
            await anext(stream)


@pytest.mark.parametrize("ends_by", ["finding it", "a restart"])
async def test_a_node_without_its_backend_answers_and_stays_behind(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode, ends_by: str
) -> None:
    height = network.chain.height
    async with hanging(alice, bob) as hung:
        network.faults.lose_backend("alice")
        network.disconnect("alice", "bob")
        await mine_to(network, hung.expiry_height + 5)
        info = await alice.info()
        assert (info.synced_to_chain, info.block_height) == (False, height)
        assert (await bob.info()).synced_to_chain
        # It does not see that its HTLC has expired.
        assert not (await alice.pending_channels()).waiting_close_channels
        assert (await word(alice, hung.invoice.payment_hash))[0] == "IN_FLIGHT"

        if ends_by == "finding it":
            network.faults.find_backend("alice")
        else:
            await network.stop_node("alice")
            await network.start_node("alice")
        info = await alice.info()
        assert (info.synced_to_chain, info.block_height) == (True, network.chain.height)
        await waiting(alice)
        await network.mine(CLOSE_CONFIRMATIONS)
        await forced(alice)


async def test_what_a_node_sends_without_its_backend_is_sent_when_it_is_back(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    point = (await alice.channels())[0].channel_point
    network.faults.lose_backend("alice")
    await alice.close_channel(point, force=True)
    await network.mine(2)
    assert (await waiting(alice)).close_height == 0
    network.faults.find_backend("alice")
    await network.mine(1)
    assert (await waiting(alice)).close_height == network.chain.height


async def test_a_node_that_was_down_hears_of_every_block(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    point = (await alice.channels())[0].channel_point
    await alice.close_channel(point, force=True)
    await network.stop_node("alice")
    await network.mine(20)
    await network.start_node("alice")
    assert (await alice.info()).block_height == network.chain.height
    # Its balance is mature since long; now it is swept, in the next block.
    await forced(alice)
    await network.mine(1)
    [summary] = await alice.closed_channels()
    assert summary.channel_point == point


async def _tip(node: LightningNode) -> chainnotifier_pb2.BlockEpoch:
    async with node.notifier() as notifier:
        call = notifier.RegisterBlockEpochNtfn(Epoch())
        epoch = await asyncio.wait_for(anext(aiter(call)), timeout=5)
        call.cancel()
        return epoch
