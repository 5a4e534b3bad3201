"""Many may ask, approve, cancel and look; the payment is one, and nobody is told a lie."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import Client

from devnet.house import House
from devnet.node import ACCEPTED
from devnet.simulated import SimulatedNetwork
from fulgurite import ids
from fulgurite.errors import InvalidRequestError
from fulgurite.payments.calls import Dispatch
from fulgurite.payments.requests import Cancellation
from fulgurite.payments.states import FailureReason, PaymentState
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient

from .telling import (
    AMOUNT_MSAT,
    SIMULATED_ONLY,
    assert_nothing_moved,
    assert_true,
    hold_invoices,
    notes,
    reaches,
    to_pay,
)

pytestmark = pytest.mark.usefixtures("working")

CALLERS = 100


async def test_a_hundred_callers_at_once_make_one_payment(
    home: House, client: FulguriteClient
) -> None:
    carol = home.network.nodes["carol"]
    # Held until all have asked, so that none comes after the end.
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    payments = await asyncio.gather(*(client.pay(to_pay(invoice)) for _ in range(CALLERS)))
    await carol.wait_for_invoice(invoice, ACCEPTED)
    await carol.settle(invoice)
    receipts = await asyncio.gather(*(payment.receipt() for payment in payments))

    assert sum(payment.attached for payment in payments) == CALLERS - 1
    assert len(set(receipts)) == 1
    assert (receipts[0].sends, receipts[0].initiated_by_this_run) == (1, True)
    await assert_true(home, receipts[0], invoice)
    if isinstance(home.network, SimulatedNetwork):
        assert len(home.network.ledger.sends(invoice.payment_hash)) == 1


async def test_a_caller_that_comes_later_learns_what_has_happened(
    home: House, client: FulguriteClient
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    first = await (await client.pay(to_pay(invoice))).receipt()
    # With a limit that the first did not keep: what was paid was paid under the first's.
    late = await client.pay(to_pay(invoice, fee_limit={"msat": 0}))
    second = await late.receipt()

    assert not late.attached
    assert second.status is PaymentState.SUCCEEDED
    assert (second.initiated_by_this_run, second.sends, second.warnings) == (False, 0, ())
    assert (second.fee_msat, second.resolved_at) == (first.fee_msat, first.resolved_at)
    await assert_true(home, second, invoice)


async def test_a_failed_payment_may_be_asked_for_again(
    home: House, client: FulguriteClient
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    failed = await (
        await client.pay(to_pay(invoice, fee_limit={"msat": 0}, deadline_seconds=3))
    ).receipt()
    again = await (await client.pay(to_pay(invoice))).receipt()

    assert failed.failure_reason is FailureReason.NO_ROUTE
    assert again.status is PaymentState.SUCCEEDED
    assert (again.initiated_by_this_run, again.sends) == (True, 1)
    await assert_true(home, again, invoice)


async def test_what_is_held_is_in_flight_then_stuck_and_ends_as_the_payee_decides(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    """Whatever is ordered meanwhile: a cancel in flight stops nothing that LND has."""
    carol = home.network.nodes["carol"]
    invoices = await hold_invoices(carol, 6)
    released, refused, canceled_released, canceled_refused, by_temporal, both = invoices
    payments = [await client.pay(to_pay(each, stuck_after_seconds=3)) for each in invoices]
    for each in invoices:
        await carol.wait_for_invoice(each, ACCEPTED)

    for payment in payments[2:4]:
        view = await payment.cancel(Cancellation(reason="changed my mind"))
        assert view.cancel_requested
        assert view.state in {PaymentState.DISPATCHING, PaymentState.IN_FLIGHT}
    for payment in payments[4:]:
        await temporal.get_workflow_handle(ids.payment_id(payment.payment_hash)).cancel()
    await asyncio.gather(*(reaches(payment, PaymentState.IN_FLIGHT) for payment in payments))
    await payments[5].cancel(Cancellation(reason="once more"))
    views = await asyncio.gather(*(reaches(payment, PaymentState.STUCK) for payment in payments))
    for view in views:
        assert view.update is not None
        assert not view.update.terminal
    assert [view.cancel_requested for view in views] == [False, False, True, True, True, True]

    for each in (released, canceled_released, by_temporal, both):
        await carol.settle(each)
    for each in (refused, canceled_refused):
        await carol.cancel(each)
    receipts = await asyncio.gather(*(payment.receipt() for payment in payments))
    S, F = PaymentState.SUCCEEDED, PaymentState.FAILED  # noqa: N806 - a row to be read at a glance
    assert [receipt.status for receipt in receipts] == [S, F, S, F, S, S]
    for receipt, invoice in zip(receipts, invoices, strict=True):
        assert receipt.sends == 1
        await assert_true(home, receipt, invoice)


@SIMULATED_ONLY
async def test_after_a_cancel_no_new_attempt_follows_a_failure(
    home: House, simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client
) -> None:
    invoices = [await simulated.nodes["carol"].invoice(10_000_000) for _ in range(2)]
    holds = [
        simulated.faults.hold_htlcs("bob", payment_hash=invoice.payment_hash)
        for invoice in invoices
    ]
    payments = [await client.pay(to_pay(invoice)) for invoice in invoices]
    for hold in holds:
        await hold.caught()
    await payments[0].cancel(Cancellation())
    await temporal.get_workflow_handle(ids.payment_id(payments[1].payment_hash)).cancel()
    await asyncio.gather(*(reaches(payment, PaymentState.IN_FLIGHT) for payment in payments))
    for hold in holds:
        hold.fail(lightning_pb2.Failure.TEMPORARY_CHANNEL_FAILURE)

    for payment, invoice in zip(payments, invoices, strict=True):
        receipt = await payment.receipt()
        assert (receipt.failure_reason, receipt.sends) == (FailureReason.NO_ROUTE, 1)
        assert "canceled, so no other attempt" in (await payment.view()).timeline[-1]
        await assert_true(home, receipt, invoice)


@SIMULATED_ONLY
async def test_a_cancel_while_the_node_is_away_sends_nothing_when_it_is_back(
    home: House, simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    invoice = await simulated.nodes["carol"].invoice(AMOUNT_MSAT)
    await simulated.stop_node("alice")
    try:
        payment = await client.pay(to_pay(invoice))
        view = await payment.cancel(Cancellation(reason="too slow"))
        assert view.state is PaymentState.DISPATCHING
    finally:
        await simulated.start_node("alice")
    receipt = await payment.receipt()

    # It may have been sent before the cancel was read, and then it counts as sent.
    assert receipt.status in {PaymentState.CANCELED, PaymentState.SUCCEEDED}
    if receipt.status is PaymentState.CANCELED:
        await assert_nothing_moved(home, invoice)
    else:
        await assert_true(home, receipt, invoice)


@SIMULATED_ONLY
async def test_a_canceled_dispatch_may_only_ask_by_any_clock(
    home: House, simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client
) -> None:
    invoice = await simulated.nodes["carol"].invoice(AMOUNT_MSAT)
    await simulated.stop_node("alice")
    try:
        payment = await client.pay(to_pay(invoice))
        await notes(payment, "continued on the node's queue")
        await payment.cancel(Cancellation(reason="too slow"))
    finally:
        await simulated.start_node("alice")
    receipt = await payment.receipt()

    assert receipt.status is PaymentState.CANCELED
    await assert_nothing_moved(home, invoice)
    history = await temporal.get_workflow_handle(
        ids.payment_id(payment.payment_hash)
    ).fetch_history()
    last = [
        event.activity_task_scheduled_event_attributes.input
        for event in history.events
        if event.HasField("activity_task_scheduled_event_attributes")
    ][-1]
    (ask,) = await temporal.data_converter.decode(last.payloads, [Dispatch])
    # A worker whose clock is behind must not find time left to send.
    assert ask.send_until.year == 1970


async def test_an_ended_payment_cannot_be_canceled(home: House, client: FulguriteClient) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    payment = await client.pay(to_pay(invoice))
    receipt = await payment.receipt()
    with pytest.raises(InvalidRequestError, match="too late: the payment is SUCCEEDED"):
        await payment.cancel(Cancellation())
    await assert_true(home, receipt, invoice)
