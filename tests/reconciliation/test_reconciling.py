"""What is missed is found: settlements are delivered, the rest is told, and nothing is paid."""

from __future__ import annotations

import asyncio
import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import Client

from activities.payments import PaymentActivities
from activities.starting import searchable
from devnet.house import House
from devnet.node import ACCEPTED
from devnet.receiver import Receiver
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite import attributes, ids
from fulgurite.events.catalogue import Event
from fulgurite.identity import PaymentHash, Preimage
from fulgurite.invoices.progress import InvoiceOrder
from fulgurite.invoices.receipts import CreatedInvoice
from fulgurite.invoices.states import InvoiceState
from fulgurite.payments.receipts import PaymentUpdate
from fulgurite.payments.states import PaymentState
from fulgurite.reconciliation.differences import (
    MOST_LISTED,
    Difference,
    DifferenceKind,
    ReconciliationReport,
    ReconciliationState,
)
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient
from starter.invoice import Invoice
from tests.scenarios.receiving import in_lnd, to_hold, to_receive
from tests.scenarios.receiving import reaches as invoice_reaches
from tests.scenarios.telling import AMOUNT_MSAT, SIMULATED_ONLY, reaches, to_pay
from workflows.invoice import InvoiceWorkflow

from .conftest import Reconcile

Reason = lightning_pb2.PaymentFailureReason


def told(report: ReconciliationReport, payment_hash: PaymentHash) -> list[Difference]:
    return [each for each in report.differences if each.payment_hash == payment_hash]


async def made(client: FulguriteClient, **fields: object) -> tuple[CreatedInvoice, Invoice]:
    created = await client.create_invoice(to_receive(**fields))
    return created, await client.invoice(created.payment_hash)


async def test_a_missed_settlement_is_delivered(
    home: House, client: FulguriteClient, reconciling: Reconcile
) -> None:
    created, invoice = await made(client)
    await home.network.nodes["alice"].pay(created.payment_request)
    assert (await invoice.view()).state is InvoiceState.OPEN

    report = await reconciling("carol")

    [difference] = told(report, created.payment_hash)
    assert difference.kind is DifferenceKind.MISSED_SETTLEMENT
    assert (difference.ours, difference.theirs) == ("OPEN, 20,000 sat", "SETTLED, 20,000 sat")
    assert report.state is ReconciliationState.DIFFERS
    receipt = await invoice.receipt()
    assert receipt.status is InvoiceState.SETTLED
    assert receipt.paid_msat == created.request.amount_msat
    assert told(await reconciling("carol"), created.payment_hash) == []


async def test_what_settled_a_moment_ago_is_left_to_the_stream(
    home: House, client: FulguriteClient, reconciling: Reconcile
) -> None:
    created, invoice = await made(client)
    await home.network.nodes["alice"].pay(created.payment_request)

    report = await reconciling("carol", grace_seconds=3_600)

    assert told(report, created.payment_hash) == []
    assert report.invoices is not None
    assert report.invoices.too_young >= 1
    assert (await invoice.view()).state is InvoiceState.OPEN


async def test_what_others_did_on_the_node_is_counted_and_nothing_else(
    home: House, reconciling: Reconcile
) -> None:
    alice, carol = home.network.nodes["alice"], home.network.nodes["carol"]
    before, payer_before = await reconciling("carol"), await reconciling("alice")
    paid, unpaid = await carol.invoice(AMOUNT_MSAT), await carol.invoice(AMOUNT_MSAT)
    await alice.pay(paid.payment_request)

    after, payer_after = await reconciling("carol"), await reconciling("alice")

    assert before.invoices is not None
    assert after.invoices is not None
    assert after.invoices.not_ours == before.invoices.not_ours + 2
    assert after.invoices.ours == before.invoices.ours
    assert payer_before.payments is not None
    assert payer_after.payments is not None
    assert payer_after.payments.not_ours == payer_before.payments.not_ours + 1
    for invoice in (paid, unpaid):
        assert told(after, PaymentHash.of_bytes(invoice.payment_hash)) == []


async def test_an_invoice_that_was_canceled_in_lnd_itself_ends(
    home: House, client: FulguriteClient, reconciling: Reconcile
) -> None:
    created, invoice = await made(client)
    await home.network.nodes["carol"].cancel(in_lnd(created))

    [difference] = told(await reconciling("carol"), created.payment_hash)

    assert difference.kind is DifferenceKind.STALE_INVOICE
    assert (await invoice.receipt()).status is InvoiceState.CANCELED


