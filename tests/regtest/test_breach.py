"""A peer that publishes a state which it has revoked: LND punishes it, and we follow to the end."""

from __future__ import annotations

import shutil
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from devnet.house import House, house
from devnet.regtest import RegtestNetwork
from devnet.waiting import eventually
from fulgurite.channels.closing import CloseType
from fulgurite.channels.receipts import CloseReceipt, CloseView
from fulgurite.channels.states import CLOSE, CloseState
from fulgurite.identity import ChannelPoint
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient
from starter.connect import connect
from tests.stuck.hanging import confirmed_sat, digested, mining, retained

pytestmark = [pytest.mark.regtest, pytest.mark.timeout(900)]

# So much goes back and forth after the state that bob publishes: he would gain by it.
PAID_SAT = 300_000
# lnd believes in a spend of a channel's funding from here on.
SPENT_CONFIRMATIONS = 3


@pytest.fixture
async def home(tmp_path: Path) -> AsyncIterator[House]:
    """Its own: bob is of no use to anybody once he has been taken back in time."""
    async with house("regtest", tmp_path, ours=["alice"]) as built:
        yield built


async def test_a_breach_is_punished_by_lnd_and_followed_to_the_last_sat(home: House) -> None:
    network = home.network
    assert isinstance(network, RegtestNetwork)
    client = FulguriteClient(await connect(home.settings))
    alice = network.nodes["alice"]
    async with home.worker("breach"):
        before = await confirmed_sat(alice)
        channel, txid = await _publishes_a_revoked_state(network)
        receipt = await _followed(home, client, ChannelPoint(channel.channel_point))
        gained = await confirmed_sat(alice) - before

    assert (receipt.status, receipt.close_type) == (CloseState.CLOSED, CloseType.BREACH)
    assert receipt.closing_txid == txid
    # Not only what is hers: all that was in the channel, less what it cost to take it.
    assert channel.local_balance < gained <= channel.capacity
    assert receipt.recovered_sat == gained


async def _publishes_a_revoked_state(network: RegtestNetwork) -> tuple[lightning_pb2.Channel, str]:
    """bob pays alice, and closes with what he had before: the channel, and his transaction's id.

    It is in a block before alice is there to see it.
    """
    alice, bob = network.nodes["alice"], network.nodes["bob"]
    data, kept = network.state_dir / "bob" / "data", network.state_dir / "bob-before"
    await network.stop_node("bob")
    shutil.copytree(data, kept)
    await network.start_node("bob")
    balances = {each.channel_point: each.local_balance for each in await alice.channels()}

    async def richer() -> list[lightning_pb2.Channel]:
        return [
            each
            for each in await alice.channels()
            if each.local_balance == balances[each.channel_point] + PAID_SAT
        ]

    invoice = await alice.invoice(PAID_SAT * 1_000)
    assert (await bob.pay(invoice.payment_request)).status == lightning_pb2.Payment.SUCCEEDED
    [channel] = await eventually(richer, what="the channel that he paid by")

    # Nobody may meet him who would tell him that his state is old.
    for name in ("alice", "carol", "bob"):
        await network.stop_node(name)
    shutil.rmtree(data)
    kept.rename(data)
    await network.start_node("bob")
    txid = await bob.close_channel(channel.channel_point, force=True)
    await network.mine(1)
    await network.stop_node("bob")
    await network.start_node("alice")
    await network.mine(SPENT_CONFIRMATIONS - 1)
    return channel, txid


async def _followed(home: House, client: FulguriteClient, point: ChannelPoint) -> CloseReceipt:
    """The channel watch begins to follow it by itself; blocks until it is over."""
    close = await client.channel_close(point)
    await eventually(lambda: retained(close.view), what="a close that is followed")

    async def view() -> CloseView:
        await digested(home, client, [point])
        return await close.view()

    await mining(home, view, lambda seen: seen.state in CLOSE.terminal, "a closed channel")
    return await close.receipt()
