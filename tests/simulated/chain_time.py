"""What the tests of closes and blocks do often: hang a payment, close, and look."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from devnet.node import ACCEPTED, LightningNode, TestInvoice
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from protos.lnrpc import lightning_pb2

from .driving import sending, to_pay
from .following import Followed, following

CSV_BLOCKS = 4
CLOSE_CONFIRMATIONS = 3

Forced = lightning_pb2.PendingChannelsResponse.ForceClosedChannel
Waiting = lightning_pb2.PendingChannelsResponse.WaitingCloseChannel


@dataclass(frozen=True)
class Hung:
    """A payment that a hold invoice keeps in flight, and where it hangs at its payer."""

    invoice: TestInvoice
    channel_point: str
    expiry_height: int


@asynccontextmanager
async def hanging(
    payer: LightningNode, payee: LightningNode, amount_msat: int = 50_000_000, **fields: object
) -> AsyncIterator[Hung]:
    """A payment to a hold invoice that nobody decides."""
    invoice = await payee.hold_invoice(amount_msat)
    fields = {"timeout_seconds": 1, "fee_limit_msat": 10_000_000} | fields
    async with sending(payer, to_pay(invoice.payment_request, **fields)):
        await payee.wait_for_invoice(invoice, ACCEPTED)
        yield await where(payer, invoice)


async def where(payer: LightningNode, invoice: TestInvoice) -> Hung:
    for channel in await payer.channels():
        for htlc in channel.pending_htlcs:
            if htlc.hash_lock == invoice.payment_hash:
                return Hung(invoice, channel.channel_point, htlc.expiration_height)
    raise AssertionError("the payment hangs nowhere")


async def mine_to(network: SimulatedNetwork, height: int) -> None:
    """Mines until the chain is so high, block by block like time itself."""
    await network.mine(height - network.chain.height)


async def waiting(node: LightningNode) -> Waiting:
    [only] = (await node.pending_channels()).waiting_close_channels
    return only


async def forced(node: LightningNode) -> Forced:
    [only] = (await node.pending_channels()).pending_force_closing_channels
    return only


async def closed(node: LightningNode) -> lightning_pb2.ChannelCloseSummary:
    [only] = await node.closed_channels()
    return only


def resolutions(summary: lightning_pb2.ChannelCloseSummary) -> set[tuple[str, str, int]]:
    """What became of each output: its kind, its outcome and its amount.

    Their order is that of the transactions' ids, which are nobody's choice.
    """
    return {
        (
            lightning_pb2.ResolutionType.Name(each.resolution_type),
            lightning_pb2.ResolutionOutcome.Name(each.outcome),
            each.amount_sat,
        )
        for each in summary.resolutions
    }


@asynccontextmanager
async def following_channels(
    network: SimulatedNetwork, node: LightningNode
) -> AsyncIterator[Followed[lightning_pb2.ChannelEventUpdate]]:
    """SubscribeChannelEvents, known to stand: nothing says so, and nothing is told twice.

    The link to bob is cut and mended until the stream tells of that, and then forgets it.
    """
    other = "alice" if node.name == "bob" else "bob"
    subscription = lightning_pb2.ChannelEventSubscription()
    async with (
        node.lightning() as lightning,
        following(lightning.SubscribeChannelEvents(subscription)) as told,
    ):

        async def knock() -> bool:
            network.disconnect(node.name, other)
            network.connect(node.name, other)
            return bool(told.messages)

        await eventually(knock, what="the subscription", timeout_seconds=10)
        while told.messages:  # every knock that it has heard of
            told.messages.clear()
            await asyncio.sleep(0.05)
        yield told
