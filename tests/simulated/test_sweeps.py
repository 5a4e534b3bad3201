"""Outputs come home at a price: the sweeper's fees, the bumps, and a fee spike between."""

from __future__ import annotations

import grpc
import pytest

from devnet.node import LightningNode
from devnet.simulated import SimulatedNetwork
from protos.lnrpc import lightning_pb2
from protos.walletrpc import walletkit_pb2

from .chain_time import CLOSE_CONFIRMATIONS, CSV_BLOCKS, closed, forced, waiting
from .driving import refused

WitnessType = walletkit_pb2.WitnessType

SPIKE_SAT_PER_VBYTE = 30
COMMITMENT_VBYTES = 281


async def pending_sweeps(node: LightningNode) -> list[walletkit_pb2.PendingSweep]:
    async with node.wallet_kit() as wallet:
        answer = await wallet.PendingSweeps(walletkit_pb2.PendingSweepsRequest())
    return list(answer.pending_sweeps)


async def sweep_txids(node: LightningNode, start_height: int = 0) -> list[str]:
    async with node.wallet_kit() as wallet:
        request = walletkit_pb2.ListSweepsRequest(start_height=start_height)
        return list((await wallet.ListSweeps(request)).transaction_ids.transaction_ids)


def point(channel_point: str) -> lightning_pb2.ChannelPoint:
    txid, _, index = channel_point.partition(":")
    return lightning_pb2.ChannelPoint(funding_txid_str=txid, output_index=int(index))


async def bump_close(node: LightningNode, channel_point: str, **terms: int) -> str:
    request = walletkit_pb2.BumpForceCloseFeeRequest(chan_point=point(channel_point))
    request.MergeFrom(walletkit_pb2.BumpForceCloseFeeRequest(**terms))  # type: ignore[arg-type]
    async with node.wallet_kit() as wallet:
        return (await wallet.BumpForceCloseFee(request)).status


async def bump_sweep(node: LightningNode, sweep: walletkit_pb2.PendingSweep, **terms: int) -> str:
    request = walletkit_pb2.BumpFeeRequest(outpoint=sweep.outpoint)
    request.MergeFrom(walletkit_pb2.BumpFeeRequest(**terms))  # type: ignore[arg-type]
    async with node.wallet_kit() as wallet:
        return (await wallet.BumpFee(request)).status


async def transaction(node: LightningNode, txid: str) -> lightning_pb2.Transaction:
    [only] = [each for each in await node.transactions() if each.tx_hash == txid]
    return only


@pytest.fixture
async def channel(alice: LightningNode) -> lightning_pb2.Channel:
    return (await alice.channels())[0]


