"""Peers that go, that can be called back, and that cannot."""

from __future__ import annotations

import grpc

from devnet.node import LightningNode
from devnet.simulated import SimulatedNetwork
from protos.lnrpc import lightning_pb2

from .chain_time import CLOSE_CONFIRMATIONS, CSV_BLOCKS, following_channels
from .driving import refused

HOST = "127.0.0.1:9735"
Update = lightning_pb2.ChannelEventUpdate


async def connect(node: LightningNode, peer_key: str, *, perm: bool = False) -> None:
    async with node.lightning() as lightning:
        await lightning.ConnectPeer(
            lightning_pb2.ConnectPeerRequest(
                addr=lightning_pb2.LightningAddress(pubkey=peer_key, host=HOST), perm=perm
            )
        )


async def peers(node: LightningNode) -> set[str]:
    async with node.lightning() as lightning:
        answer = await lightning.ListPeers(lightning_pb2.ListPeersRequest())
    return {peer.pub_key for peer in answer.peers}


async def test_a_peer_that_was_lost_is_called_back(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    bob_key = (await bob.info()).identity_pubkey
    network.disconnect("alice", "bob")
    assert await peers(alice) == set()
    await connect(alice, bob_key)
    assert await peers(alice) == {bob_key}
    assert all(channel.active for channel in await alice.channels())


async def test_a_peer_that_is_gone_cannot_be(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    bob_key = (await bob.info()).identity_pubkey
    for leave, come_back in ((_part, _meet), (_stop, _start)):
        await leave(network)
        with refused(grpc.StatusCode.UNKNOWN, f"dial tcp {HOST}: connect: connection refused"):
            await connect(alice, bob_key)
        # A connection that shall last is promised, and made when the peer is there.
        await connect(alice, bob_key, perm=True)
        assert await peers(alice) == set()
        assert not any(channel.active for channel in await alice.channels())
        await come_back(network)
        assert await peers(alice) == {bob_key}


async def test_links_are_told_as_they_go_and_come(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    points = [c.channel_point for c in await alice.channels()]
    async with following_channels(network, alice) as told:
        await network.stop_node("bob")
        await network.start_node("bob")
        updates = await told.count(4)
    assert [update.type for update in updates] == [
        Update.INACTIVE_CHANNEL,
        Update.INACTIVE_CHANNEL,
        Update.ACTIVE_CHANNEL,
        Update.ACTIVE_CHANNEL,
    ]
    gone = [update.inactive_channel.funding_txid_bytes[::-1].hex() for update in updates[:2]]
    assert sorted(f"{txid}:0" for txid in gone) == sorted(points)


async def test_an_opening_is_told_step_by_step(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    async with following_channels(network, alice) as told:
        point = network.open_channel("alice", "bob", push_sat=1_000)
        await network.mine(3)
        updates = await told.count(3)
    assert [update.type for update in updates] == [
        Update.PENDING_OPEN_CHANNEL,
        Update.OPEN_CHANNEL,
        Update.ACTIVE_CHANNEL,
    ]
    assert updates[1].open_channel.channel_point == point


async def test_peers_stay_when_their_channels_go(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    carol_key = (await carol.info()).identity_pubkey
    for channel in await alice.channels():
        await alice.close_channel(channel.channel_point, force=True)
    await network.mine(CLOSE_CONFIRMATIONS + CSV_BLOCKS)
    assert not await alice.channels()
    assert len(await peers(alice)) == 1
    await connect(alice, carol_key)
    assert carol_key in await peers(alice)
    with refused(grpc.StatusCode.UNKNOWN, "already connected to peer"):
        await connect(alice, carol_key)


async def _part(network: SimulatedNetwork) -> None:
    network.part("alice", "bob")


async def _meet(network: SimulatedNetwork) -> None:
    network.connect("alice", "bob")


async def _stop(network: SimulatedNetwork) -> None:
    await network.stop_node("bob")


async def _start(network: SimulatedNetwork) -> None:
    await network.start_node("bob")
