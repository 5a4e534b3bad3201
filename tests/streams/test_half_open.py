"""A line that stays connected and carries nothing more: no stream and no list says so."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path

from activities.invoice_stream import Listener
from devnet.house import configured
from devnet.proxy import proxying
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite.identity import PaymentHash
from fulgurite.invoices.stream import Cursor, Listened, StreamState
from nodes.registry import Nodes
from tests.streams.world import Reports, World

# gRPC asks a silent line after 20 s whether it lives, and waits 10 s for the answer. Left to
# its own defaults it would take 80.
NOTICED_SECONDS = 60


async def test_a_line_that_is_half_open_is_replaced_and_nothing_is_lost(tmp_path: Path) -> None:
    """Whoever asks on a dead line is not answered: scans find nothing there either."""
    world, reports = World(takes_seconds=0), Reports()
    async with (
        SimulatedNetwork(tmp_path) as network,
        proxying(network.nodes["alice"].address) as line,
    ):
        nodes = configured(tmp_path, network.nodes, "127.0.0.1:1").nodes
        nodes["alice"] = nodes["alice"].model_copy(update={"address": line.address})
        connected = Nodes(nodes)
        since = datetime.now(UTC)
        listener = Listener(
            "alice",
            connected.invoices("alice"),
            world,
            reports,
            Listened(cursor=Cursor.at(since)),
        )
        listening = asyncio.create_task(
            listener.run(since + timedelta(hours=1), StreamState.LISTENING)
        )
        try:

            async def state() -> StreamState:
                return listener.listened.state

            async def told() -> int:
                return world.effects.total()

            await eventually(state, lambda now: now is StreamState.LISTENING, what="listening")
            line.strand()
            for _ in range(100):
                payment_hash = network.issue("alice", value_msat=1_000)
                world.ours.add(PaymentHash.of_bytes(payment_hash))
                network.receive("alice", payment_hash)
            await eventually(
                told,
                lambda count: count == len(world.ours),
                what="settlements",
                timeout_seconds=NOTICED_SECONDS,
            )
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
            await connected.close()

    assert world.effects == dict.fromkeys(world.ours, 1)
    assert len(reports.lost) == 1
