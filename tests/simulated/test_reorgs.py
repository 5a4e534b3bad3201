"""Blocks are taken back, and nothing is lost, found twice, or believed too early."""

from __future__ import annotations

import pytest

from devnet.node import LightningNode
from devnet.simulated import SimulatedNetwork
from devnet.simulated.chain import Fate
from protos.chainrpc import chainnotifier_pb2
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
    resolutions,
    waiting,
)
from .driving import Payment, ends
from .following import following

Update = lightning_pb2.ChannelEventUpdate


@pytest.fixture
async def point(network: SimulatedNetwork, alice: LightningNode) -> str:
    await network.mine(10)  # so that the channels' own blocks are out of reach
    return (await alice.channels())[0].channel_point


async def test_a_close_that_is_taken_back_waits_again(
    network: SimulatedNetwork, alice: LightningNode, point: str
) -> None:
    await alice.close_channel(point, force=True)
    await network.mine(2)
    assert (await waiting(alice)).blocks_til_close_confirmed == 1
    await network.reorg(2)
    back = await waiting(alice)
    assert (back.close_height, back.blocks_til_close_confirmed) == (0, CLOSE_CONFIRMATIONS)
    network.ledger.assert_balanced()

    await network.mine(CLOSE_CONFIRMATIONS)
    again = network.chain.height - CLOSE_CONFIRMATIONS + 1
    assert (await forced(alice)).maturity_height == again + CSV_BLOCKS
    await network.mine(CSV_BLOCKS)
    assert (await closed(alice)).close_height == again


async def test_a_height_can_be_lower_than_before(
    network: SimulatedNetwork, alice: LightningNode, point: str
) -> None:
    assert point
    height = network.chain.height
    async with (
        alice.notifier() as notifier,
        following(notifier.RegisterBlockEpochNtfn(chainnotifier_pb2.BlockEpoch())) as told,
    ):
        [before] = await told.count(1)
        await network.reorg(3, blocks=1)
        info = await alice.info()
        assert (info.block_height, info.synced_to_chain) == (height - 2, True)
        await network.mine(2)
        epochs = await told.count(4)
    assert [epoch.height for epoch in epochs] == [height, height - 2, height - 1, height]
    assert epochs[-1].hash != before.hash


@pytest.mark.parametrize("fate", list(Fate))
async def test_transactions_wait_are_mined_again_or_are_sent_again(
    network: SimulatedNetwork, alice: LightningNode, point: str, fate: Fate
) -> None:
    txid = await alice.close_channel(point, force=True)
    await network.mine(1)
    await network.reorg(1, fate=fate)
    network.ledger.assert_balanced()
    mined = network.chain.height_of(txid) is not None
    assert mined == (fate is Fate.MINED)
    # A node sends again what the network has dropped, so that the next block can have it.
    await network.mine(2)
    assert network.chain.height_of(txid) is not None
    await network.mine(CLOSE_CONFIRMATIONS + CSV_BLOCKS)
    await closed(alice)


async def test_what_is_deep_enough_is_believed_whatever_comes(
    network: SimulatedNetwork, alice: LightningNode, point: str
) -> None:
    """lnd never looks back, sends its sweep too early, and again only from its next start."""
    await alice.close_channel(point, force=True)
    await network.mine(CLOSE_CONFIRMATIONS)
    believed = await forced(alice)
    await network.reorg(CLOSE_CONFIRMATIONS)
    assert (await forced(alice)).maturity_height == believed.maturity_height
    network.ledger.assert_balanced()
    await network.mine(1)
    await network.mine(CSV_BLOCKS + 3)
    stalled = await forced(alice)
    assert (stalled.recovered_balance, stalled.blocks_til_maturity < 0) == (0, True)
    async with alice.wallet_kit() as wallet:
        held = (await wallet.PendingSweeps(walletkit_pb2.PendingSweepsRequest())).pending_sweeps
    assert {sweep.amount_sat for sweep in held} == {330}
    await network.stop_node("alice")
    await network.start_node("alice")
    await network.mine(2)
    await closed(alice)


async def test_a_sweep_that_is_taken_back_is_mined_once(
    network: SimulatedNetwork, alice: LightningNode, point: str
) -> None:
    before = await alice.balance()
    await alice.close_channel(point, force=True)
    await network.mine(CSV_BLOCKS + 1)
    settled_sat = (await closed(alice)).settled_balance
    for _ in range(3):
        await network.reorg(1)
        network.ledger.assert_balanced()
        await network.mine(1)
        network.ledger.assert_balanced()
    gained_sat = (await alice.balance()).confirmed_balance - before.confirmed_balance
    assert gained_sat == settled_sat - 135


async def test_a_cooperative_close_is_told_again_after_a_reorg(
    network: SimulatedNetwork, alice: LightningNode, point: str
) -> None:
    async with following_channels(network, alice) as told:
        await alice.close_channel(point)
        await network.mine(1)
        await told.count(2)
        await network.reorg(1)
        await network.mine(1)
        types = [update.type for update in await told.count(3)]
    assert types == [Update.INACTIVE_CHANNEL, Update.CLOSED_CHANNEL, Update.CLOSED_CHANNEL]
    assert (await waiting(alice)).blocks_til_close_confirmed == 2


async def test_a_timeout_that_is_taken_back_stays_the_verdict(
    network: SimulatedNetwork, alice: LightningNode, bob: LightningNode, point: str
) -> None:
    assert point
    async with hanging(alice, bob) as hung:
        await network.stop_node("bob")
        await alice.close_channel(hung.channel_point, force=True)
        await mine_to(network, hung.expiry_height + 1)
        await ends(alice, hung.invoice.payment_hash, Payment.FAILED)
        await network.reorg(1)
        network.ledger.assert_balanced()
        await network.mine(CSV_BLOCKS + 2)
        # Its second step was sent too early, and lnd sends it again only from its next start.
        await forced(alice)
        await network.stop_node("alice")
        await network.start_node("alice")
        await network.mine(2)
    assert ("OUTGOING_HTLC", "TIMEOUT", 50_000) in resolutions(await closed(alice))
    assert network.ledger.sent_msat("alice", hung.invoice.payment_hash) == 0


async def test_a_reorg_that_nobody_can_have_is_refused(network: SimulatedNetwork) -> None:
    height = network.chain.height
    with pytest.raises(ValueError, match="cannot take back"):
        await network.reorg(0)
    with pytest.raises(ValueError, match="cannot take back"):
        await network.reorg(1_000)
    with pytest.raises(ValueError, match="has a funding transaction"):
        await network.reorg(3, blocks=0)
    assert network.chain.height == height
    network.ledger.assert_balanced()


async def test_open_channels_stay_open(network: SimulatedNetwork, alice: LightningNode) -> None:
    before = {c.chan_id for c in await alice.channels()}
    await network.reorg(3)
    assert {c.chan_id for c in await alice.channels()} == before
    network.ledger.assert_balanced()
