"""Both ends agree: balances are paid out at once, and the opener pays the fee."""

from __future__ import annotations

import grpc
import pytest

from devnet.node import LightningNode
from devnet.simulated import SimulatedNetwork
from protos.lnrpc import lightning_pb2

from .chain_time import CLOSE_CONFIRMATIONS, closed, following_channels, hanging, waiting
from .driving import refused
from .following import following

CloseType = lightning_pb2.ChannelCloseSummary
Update = lightning_pb2.ChannelEventUpdate

OPENER_SAT, PEER_SAT = 1_200_000, 800_000
CLOSING_WEIGHT = 768


@pytest.fixture
async def channel(alice: LightningNode) -> lightning_pb2.Channel:
    return (await alice.channels())[0]


@pytest.mark.parametrize("closer", ["alice", "bob"])
async def test_balances_are_paid_out_and_the_opener_pays_whoever_asks(
    network: SimulatedNetwork,
    alice: LightningNode,
    bob: LightningNode,
    channel: lightning_pb2.Channel,
    closer: str,
) -> None:
    before = [await node.balance() for node in (alice, bob)]
    fee_sat = 250 * 5 * CLOSING_WEIGHT // 1_000
    await network.nodes[closer].close_channel(channel.channel_point, sat_per_vbyte=5)
    for node in (alice, bob):
        assert (await waiting(node)).blocks_til_close_confirmed == CLOSE_CONFIRMATIONS
    await network.mine(CLOSE_CONFIRMATIONS)
    after = [await node.balance() for node in (alice, bob)]
    gained = [a.confirmed_balance - b.confirmed_balance for a, b in zip(after, before, strict=True)]
    assert gained == [OPENER_SAT - fee_sat, PEER_SAT]
    assert network.ledger.miners_msat("alice") == fee_sat * 1_000
    for node, settled_sat in ((alice, OPENER_SAT - fee_sat), (bob, PEER_SAT)):
        summary = await closed(node)
        assert summary.close_type == CloseType.COOPERATIVE_CLOSE
        assert summary.settled_balance == settled_sat
        assert not summary.resolutions
        initiator = lightning_pb2.INITIATOR_LOCAL if node.name == closer else 2
        assert summary.close_initiator == initiator


async def test_it_is_told_with_the_first_block_and_over_with_the_third(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    channel = (await bob.channels())[0]
    async with following_channels(network, bob) as told:
        await alice.close_channel(channel.channel_point)
        await network.mine(1)
        await told.count(2)
        assert not await bob.closed_channels()
        await network.mine(CLOSE_CONFIRMATIONS - 1)
        types = [update.type for update in await told.count(3)]
    assert types == [
        Update.INACTIVE_CHANNEL,
        Update.CLOSED_CHANNEL,
        Update.FULLY_RESOLVED_CHANNEL,
    ]
    assert told.messages[1].closed_channel.close_type == CloseType.COOPERATIVE_CLOSE
    await closed(bob)


async def test_the_stream_ends_when_the_close_is_deep_enough(
    network: SimulatedNetwork, alice: LightningNode, channel: lightning_pb2.Channel
) -> None:
    txid, index = channel.channel_point.split(":")
    request = lightning_pb2.CloseChannelRequest(
        channel_point=lightning_pb2.ChannelPoint(funding_txid_str=txid, output_index=int(index))
    )
    async with alice.lightning() as lightning, following(lightning.CloseChannel(request)) as told:
        await told.count(1)
        await network.mine(CLOSE_CONFIRMATIONS - 1)
        await alice.info()
        assert not told.ended
        await network.mine(1)
        [pending, done] = await told.end()
    assert done.chan_close.closing_txid == pending.close_pending.txid


async def test_a_part_can_be_paid_to_an_address_outside(
    network: SimulatedNetwork, alice: LightningNode, carol: LightningNode
) -> None:
    before = await alice.balance()
    [channel, *_] = await alice.channels()
    async with carol.lightning() as lightning:
        address = (await lightning.NewAddress(lightning_pb2.NewAddressRequest())).address
    txid, index = channel.channel_point.split(":")
    request = lightning_pb2.CloseChannelRequest(
        channel_point=lightning_pb2.ChannelPoint(funding_txid_str=txid, output_index=int(index)),
        delivery_address=address,
    )
    async with alice.lightning() as lightning, following(lightning.CloseChannel(request)) as told:
        await told.count(1)
    await network.mine(CLOSE_CONFIRMATIONS)
    assert (await alice.balance()).confirmed_balance == before.confirmed_balance
    assert (await closed(alice)).settled_balance > PEER_SAT


async def test_with_no_wait_it_closes_when_the_last_htlc_is_gone(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    async with hanging(alice, bob) as hung:
        txid, index = hung.channel_point.split(":")
        request = lightning_pb2.CloseChannelRequest(
            channel_point=lightning_pb2.ChannelPoint(
                funding_txid_str=txid, output_index=int(index)
            ),
            no_wait=True,
        )
        async with alice.lightning() as lightning:
            stream = aiter(lightning.CloseChannel(request))
            assert (await anext(stream)).close_instant.num_pending_htlcs == 1
            assert not (await alice.pending_channels()).waiting_close_channels
            await bob.settle(hung.invoice)
            pending = (await anext(stream)).close_pending
    assert (await waiting(alice)).closing_txid == pending.txid[::-1].hex()
    await network.mine(CLOSE_CONFIRMATIONS)
    assert (await closed(bob)).settled_balance == PEER_SAT + 50_000


async def test_nobody_closes_so_over_htlcs_without_a_peer_or_to_nowhere(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    async with hanging(alice, bob) as hung:
        with refused(grpc.StatusCode.UNKNOWN, "with active htlcs (number of active htlcs: 1)"):
            await alice.close_channel(hung.channel_point)
        await bob.cancel(hung.invoice)
    txid, index = hung.channel_point.split(":")
    request = lightning_pb2.CloseChannelRequest(
        channel_point=lightning_pb2.ChannelPoint(funding_txid_str=txid, output_index=int(index)),
        delivery_address="nowhere",
    )
    async with alice.lightning() as lightning:
        with refused(grpc.StatusCode.UNKNOWN, "invalid delivery address"):
            await anext(aiter(lightning.CloseChannel(request)))
    network.disconnect("alice", "bob")
    with refused(grpc.StatusCode.UNKNOWN, "while peer is offline"):
        await alice.close_channel(hung.channel_point)
    assert len(await alice.channels()) == 2
