"""Bids and asks of two real poolds, brought together by our auctioneer."""

from __future__ import annotations

import json

import grpc
import pytest

from devnet.auctioneer.terms import execution_fee_sat, premium_sat, trader_fee_sat
from devnet.node import LightningNode
from devnet.regtest.pool import PoolNetwork
from devnet.regtest.pool_daemons import NoBatchError
from devnet.waiting import eventually
from protos.lnrpc import lightning_pb2
from protos.poolrpc import shared_pb2
from tests.regtest.pool.conftest import ACCOUNT_CONFIRMATIONS, Side

pytestmark = [
    pytest.mark.regtest,
    pytest.mark.timeout(1800),  # the first time it builds btcd, lnd and poold
]

CHANNEL_SAT = 500_000
RATE_PPB = 2_000


async def _channel(node: LightningNode, txid: str) -> lightning_pb2.Channel:
    """The active channel that `txid` opened."""

    async def found() -> lightning_pb2.Channel | None:
        channels = [each for each in await node.channels() if txid in each.channel_point]
        return channels[0] if channels and channels[0].active else None

    channel = await eventually(found, what=f"{node.name}'s leased channel")
    assert channel is not None
    return channel


async def _both_executed(alice: Side, bid: bytes, dave: Side, ask: bytes) -> None:
    await alice.pool.wait_for_order(bid, shared_pb2.ORDER_EXECUTED)
    await dave.pool.wait_for_order(ask, shared_pb2.ORDER_EXECUTED)


async def test_a_matched_bid_becomes_a_channel_to_the_satoshi(
    network: PoolNetwork, alice: Side, dave: Side
) -> None:
    had, dave_had = await alice.value_sat(), await dave.value_sat()
    ask = await dave.pool.ask(dave.account, 2 * CHANNEL_SAT, rate_ppb=1_000, min_units=1)
    bid = await alice.pool.bid(alice.account, CHANNEL_SAT, rate_ppb=RATE_PPB)

    cleared = await network.run_batch()
    await alice.pool.wait_for_order(bid, shared_pb2.ORDER_EXECUTED)
    half = await dave.pool.wait_for_order(ask, shared_pb2.ORDER_PARTIALLY_FILLED)
    assert half.units_unfulfilled == 5
    await network.mine(ACCOUNT_CONFIRMATIONS)

    channel = await _channel(network.nodes["alice"], cleared["txid"])
    assert channel.capacity == CHANNEL_SAT
    assert not channel.initiator
    assert channel.local_balance == 0
    leased_out = await _channel(network.nodes["dave"], cleared["txid"])
    assert leased_out.initiator
    assert leased_out.channel_point == channel.channel_point

    # At the bid's rate: 500,000 sat for 2,016 blocks at 2,000 parts per billion.
    premium, execution, chain = 2_016, 501, 123
    assert premium == premium_sat(CHANNEL_SAT, RATE_PPB, 2_016)
    assert execution == execution_fee_sat(CHANNEL_SAT)
    assert chain == trader_fee_sat()
    await alice.open()
    await dave.open()
    assert await alice.value_sat() == had - premium - execution - chain
    assert await dave.value_sat() == dave_had - CHANNEL_SAT + premium - execution - chain

    (lease,) = [each for each in await alice.pool.leases() if each.order_nonce == bid]
    assert lease.purchased
    assert lease.matched_order_nonce == ask
    assert (lease.premium_sat, lease.execution_fee_sat) == (premium, execution)
    assert lease.clearing_rate_price == RATE_PPB
    assert lease.channel_amt_sat == CHANNEL_SAT
    await dave.pool.cancel_order(ask)


async def test_a_lease_is_kept_until_its_term_ends(
    network: PoolNetwork, alice: Side, dave: Side
) -> None:
    await dave.pool.ask(dave.account, CHANNEL_SAT, rate_ppb=RATE_PPB, duration_blocks=144)
    bid = await alice.pool.bid(alice.account, CHANNEL_SAT, rate_ppb=RATE_PPB, duration_blocks=144)
    cleared = await network.run_batch()
    await network.mine(1)
    node, lender = network.nodes["alice"], network.nodes["dave"]
    opened_at = (await node.info()).block_height
    channel = await _channel(lender, cleared["txid"])

    (lease,) = [each for each in await alice.pool.leases() if each.order_nonce == bid]
    assert lease.channel_lease_expiry == opened_at + 144
    # Before it is over only the one who pays may close in agreement.
    with pytest.raises(grpc.aio.AioRpcError, match="frozen"):
        await lender.close_channel(channel.channel_point)

    await network.mine(144)
    await _channel(lender, cleared["txid"])
    await lender.close_channel(channel.channel_point, sat_per_vbyte=2)


