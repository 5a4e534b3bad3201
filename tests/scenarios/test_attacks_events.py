"""What a hostile reader of events tried, each as it went wrong before it was mended."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

from temporalio.client import Client

from activities.events import Announcer
from devnet.house import House
from fulgurite import ids
from fulgurite.events.catalogue import Event, EventType
from nodes.webhooks.sender import Webhooks

from .lone_invoice import HELD, LoneInvoice
from .telling import SIMULATED_ONLY

pytestmark = SIMULATED_ONLY


async def test_an_event_follows_the_last_one_that_somebody_wanted(temporal: Client) -> None:
    """Behind one that nobody wanted, the next overtook what was still being delivered."""
    invoice = LoneInvoice(HELD, hold={"decide_within_seconds": 1, "default": "SETTLE"})
    invoice.unwanted = {EventType.INVOICE_UNDECIDED}
    async with invoice.running(temporal) as handle:
        await asyncio.wait_for(handle.result(), 30)

    kinds = [each.type for each in invoice.told]
    assert kinds == [
        EventType.INVOICE_ACCEPTED,
        EventType.INVOICE_UNDECIDED,
        EventType.INVOICE_SETTLED,
    ]
    accepted, undecided, settled = invoice.told
    assert (accepted.after, undecided.after) == (None, accepted.id)
    assert settled.after == accepted.id


async def test_an_event_that_many_want_is_told(home: House, temporal: Client) -> None:
    """Their names filled a line that Temporal limits, and nothing was told to anybody."""
    shop = home.settings.webhooks["shop"]
    many = {f"an-endpoint-with-a-rather-long-name-{n}": shop for n in range(30)}
    webhooks = Webhooks(many)
    happened = news("many", None)
    emitted = await Announcer(temporal, webhooks).emit(happened)
    await temporal.get_workflow_handle(ids.event_id(happened.id)).terminate()
    await webhooks.close()

    assert set(emitted.endpoints) == set(many)


async def test_two_nodes_settlements_of_one_hash_are_two_events(
    home: House, temporal: Client
) -> None:
    """The first took the event's id, and the second was never told."""
    webhooks = Webhooks(home.settings.webhooks)
    announcer = Announcer(temporal, webhooks)
    theirs = news("twice", None)
    ours = theirs.model_copy(update={"node": "bob"})
    for each in (theirs, ours, theirs, ours):
        await announcer.emit(each)
    found = []
    for name in (theirs.id, f"{theirs.id}-bob"):
        handle = temporal.get_workflow_handle(ids.event_id(name))
        found.append((await handle.describe()).status)
        await handle.terminate()
    await webhooks.close()

    assert len(found) == 2


def news(name: str, after: str | None) -> Event:
    now = datetime.now(UTC)
    unique = f"{name}-{round(now.timestamp() * 1e6)}"
    return Event(
        id=f"invoice-settled-{unique}",
        type=EventType.INVOICE_SETTLED,
        timestamp=now,
        node="carol",
        resource="invoice/x",
        data={},
        after=after,
    )
