"""What lnd's answers leave out or get wrong, as it was seen on the real one.

A product that believes these answers is wrong too, so the simulation must give them.
"""

from __future__ import annotations

import grpc

from devnet.node import LightningNode
from devnet.simulated import SimulatedNetwork
from protos.lnrpc import lightning_pb2
from protos.walletrpc import walletkit_pb2

from .chain_time import (
    CLOSE_CONFIRMATIONS,
    CSV_BLOCKS,
    closed,
    following_channels,
    forced,
    hanging,
    mine_to,
    waiting,
)
from .driving import refused

Update = lightning_pb2.ChannelEventUpdate
CloseType = lightning_pb2.ChannelCloseSummary


async def test_a_peers_close_is_invisible_until_it_is_deep(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    point = (await alice.channels())[0].channel_point
    async with following_channels(network, bob) as told:
        await alice.close_channel(point, force=True)
        await network.mine(CLOSE_CONFIRMATIONS - 1)
        [seen] = [c for c in await bob.channels() if c.channel_point == point]
        assert seen.active
        assert not (await bob.pending_channels()).waiting_close_channels
        assert told.messages == []
        await network.mine(1)
        types = [update.type for update in await told.count(2)]
        assert types == [Update.INACTIVE_CHANNEL, Update.CLOSED_CHANNEL]
    # One block is enough for the output of the end that did not close it.
    assert (await forced(bob)).maturity_height == network.chain.height - CLOSE_CONFIRMATIONS + 2
    await network.mine(1)
    assert (await closed(bob)).close_type == CloseType.REMOTE_FORCE_CLOSE


async def test_recovered_balances_are_forgotten_at_a_start(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    async with hanging(alice, bob) as hung:
        await network.stop_node("bob")
        await alice.close_channel(hung.channel_point, force=True)
        await network.mine(CSV_BLOCKS + 1)
        before = await forced(alice)
        assert before.recovered_balance > 1_000_000
        assert before.maturity_height
        await network.stop_node("alice")
        await network.start_node("alice")
        after = await forced(alice)
        assert (after.recovered_balance, after.maturity_height) == (0, 0)
        assert after.limbo_balance == before.limbo_balance
        # It is taken up where it was, all the same.
        await mine_to(network, hung.expiry_height + 1 + CSV_BLOCKS)
        await closed(alice)


async def test_a_cooperative_close_can_be_forced_over_in_vain(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    point = (await alice.channels())[0].channel_point
    together = await alice.close_channel(point)
    assert (await waiting(alice)).channel.chan_status_flags == (
        "ChanStatusCoopBroadcasted|ChanStatusLocalCloseInitiator"
    )
    alone = await alice.close_channel(point, force=True)
    assert alone != together
    assert (await waiting(alice)).closing_txid == alone
    await network.mine(CLOSE_CONFIRMATIONS)
    summary = await closed(alice)
    assert summary.close_type == CloseType.COOPERATIVE_CLOSE
    assert summary.closing_tx_hash == together


async def test_both_anchors_wait_and_go_with_the_first_block(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    point = (await alice.channels())[0].channel_point
    await alice.close_channel(point, force=True)
    sent = await waiting(alice)
    assert sent.channel.chan_status_flags == (
        "ChanStatusBorked|ChanStatusCommitBroadcasted|ChanStatusLocalCloseInitiator"
    )
    both = {sent.commitments.local_txid, sent.commitments.remote_txid}
    assert {txid for txid, _ in await _swept(alice)} == both
    assert {budget for _, budget in await _swept(alice)} == {330}
    await network.mine(1)
    assert await _swept(alice) == []
    async with alice.wallet_kit() as wallet:
        txid, index = point.split(":")
        request = walletkit_pb2.BumpForceCloseFeeRequest(
            chan_point=lightning_pb2.ChannelPoint(funding_txid_str=txid, output_index=int(index)),
            budget=1_000,
        )
        with refused(grpc.StatusCode.UNKNOWN, "unable to find pending anchor outputs"):
            await wallet.BumpForceCloseFee(request)
    # Once all else is home the anchor is still there, and nobody tells what became of it.
    await network.mine(CSV_BLOCKS)
    assert {r.resolution_type for r in (await closed(alice)).resolutions} == {lightning_pb2.COMMIT}
    assert [budget for _, budget in await _swept(alice)] == [330]
    await network.stop_node("alice")
    await network.start_node("alice")
    assert await _swept(alice) == []


async def test_our_own_commitment_is_never_confirmed_to_the_wallet(
    network: SimulatedNetwork, alice: LightningNode
) -> None:
    point = (await alice.channels())[0].channel_point
    txid = await alice.close_channel(point, force=True)
    await network.mine(CSV_BLOCKS + 1)
    [ours] = [t for t in await alice.transactions() if t.tx_hash == txid]
    assert (ours.amount, ours.num_confirmations, ours.block_height) == (0, 0, 0)
    assert ours.label.startswith("0:closechannel:")
    await network.stop_node("alice")
    await network.start_node("alice")
    assert txid not in [t.tx_hash for t in await alice.transactions()]


async def test_an_incoming_htlc_that_is_claimed_names_its_delay_for_a_height(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode
) -> None:
    async with hanging(alice, bob) as hung:
        await bob.close_channel(hung.channel_point, force=True)
        await network.mine(CLOSE_CONFIRMATIONS)
        [htlc] = (await forced(bob)).pending_htlcs
        assert (htlc.incoming, htlc.stage, htlc.maturity_height) == (True, 1, hung.expiry_height)
        await bob.settle(hung.invoice)
        [htlc] = (await forced(bob)).pending_htlcs
        assert (htlc.stage, htlc.maturity_height) == (1, CSV_BLOCKS)
        await network.mine(2)
        [htlc] = (await forced(bob)).pending_htlcs
        assert (htlc.stage, htlc.blocks_til_maturity) == (2, CSV_BLOCKS - 1)
    await network.mine(CSV_BLOCKS)
    first = next(
        r for r in (await closed(bob)).resolutions if r.outcome == lightning_pb2.FIRST_STAGE
    )
    # It was signed so, and sent with an input more.
    assert network.chain.find(first.sweep_txid) is None


async def _swept(node: LightningNode) -> list[tuple[str, int]]:
    """The anchors that the sweeper has: of which transaction, and for how much."""
    async with node.wallet_kit() as wallet:
        answer = await wallet.PendingSweeps(walletkit_pb2.PendingSweepsRequest())
    return [
        (sweep.outpoint.txid_str, sweep.budget)
        for sweep in answer.pending_sweeps
        if sweep.witness_type == walletkit_pb2.COMMITMENT_ANCHOR
    ]