async def test_an_invoice_whose_workflow_was_terminated_is_told_until_it_is_created_again(
    home: House, client: FulguriteClient, temporal: Client, reconciling: Reconcile
) -> None:
    request = to_receive()
    created = await client.create_invoice(request)
    await temporal.get_workflow_handle(ids.invoice_id(created.payment_hash)).terminate("a mistake")
    await home.network.nodes["alice"].pay(created.payment_request)

    [difference] = told(await reconciling("carol"), created.payment_hash)
    assert difference.kind is DifferenceKind.UNFOLLOWED_INVOICE
    assert difference.ours == "OPEN, workflow TERMINATED, 20,000 sat"

    # As the advice says.
    assert (await client.create_invoice(request)).payment_hash == created.payment_hash
    await reconciling("carol")
    receipt = await (await client.invoice(created.payment_hash)).receipt()
    assert receipt.status is InvoiceState.SETTLED
    assert told(await reconciling("carol"), created.payment_hash) == []


async def test_a_held_invoice_agrees_while_it_is_held(
    home: House, client: FulguriteClient, reconciling: Reconcile
) -> None:
    created = await client.create_invoice(to_hold())
    invoice = await client.invoice(created.payment_hash)
    paying = asyncio.create_task(home.network.nodes["alice"].pay(created.payment_request))
    await home.network.nodes["carol"].wait_for_invoice(in_lnd(created), ACCEPTED)
    await invoice_reaches(invoice, InvoiceState.ACCEPTED)

    assert told(await reconciling("carol"), created.payment_hash) == []

    await home.network.nodes["carol"].cancel(in_lnd(created))
    await paying
    assert (await invoice.receipt()).status is InvoiceState.CANCELED


async def test_a_payment_whose_workflow_was_terminated_in_flight_is_told(
    home: House, client: FulguriteClient, temporal: Client, reconciling: Reconcile
) -> None:
    alice, carol = home.network.nodes["alice"], home.network.nodes["carol"]
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    payment = await client.pay(to_pay(invoice))
    await reaches(payment, PaymentState.IN_FLIGHT)
    assert told(await reconciling("alice"), payment.payment_hash) == []
    await temporal.get_workflow_handle(ids.payment_id(payment.payment_hash)).terminate("a mistake")
    payments = await alice.payments()

    [difference] = told(await reconciling("alice"), payment.payment_hash)

    assert difference.kind is DifferenceKind.UNFOLLOWED_PAYMENT
    assert "nothing is paid twice" in difference.action
    assert await alice.payments() == payments, "a reconciliation pays nothing"
    # As the advice says.
    again = await client.pay(to_pay(invoice))
    await reaches(again, PaymentState.IN_FLIGHT)
    await carol.settle(invoice)
    assert (await again.receipt()).status is PaymentState.SUCCEEDED
    assert told(await reconciling("alice"), payment.payment_hash) == []