async def test_a_canceled_order_is_matched_no_more(
    network: PoolNetwork, alice: Side, dave: Side
) -> None:
    ask = await dave.pool.ask(dave.account, CHANNEL_SAT, rate_ppb=RATE_PPB)
    bid = await alice.pool.bid(alice.account, CHANNEL_SAT, rate_ppb=RATE_PPB)
    reserved = (await alice.pool.accounts())[alice.account]
    assert reserved.available_balance < reserved.value

    await alice.pool.cancel_order(bid)
    await alice.pool.cancel_order(bid)

    await alice.pool.wait_for_order(bid, shared_pb2.ORDER_CANCELED)
    freed = (await alice.pool.accounts())[alice.account]
    assert freed.available_balance == freed.value
    with pytest.raises(NoBatchError, match="agree"):
        await network.run_batch()
    await dave.pool.cancel_order(ask)


@pytest.mark.parametrize("step", ["accepted", "signed", "published"])
async def test_a_batch_is_made_final_whenever_the_auctioneer_is_killed(
    network: PoolNetwork, alice: Side, dave: Side, step: str
) -> None:
    had = await alice.value_sat()
    ask = await dave.pool.ask(dave.account, CHANNEL_SAT, rate_ppb=RATE_PPB)
    bid = await alice.pool.bid(alice.account, CHANNEL_SAT, rate_ppb=RATE_PPB)

    with pytest.raises(NoBatchError, match="died"):
        await network.auctioneer.clear(die_at=step)
    await network.stop_auctioneer()
    await network.start_auctioneer()

    await _both_executed(alice, bid, dave, ask)
    await network.mine(ACCOUNT_CONFIRMATIONS)
    await alice.open()
    await dave.open()
    (lease,) = [each for each in await alice.pool.leases() if each.order_nonce == bid]
    txid = lease.channel_point.txid[::-1].hex()
    assert (await _channel(network.nodes["alice"], txid)).capacity == CHANNEL_SAT
    assert await alice.value_sat() == had - 2_016 - 501 - 123
    # Once in the journal as well: what was begun and left is not there a second time.
    batches = json.loads(network.auctioneer.journal_path.read_text())["batches"].values()
    finals = [each for each in batches if bid.hex() == each["bid"] and each["state"] == "SIGNED"]
    assert [each["txid"] for each in finals] == [txid]


async def test_a_sum_that_is_wrong_by_one_satoshi_is_refused_and_costs_nothing(
    network: PoolNetwork, alice: Side, dave: Side
) -> None:
    had = await alice.value_sat()
    ask = await dave.pool.ask(dave.account, CHANNEL_SAT, rate_ppb=RATE_PPB)
    bid = await alice.pool.bid(alice.account, CHANNEL_SAT, rate_ppb=RATE_PPB)

    with pytest.raises(NoBatchError, match="unexpected ending balance"):
        await network.auctioneer.clear(cheat_sat=1)

    await alice.pool.wait_for_order(bid, shared_pb2.ORDER_SUBMITTED)
    assert await alice.value_sat() == had
    # Both come back to the auctioneer, and the next batch is an honest one.
    await network.run_batch()
    await _both_executed(alice, bid, dave, ask)
    await network.mine(ACCOUNT_CONFIRMATIONS)


async def test_a_poold_killed_before_the_end_learns_it_from_the_chain(
    network: PoolNetwork, alice: Side, dave: Side
) -> None:
    ask = await dave.pool.ask(dave.account, CHANNEL_SAT, rate_ppb=RATE_PPB)
    bid = await alice.pool.bid(alice.account, CHANNEL_SAT, rate_ppb=RATE_PPB)
    with pytest.raises(NoBatchError, match="died"):
        await network.auctioneer.clear(die_at="signed")
    await network.stop_pool("alice")
    await network.stop_auctioneer()

    await network.start_auctioneer()
    await network.start_pool("alice")
    await dave.pool.wait_for_order(ask, shared_pb2.ORDER_EXECUTED)
    await network.mine(ACCOUNT_CONFIRMATIONS)

    await alice.pool.wait_for_order(bid, shared_pb2.ORDER_EXECUTED)
    await alice.open()


async def test_orders_outlive_their_poold_and_are_matched_after_it(
    network: PoolNetwork, alice: Side, dave: Side
) -> None:
    ask = await dave.pool.ask(dave.account, CHANNEL_SAT, rate_ppb=RATE_PPB)
    bid = await alice.pool.bid(alice.account, CHANNEL_SAT, rate_ppb=RATE_PPB)
    for name in network.pools:
        await network.stop_pool(name)
    for name in network.pools:
        await network.start_pool(name)
    await alice.open()
    await dave.open()

    await network.run_batch()

    await _both_executed(alice, bid, dave, ask)
    await network.mine(ACCOUNT_CONFIRMATIONS)
