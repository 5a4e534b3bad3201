"""A channel's end by order, on both networks: asked for once, and followed to the last sat."""

from __future__ import annotations

import asyncio

import pytest

from devnet.house import House
from devnet.receiver import Receiver
from fulgurite.channels.closing import CloseType
from fulgurite.channels.requests import CloseKind, CloseRequest
from fulgurite.channels.states import CloseState
from fulgurite.identity import ChannelPoint
from fulgurite.payments.states import PaymentState
from fulgurite.stuck.policy import ForceCloseBy, LadderPolicy
from starter.client import FulguriteClient

from . import stories
from .hanging import confirmed_sat, hang, hung_on, told
from .roads import channels_with
from .stories import Play, closed

pytestmark = [pytest.mark.usefixtures("working"), pytest.mark.timeout(600)]


async def a_channel(home: House) -> ChannelPoint:
    """The fullest of alice's with bob."""
    alice, bob = home.network.nodes["alice"], home.network.nodes["bob"]
    return ChannelPoint((await channels_with(alice, bob))[0].channel_point)


async def hers_sat(home: House, point: ChannelPoint) -> int:
    """What of a channel that alice opened is hers, or is spent by her to have it closed."""
    [channel] = [
        each for each in await home.network.nodes["alice"].channels() if each.channel_point == point
    ]
    return channel.local_balance + channel.commit_fee + stories.ANCHORS_SAT


async def test_both_sides_sign_and_the_balance_comes_back(
    home: House, client: FulguriteClient, desk: Receiver
) -> None:
    alice = home.network.nodes["alice"]
    point = await a_channel(home)
    before, hers = await confirmed_sat(alice), await hers_sat(home, point)
    receipt, course = await stories.in_agreement(Play(home, client), point)
    gained = await confirmed_sat(alice) - before

    assert (receipt.close_type, course) == (CloseType.COOPERATIVE, stories.IN_AGREEMENT)
    assert receipt.recovered_sat == gained > 0
    assert 0 <= gained + receipt.cost_sat - hers <= 1
    await told(desk, point, {"channel.closing", "channel.closed"})


async def test_a_force_close_comes_back_after_csv_and_its_cost_is_true_to_the_sat(
    home: House, client: FulguriteClient
) -> None:
    alice = home.network.nodes["alice"]
    point = await a_channel(home)
    before, hers = await confirmed_sat(alice), await hers_sat(home, point)
    close = await client.close_channel(
        CloseRequest(node="alice", channel_point=point, kind=CloseKind.FORCE)
    )
    receipt, course = await closed(home, client, close)
    gained = await confirmed_sat(alice) - before

    assert (receipt.close_type, course) == (CloseType.LOCAL_FORCE, stories.BY_FORCE)
    assert receipt.recovered_sat == gained > 0
    assert 0 <= gained + receipt.cost_sat - hers <= 1


async def test_many_who_order_the_same_close_get_one(home: House, client: FulguriteClient) -> None:
    alice = home.network.nodes["alice"]
    point = await a_channel(home)
    order = CloseRequest(node="alice", channel_point=point, kind=CloseKind.FORCE)
    closes = await asyncio.gather(*(client.close_channel(order) for _ in range(10)))
    receipts = [(await closed(home, client, close))[0] for close in closes]

    assert len({receipt.closing_txid for receipt in receipts}) == 1
    txids = [c.closing_tx_hash for c in await alice.closed_channels() if c.channel_point == point]
    assert txids == [receipts[0].closing_txid]


async def test_what_hangs_keeps_a_channel_from_being_closed_in_agreement(
    home: House, client: FulguriteClient
) -> None:
    alice, carol = home.network.nodes["alice"], home.network.nodes["carol"]
    nobody = LadderPolicy(force_close_by=ForceCloseBy.NOBODY)
    payment, invoice = await hang(home, client, policy=nobody)
    [point] = await hung_on(alice, payment.payment_hash)
    close = await client.close_channel(
        CloseRequest(node="alice", channel_point=point, kind=CloseKind.COOPERATIVE)
    )
    receipt = await close.receipt()
    await carol.cancel(invoice)

    assert receipt.status is CloseState.REFUSED
    assert "htlc" in receipt.because.lower()
    assert point in {each.channel_point for each in await alice.channels()}
    assert (await payment.receipt()).status is PaymentState.FAILED


async def test_a_channel_that_is_not_there_is_refused(home: House, client: FulguriteClient) -> None:
    nowhere = ChannelPoint("ab" * 32 + ":0")
    close = await client.close_channel(
        CloseRequest(node="alice", channel_point=nowhere, kind=CloseKind.FORCE)
    )
    receipt, _ = await closed(home, client, close)

    assert receipt.status is CloseState.REFUSED
    assert receipt.because
