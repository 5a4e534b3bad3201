"""What an invoice costs in Temporal, by what becomes of it: actions, events and bytes."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from pathlib import Path

from bench.running import say
from bench.shop import Shop, settled_event, shop
from devnet.cost import Cost, cost
from devnet.simulated import SimulatedNetwork
from fulgurite import ids
from fulgurite.invoices.requests import DecideBy, Hold, InvoiceRequest
from fulgurite.invoices.states import InvoiceState
from fulgurite.money import Msat

# Of carol's invoices the shop's receiver is told; of bob's nobody is.
_TOLD, _NOT_TOLD = "carol", "bob"
_AMOUNT_MSAT = Msat(10_000)


@dataclass(frozen=True)
class Story:
    """An invoice, and what becomes of it."""

    what: str
    node: str
    ends: InvoiceState
    more: dict[str, object]
    is_paid: bool = True


STORIES = (
    Story("settled, nobody is told", _NOT_TOLD, InvoiceState.SETTLED, {}),
    Story("settled, one endpoint is told", _TOLD, InvoiceState.SETTLED, {}),
    Story(
        "expired unpaid, nobody is told",
        _NOT_TOLD,
        InvoiceState.CLOSED,
        {"expiry_seconds": 1, "late_watch_seconds": 1},
        is_paid=False,
    ),
    Story(
        "held, then settled by its policy, nobody is told",
        _NOT_TOLD,
        InvoiceState.SETTLED,
        {"hold": Hold(decide_by=DecideBy.ACCEPT_ALL)},
    ),
)


async def measure(state_dir: Path) -> None:
    async with shop("simulated", state_dir, nodes=(_TOLD,)) as at, at.home.worker():
        for story in STORIES:
            parts = await _live(at, story)
            actions = sum(spent.actions for spent in parts.values())
            events = sum(spent.events for spent in parts.values())
            history_bytes = sum(spent.history_bytes for spent in parts.values())
            each = ", ".join(f"{name} {spent.actions}" for name, spent in parts.items())
            say(
                f"{story.what}: {actions} actions ({each}), {events} events, "
                f"{history_bytes:,} bytes of history"
            )


async def _live(at: Shop, story: Story) -> dict[str, Cost]:
    """What each of its workflows cost, by the kind of workflow."""
    created = await at.client.create_invoice(
        InvoiceRequest.model_validate(
            {"key": str(uuid.uuid4()), "node": story.node, "amount_msat": _AMOUNT_MSAT} | story.more
        )
    )
    if story.is_paid:
        assert isinstance(at.home.network, SimulatedNetwork)
        at.home.network.receive(story.node, created.payment_hash.raw())
    receipt = await (await at.client.invoice(created.payment_hash)).receipt()
    if receipt.status is not story.ends:
        raise RuntimeError(f"{story.what}: it ended {receipt.status}")
    workflows = {
        "key": ids.invoice_key_id(created.request.key),
        "invoice": ids.invoice_id(created.payment_hash),
    }
    if story.node == _TOLD:
        workflows["event"] = ids.event_id(settled_event(created.payment_hash))
    return {name: await _cost(at, workflow_id) for name, workflow_id in workflows.items()}


async def _cost(at: Shop, workflow_id: str) -> Cost:
    handle = at.temporal.get_workflow_handle(workflow_id)
    await handle.result()
    return cost(await handle.fetch_history())
