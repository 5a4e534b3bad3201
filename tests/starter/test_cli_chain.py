"""The commands on a node that closes and sweeps, with the workers that production has."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from devnet.house import House
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite.channels.states import CloseState
from fulgurite.payments.states import PaymentState
from fulgurite.stuck.states import LadderState
from starter.client import FulguriteClient
from tests.commands import Command, valid
from tests.scenarios.telling import SIMULATED_ONLY, reaches

from .hanging import climbs

pytestmark = [SIMULATED_ONLY, pytest.mark.usefixtures("working")]

ALICE = ("--node", "alice")


@pytest.fixture
async def point(home: House) -> AsyncIterator[str]:
    """A channel of alice's with bob that a test may close; the others are needed again."""
    network = simulated(home)
    opened = network.open_channel("alice", "bob", push_sat=500_000)
    await network.mine(3)
    yield opened
    network.connect("alice", "bob")


def simulated(home: House) -> SimulatedNetwork:
    assert isinstance(home.network, SimulatedNetwork)
    return home.network


async def listed(fulgurite: Command, point: str) -> dict[str, object]:
    """The channel, once the watch has heard of it."""

    async def ask() -> list[dict[str, object]]:
        document = valid(
            (await fulgurite("channel", "list", *ALICE, "--json")).stdout, "node-channels"
        )
        return [each for each in document["open"] if each["channel_point"] == point]

    [channel] = await eventually(ask, what="the channel in the list")
    return channel


async def test_a_channel_is_closed_with_the_peer_and_followed_to_its_end(
    home: House, fulgurite: Command, point: str
) -> None:
    network = simulated(home)
    await listed(fulgurite, point)
    told = await fulgurite("channel", "close", point, *ALICE, "--dry-run")
    closing = asyncio.create_task(
        fulgurite("channel", "close", point, *ALICE, "--sat-per-vbyte", "4", "--force", "--json")
    )

    async def is_gone() -> bool:
        return point not in {each.channel_point for each in await network.nodes["alice"].channels()}

    await eventually(is_gone, what="the close")
    while not closing.done():
        await network.mine(1)
        await asyncio.sleep(0.5)
    result = await closing
    receipt = valid(result.stdout, "close-outcome")["receipt"]

    assert told.stdout.startswith(f"cooperative close of {point}")
    assert (result.exit_code, receipt["status"]) == (0, "CLOSED")
    assert receipt["close_type"] == "COOPERATIVE_CLOSE"
    assert receipt["settled_sat"] > 1_000_000


async def test_what_hangs_is_shown_approved_and_followed_until_the_chain_has_decided(
    home: House, fulgurite: Command, client: FulguriteClient, point: str
) -> None:
    network = simulated(home)
    channel = await listed(fulgurite, point)
    invoice = await network.nodes["bob"].hold_invoice(60_000_000)
    payment = client.payment(invoice.payment_hash.hex())
    await fulgurite(
        *("pay", invoice.payment_request, *ALICE, "--max-fee-sat", "100", "--stuck-after", "1"),
        *("--outgoing-channel", str(channel["channel_id"]), "--no-wait", "--force"),
    )
    await reaches(payment, PaymentState.STUCK)
    network.part("alice", "bob")
    ladder = client.stuck(payment.payment_hash)
    await climbs(ladder, LadderState.RECONNECTING)
    shown = await fulgurite("payment", "stuck", payment.payment_hash)
    watched = await fulgurite("payment", "show", payment.payment_hash)
    order = ("approve", f"stuck/{payment.payment_hash}", "--as", "ann")
    approved = await fulgurite(*order, answer="yes\n")
    await climbs(ladder, LadderState.CONFIRMING)
    following = asyncio.create_task(
        fulgurite("payment", "stuck", payment.payment_hash, "--follow", "--json")
    )
    while not following.done():
        await network.mine(1)
        await asyncio.sleep(0.3)
    followed = await following
    outcome = valid(followed.stdout, "ladder-outcome")["receipt"]
    receipt = await fulgurite("payment", "watch", payment.payment_hash, "--json")
    closed = await client.channel_close(point, node="alice")

    assert f"channel {point}" in shown.stdout
    assert "60,000 sat until block" in shown.stdout
    assert f"fulgurite payment stuck {payment.payment_hash}" in watched.stdout
    assert (approved.exit_code, "which cannot be called back, as ann?" in approved.stderr) == (
        0,
        True,
    )
    assert followed.exit_code == 0
    assert (outcome["status"], outcome["verdict"]) == ("RESOLVED_ON_CHAIN", "FAILED")
    assert outcome["force_closed"] == [point]
    assert outcome["on_chain"]["complete"]
    document = valid(receipt.stdout, "outcome")["receipt"]
    assert (receipt.exit_code, document["status"]) == (1, "FAILED")
    assert document["on_chain"]["channel_points"] == [point]
    assert (await closed.view()).state is CloseState.CLOSED
