"""An event becomes durable once, and whoever announces it knows when it has not."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import pytest
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.events import Announcer
from fulgurite.events.delivery import EventDelivery
from tests.unit.test_event_delivery import HASH, NOW, settled


@dataclass
class Temporal:
    """A client, as far as an announcer uses it."""

    error: Exception | None = None
    started: list[tuple[EventDelivery, dict[str, Any]]] = field(default_factory=list)

    async def start_workflow(self, name: str, order: EventDelivery, **how: Any) -> None:
        assert name == "EventWorkflow"
        if self.error:
            raise self.error
        self.started.append((order, how))

    def get_workflow_handle(self, _: str) -> Temporal:
        return self

    async def describe(self, **_: Any) -> SimpleNamespace:
        """The event that is there already, of the same node."""
        return SimpleNamespace(typed_search_attributes={})


class Shops:
    """Webhooks, as far as an announcer uses them."""

    def __init__(self, *names: str) -> None:
        self._names = names
        self.ordered = False

    def names_wanting(self, *_: str) -> tuple[str, ...]:
        return self._names

    def config(self, name: str) -> Shops:
        assert name in self._names
        return self


def announcer(temporal: Temporal, *names: str) -> Announcer:
    client: Any = temporal
    webhooks: Any = Shops(*names)
    return Announcer(client, webhooks)


async def test_everybody_who_wants_it_is_in_one_order_for_ever_under_one_id() -> None:
    temporal = Temporal()
    emitted = await announcer(temporal, "shop", "till").emit(settled(NOW))

    assert emitted.endpoints == ("shop", "till")
    [(order, how)] = temporal.started
    assert [each.endpoint for each in order.recipients] == ["shop", "till"]
    assert how["id"] == f"event/{order.event.id}"
    assert HASH in how["id"]
    # Also when it has ended: whoever finds the news once more tells nobody again.
    assert how["id_reuse_policy"] is WorkflowIDReusePolicy.REJECT_DUPLICATE
    assert how["id_conflict_policy"] is WorkflowIDConflictPolicy.FAIL


async def test_told_again_it_is_told_already() -> None:
    temporal = Temporal(WorkflowAlreadyStartedError("event/…", "EventWorkflow"))

    assert (await announcer(temporal, "shop").emit(settled(NOW))).endpoints == ("shop",)


@pytest.mark.parametrize("code", [RPCStatusCode.UNAVAILABLE, RPCStatusCode.DEADLINE_EXCEEDED])
async def test_what_could_not_be_made_durable_is_not_said_to_be(code: RPCStatusCode) -> None:
    temporal = Temporal(RPCError("away", code, b""))

    with pytest.raises(RPCError):
        await announcer(temporal, "shop").emit(settled(NOW))


async def test_what_nobody_wants_costs_nothing() -> None:
    temporal = Temporal()

    assert (await announcer(temporal).emit(settled(NOW))).endpoints == ()
    assert temporal.started == []
