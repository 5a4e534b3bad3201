"""The typed client: invoices made once, found again, and waited for."""

from __future__ import annotations

import asyncio
import uuid

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.common import WorkflowIDReusePolicy

from devnet.house import House
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.errors import InvalidRequestError, KeyReusedError, UnknownNodeError
from fulgurite.identity import PaymentHash
from fulgurite.invoices.receipts import CreatedInvoice
from fulgurite.invoices.requests import InvoiceCancellation, InvoiceRequest, Settlement
from fulgurite.invoices.states import InvoiceState
from starter import handle as handle_module
from starter import invoice as invoice_module
from starter.client import FulguriteClient
from starter.errors import NotPaidError, NotRetainedError, WorkerUnavailableError
from starter.summaries import InvoiceSummary
from tests.scenarios.receiving import being_paid, reaches, to_hold, to_receive, working_as
from tests.scenarios.telling import SIMULATED_ONLY
from workflows.create_invoice import CreateInvoiceWorkflow

pytestmark = SIMULATED_ONLY

NOBODY = PaymentHash("00" * 32)


@pytest.mark.usefixtures("working")
async def test_the_same_request_gives_the_same_invoice_and_another_is_refused(
    client: FulguriteClient,
) -> None:
    request = to_receive()
    first, again = await client.create_invoice(request), await client.create_invoice(request)
    with pytest.raises(KeyReusedError, match=request.key):
        await client.create_invoice(to_receive(key=request.key, memo="something else"))

    assert again == first
    assert first.payment_request.startswith("lnbcrt200u1")
    assert (await client.create_invoice(to_receive())).payment_hash != first.payment_hash


@pytest.mark.usefixtures("working")
async def test_a_refused_request_is_told_by_its_own_error(client: FulguriteClient) -> None:
    with pytest.raises(UnknownNodeError, match="zoe"):
        await client.create_invoice(to_receive(node="zoe"))


