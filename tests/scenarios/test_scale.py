"""Ten thousand settlements at one node, and every trouble its stream can have: one effect each.

Those of others go as far as their event, which is kept in memory; ours go the whole
way, through their workflows to a verified webhook. `python -m bench.reliability --scale` sends
all of them the whole way, which takes minutes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import worker
from activities.invoice_stream import Listener
from activities.routing import InvoiceRouter
from bench.crowd import NODE, Crowd
from bench.shop import Shop, settled_event, shop
from devnet.house import House
from devnet.node import SETTLED
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import Break, RepeatMessages, Stall
from devnet.waiting import eventually
from fulgurite.events.calls import Emitted
from fulgurite.events.catalogue import Event
from fulgurite.invoices.receipts import InvoiceReceipt
from fulgurite.invoices.stream import Cursor, Listened, StreamState
from nodes.registry import Nodes
from nodes.webhooks.sender import Webhooks
from tests.streams.world import Reports

OURS, OTHERS = 500, 9_500
CHUNKS = 10

# A scan is due half a minute after the one before, and finds whatever a stream did not tell.
HEALED_SECONDS = 120

pytestmark = pytest.mark.timeout(300)


class EventsInMemory:
    """An announcer whose events go no further: an id is one event, however often it is told."""

    def __init__(self) -> None:
        self.told: dict[str, Event] = {}

    async def emit(self, event: Event) -> Emitted:
        assert self.told.setdefault(event.id, event) == event
        return Emitted(endpoints=("memory",))


class Listening:
    """Whoever listens at present. One that is killed is followed by one that knows less."""

    def __init__(self, nodes: Nodes, router: InvoiceRouter) -> None:
        self.reports = Reports()
        self._nodes = nodes
        self._router = router
        began = Listened(cursor=Cursor(settled_through=datetime.now(UTC)))
        self._listener = self._begun(began)
        self._work = asyncio.create_task(self._rounds())

    async def kill(self) -> None:
        self._work.cancel()
        await asyncio.gather(self._work, return_exceptions=True)

    def take_over(self) -> None:
        self._listener = self._begun(self._listener.listened.interrupted())
        self._work = asyncio.create_task(self._rounds())

    async def state(self) -> StreamState:
        return self._listener.listened.state

    def _begun(self, so_far: Listened) -> Listener:
        invoices = self._nodes.invoices(NODE)
        return Listener(NODE, invoices, self._router, self.reports, so_far)

    async def _rounds(self) -> None:
        shown = StreamState.DISCONNECTED
        while True:
            until = datetime.now(UTC) + timedelta(minutes=10)
            shown = (await self._listener.run(until, shown)).state


@pytest.fixture
async def at(tmp_path: Path) -> AsyncIterator[Shop]:
    """A house of its own: nobody else's scans shall read so long a list."""
    async with shop("simulated", tmp_path, nodes=(NODE,)) as opened:
        yield opened


@pytest.fixture
def home(at: Shop) -> House:
    """What the oracle looks at, instead of the house of all the other scenarios."""
    return at.home


async def test_each_of_ten_thousand_settlements_has_one_effect(at: Shop) -> None:
    settings, events = at.home.settings, EventsInMemory()
    nodes, webhooks = Nodes(settings.nodes), Webhooks(settings.webhooks)
    ours, others = Crowd(at), Crowd(at)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(nodes.close)
        stack.push_async_callback(webhooks.close)
        for each in worker.workers(at.temporal, settings, nodes, webhooks):
            await stack.enter_async_context(each)
        listening = Listening(nodes, InvoiceRouter(at.temporal, events))
        stack.push_async_callback(listening.kill)

        await make(ours, others)
        await settle_in_trouble(ours, others, listening)
        await eventually(
            listening.state,
            StreamState.LISTENING.__eq__,
            what="the stream",
            timeout_seconds=HEALED_SECONDS,
        )
        reckoning = await ours.told(HEALED_SECONDS)
        await all_announced(events, others)

    assert reckoning.agrees, reckoning
    assert (reckoning.settled, reckoning.repeated) == (OURS, 0)
    assert {id_: paid_msat(event) for id_, event in events.told.items()} == {
        settled_event(payment_hash): msat
        for payment_hash, msat in (await settled_in_lnd(at)).items()
        if payment_hash not in ours.hashes
    }
    assert listening.reports.lost


async def make(ours: Crowd, others: Crowd) -> None:
    """Mixed, so that ours are everywhere in the list; with gaps in their indices."""
    faults = ours.network.faults
    for _ in range(CHUNKS):
        faults.skip_add_indexes(NODE, 7)
        await ours.make_ours(OURS // CHUNKS)
        await others.make_others(OTHERS // CHUNKS)


async def settle_in_trouble(ours: Crowd, others: Crowd, listening: Listening) -> None:
    """A chunk of each at a time, in any order, and something else goes wrong each time."""
    network: SimulatedNetwork = ours.network
    faults = network.faults
    faults.use_sql_invoices(NODE)
    for chunk in range(CHUNKS):
        faults.add(NODE, "SubscribeInvoices", RepeatMessages())
        match chunk % 5:
            case 0:
                faults.add(NODE, "SubscribeInvoices", Break(after_messages=100))
            case 1:
                faults.add(NODE, "SubscribeInvoices", Stall(after_messages=50))
            case 2:
                await listening.kill()
        await others.settle(OTHERS // CHUNKS)
        await ours.settle(OURS // CHUNKS)
        match chunk % 5:
            case 2:
                listening.take_over()
            case 3:
                await network.stop_node(NODE)
                await network.start_node(NODE)
            case 4:
                faults.reset_settle_index(NODE, keep=20)
        await asyncio.sleep(0.2)  # some of it is told, the rest is under way
    faults.clear()
    await network.stop_node(NODE)
    await network.start_node(NODE)


async def all_announced(events: EventsInMemory, others: Crowd) -> None:
    async def missing() -> int:
        return len({settled_event(each) for each in others.hashes} - events.told.keys())

    await eventually(
        missing,
        lambda count: count == 0,
        what="others' settlements without their event",
        timeout_seconds=HEALED_SECONDS,
        every_seconds=0.5,
    )


async def settled_in_lnd(at: Shop) -> dict[str, int]:
    """What was paid, by payment hash."""
    listed = await at.home.network.nodes[NODE].list_invoices()
    return {each.r_hash.hex(): each.amt_paid_msat for each in listed if each.state == SETTLED}


def paid_msat(event: Event) -> int:
    return InvoiceReceipt.model_validate(event.data).paid_msat
