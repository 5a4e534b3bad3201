"""The listener over real gRPC, on a simulated node that misbehaves as lnd is known to."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from activities import invoice_scans
from activities.invoice_stream import Listener
from devnet.house import configured
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import Break, Fault, Refuse, RepeatMessages, Stall
from devnet.waiting import eventually
from fulgurite.identity import PaymentHash
from fulgurite.invoices.stream import Cursor, Listened, StreamState
from nodes.registry import Nodes
from tests.streams.world import Reports, World

MANY = 1_000


@pytest.fixture(autouse=True)
def hurry(monkeypatch: pytest.MonkeyPatch) -> None:
    """Scans that production spaces by half a minute follow each other here."""
    monkeypatch.setattr(invoice_scans, "EVERY_SECONDS", 0.5)
    monkeypatch.setattr(invoice_scans, "_REST", 1.0)
    monkeypatch.setattr(invoice_scans, "REGISTERED_SECONDS", 0.2)
    monkeypatch.setattr(invoice_scans, "_STALL_SECONDS", 0.2)


class Shop:
    """A node that receives, those who wait for its settlements, and the one who listens."""

    def __init__(self, network: SimulatedNetwork, nodes: Nodes) -> None:
        self.network = network
        self.world = World(takes_seconds=0)
        self.reports = Reports()
        self.paid: set[PaymentHash] = set()
        self.listened = Listened(cursor=Cursor.at(datetime.now(UTC)))
        self._nodes = nodes

    def issue(self) -> PaymentHash:
        payment_hash = PaymentHash.of_bytes(self.network.issue("alice", value_msat=1_000))
        self.world.ours.add(payment_hash)
        return payment_hash

    def pay(self, payment_hash: PaymentHash) -> None:
        self.network.receive("alice", payment_hash.raw())
        self.paid.add(payment_hash)

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Listener]:
        """A worker that is killed in the end: what it came to is known by its heartbeats."""
        listener = Listener(
            "alice", self._nodes.invoices("alice"), self.world, self.reports, self.listened
        )
        until = datetime.now(UTC) + timedelta(hours=1)
        task = asyncio.create_task(listener.run(until, StreamState.LISTENING))
        try:
            yield listener
        finally:
            self.listened = listener.listened.interrupted()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def all_told(self) -> None:
        async def told() -> int:
            return sum(self.world.effects.values())

        await eventually(
            told, lambda count: count >= len(self.paid), what="settlements", timeout_seconds=60
        )
        assert self.world.effects == dict.fromkeys(self.paid, 1)


async def is_listening(listener: Listener) -> None:
    async def state() -> StreamState:
        return listener.listened.state

    await eventually(state, lambda now: now is StreamState.LISTENING, what="listening")


@pytest.fixture
async def shop(tmp_path: Path) -> AsyncIterator[Shop]:
    async with SimulatedNetwork(tmp_path) as network:
        nodes = Nodes(configured(tmp_path, network.nodes, "127.0.0.1:1").nodes)
        yield Shop(network, nodes)
        await nodes.close()
        network.ledger.assert_balanced()


async def test_what_was_paid_before_is_listed_and_what_comes_is_streamed(shop: Shop) -> None:
    for _ in range(MANY):
        shop.pay(shop.issue())
    async with shop.listening() as listener:
        await shop.all_told()
        await is_listening(listener)
        for _ in range(MANY):
            shop.pay(shop.issue())
        await shop.all_told()

    assert shop.reports.settlements == {True: 2 * MANY}
    assert shop.reports.lost == []


@pytest.mark.parametrize(
    "fault",
    [Break(3), Stall(3), RepeatMessages(), Refuse()],
    ids=lambda fault: type(fault).__name__,
)
async def test_a_stream_in_trouble_loses_nothing(shop: Shop, fault: Fault) -> None:
    shop.network.faults.add("alice", "SubscribeInvoices", fault, times=5)
    async with shop.listening():
        for _ in range(MANY // 10):
            shop.pay(shop.issue())
            await asyncio.sleep(0.01)
        await shop.all_told()


async def test_a_node_that_restarts_while_it_is_paid_loses_nothing(shop: Shop) -> None:
    async with shop.listening() as listener:

        async def lost() -> int:
            return listener.listened.reconnections

        for restarts in range(3):
            # It says that it listens until it has noticed.
            await eventually(lost, restarts.__le__, what="a connection that was lost")
            await is_listening(listener)
            invoices = [shop.issue() for _ in range(MANY // 10)]
            for each in invoices[::2]:
                shop.pay(each)
            await shop.network.stop_node("alice")
            await shop.network.start_node("alice")
            for each in invoices[1::2]:
                shop.pay(each)
        await shop.all_told()

    assert shop.listened.reconnections >= 2


async def test_reset_indices_gaps_and_another_order_lose_nothing(shop: Shop) -> None:
    chance = random.Random(7)
    faults = shop.network.faults
    faults.use_sql_invoices("alice")
    async with shop.listening() as listener:
        await is_listening(listener)
        pending: list[PaymentHash] = []
        for at in range(MANY):
            if at % 100 == 50:
                faults.skip_add_indexes("alice", 17)
            if at in {300, 600}:
                faults.reset_settle_index("alice", keep=at % 200)
            pending.append(shop.issue())
            if chance.random() < 0.9:
                shop.pay(pending.pop(chance.randrange(len(pending))))
            if at % 50 == 0:
                await asyncio.sleep(0.05)
        for each in pending:
            shop.pay(each)
        await shop.all_told()


async def test_a_worker_killed_again_and_again_loses_nothing(shop: Shop) -> None:
    for _ in range(10):
        invoices = [shop.issue() for _ in range(MANY // 10)]
        async with shop.listening():
            for each in invoices[::2]:
                shop.pay(each)
            await asyncio.sleep(random.Random(7).random() / 5)
        for each in invoices[1::2]:
            shop.pay(each)
    async with shop.listening():
        await shop.all_told()


async def test_what_is_held_or_canceled_is_found(shop: Shop) -> None:
    alice = shop.network.nodes["alice"]
    held, canceled = await alice.hold_invoice(1_000), await alice.invoice(1_000)
    hashes = [PaymentHash.of_bytes(each.payment_hash) for each in (held, canceled)]
    shop.world.ours.update(hashes)
    async with shop.listening() as listener:
        await is_listening(listener)
        shop.network.receive("alice", held.payment_hash)
        await alice.cancel(canceled)

        async def heard() -> list[str]:
            return sorted(state for _, state in shop.world.heard)

        await eventually(heard, lambda states: states == ["ACCEPTED", "CANCELED"], what="both")