async def test_the_balance_is_swept_at_its_height(
    network: SimulatedNetwork, alice: LightningNode, channel: lightning_pb2.Channel
) -> None:
    await alice.close_channel(channel.channel_point, force=True)
    await network.mine(CLOSE_CONFIRMATIONS)
    confirmed = network.chain.height - CLOSE_CONFIRMATIONS + 1
    [sweep] = [
        each
        for each in await pending_sweeps(alice)
        if each.witness_type == WitnessType.COMMITMENT_TIME_LOCK
    ]
    assert (sweep.amount_sat, sweep.budget) == (channel.local_balance, channel.local_balance // 2)
    assert sweep.maturity_height == confirmed + CSV_BLOCKS
    assert sweep.broadcast_attempts == 0
    assert not await sweep_txids(alice)

    await network.mine(1)
    [txid] = await sweep_txids(alice)
    assert await sweep_txids(alice, start_height=-1) == [txid]
    swept = await transaction(alice, txid)
    assert swept.num_confirmations == 0
    assert swept.amount == channel.local_balance - 135
    balance = await alice.balance()
    assert balance.unconfirmed_balance == swept.amount

    await network.mine(1)
    after = await alice.balance()
    assert (after.unconfirmed_balance, after.confirmed_balance) == (
        0,
        balance.confirmed_balance + swept.amount,
    )
    assert (await transaction(alice, txid)).num_confirmations == 1
    assert (await closed(alice)).resolutions[0].sweep_txid == txid
    assert await sweep_txids(alice, start_height=-1) == []


async def test_a_spike_holds_a_close_until_its_anchor_pays_for_it(
    network: SimulatedNetwork, alice: LightningNode, channel: lightning_pb2.Channel
) -> None:
    network.fee_floor(SPIKE_SAT_PER_VBYTE)
    before = await alice.balance()
    await alice.close_channel(channel.channel_point, force=True)
    await network.mine(5)
    assert (await waiting(alice)).close_height == 0
    assert {each.witness_type for each in await pending_sweeps(alice)} == {
        WitnessType.COMMITMENT_ANCHOR
    }

    # A budget that the spike is above is spent in vain; more of it is not.
    await bump_close(alice, channel.channel_point, budget=2_000, starting_feerate=5, immediate=1)
    await network.mine(1)
    assert (await waiting(alice)).close_height == 0
    status = await bump_close(
        alice, channel.channel_point, budget=20_000, starting_feerate=40, immediate=1
    )
    assert status.startswith("Successfully registered anchor-cpfp transaction")
    await network.mine(1)
    assert (await waiting(alice)).close_height == network.chain.height
    paid_sat = before.confirmed_balance - (await alice.balance()).confirmed_balance
    assert 0 < paid_sat <= 20_000
    # Parent and child together pay what was asked for.
    assert [t.amount for t in await alice.transactions() if t.num_confirmations == 1] == [-paid_sat]
    assert paid_sat + 330 + channel.commit_fee >= SPIKE_SAT_PER_VBYTE * (COMMITMENT_VBYTES + 150)


async def test_a_sweep_is_bumped_within_its_budget(
    network: SimulatedNetwork, alice: LightningNode, channel: lightning_pb2.Channel
) -> None:
    await alice.close_channel(channel.channel_point, force=True)
    await network.mine(CLOSE_CONFIRMATIONS)
    network.fee_floor(SPIKE_SAT_PER_VBYTE)
    await network.mine(3)
    assert (await forced(alice)).recovered_balance == 0
    sweep = next(
        each
        for each in await pending_sweeps(alice)
        if each.witness_type == WitnessType.COMMITMENT_TIME_LOCK
    )
    assert sweep.broadcast_attempts == 1
    status = await bump_sweep(alice, sweep, budget=3_000, deadline_delta=3, sat_per_vbyte=8)
    assert status == "Successfully registered rbf-tx with sweeper"
    # The fee climbs from what was asked for to the whole budget, and no further.
    await network.mine(6)
    fees_sat = [
        channel.local_balance - (await transaction(alice, txid)).amount
        for txid in await sweep_txids(alice, start_height=-1)
    ]
    assert max(fees_sat) == pytest.approx(3_000, abs=10)
    assert (await forced(alice)).recovered_balance == 0

    await bump_sweep(alice, sweep, budget=10_000, sat_per_vbyte=40, immediate=1)
    await network.mine(1)
    # What was replaced was in the list, and in the balance, until a block had the last of them.
    [txid] = await sweep_txids(alice)
    assert (await closed(alice)).resolutions[0].sweep_txid == txid
    assert (await alice.balance()).unconfirmed_balance == 0


async def test_what_was_replaced_counts_until_lnd_starts_again(
    network: SimulatedNetwork, alice: LightningNode, channel: lightning_pb2.Channel
) -> None:
    await alice.close_channel(channel.channel_point, force=True)
    network.fee_floor(0)
    await network.mine(CLOSE_CONFIRMATIONS)
    network.fee_floor(SPIKE_SAT_PER_VBYTE)
    await network.mine(2)
    assert len(await sweep_txids(alice)) == 2
    assert (await alice.balance()).unconfirmed_balance > channel.local_balance
    await network.stop_node("alice")
    await network.start_node("alice")
    assert len(await sweep_txids(alice)) == 1
    assert (await alice.balance()).unconfirmed_balance < channel.local_balance


async def test_a_bump_is_forgotten_at_the_next_start(
    network: SimulatedNetwork, alice: LightningNode, channel: lightning_pb2.Channel
) -> None:
    network.fee_floor(SPIKE_SAT_PER_VBYTE)
    await alice.close_channel(channel.channel_point, force=True)
    await bump_close(alice, channel.channel_point, budget=20_000, deadline_delta=10)
    assert {each.budget for each in await pending_sweeps(alice)} == {20_000}
    await network.stop_node("alice")
    await network.start_node("alice")
    assert {each.budget for each in await pending_sweeps(alice)} == {330}


async def test_an_estimate_above_the_budget_waits_for_the_deadline(
    network: SimulatedNetwork, alice: LightningNode, channel: lightning_pb2.Channel
) -> None:
    await alice.close_channel(channel.channel_point, force=True)
    await network.mine(CLOSE_CONFIRMATIONS)
    network.fee_floor(1, told_sat_per_vbyte=200)
    [sweep, *_] = [each for each in await pending_sweeps(alice) if each.amount_sat > 330]
    await bump_sweep(alice, sweep, budget=5_000, deadline_delta=6)
    await network.mine(4)
    assert not await sweep_txids(alice)
    await network.mine(2)
    [txid] = await sweep_txids(alice)
    fee_sat = channel.local_balance - (await transaction(alice, txid)).amount
    assert fee_sat == pytest.approx(5_000, abs=5)


@pytest.mark.parametrize(
    ("terms", "text"),
    [
        ({"target_conf": 2, "sat_per_vbyte": 3}, "either TargetConf or SatPerVbyte"),
        ({"deadline_delta": 2}, "budget must be set if deadline-delta is set"),
    ],
)
async def test_contradictory_bumps_are_refused(
    network: SimulatedNetwork,
    alice: LightningNode,
    channel: lightning_pb2.Channel,
    terms: dict[str, int],
    text: str,
) -> None:
    await alice.close_channel(channel.channel_point, force=True)
    await network.mine(CLOSE_CONFIRMATIONS)
    [sweep, *_] = await pending_sweeps(alice)
    with refused(grpc.StatusCode.UNKNOWN, text):
        await bump_sweep(alice, sweep, **terms)


async def test_only_a_close_that_waits_for_a_block_is_bumped(
    network: SimulatedNetwork, alice: LightningNode, channel: lightning_pb2.Channel
) -> None:
    with refused(grpc.StatusCode.UNKNOWN, "channel not found"):
        await bump_close(alice, channel.channel_point, budget=1_000)
    await alice.close_channel(channel.channel_point, force=True)
    await network.mine(CLOSE_CONFIRMATIONS)
    with refused(grpc.StatusCode.UNKNOWN, "channel not found"):
        await bump_close(alice, channel.channel_point, budget=1_000)


async def test_a_coin_on_its_way_can_pay_for_its_transaction(
    network: SimulatedNetwork, alice: LightningNode, channel: lightning_pb2.Channel
) -> None:
    network.fee_floor(SPIKE_SAT_PER_VBYTE)
    txid = await alice.close_channel(channel.channel_point, sat_per_vbyte=2)
    await network.mine(1)
    closing = (await alice.transactions())[0]
    assert (closing.tx_hash, closing.num_confirmations) == (txid, 0)
    index = next(d.output_index for d in closing.output_details if d.is_our_address)
    coin = walletkit_pb2.PendingSweep(
        outpoint=lightning_pb2.OutPoint(txid_str=txid, output_index=index)
    )
    status = await bump_sweep(alice, coin, budget=50_000, sat_per_vbyte=100, immediate=1)
    assert status == "Successfully registered CPFP-tx with the sweeper"
    await network.mine(1)
    assert [t.num_confirmations for t in (await alice.transactions())[:2]] == [1, 1]
    with refused(grpc.StatusCode.UNKNOWN, "belong to the wallet"):
        await bump_sweep(
            alice,
            walletkit_pb2.PendingSweep(outpoint=lightning_pb2.OutPoint(txid_str="ab" * 32)),
            budget=1_000,
        )
