"""The typed client: who starts, who joins, and what they are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError, RPCStatusCode

from devnet.house import House
from devnet.waiting import eventually
from fulgurite.errors import AmountError, InvalidRequestError, UnknownNodeError
from fulgurite.identity import NodePubkey, PaymentHash
from fulgurite.payments.receipts import Receipt
from fulgurite.payments.requests import Approval, Cancellation, PaymentRequest, Rejection
from fulgurite.payments.states import PaymentState
from starter import handle as handle_module
from starter.client import FulguriteClient, keysend
from starter.errors import (
    NotRetainedError,
    TemporalRefusedError,
    VerdictUnknownError,
    WorkerUnavailableError,
)
from starter.payment import Payment
from starter.summaries import PaymentSummary
from tests.scenarios.telling import SIMULATED_ONLY, reaches, to_pay
from workflows.payment import PaymentWorkflow

pytestmark = SIMULATED_ONLY

NOBODY = PaymentHash("00" * 32)


@pytest.mark.usefixtures("working")
async def test_a_second_caller_joins_and_learns_it(home: House, client: FulguriteClient) -> None:
    carol = home.network.nodes["carol"]
    invoice = await carol.hold_invoice(10_000_000)
    first = await client.pay(to_pay(invoice))
    second = await client.pay(to_pay(invoice, fee_limit={"sat": 7}))
    await reaches(second, PaymentState.IN_FLIGHT)
    await carol.settle(invoice)

    assert not first.attached
    assert second.attached
    assert (await second.receipt()) == (await first.receipt())
    assert (await second.receipt()).fee_limit_msat == 100_000, "the first caller's terms hold"


@pytest.mark.usefixtures("working")
async def test_operators_read_what_is_paid_in_the_list_of_workflows(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    invoice = await home.network.nodes["carol"].invoice(10_000_000, memo="between us")
    payment = await client.pay(to_pay(invoice))
    described = await temporal.get_workflow_handle(f"payment/{payment.payment_hash}").describe()

    assert await described.static_summary() == "pay 10,000 sat from alice"
    details = await described.static_details()
    assert details is not None
    assert "fee at most 100 sat" in details
    assert "between us" not in details
    await payment.receipt()


async def test_wrong_input_is_refused_before_anything_starts(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    invoice = await home.network.nodes["carol"].invoice()
    with pytest.raises(AmountError, match="amount_msat"):
        await client.pay(to_pay(invoice))
    with pytest.raises(RPCError, match="not found"):
        await temporal.get_workflow_handle(f"payment/{invoice.payment_hash.hex()}").describe()


@pytest.mark.usefixtures("working")
async def test_a_refused_request_is_told_by_its_own_error(
    home: House, client: FulguriteClient
) -> None:
    invoice = await home.network.nodes["carol"].invoice(1_000_000)
    payment = await client.pay(to_pay(invoice, node="zoe"))
    with pytest.raises(UnknownNodeError, match="zoe"):
        await payment.receipt()
    with pytest.raises(UnknownNodeError, match="zoe"):
        await payment.view()
    with pytest.raises(UnknownNodeError, match="zoe"):
        await anext(payment.watch())
    with pytest.raises(UnknownNodeError, match="zoe"):
        await payment.cancel(Cancellation())
    found = await _listed(client, payment, state=PaymentState.REFUSED)
    assert found.state is PaymentState.REFUSED


async def test_a_payment_that_temporal_does_not_retain_is_unknown(client: FulguriteClient) -> None:
    payment = client.payment(NOBODY)
    with pytest.raises(NotRetainedError, match="check the hash"):
        await payment.view()
    with pytest.raises(NotRetainedError):
        await payment.receipt()
    with pytest.raises(NotRetainedError):
        await payment.cancel(Cancellation())
    with pytest.raises(NotRetainedError):
        await anext(payment.watch())
    with pytest.raises(InvalidRequestError, match="64 hex"):
        client.payment("payment/12")


@pytest.mark.usefixtures("working")
async def test_orders_come_too_late_for_a_payment_that_has_ended(
    home: House, client: FulguriteClient
) -> None:
    payment = await client.pay(to_pay(await home.network.nodes["bob"].invoice(1_000_000)))
    await payment.receipt()
    for order in (
        payment.approve(Approval(approver="ann")),
        payment.reject(Rejection(approver="ann")),
        payment.cancel(Cancellation()),
    ):
        with pytest.raises(InvalidRequestError, match="SUCCEEDED"):
            await order


@pytest.mark.usefixtures("working")
async def test_an_update_that_the_workflow_rejects_says_why(
    home: House, client: FulguriteClient
) -> None:
    carol = home.network.nodes["carol"]
    invoice = await carol.hold_invoice(10_000_000)
    payment = await client.pay(to_pay(invoice))
    await reaches(payment, PaymentState.IN_FLIGHT)
    with pytest.raises(InvalidRequestError, match="nothing to decide"):
        await payment.approve(Approval(approver="ann"))
    await carol.settle(invoice)
    await payment.receipt()


@pytest.mark.usefixtures("working")
async def test_watching_shows_each_state_once_and_ends_with_the_verdict(
    home: House, client: FulguriteClient
) -> None:
    carol = home.network.nodes["carol"]
    invoice = await carol.hold_invoice(10_000_000)
    payment = await client.pay(to_pay(invoice, approval_above_msat=0))
    await reaches(payment, PaymentState.AWAITING_APPROVAL)
    states = []
    async for view in payment.watch():
        states.append(view.state)
        if view.state is PaymentState.AWAITING_APPROVAL:
            await payment.approve(Approval(approver="ann"))
        if view.state is PaymentState.IN_FLIGHT:
            await carol.settle(invoice)

    distinct = list(dict.fromkeys(states))
    assert distinct[0] is PaymentState.AWAITING_APPROVAL
    assert distinct[-1] is PaymentState.SUCCEEDED
    assert states.count(PaymentState.SUCCEEDED) == 1


@pytest.mark.usefixtures("working")
async def test_a_terminated_workflow_is_no_verdict_and_asking_again_tells(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    carol = home.network.nodes["carol"]
    invoice = await carol.hold_invoice(10_000_000)
    payment = await client.pay(to_pay(invoice))
    await reaches(payment, PaymentState.IN_FLIGHT)
    await temporal.get_workflow_handle(f"payment/{payment.payment_hash}").terminate()
    with pytest.raises(VerdictUnknownError, match="nothing happens twice"):
        await payment.receipt()

    again = await client.pay(to_pay(invoice))
    await carol.settle(invoice)
    receipt = await again.receipt()
    assert not again.attached
    assert receipt.status is PaymentState.SUCCEEDED
    assert not receipt.initiated_by_this_run


@pytest.mark.usefixtures("working")
async def test_payments_are_found_by_state_and_by_node(
    home: House, client: FulguriteClient
) -> None:
    carol = home.network.nodes["carol"]
    invoice = await carol.invoice(1_234_000)
    payment = await client.pay(to_pay(invoice, node="bob"))
    receipt = await payment.receipt()
    found = await _listed(client, payment, state=PaymentState.SUCCEEDED, node="bob")

    assert (found.node, found.amount_msat) == ("bob", 1_234_000)
    assert found.destination == receipt.destination
    assert found.workflow_status == "COMPLETED"
    assert found.closed_at is not None
    assert found.closed_at >= found.started_at
    assert [each async for each in client.list_payments(node="nobody")] == []
    assert len([each async for each in client.list_payments(limit=1)]) == 1


async def test_a_node_name_cannot_escape_from_the_query(client: FulguriteClient) -> None:
    with pytest.raises(InvalidRequestError, match="lower-case"):
        await anext(client.list_payments(node="alice' OR WorkflowType = 'Other"))


@pytest.mark.usefixtures("working")
async def test_a_keysend_request_given_twice_pays_once(
    home: House, client: FulguriteClient
) -> None:
    destination = NodePubkey((await home.network.nodes["bob"].info()).identity_pubkey)
    sealing_key = home.settings.public_sealing_key()
    request = PaymentRequest.model_validate(
        {
            "node": "alice",
            "keysend": keysend(destination, sealing_key=sealing_key),
            "amount_msat": 5_000,
            "fee_limit": {"sat": 1},
        }
    )
    payments = [await client.pay(request), await client.pay(request)]
    receipts = [await payment.receipt() for payment in payments]

    assert [receipt.status for receipt in receipts] == [PaymentState.SUCCEEDED] * 2
    paid = await home.network.nodes["alice"].payments()
    assert [each.payment_hash for each in paid].count(payments[0].payment_hash) == 1
    other = keysend(destination, sealing_key=sealing_key)
    assert other.payment_hash != payments[0].payment_hash


async def test_without_a_worker_questions_and_orders_are_told_to_wait(
    home: House,
    client: FulguriteClient,
    temporal: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for patience in ("_FIRST_PATIENCE", "_PATIENCE"):
        monkeypatch.setattr(handle_module, patience, handle_module._PATIENCE / 10)
    payment = await client.pay(to_pay(await home.network.nodes["bob"].invoice(1_000_000)))
    with pytest.raises(WorkerUnavailableError, match="fulgurite-worker"):
        await payment.view()
    with pytest.raises(WorkerUnavailableError, match="may still"):
        await payment.cancel(Cancellation())
    await temporal.get_workflow_handle(f"payment/{payment.payment_hash}").terminate()


async def test_whoever_is_canceled_while_he_orders_is_not_told_of_a_late_worker(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    """He would take it for a reason to ask again, and whoever canceled him would wait for ever."""
    payment = await client.pay(to_pay(await home.network.nodes["bob"].invoice(1_000_000)))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.5):
            await payment.cancel(Cancellation())
    await temporal.get_workflow_handle(f"payment/{payment.payment_hash}").terminate()


async def test_waiting_for_a_receipt_rides_out_a_temporal_that_is_away(
    client: FulguriteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers: AsyncIterator[Exception | None] = _each(
        RPCError("connection refused", RPCStatusCode.UNAVAILABLE, b""),
        RPCError("again", RPCStatusCode.UNAVAILABLE, b""),
        None,
    )

    async def result(_: WorkflowHandle[PaymentWorkflow, Receipt]) -> str:
        if error := await anext(answers):
            raise error
        return "the receipt"

    monkeypatch.setattr(WorkflowHandle, "result", result)
    monkeypatch.setattr(handle_module, "_LONGEST_PAUSE_SECONDS", 0)
    assert str(await client.payment(NOBODY).receipt()) == "the receipt"


async def test_a_query_that_temporal_loses_is_asked_again(
    client: FulguriteClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost = RPCError("Timeout expired", RPCStatusCode.CANCELLED, b"")
    answers: AsyncIterator[Exception | None] = _each(lost, None, lost, lost)

    async def query(*_: object, **__: object) -> str:
        if error := await anext(answers):
            raise error
        return "the view"

    monkeypatch.setattr(WorkflowHandle, "query", query)
    assert str(await client.payment(NOBODY).view()) == "the view"
    with pytest.raises(WorkerUnavailableError):
        await client.payment(NOBODY).view()


@pytest.mark.usefixtures("working")
async def test_giving_up_the_wait_leaves_the_payment_under_way(
    home: House, client: FulguriteClient
) -> None:
    carol = home.network.nodes["carol"]
    invoice = await carol.hold_invoice(10_000_000)
    payment = await client.pay(to_pay(invoice))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await payment.receipt()
    view = await reaches(payment, PaymentState.IN_FLIGHT)
    assert not view.cancel_requested
    await carol.settle(invoice)
    assert (await payment.receipt()).status is PaymentState.SUCCEEDED


async def test_a_namespace_that_does_not_exist_is_told_as_that(home: House) -> None:
    settings = home.settings.model_copy(update={"temporal_namespace": "elsewhere"})
    client = await FulguriteClient.connect(settings)
    with pytest.raises(TemporalRefusedError, match="FULGURITE_TEMPORAL_NAMESPACE"):
        await client.payment(NOBODY).view()


async def _each(*answers: Exception | None) -> AsyncIterator[Exception | None]:
    for answer in answers:
        yield answer


async def _listed(
    client: FulguriteClient, payment: Payment, *, state: PaymentState, node: str | None = None
) -> PaymentSummary:
    async def found() -> list[PaymentSummary]:
        return [
            each
            async for each in client.list_payments(state=state, node=node)
            if each.payment_hash == payment.payment_hash
        ]

    [summary] = await eventually(found, what="the payment in Temporal's index")
    return summary
