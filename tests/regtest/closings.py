"""alice's channels on the real lnd, opened, hung and closed; and the chain below them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from devnet.node import ACCEPTED, LightningNode, TestInvoice
from devnet.regtest import RegtestNetwork
from devnet.regtest.coinbase import Output, mined_block
from devnet.waiting import eventually
from fulgurite.bolt11 import ChainNetwork
from fulgurite.channels.channel import Channel
from fulgurite.channels.closing import CloseOutput, ClosePhase, Closing, OutputKind, OutputOutcome
from fulgurite.channels.requests import CloseKind, CloseRequest
from fulgurite.identity import ChannelPoint
from nodes.config import LndConfig
from nodes.registry import Nodes
from protos.lnrpc import lightning_pb2

CAPACITY_SAT = 2_000_000
PUSHED_SAT = 800_000
HTLC_SAT = 300_000
ANCHORS_SAT = 660
CSV_BLOCKS = 4
# lnd calls a close of so small a channel final from here on.
FINAL_CONFIRMATIONS = 3

COMMITMENT, ANCHOR = OutputKind.COMMITMENT, OutputKind.ANCHOR
OUTGOING = OutputKind.OUTGOING_HTLC
PENDING, CLAIMED = OutputOutcome.PENDING, OutputOutcome.CLAIMED


@dataclass
class World:
    """The network with bob and alice on it, and alice as the product sees her."""

    network: RegtestNetwork
    nodes: Nodes
    payments: list[asyncio.Task[lightning_pb2.Payment]] = field(default_factory=list)

    @property
    def alice(self) -> LightningNode:
        return self.network.nodes["alice"]

    @property
    def bob(self) -> LightningNode:
        return self.network.nodes["bob"]

    async def bitcoin(self, method: str, *parameters: object) -> object:
        return await self.network._btcd._call(method, *parameters)

    # alice's channels.

    async def open_channel(self) -> Channel:
        """A fresh one to bob, that she pays for."""
        before = {each.channel_point for each in await self.nodes.channels("alice").channels()}
        opener, peer = self.network._lnds["alice"], self.network._lnds["bob"]
        await opener.open_channel(peer, capacity_sat=CAPACITY_SAT, push_sat=PUSHED_SAT)
        await self.network.mine(6)

        async def opened() -> Channel | None:
            listed = await self.nodes.channels("alice").channels()
            return next((c for c in listed if c.channel_point not in before and c.active), None)

        found = await eventually(opened, what="a new channel")
        assert found is not None
        return found

    async def hang(self) -> tuple[TestInvoice, Channel]:
        """A payment to bob that he holds, and the channel that it hangs on."""
        await self.open_channel()
        invoice = await self.bob.hold_invoice(HTLC_SAT * 1_000)
        # The payment's own time is soon over, so that lnd does not try it again in the end.
        self.payments.append(
            asyncio.create_task(self.alice.pay(invoice.payment_request, timeout_seconds=1))
        )
        await self.bob.wait_for_invoice(invoice, ACCEPTED)

        async def hung_on() -> Channel | None:
            listed = await self.nodes.channels("alice").channels()
            return next(
                (
                    channel
                    for channel in listed
                    for htlc in channel.htlcs
                    if htlc.payment_hash == invoice.payment_hash.hex()
                ),
                None,
            )

        found = await eventually(hung_on, what="the HTLC in alice's list")
        assert found is not None
        return invoice, found

    async def look(self, point: ChannelPoint) -> Closing:
        """What the lists of closing and closed channels say."""
        found = await self.seek(point)
        assert found is not None, "in no list"
        return found

    async def seek(self, point: ChannelPoint) -> Closing | None:
        channels = self.nodes.channels("alice")
        closing = (await channels.pending()).closing
        closed = await channels.closed(await channels.tip())
        return next((each for each in (*closing, *closed) if each.channel_point == point), None)

    async def close(self, point: ChannelPoint, kind: CloseKind, **terms: int) -> Closing:
        """Has it closed, and says what is listed then."""
        request = CloseRequest(node="alice", channel_point=point, kind=kind, **terms)
        await self.nodes.closing("alice").close(request)
        return await self.look(point)

    async def wallet_sat(self) -> int:
        return (await self.alice.balance()).confirmed_balance

    # The chain.

    async def mine(self, point: ChannelPoint) -> Closing:
        """One block, with what lnd will have in it by then; and what it makes of it."""
        await self._published(await self.look(point))
        await self.network.mine(1)
        height = int(str(await self.bitcoin("getblockcount")))
        return await eventually(
            lambda: self.look(point),
            lambda closing: closing.tip.height >= height and closing.tip.synced,
            what=f"alice's word on block {height}",
        )

    async def mine_until(self, point: ChannelPoint, phase: ClosePhase) -> Closing:
        """Block by block; what is far away, at once."""
        for _ in range(40):
            closing = await self.mine(point)
            if closing.phase is phase:
                return closing
            heights = [each.maturity_height or 0 for each in pending(closing)]
            if heights and (far := min(heights) - 2 - closing.tip.height) > 0:
                await self.network.mine(far)
        raise AssertionError(f"not {phase} after 40 rounds: {closing!r}")

    async def mine_empty(self, blocks: int = 1) -> None:
        """Blocks of nothing, whatever waits."""
        for _ in range(blocks):
            await self.submit_empty(str(await self.bitcoin("getbestblockhash")))

    async def submit_empty(self, parent: str) -> None:
        header = await self.bitcoin("getblockheader", parent)
        assert isinstance(header, dict)
        block = mined_block(
            parent, header["height"] + 1, header["time"] + 1, [Output(1, bytes(20))]
        )
        assert await self.bitcoin("submitblock", block.hex()) is None

    async def _published(self, closing: Closing) -> None:
        """Waits for the transaction that the next block is to hold."""
        due = closing.phase is ClosePhase.WAITING_CLOSE and closing.close_height is None
        for each in pending(closing):
            # Of a commitment lnd names the block of its sweep, of an HTLC the one before.
            early = each.kind is COMMITMENT
            due |= (each.maturity_height or 0) - early <= closing.tip.height
        if due:
            await eventually(
                lambda: self.bitcoin("getrawmempool"), what="a transaction of lnd's in the mempool"
            )


def pending(closing: Closing) -> list[CloseOutput]:
    return [
        each
        for each in closing.outputs
        if each.outcome is PENDING and each.kind in {COMMITMENT, OUTGOING}
    ]


def kinds(closing: Closing) -> list[tuple[OutputKind, OutputOutcome, int]]:
    return sorted((each.kind, each.outcome, each.amount_sat) for each in closing.outputs)


def stake_sat(channel: Channel) -> int:
    """What of a channel that alice opened is hers, or was spent by her to have it closed."""
    hanging = sum(htlc.amount_sat for htlc in channel.htlcs)
    return channel.local_sat + channel.commit_fee_sat + ANCHORS_SAT + hanging


@asynccontextmanager
async def closing_world(state_dir: Path) -> AsyncIterator[World]:
    """A network, and alice and bob as the product sees them."""
    async with RegtestNetwork(state_dir) as network:
        nodes = Nodes(
            {
                name: LndConfig(
                    network=ChainNetwork.REGTEST,
                    address=node.address,
                    tls_cert_path=node.tls_cert_path,
                    macaroon_dir=node.macaroon_dir,
                )
                for name, node in network.nodes.items()
            }
        )
        world = World(network, nodes)
        try:
            yield world
        finally:
            for payment in world.payments:
                payment.cancel()
            await asyncio.gather(*world.payments, return_exceptions=True)
            await nodes.close()


@asynccontextmanager
async def without_bob(world: World) -> AsyncIterator[None]:
    await world.network.stop_node("bob")
    try:
        yield
    finally:
        await world.network.start_node("bob")


async def payment(world: World, invoice: TestInvoice) -> lightning_pb2.Payment:
    found = await world.alice.payment(invoice.payment_hash)
    assert found is not None
    return found


async def verdict(world: World, invoice: TestInvoice) -> lightning_pb2.Payment:
    return await eventually(
        lambda: payment(world, invoice),
        lambda found: found.status != lightning_pb2.Payment.IN_FLIGHT,
        what="alice's verdict",
    )


async def listed(world: World, point: ChannelPoint) -> Channel:
    channels = await world.nodes.channels("alice").channels()
    return next(each for each in channels if each.channel_point == point)


async def in_step(world: World) -> None:
    height = int(str(await world.bitcoin("getblockcount")))
    await eventually(
        world.nodes.chain("alice").tip,
        lambda tip: tip.synced and tip.height == height,
        what=f"alice at height {height}",
    )


async def closed(world: World) -> tuple[Closing, ...]:
    channels = world.nodes.channels("alice")
    return await channels.closed(await channels.tip())


async def words_until(words: AsyncIterator[str], last: str) -> list[str]:
    collected = []
    async for word in words:
        collected.append(word)
        if word == last:
            break
    return collected
