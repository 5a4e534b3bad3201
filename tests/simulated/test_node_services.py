"""The calls about the node itself: identity, channels, peers, wallet."""

from __future__ import annotations

from typing import Any

import grpc

from devnet import topology
from devnet.node import LightningNode
from devnet.simulated import SimulatedNetwork
from protos.lnrpc import lightning_pb2

from .driving import Payment, refused, send, to_pay


async def test_a_node_is_ready_in_a_network_of_the_topology(
    network: SimulatedNetwork, bob: LightningNode
) -> None:
    info = await bob.info()
    assert info.version.startswith("0.21.2-beta")
    assert (info.alias, info.chains[0].network) == ("bob", "regtest")
    assert (info.synced_to_chain, info.synced_to_graph) == (True, True)
    assert (info.num_active_channels, info.num_peers) == (len(topology.CHANNELS), 2)
    assert info.block_height == network.chain.height
    assert tuple(network.nodes) == topology.NODES
    assert network.kind == "simulated"


async def test_mined_blocks_are_seen_by_all(network: SimulatedNetwork) -> None:
    before = network.chain.height
    await network.mine(3)
    for node in network.nodes.values():
        assert (await node.info()).block_height == before + 3


async def test_channels_have_the_planned_balances(alice: LightningNode, bob: LightningNode) -> None:
    plan = topology.CHANNELS[0]
    channels = await alice.channels()
    # As in lnd, what the commitment and its two anchors would cost the opener is not its own.
    local_sat = plan.capacity_sat - plan.push_sat - 284 - 2 * 330
    assert [
        (c.active, c.initiator, c.capacity, c.local_balance, c.remote_balance) for c in channels
    ] == [(True, True, plan.capacity_sat, local_sat, plan.push_sat)] * 2
    assert {c.commit_fee for c in channels} == {284}
    assert len({c.chan_id for c in channels}) == len({c.channel_point for c in channels}) == 2
    assert {c.remote_pubkey for c in channels} == {(await bob.info()).identity_pubkey}


async def test_channels_are_listed_by_peer_and_by_activity(
    network: SimulatedNetwork, bob: LightningNode, carol: LightningNode
) -> None:
    carol_key = bytes.fromhex((await carol.info()).identity_pubkey)
    network.disconnect("bob", "alice")
    async with bob.lightning() as lightning:
        active = await lightning.ListChannels(lightning_pb2.ListChannelsRequest(active_only=True))
        to_carol = await lightning.ListChannels(lightning_pb2.ListChannelsRequest(peer=carol_key))
    assert [c.chan_id for c in active.channels] == [c.chan_id for c in to_carol.channels]
    assert len(active.channels) == 2


async def test_the_graph_knows_nodes_by_their_key(
    alice: LightningNode, carol: LightningNode
) -> None:
    async with alice.lightning() as lightning:
        found = await lightning.GetNodeInfo(
            lightning_pb2.NodeInfoRequest(pub_key=(await carol.info()).identity_pubkey)
        )
        with refused(grpc.StatusCode.NOT_FOUND, "unable to find node"):
            await lightning.GetNodeInfo(lightning_pb2.NodeInfoRequest(pub_key="02" * 33))
    assert (found.node.alias, found.num_channels) == ("carol", 2)


async def test_a_peer_is_disconnected_and_connected_again(
    alice: LightningNode, bob: LightningNode
) -> None:
    bob_key = (await bob.info()).identity_pubkey
    invoice = await bob.invoice(1_000_000)
    async with alice.lightning() as lightning:
        await lightning.DisconnectPeer(lightning_pb2.DisconnectPeerRequest(pub_key=bob_key))
        assert not (await lightning.ListPeers(lightning_pb2.ListPeersRequest())).peers
        with refused(grpc.StatusCode.UNKNOWN, "is not connected"):
            await lightning.DisconnectPeer(lightning_pb2.DisconnectPeerRequest(pub_key=bob_key))
        address = lightning_pb2.LightningAddress(pubkey=bob_key, host="127.0.0.1:9735")
        await lightning.ConnectPeer(lightning_pb2.ConnectPeerRequest(addr=address))
        [peer] = (await lightning.ListPeers(lightning_pb2.ListPeersRequest())).peers
        with refused(grpc.StatusCode.UNKNOWN, "already connected to peer"):
            await lightning.ConnectPeer(lightning_pb2.ConnectPeerRequest(addr=address))
    assert peer.pub_key == bob_key
    assert (await send(alice, to_pay(invoice.payment_request)))[-1].status == Payment.SUCCEEDED


async def test_a_channel_opens_over_three_blocks(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    carol_key = bytes.fromhex((await carol.info()).identity_pubkey)
    request = lightning_pb2.OpenChannelRequest(
        node_pubkey=carol_key,
        local_funding_amount=500_000,
        push_sat=100_000,
        use_base_fee=True,
        base_fee=0,
    )
    async with alice.lightning() as lightning:
        before = await lightning.WalletBalance(lightning_pb2.WalletBalanceRequest())
        point = await lightning.OpenChannelSync(request)
        after = await lightning.WalletBalance(lightning_pb2.WalletBalanceRequest())
        request.local_funding_amount = 10**12
        with refused(grpc.StatusCode.UNKNOWN, "not enough witness outputs"):
            await lightning.OpenChannelSync(request)
    assert before.confirmed_balance - after.confirmed_balance == 500_000
    assert len(await alice.channels()) == 2
    await network.mine(3)
    [opened] = [c for c in await carol.channels() if c.capacity == 500_000]
    assert opened.channel_point.startswith(point.funding_txid_bytes[::-1].hex())
    assert opened.local_balance == 100_000

    invoice = await carol.invoice(300_000_000)
    receipt = await alice.pay(invoice.payment_request, fee_limit_msat=0)
    assert receipt.status == Payment.SUCCEEDED


async def test_an_address_is_of_regtest(alice: LightningNode) -> None:
    async with alice.lightning() as lightning:
        answer = await lightning.NewAddress(lightning_pb2.NewAddressRequest())
    assert answer.address.startswith("bcrt1q")


async def test_what_is_not_served_is_unimplemented(alice: LightningNode) -> None:
    async with alice.channel() as channel:
        call: Any = channel.unary_unary("/lnrpc.Lightning/AbandonChannel")
        with refused(grpc.StatusCode.UNIMPLEMENTED, ""):
            await call(b"")
