"""News go to the invoice's workflow, and to the world where nobody of ours waits for them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowExecutionStatus
from temporalio.common import TypedSearchAttributes
from temporalio.service import RPCError, RPCStatusCode

from activities.routing import InvoiceRouter
from activities.starting import searchable
from activities.telling import Route
from fulgurite import attributes
from fulgurite.events.calls import Emitted
from fulgurite.events.catalogue import Event, EventType
from fulgurite.invoices.receipts import InvoiceReceipt
from fulgurite.invoices.states import InvoiceState, LndInvoiceState
from fulgurite.money import Msat
from nodes.lnd.invoices import NodeInvoice
from tests.streams.model_lnd import ModelLnd
from tests.streams.world import in_virtual_time

Status = WorkflowExecutionStatus
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=9)


@dataclass
class Described:
    status: WorkflowExecutionStatus
    typed_search_attributes: TypedSearchAttributes


@dataclass
class Temporal:
    """One workflow, as a client sees it. None: there never was one."""

    status: WorkflowExecutionStatus | None = None
    node: str = "alice"
    state: InvoiceState = InvoiceState.SETTLED
    starts_meanwhile: bool = False
    broken: RPCStatusCode | None = None
    signals: list[tuple[str, str, Any]] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)
    id: str = ""

    # As a Client and as its WorkflowHandle.

    def get_workflow_handle(self, workflow_id: str) -> Temporal:
        self.id = workflow_id
        return self

    async def signal(self, name: str, update: Any, *, rpc_timeout: timedelta) -> None:
        assert rpc_timeout < timedelta(minutes=1)
        self._answer_or_raise()
        if self.status is not Status.RUNNING:
            raise RPCError("workflow execution already completed", RPCStatusCode.NOT_FOUND, b"")
        self.signals.append((self.id, name, update))

    async def describe(self, *, rpc_timeout: timedelta) -> Described:
        assert rpc_timeout < timedelta(minutes=1)
        self._answer_or_raise()
        if self.starts_meanwhile:
            self.status = Status.RUNNING
        if self.status is None:
            raise RPCError("workflow not found", RPCStatusCode.NOT_FOUND, b"")
        known = {
            attributes.KEY: "order-1",
            attributes.NODE: self.node,
            attributes.STATE: self.state,
        }
        return Described(self.status, searchable(known))

    def _answer_or_raise(self) -> None:
        if self.broken:
            raise RPCError("broken", self.broken, b"")

    # As an Announcer.

    async def emit(self, event: Event) -> Emitted:
        self.events.append(event)
        return Emitted(endpoints=())


async def _settled_invoice() -> NodeInvoice:
    lnd = ModelLnd()
    payment_hash = lnd.add()
    lnd.settle(payment_hash)
    (invoice,) = (await lnd.page(after_index=0, limit=1)).invoices
    return invoice


SETTLED = in_virtual_time(_settled_invoice())


def an_invoice(state: LndInvoiceState = LndInvoiceState.SETTLED, **fields: Any) -> NodeInvoice:
    return replace(SETTLED, **({"state": state} | fields))


async def routed(
    temporal: Temporal, invoice: NodeInvoice, since: datetime = NOW - timedelta(days=1)
) -> Route:
    # The fake is what a router uses of a client.
    client: Client = temporal  # type: ignore[assignment]
    return await InvoiceRouter(client, temporal).route("alice", invoice, since=since)


@pytest.mark.parametrize("state", [each for each in LndInvoiceState if each.value != "OPEN"])
async def test_a_running_workflow_is_told_lnds_word(state: LndInvoiceState) -> None:
    temporal, invoice = Temporal(Status.RUNNING), an_invoice(state)

    assert await routed(temporal, invoice) is Route.TOLD
    told = (f"invoice/{invoice.payment_hash}", "heard", invoice.update())
    assert (temporal.signals, temporal.events) == ([told], [])


async def test_a_running_workflow_is_told_also_what_happened_long_ago() -> None:
    assert await routed(Temporal(Status.RUNNING), an_invoice(), LATER) is Route.TOLD


async def test_a_workflow_that_has_ended_by_itself_knows() -> None:
    temporal = Temporal(Status.COMPLETED)

    assert await routed(temporal, an_invoice()) is Route.NOBODY
    assert temporal.events == []


@pytest.mark.parametrize("state", [InvoiceState.CLOSED, InvoiceState.CANCELED])
async def test_a_workflow_that_had_given_up_its_invoice_does_not_know(state: InvoiceState) -> None:
    temporal = Temporal(Status.COMPLETED, state=state)

    assert await routed(temporal, an_invoice()) is Route.ANNOUNCED
    assert temporal.events[0].data["managed"] is True


async def test_the_same_hash_at_another_node_is_another_invoice() -> None:
    temporal = Temporal(Status.RUNNING, node="bob")

    assert await routed(temporal, an_invoice()) is Route.ANNOUNCED
    assert (temporal.signals, temporal.events[0].data["managed"]) == ([], False)


async def test_what_others_are_paid_is_an_event() -> None:
    temporal = Temporal()
    invoice = an_invoice(amount=Msat(900), paid=Msat(1_000), memo="tea", partial=Msat(5))

    assert await routed(temporal, invoice) is Route.ANNOUNCED
    (event,) = temporal.events
    receipt = InvoiceReceipt.model_validate(event.data)
    assert (event.type, event.node) == (EventType.INVOICE_SETTLED, "alice")
    assert event.id == f"invoice-settled-{invoice.payment_hash}"
    assert event.resource == f"invoice/{invoice.payment_hash}"
    assert event.timestamp == invoice.settled_at
    assert (receipt.managed, receipt.key, receipt.memo) == (False, None, "tea")
    assert (receipt.amount_msat, receipt.paid_msat, receipt.overpaid_msat) == (900, 1_000, 100)
    assert (receipt.partial_msat, receipt.late_seconds) == (5, None)


async def test_a_workflow_that_was_ended_by_force_is_stood_in_for() -> None:
    """Somebody terminated it; the money came all the same, and somebody must hear of it."""
    for status in (Status.TERMINATED, Status.FAILED, Status.CANCELED, Status.TIMED_OUT):
        temporal = Temporal(status)

        assert await routed(temporal, an_invoice()) is Route.ANNOUNCED
        receipt = InvoiceReceipt.model_validate(temporal.events[0].data)
        assert (receipt.managed, receipt.key) == (True, "order-1")


async def test_a_workflow_that_starts_between_the_two_questions_is_told() -> None:
    temporal = Temporal(Status.TERMINATED, starts_meanwhile=True)

    assert await routed(temporal, an_invoice()) is Route.TOLD
    assert (len(temporal.signals), temporal.events) == (1, [])


async def test_what_came_after_the_expiry_is_told_as_late() -> None:
    temporal, invoice = Temporal(), an_invoice()
    late = replace(invoice, paid_at=invoice.expires_at + timedelta(seconds=7))

    assert await routed(temporal, late) is Route.ANNOUNCED
    (event,) = temporal.events
    assert event.type is EventType.INVOICE_PAID_LATE
    assert event.data["late_seconds"] == 7


async def test_what_others_were_paid_before_our_time_is_no_news() -> None:
    temporal, invoice = Temporal(), an_invoice()
    assert invoice.settled_at is not None

    assert await routed(temporal, invoice, invoice.settled_at + timedelta(seconds=1)) is (
        Route.NOBODY
    )
    assert temporal.events == []
    assert await routed(temporal, invoice, invoice.settled_at) is Route.ANNOUNCED


@pytest.mark.parametrize("state", [LndInvoiceState.ACCEPTED, LndInvoiceState.CANCELED])
async def test_what_others_hold_or_cancel_is_no_news(state: LndInvoiceState) -> None:
    temporal = Temporal()

    assert await routed(temporal, an_invoice(state)) is Route.NOBODY
    assert temporal.events == []


@pytest.mark.parametrize(
    "code", [code for code in RPCStatusCode if code.name not in {"OK", "NOT_FOUND"}]
)
async def test_only_not_found_means_that_nobody_waits(code: RPCStatusCode) -> None:
    temporal = Temporal(broken=code)

    with pytest.raises(RPCError):
        await routed(temporal, an_invoice())
    assert temporal.events == []