async def test_a_payment_that_waits_for_a_verdict_lnd_has_looks_again(
    home: House,
    client: FulguriteClient,
    reconciling: Reconcile,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    carol = home.network.nodes["carol"]
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    follow = PaymentActivities._follow

    async def deaf(*_: object) -> PaymentUpdate:
        monkeypatch.setattr(PaymentActivities, "_follow", follow)
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    monkeypatch.setattr(PaymentActivities, "_follow", deaf)
    payment = await client.pay(to_pay(invoice))
    await reaches(payment, PaymentState.IN_FLIGHT)
    await carol.settle(invoice)
    await eventually(
        lambda: home.network.nodes["alice"].payment(invoice.payment_hash),
        lambda found: found is not None and found.status == lightning_pb2.Payment.SUCCEEDED,
        what="a payment that LND has settled",
    )
    assert (await payment.view()).state is PaymentState.IN_FLIGHT

    [difference] = told(await reconciling("alice"), payment.payment_hash)

    assert difference.kind is DifferenceKind.STALE_IN_FLIGHT
    assert (await payment.receipt()).status is PaymentState.SUCCEEDED
    assert told(await reconciling("alice"), payment.payment_hash) == []


@SIMULATED_ONLY
async def test_a_payment_that_failed_here_and_was_paid_by_somebody_else_is_told(
    home: House, client: FulguriteClient, reconciling: Reconcile
) -> None:
    assert isinstance(home.network, SimulatedNetwork)
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    refused = Reason.FAILURE_REASON_INCORRECT_PAYMENT_DETAILS
    home.network.faults.end_next_payment("alice", refused)
    payment = await client.pay(to_pay(invoice))
    assert (await payment.receipt()).status is PaymentState.FAILED
    assert told(await reconciling("alice"), payment.payment_hash) == []
    await home.network.nodes["alice"].pay(invoice.payment_request)

    [difference] = told(await reconciling("alice"), payment.payment_hash)

    assert difference.kind is DifferenceKind.STATE_DIFFERS
    assert (difference.ours, difference.theirs) == ("FAILED, 50,000 sat", "SUCCEEDED, 50,000 sat")


async def test_what_the_node_knows_nothing_of_is_told(
    temporal: Client, reconciling: Reconcile
) -> None:
    """As after a node's database was restored from a copy."""
    payment_hash = Preimage.generate().hash()
    now = datetime.now(UTC)
    lost = CreatedInvoice(
        request=to_receive(),
        payment_hash=payment_hash,
        payment_request="lnbcrt1",
        created_at=now,
        expires_at=now + timedelta(days=1),
    )
    handle = await temporal.start_workflow(
        InvoiceWorkflow.run,
        InvoiceOrder(invoice=lost),
        id=ids.invoice_id(payment_hash),
        task_queue=ids.TASK_QUEUE,
        search_attributes=searchable(
            {attributes.NODE: "carol", attributes.STATE: "OPEN", attributes.AMOUNT_MSAT: 0}
        ),
    )
    try:

        async def found() -> list[Difference]:
            return told(await reconciling("carol"), payment_hash)

        # Temporal's index lists it a moment later.
        [difference] = await eventually(found, what="the invoice that the node does not know")
        assert difference.kind is DifferenceKind.UNKNOWN_TO_NODE
        assert (difference.ours, difference.theirs) == ("OPEN, any amount", "unknown")
    finally:
        await handle.terminate()


async def test_a_difference_is_told_once_however_often_it_is_found(
    client: FulguriteClient,
    temporal: Client,
    bookkeeper: Receiver,
    reconciling: Reconcile,
) -> None:
    created = await client.create_invoice(to_receive())
    await temporal.get_workflow_handle(ids.invoice_id(created.payment_hash)).terminate("a mistake")
    reports = [await reconciling("carol"), await reconciling("carol")]
    [difference] = told(reports[0], created.payment_hash)
    assert told(reports[1], created.payment_hash) == [difference]

    async def heard() -> list[Event]:
        return [
            Event.model_validate_json(each.body)
            for each in bookkeeper.deliveries
            if created.payment_hash in each.body
        ]

    [event] = await eventually(heard, what="the webhook")
    where = hashlib.sha256(f"carol invoice/{created.payment_hash}".encode()).hexdigest()[:32]
    told_as = f"{created.payment_hash}-{where}-unfollowed_invoice"
    assert event.id == f"reconciliation-difference-{told_as}"
    assert Difference.model_validate(event.data) == difference
    assert event.resource == ids.invoice_id(created.payment_hash)
    # No second workflow either, which could still deliver one.
    assert [
        run.id async for run in temporal.list_workflows(f"WorkflowId = '{ids.event_id(event.id)}'")
    ] == [ids.event_id(event.id)]


@SIMULATED_ONLY
async def test_every_difference_is_told_however_many_there_are(
    client: FulguriteClient,
    temporal: Client,
    bookkeeper: Receiver,
    reconciling: Reconcile,
) -> None:
    """Incident W in small: the report lists a hundred, and the rest is no less of a difference."""
    made = await asyncio.gather(
        *(client.create_invoice(to_receive()) for _ in range(MOST_LISTED + 20))
    )
    hashes = {each.payment_hash for each in made}
    for payment_hash in hashes:
        await temporal.get_workflow_handle(ids.invoice_id(payment_hash)).terminate("a mistake")
    report = await reconciling("carol")

    assert len(report.differences) == MOST_LISTED
    assert report.kinds[DifferenceKind.UNFOLLOWED_INVOICE] >= len(hashes)

    async def heard() -> set[PaymentHash]:
        events = [json.loads(each.body) for each in bookkeeper.taken.values()]
        return {PaymentHash(each["data"]["payment_hash"]) for each in events}

    await eventually(heard, hashes.issubset, what="a webhook for each")

    # As each of them advises.
    await asyncio.gather(*(client.create_invoice(each.request) for each in made))
    mended = await reconciling("carol")
    assert not hashes & {each.payment_hash for each in mended.differences}
