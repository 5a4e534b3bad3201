"""A force close from its order to its last output, told as lnd tells it."""

from __future__ import annotations

import grpc
import pytest

from devnet.node import LightningNode
from devnet.simulated import SimulatedNetwork
from devnet.simulated.onchain.weights import RELAY_SAT_PER_KW
from protos.lnrpc import lightning_pb2

from .chain_time import (
    CLOSE_CONFIRMATIONS,
    CSV_BLOCKS,
    closed,
    following_channels,
    forced,
    hanging,
    mine_to,
    resolutions,
    waiting,
)
from .driving import Payment, ends, refused, word
from .following import following

CloseType = lightning_pb2.ChannelCloseSummary
Update = lightning_pb2.ChannelEventUpdate

# Of the topology's channels: the balance of the end that opened it, without what its
# commitment and the two anchors cost.
COMMIT_FEE_SAT = 284
LOCAL_SAT = 1_200_000 - COMMIT_FEE_SAT - 2 * 330
HTLC_FEE_SAT = 43  # what an HTLC adds to the commitment's fee
SWEEP_FEE_SAT = RELAY_SAT_PER_KW * 534 // 1_000
TIMEOUT_FEE_SAT = RELAY_SAT_PER_KW * 1_068 // 1_000


async def test_a_close_waits_for_three_blocks_and_its_balance_for_csv(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    point = (await alice.channels())[0].channel_point
    txid = await alice.close_channel(point, force=True)
    assert [c.channel_point for c in await alice.channels()] != [point]
    sent = await waiting(alice)
    assert (sent.channel.channel_point, sent.closing_txid) == (point, txid)
    assert (sent.limbo_balance, sent.blocks_til_close_confirmed) == (LOCAL_SAT, CLOSE_CONFIRMATIONS)
    assert sent.commitments.local_commit_fee_sat == COMMIT_FEE_SAT

    await network.mine(1)
    confirmed = network.chain.height
    mined = await waiting(alice)
    assert (mined.close_height, mined.blocks_til_close_confirmed) == (confirmed, 2)
    await network.mine(2)
    assert not (await alice.pending_channels()).waiting_close_channels
    maturing = await forced(alice)
    assert (maturing.maturity_height, maturing.blocks_til_maturity) == (confirmed + CSV_BLOCKS, 2)
    assert (maturing.limbo_balance, maturing.recovered_balance) == (LOCAL_SAT + 330, 0)
    assert not await alice.closed_channels()

    await network.mine(1)
    assert (await forced(alice)).blocks_til_maturity == 1
    await network.mine(1)
    assert not (await alice.pending_channels()).pending_force_closing_channels
    summary = await closed(alice)
    assert (summary.close_type, summary.close_height) == (CloseType.LOCAL_FORCE_CLOSE, confirmed)
    assert (summary.settled_balance, summary.time_locked_balance) == (LOCAL_SAT, LOCAL_SAT)
    assert resolutions(summary) == {("COMMIT", "CLAIMED", LOCAL_SAT)}
    assert network.ledger.miners_msat("alice") == (COMMIT_FEE_SAT + SWEEP_FEE_SAT) * 1_000


async def test_an_htlc_comes_back_when_it_expires_and_the_payment_fails(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    before = await alice.balance()
    async with hanging(alice, bob) as hung:
        await network.stop_node("bob")
        await alice.close_channel(hung.channel_point, force=True)
        local_sat = LOCAL_SAT - 50_000 - HTLC_FEE_SAT
        await network.mine(CSV_BLOCKS + 1)
        [htlc] = (await forced(alice)).pending_htlcs
        assert (htlc.incoming, htlc.amount, htlc.stage) == (False, 50_000, 1)
        assert htlc.maturity_height == hung.expiry_height
        assert htlc.blocks_til_maturity == hung.expiry_height - network.chain.height
        assert (await forced(alice)).recovered_balance == local_sat

        await mine_to(network, hung.expiry_height)
        status, _ = await word(alice, hung.invoice.payment_hash)
        assert status == "IN_FLIGHT"
        await network.mine(1)
        failed = await ends(alice, hung.invoice.payment_hash, Payment.FAILED)
    assert failed.htlcs[0].failure.code == lightning_pb2.Failure.PERMANENT_CHANNEL_FAILURE
    [htlc] = (await forced(alice)).pending_htlcs
    # Of the second step lnd tells when it sends the sweep, a block before it can be mined.
    assert (htlc.stage, htlc.blocks_til_maturity) == (2, CSV_BLOCKS - 1)

    await network.mine(CSV_BLOCKS)
    summary = await closed(alice)
    assert resolutions(summary) == {
        ("COMMIT", "CLAIMED", local_sat),
        ("OUTGOING_HTLC", "FIRST_STAGE", 50_000),
        ("OUTGOING_HTLC", "TIMEOUT", 50_000),
    }
    fees_sat = 2 * SWEEP_FEE_SAT + TIMEOUT_FEE_SAT
    gained_sat = (await alice.balance()).confirmed_balance - before.confirmed_balance
    assert gained_sat == local_sat + 50_000 - fees_sat
    commit_fee_sat = COMMIT_FEE_SAT + HTLC_FEE_SAT
    assert network.ledger.miners_msat("alice") == (commit_fee_sat + fees_sat) * 1_000
    assert network.ledger.sent_msat("alice", hung.invoice.payment_hash) == 0


async def test_lnd_goes_to_the_chain_when_an_htlc_expires(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    async with hanging(alice, bob) as hung:
        network.disconnect("alice", "bob")
        await mine_to(network, hung.expiry_height - 1)
        assert not (await alice.pending_channels()).waiting_close_channels
        await network.mine(1)
        assert (await waiting(alice)).channel.channel_point == hung.channel_point
        await network.mine(CLOSE_CONFIRMATIONS + 1)
        await ends(alice, hung.invoice.payment_hash, Payment.FAILED)


async def test_a_close_is_asked_for_once(network: SimulatedNetwork, alice: LightningNode) -> None:
    point = (await alice.channels())[0].channel_point
    await alice.close_channel(point, force=True)
    for blocks in (0, 1):
        await network.mine(blocks)
        with refused(grpc.StatusCode.UNKNOWN, "already in the process of being force closed"):
            await alice.close_channel(point, force=True)
        with refused(grpc.StatusCode.UNKNOWN, "while peer is offline"):
            await alice.close_channel(point)
    await network.mine(CLOSE_CONFIRMATIONS)
    with refused(grpc.StatusCode.UNKNOWN, "channel not found"):
        await alice.close_channel(point, force=True)
    assert (
        len(await alice.closed_channels())
        + len((await alice.pending_channels()).pending_force_closing_channels)
        == 1
    )


async def test_the_stream_of_a_close_ends_with_its_first_block(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    channel = (await alice.channels())[0]
    txid, index = channel.channel_point.split(":")
    request = lightning_pb2.CloseChannelRequest(
        channel_point=lightning_pb2.ChannelPoint(
            funding_txid_bytes=bytes.fromhex(txid)[::-1], output_index=int(index)
        ),
        force=True,
    )
    async with alice.lightning() as lightning, following(lightning.CloseChannel(request)) as told:
        [pending] = await told.count(1)
        await network.mine(1)
        [_, done] = await told.end()
    assert done.chan_close.success
    assert done.chan_close.closing_txid == pending.close_pending.txid


@pytest.mark.parametrize("end", ["alice", "bob"])
async def test_a_close_is_told_to_those_who_follow(
    network: SimulatedNetwork, alice: LightningNode, end: str
) -> None:
    point = (await alice.channels())[0].channel_point
    node = network.nodes[end]
    async with following_channels(network, node) as told:
        await alice.close_channel(point, force=True)
        await network.mine(CLOSE_CONFIRMATIONS + CSV_BLOCKS)
        types = [update.type for update in await told.count(3)]
        summary = told.messages[1].closed_channel
    assert types == [
        Update.INACTIVE_CHANNEL,
        Update.CLOSED_CHANNEL,
        Update.FULLY_RESOLVED_CHANNEL,
    ]
    kind = {"alice": CloseType.LOCAL_FORCE_CLOSE, "bob": CloseType.REMOTE_FORCE_CLOSE}[end]
    assert (summary.channel_point, summary.close_type) == (point, kind)
