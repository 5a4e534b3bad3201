"""Channels of the real lnd, closed in every way, as the product sees it; and the wallet agrees.

Nothing here knows lnd's answers beforehand: what is recovered and what it has cost is held
against the wallet's balance before and after, to the sat.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator

import pytest

from devnet.regtest.fees import USUAL_SAT_PER_VBYTE
from devnet.waiting import eventually
from fulgurite.chain.tip import Tip
from fulgurite.channels.calls import Bump
from fulgurite.channels.closing import (
    CloseOutput,
    ClosePhase,
    CloseType,
    OutputOutcome,
)
from fulgurite.channels.requests import CloseKind, CloseRequest
from fulgurite.errors import (
    BackupError,
    ChannelBusyError,
    ChannelClosingError,
    ChannelNotFoundError,
    PeerOfflineError,
)
from fulgurite.identity import NodePubkey
from protos.lnrpc import lightning_pb2
from tests.regtest.closings import (
    ANCHOR,
    ANCHORS_SAT,
    CLAIMED,
    COMMITMENT,
    CSV_BLOCKS,
    FINAL_CONFIRMATIONS,
    HTLC_SAT,
    OUTGOING,
    PENDING,
    World,
    closed,
    closing_world,
    in_step,
    kinds,
    listed,
    payment,
    pending,
    stake_sat,
    verdict,
    without_bob,
    words_until,
)

pytestmark = [
    pytest.mark.regtest,
    pytest.mark.timeout(1800),  # the first time it builds btcd and lnd
]


@pytest.fixture(scope="module")
async def world(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[World]:
    async with closing_world(tmp_path_factory.mktemp("closing")) as world:
        yield world


async def test_a_cooperative_close(world: World) -> None:
    channel = await world.open_channel()
    point, before = channel.channel_point, await world.wallet_sat()

    closing = await world.close(point, CloseKind.COOPERATIVE, sat_per_vbyte=USUAL_SAT_PER_VBYTE)
    assert (closing.phase, closing.close_height) == (ClosePhase.WAITING_CLOSE, None)
    assert closing.close_type is CloseType.COOPERATIVE
    assert closing.closing_txid is not None

    closing = await world.mine(point)
    assert (closing.phase, closing.close_height) == (ClosePhase.WAITING_CLOSE, closing.tip.height)

    closed = await world.mine_until(point, ClosePhase.CLOSED)
    gained = await world.wallet_sat() - before
    assert closed.tip.height == closing.tip.height + FINAL_CONFIRMATIONS - 1
    assert (closed.close_type, closed.outputs) == (CloseType.COOPERATIVE, ())
    assert (closed.closing_txid, closed.close_height) == (closing.closing_txid, closing.tip.height)
    assert (closed.recovered_sat, closed.settled_sat) == (gained, gained)
    assert closed.cost_sat == stake_sat(channel) - gained > 0


async def test_a_force_close_with_a_payment_that_times_out(world: World) -> None:
    invoice, channel = await world.hang()
    point, before = channel.channel_point, await world.wallet_sat()
    expiry_height = channel.htlcs[0].expiry_height
    local = (COMMITMENT, PENDING, channel.local_sat)
    assert (channel.initiator, channel.csv_blocks) == (True, CSV_BLOCKS)

    async with without_bob(world):
        closing = await world.close(point, CloseKind.FORCE)
        assert (closing.phase, closing.close_type) == (
            ClosePhase.WAITING_CLOSE,
            CloseType.LOCAL_FORCE,
        )
        assert closing.limbo_sat == channel.local_sat
        assert closing.commit_fee_sat == channel.commit_fee_sat + ANCHORS_SAT

        closed_at = (await world.mine(point)).tip.height
        closing = await world.mine_until(point, ClosePhase.FORCE_CLOSING)
        assert (closing.close_type, closing.close_height) == (CloseType.LOCAL_FORCE, closed_at)
        assert kinds(closing) == sorted(
            [local, (OUTGOING, PENDING, HTLC_SAT), (ANCHOR, PENDING, 330)]
        )
        matures = {each.kind: each.maturity_height for each in closing.outputs}
        assert matures == {
            COMMITMENT: closed_at + CSV_BLOCKS,
            OUTGOING: expiry_height,
            ANCHOR: None,
        }

        # Its own balance comes first.
        while closing.tip.height < closed_at + CSV_BLOCKS:
            closing = await world.mine(point)
        assert closing.recovered_sat == await world.wallet_sat() - before
        assert (COMMITMENT, CLAIMED, channel.local_sat) in kinds(closing)

        # At its expiry the HTLC; the payment has failed as soon as that is in a block.
        await world.network.mine(expiry_height - closing.tip.height)
        assert (await payment(world, invoice)).status == lightning_pb2.Payment.IN_FLIGHT
        closing = await world.mine(point)
        assert (await verdict(world, invoice)).status == lightning_pb2.Payment.FAILED
        [htlc] = pending(closing)
        assert (htlc.kind, htlc.stage, htlc.amount_sat) == (OUTGOING, 2, HTLC_SAT)

        closed = await world.mine_until(point, ClosePhase.CLOSED)
        gained = await world.wallet_sat() - before

    assert kinds(closed) == sorted(
        [
            (COMMITMENT, CLAIMED, channel.local_sat),
            (OUTGOING, OutputOutcome.FIRST_STAGE, HTLC_SAT),
            (OUTGOING, OutputOutcome.TIMEOUT, HTLC_SAT),
            (ANCHOR, OutputOutcome.ABANDONED, 330),
        ]
    )
    assert (closed.close_type, closed.close_height) == (CloseType.LOCAL_FORCE, closed_at)
    assert (closed.recovered_sat, closed.limbo_sat) == (gained, 0)
    assert closed.commit_fee_sat == channel.commit_fee_sat + ANCHORS_SAT
    assert closed.cost_sat == stake_sat(channel) - gained
    assert closed.sweep_fees_sat > 0


async def test_what_is_recovered_is_not_forgotten_when_lnd_and_we_begin_anew(world: World) -> None:
    """lnd itself forgets it; and of us nobody remembers what another process has seen."""
    _, channel = await world.hang()
    point, before = channel.channel_point, await world.wallet_sat()

    async with without_bob(world):
        await world.close(point, CloseKind.FORCE)
        await world.mine_until(point, ClosePhase.FORCE_CLOSING)
        for _ in range(CSV_BLOCKS):
            closing = await world.mine(point)
        gained = await world.wallet_sat() - before
        assert closing.recovered_sat == gained > 0

        await world.network.stop_node("alice")
        await world.network.start_node("alice")
        world.nodes._channels.clear()

        again = await eventually(lambda: world.look(point), what="alice's word")
        assert (again.recovered_sat, again.limbo_sat) == (gained, closing.limbo_sat)
        assert [(each.kind, each.amount_sat) for each in pending(again)] == [(OUTGOING, HTLC_SAT)]
        assert not any(each.forgotten for each in again.outputs)

        closed = await world.mine_until(point, ClosePhase.CLOSED)
        gained = await world.wallet_sat() - before
    assert closed.recovered_sat == gained
    # Of the closing transaction, only who saw it before knows the fee.
    assert closed.sweep_fees_sat == channel.local_sat + HTLC_SAT - gained


async def test_a_force_close_by_the_peer(world: World) -> None:
    invoice, channel = await world.hang()
    point, before = channel.channel_point, await world.wallet_sat()

    await world.bob.close_channel(point, force=True)
    for _ in range(FINAL_CONFIRMATIONS - 1):
        await world.network.mine(1)
        # lnd does not look before it is final.
        assert (await listed(world, point)).active

    await world.network.mine(1)
    forced = await eventually(lambda: world.seek(point), what="the close in one of alice's lists")
    assert forced is not None
    assert (forced.phase, forced.close_type) == (ClosePhase.FORCE_CLOSING, CloseType.REMOTE_FORCE)
    assert forced.commit_fee_sat == channel.commit_fee_sat + ANCHORS_SAT
    assert {each.kind for each in forced.outputs} >= {COMMITMENT, OUTGOING}

    closed = await world.mine_until(point, ClosePhase.CLOSED)
    gained = await world.wallet_sat() - before
    assert (await verdict(world, invoice)).status == lightning_pb2.Payment.FAILED
    assert closed.close_type is CloseType.REMOTE_FORCE
    assert (OUTGOING, OutputOutcome.TIMEOUT, HTLC_SAT) in kinds(closed)
    assert closed.recovered_sat == gained
    assert closed.cost_sat == stake_sat(channel) - gained


async def test_a_preimage_on_chain_is_a_payment_and_no_loss(world: World) -> None:
    invoice, channel = await world.hang()
    point, before = channel.channel_point, await world.wallet_sat()

    await world.close(point, CloseKind.FORCE)
    await world.mine_until(point, ClosePhase.FORCE_CLOSING)
    await world.bob.settle(invoice)
    await eventually(lambda: world.bitcoin("getrawmempool"), what="bob's claim in the mempool")
    closed = await world.mine_until(point, ClosePhase.CLOSED)

    assert (await verdict(world, invoice)).status == lightning_pb2.Payment.SUCCEEDED
    gained = await world.wallet_sat() - before
    assert (OUTGOING, CLAIMED, HTLC_SAT) in kinds(closed)
    assert closed.recovered_sat == gained
    assert closed.cost_sat == stake_sat(channel) - HTLC_SAT - gained


async def test_two_channels_that_lnd_sweeps_with_one_transaction(world: World) -> None:
    channels = [await world.open_channel(), await world.open_channel()]
    before = await world.wallet_sat()

    for channel in channels:
        await world.close(channel.channel_point, CloseKind.FORCE)
    for channel in channels:
        await world.mine_until(channel.channel_point, ClosePhase.CLOSED)
    closed = [await world.look(channel.channel_point) for channel in channels]

    gained = await world.wallet_sat() - before
    [first, second] = [each.outputs[0].sweep_txid for each in closed]
    assert first == second is not None
    assert sum(each.recovered_sat for each in closed) == gained
    assert sum(each.cost_sat for each in closed) == sum(map(stake_sat, channels)) - gained
    assert abs(closed[0].sweep_fees_sat - closed[1].sweep_fees_sat) <= 1


async def test_a_bump_pays_up_to_its_budget_and_no_more(world: World) -> None:
    channel = await world.open_channel()
    point, before = channel.channel_point, await world.wallet_sat()
    closing_node = world.nodes.closing("alice")
    await world.close(point, CloseKind.FORCE)

    def bump(budget_sat: int, blocks: int, tip: Tip, output: CloseOutput | None = None) -> Bump:
        return Bump(
            node="alice",
            channel_point=point,
            outpoint=output.outpoint if output else None,
            budget_sat=budget_sat,
            deadline_height=tip.height + blocks,
        )

    order = bump(6_000, 3, await world.nodes.chain("alice").tip())
    for _ in range(2):  # once more is no harm
        assert (await closing_node.bump(order)).taken
    for _ in range(5):
        await world.mine_empty()
        await in_step(world)
    assert (await world.look(point)).close_height is None

    closing = await world.mine_until(point, ClosePhase.FORCE_CLOSING)
    [anchor] = [each for each in closing.outputs if each.kind is ANCHOR]
    assert (anchor.outcome, anchor.amount_sat) == (CLAIMED, 330)
    # All of the budget by its deadline, and nothing beyond it after that.
    assert 5_900 <= closing.sweep_fees_sat + 330 <= 6_000

    [mine] = [each for each in closing.outputs if each.kind is COMMITMENT]
    refused = await closing_node.bump(bump(mine.amount_sat + 1, 3, closing.tip, mine))
    assert not refused.taken
    assert "worth" in refused.because
    assert (await closing_node.bump(bump(10_000, 20, closing.tip, mine))).taken

    closed = await world.mine_until(point, ClosePhase.CLOSED)
    gained = await world.wallet_sat() - before
    assert closed.recovered_sat == gained
    assert closed.cost_sat == stake_sat(channel) - gained
    late = await closing_node.bump(bump(10_000, 20, closing.tip, mine))
    assert not late.taken


async def test_a_block_that_is_taken_back_takes_the_confirmation_with_it(world: World) -> None:
    channel = await world.open_channel()
    point, chain = channel.channel_point, world.nodes.chain("alice")
    known = await chain.tip()
    await world.close(point, CloseKind.FORCE)

    async with chain.blocks(known) as blocks:
        first = await world.mine(point)
        assert first.close_height == known.height + 1
        told = await anext(blocks)
        assert (told.height, told.block_hash) == (first.tip.height, first.tip.block_hash)

        await world.bitcoin("invalidateblock", first.tip.block_hash)
        for parent in (known.block_hash, None):
            await world.submit_empty(parent or str(await world.bitcoin("getbestblockhash")))
        await in_step(world)
        again = [await anext(blocks) for _ in range(2)]
    assert [each.height for each in again] == [known.height + 1, known.height + 2]
    assert again[0].block_hash != told.block_hash
    assert again[0].takes_back(told)
    tip = await chain.tip()
    assert (tip.height, tip.block_hash) == (again[1].height, again[1].block_hash)

    closing = await world.look(point)
    assert (closing.phase, closing.close_height) == (ClosePhase.WAITING_CLOSE, None)
    closing = await world.mine(point)
    assert closing.close_height == tip.height + 1
    # Who knew the block that is gone is told what came in its place.
    async with chain.blocks(first.tip) as blocks:
        heights = [(await anext(blocks)).height for _ in range(3)]
    assert heights == [known.height + 1, known.height + 2, known.height + 3]
    await world.mine_until(point, ClosePhase.CLOSED)


async def test_the_tip_comes_first_where_nobody_knows_a_block(world: World) -> None:
    chain = world.nodes.chain("alice")
    tip = await chain.tip()
    assert tip.synced
    async with chain.blocks(None) as blocks:
        told = await anext(blocks)
    assert (told.height, told.block_hash) == (tip.height, tip.block_hash)


async def test_a_channel_closes_once(world: World) -> None:
    channel = await world.open_channel()
    point, closing = channel.channel_point, world.nodes.closing("alice")
    force = CloseRequest(node="alice", channel_point=point, kind=CloseKind.FORCE)
    await closing.close(force)

    with pytest.raises(ChannelClosingError):
        await closing.close(force)
    await world.mine_until(point, ClosePhase.FORCE_CLOSING)
    with pytest.raises(ChannelNotFoundError):
        await closing.close(force)
    await world.mine_until(point, ClosePhase.CLOSED)
    with pytest.raises(ChannelNotFoundError):
        await closing.close(force)
    assert [each.channel_point for each in await closed(world)].count(point) == 1


async def test_what_cannot_be_closed_together(world: World) -> None:
    invoice, channel = await world.hang()
    together = CloseRequest(
        node="alice", channel_point=channel.channel_point, kind=CloseKind.COOPERATIVE
    )
    with pytest.raises(ChannelBusyError):
        await world.nodes.closing("alice").close(together)
    await world.bob.cancel(invoice)

    async with without_bob(world):
        with pytest.raises(PeerOfflineError):
            await world.nodes.closing("alice").close(together)
    assert (await listed(world, channel.channel_point)).active


async def test_a_change_is_told_at_once(world: World) -> None:
    channel = await world.open_channel()
    async with world.nodes.channels("alice").changes() as changes:
        told = asyncio.create_task(words_until(changes, "FULLY_RESOLVED_CHANNEL"))
        await world.bob.close_channel(channel.channel_point, sat_per_vbyte=2)
        await world.mine_until(channel.channel_point, ClosePhase.CLOSED)
        words = await asyncio.wait_for(told, timeout=30)
    assert [word for word, _ in itertools.groupby(words)] == [
        *("INACTIVE_CHANNEL", "CLOSED_CHANNEL", "FULLY_RESOLVED_CHANNEL")
    ]


async def test_a_peer_is_called_back(world: World) -> None:
    bob = NodePubkey(world.network._lnds["bob"].pubkey)
    closing = world.nodes.closing("alice")
    assert (await closing.reconnect(bob)).online

    async with without_bob(world):
        answer = await closing.reconnect(bob)
        assert not answer.online
        assert "connection refused" in answer.because
    assert (await closing.reconnect(bob)).online
    stranger = NodePubkey("02" + "11" * 32)
    assert not (await closing.reconnect(stranger)).online


async def test_a_backup_is_of_all_channels_and_of_this_node(world: World) -> None:
    alice, bob = world.nodes.channels("alice"), world.nodes.channels("bob")
    await world.open_channel()

    backup, points = await alice.export_backup()
    assert set(points) == {each.channel_point for each in await alice.channels()}
    await alice.verify_backup(backup)
    with pytest.raises(BackupError):
        await bob.verify_backup(backup)
    with pytest.raises(BackupError):
        await alice.verify_backup(backup[:-1] + bytes([backup[-1] ^ 1]))