async def test_anothers_refusal_is_not_told_to_who_joined_it(
    home: House, client: FulguriteClient, temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One asks for what is refused; another asks for the same key while that is under way."""
    request, begun = to_receive(), count_makings(monkeypatch)
    await temporal.start_workflow(
        "CreateInvoiceWorkflow",
        to_receive(key=request.key, node="zoe"),
        id=ids.invoice_key_id(request.key),
        task_queue=ids.TASK_QUEUE,
    )
    creating = asyncio.create_task(client.create_invoice(request))

    async def joined() -> bool:
        return bool(begun)

    await eventually(joined, what="a caller who has joined")
    async with working_as(temporal, home.settings):
        created = await asyncio.wait_for(creating, 60)

    assert created.request == request
    assert begun == [request, request]


@pytest.mark.usefixtures("working")
async def test_what_is_refused_is_looked_at_once(
    client: FulguriteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = count_makings(monkeypatch)
    with pytest.raises(UnknownNodeError):
        await client.create_invoice(to_receive(node="zoe"))

    assert len(begun) == 1


def count_makings(monkeypatch: pytest.MonkeyPatch) -> list[InvoiceRequest]:
    """What runs of a key's workflow were started or joined for."""
    begun: list[InvoiceRequest] = []
    making = FulguriteClient._making

    async def counted(
        self: FulguriteClient, request: InvoiceRequest, reuse: WorkflowIDReusePolicy
    ) -> WorkflowHandle[CreateInvoiceWorkflow, CreatedInvoice]:
        handle = await making(self, request, reuse)
        begun.append(request)
        return handle

    monkeypatch.setattr(FulguriteClient, "_making", counted)
    return begun


@pytest.mark.usefixtures("working")
async def test_an_invoice_is_found_by_its_key_and_by_its_hash(client: FulguriteClient) -> None:
    request = to_receive()
    created = await client.create_invoice(request)
    for name in (request.key, created.payment_hash, f"invoice/{created.payment_hash}"):
        invoice = await client.invoice(name)
        assert invoice.payment_hash == created.payment_hash
        assert (await invoice.view()).payment_request == created.payment_request


@pytest.mark.usefixtures("working")
async def test_a_key_finds_its_invoice_also_after_another_request_with_it_was_refused(
    client: FulguriteClient, temporal: Client
) -> None:
    request = to_receive()
    created = await client.create_invoice(request)
    # As plain Temporal would: the last run of the key's workflow is then a failed one.
    refused = await temporal.start_workflow(
        "CreateInvoiceWorkflow",
        to_receive(key=request.key, memo="something else"),
        id=ids.invoice_key_id(request.key),
        task_queue=ids.TASK_QUEUE,
    )
    with pytest.raises(Exception, match="failed"):
        await refused.result()

    async def found() -> PaymentHash | None:
        try:
            return (await client.invoice(request.key)).payment_hash
        except KeyReusedError:
            return None  # not indexed yet

    assert await eventually(found, what="the invoice by its key") == created.payment_hash


async def test_what_nobody_asked_for_is_not_retained(client: FulguriteClient) -> None:
    with pytest.raises(NotRetainedError, match="check the hash or key"):
        await client.invoice(f"order-{uuid.uuid4()}")
    invoice = await client.invoice(NOBODY)
    with pytest.raises(NotRetainedError):
        await invoice.view()
    with pytest.raises(NotRetainedError):
        await invoice.settled()
    with pytest.raises(NotRetainedError):
        await invoice.cancel(InvoiceCancellation(by="ann"))


async def test_what_can_be_no_key_is_refused_and_reaches_no_query(client: FulguriteClient) -> None:
    with pytest.raises(InvalidRequestError, match="a key is"):
        await client.invoice("order' OR WorkflowType = 'PaymentWorkflow")


@pytest.mark.usefixtures("working")
async def test_settled_returns_once_it_is_paid(home: House, client: FulguriteClient) -> None:
    request = to_receive(metadata={"customer": "4711"})
    created = await client.create_invoice(request)
    invoice = await client.invoice(request.key)
    waiting = asyncio.create_task(invoice.settled())
    await home.network.nodes["alice"].pay(created.payment_request)
    receipt = await waiting

    assert receipt.status is InvoiceState.SETTLED
    assert receipt.paid_msat == request.amount_msat
    assert receipt.metadata == {"customer": "4711"}
    assert await invoice.settled() == receipt, "also for who comes later"


@pytest.mark.usefixtures("working")
async def test_settled_says_not_paid_at_the_expiry_and_does_not_wait_for_the_late_watch(
    client: FulguriteClient,
) -> None:
    created = await client.create_invoice(to_receive(expiry_seconds=1, late_watch_seconds=86_400))
    invoice = await client.invoice(created.payment_hash)
    with pytest.raises(NotPaidError, match="nobody can pay it any more") as unpaid:
        await invoice.settled()
    assert unpaid.value.receipt.status is InvoiceState.EXPIRED
    view = await invoice.view()
    assert (view.state, view.unpaid_for_good) == (InvoiceState.EXPIRED, True)


@pytest.mark.usefixtures("working")
async def test_settled_says_not_paid_when_it_is_called_off(client: FulguriteClient) -> None:
    created = await client.create_invoice(to_receive())
    invoice = await client.invoice(created.payment_hash)
    waiting = asyncio.create_task(invoice.settled())
    await invoice.cancel(InvoiceCancellation(by="ann", reason="sold out"))
    with pytest.raises(NotPaidError, match="CANCELED") as unpaid:
        await waiting
    assert unpaid.value.receipt.status is InvoiceState.CANCELED
    assert (await invoice.cancel(InvoiceCancellation(by="ann"))).state is InvoiceState.CANCELED
    with pytest.raises(InvalidRequestError, match="too late: the invoice is CANCELED"):
        await invoice.settle(Settlement(by="ann"))


@pytest.mark.usefixtures("working")
async def test_settled_rides_out_workers_that_are_away(
    client: FulguriteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    created = await client.create_invoice(to_receive(expiry_seconds=1))
    invoice = await client.invoice(created.payment_hash)
    looks = 0
    view = type(invoice).view

    async def away_at_first(self: invoice_module.Invoice) -> object:
        nonlocal looks
        looks += 1
        if looks < 3:
            raise WorkerUnavailableError("no worker answers")
        return await view(self)

    monkeypatch.setattr(invoice_module, "_FIRST_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(invoice_module.Invoice, "view", away_at_first)
    with pytest.raises(NotPaidError):
        await invoice.settled()
    assert looks > 2


@pytest.mark.usefixtures("working")
async def test_a_held_invoice_is_watched_and_settled(home: House, client: FulguriteClient) -> None:
    created = await client.create_invoice(to_hold())
    invoice = await client.invoice(created.payment_hash)
    states = []
    async with being_paid(home.network.nodes["alice"], created):
        async for view in invoice.watch():
            states.append(view.state)
            if view.state is InvoiceState.ACCEPTED and states.count(view.state) == 1:
                assert view.decide_before_height is not None
                assert view.hold == created.request.hold
                await invoice.settle(Settlement(by="ann"))

    distinct = list(dict.fromkeys(states))
    assert InvoiceState.ACCEPTED in distinct
    assert distinct[-1] is InvoiceState.SETTLED
    assert (await invoice.settled()).status is InvoiceState.SETTLED
    assert (await invoice.settle(Settlement(by="ann"))).state is InvoiceState.SETTLED
    with pytest.raises(InvalidRequestError, match="too late: the invoice is SETTLED"):
        await invoice.cancel(InvoiceCancellation(by="ann"))


@pytest.mark.usefixtures("working")
async def test_what_is_not_held_cannot_be_settled(client: FulguriteClient) -> None:
    created = await client.create_invoice(to_hold())
    invoice = await client.invoice(created.payment_hash)
    await reaches(invoice, InvoiceState.OPEN)
    with pytest.raises(InvalidRequestError, match="nothing to settle: the invoice is OPEN"):
        await invoice.settle(Settlement(by="ann"))


@pytest.mark.usefixtures("working")
async def test_invoices_are_found_by_state_and_by_node(client: FulguriteClient) -> None:
    open_, any_amount = to_receive(), to_receive(node="bob", amount_msat=None)
    created = [await client.create_invoice(each) for each in (open_, any_amount)]
    first = await _listed(client, created[0].payment_hash, node="carol")
    second = await _listed(client, created[1].payment_hash, node="bob")

    assert (first.key, first.node, first.amount_msat) == (open_.key, "carol", open_.amount_msat)
    assert (second.key, second.amount_msat) == (any_amount.key, None)
    assert (first.state, first.workflow_status) == (InvoiceState.OPEN, "RUNNING")
    assert [each async for each in client.list_invoices(node="nobody")] == []
    assert len([each async for each in client.list_invoices(limit=1)]) == 1
    with pytest.raises(InvalidRequestError, match="lower-case"):
        await anext(client.list_invoices(node="carol' OR 'a' = 'a"))


@pytest.mark.usefixtures("working")
async def test_receipts_of_ended_invoices_are_read_many_at_a_time(
    client: FulguriteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("starter.finding._AT_ONCE", 2)
    wanted = set()
    for _ in range(3):
        created = await client.create_invoice(to_receive(node="bob"))
        await (await client.invoice(created.payment_hash)).cancel(InvoiceCancellation(by="ann"))
        wanted.add(created.payment_hash)

    async def read() -> set[PaymentHash]:
        return {each.payment_hash async for each in client.invoice_receipts(node="bob")}

    assert wanted <= await eventually(read, wanted.issubset, what="their receipts")


async def test_without_a_worker_an_invoice_is_told_to_wait(
    client: FulguriteClient, temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handle_module, "_PATIENCE", handle_module._PATIENCE / 10)
    handle = await temporal.start_workflow(
        "InvoiceWorkflow", id=ids.invoice_id(NOBODY), task_queue=ids.TASK_QUEUE
    )
    invoice = await client.invoice(NOBODY)
    try:
        with pytest.raises(WorkerUnavailableError, match="fulgurite-worker"):
            await invoice.view()
        with pytest.raises(WorkerUnavailableError, match="look at the invoice"):
            await invoice.cancel(InvoiceCancellation(by="ann"))
    finally:
        await handle.terminate()


async def _listed(
    client: FulguriteClient, payment_hash: PaymentHash, *, node: str
) -> InvoiceSummary:
    async def found() -> list[InvoiceSummary]:
        return [
            each
            async for each in client.list_invoices(state=InvoiceState.OPEN, node=node)
            if each.payment_hash == payment_hash
        ]

    [summary] = await eventually(found, what="the invoice in Temporal's index")
    return summary
