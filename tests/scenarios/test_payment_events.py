"""What becomes of a payment is told to those who asked, and costs those who did not nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from temporalio.api.enums.v1 import EventType as HistoryEvent
from temporalio.client import Client

from devnet.house import House
from devnet.node import ACCEPTED, TestInvoice
from devnet.receiver import Delivery, Receiver
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.events.catalogue import CATALOGUE, Event, EventType
from fulgurite.identity import PaymentHash
from fulgurite.payments.receipts import PaymentView, Receipt
from fulgurite.payments.requests import Approval, Cancellation, Rejection
from fulgurite.payments.states import PaymentState
from starter.client import FulguriteClient
from starter.errors import NotRetainedError

from .merchants import Merchants, merchants
from .telling import (
    AMOUNT_MSAT,
    NO_RETRY_SECONDS,
    LndPayment,
    assert_true,
    lnd_says,
    reaches,
    to_pay,
)

__all__ = ["merchants"]  # a fixture

E = EventType


@pytest.fixture
async def treasurer(home: House, temporal: Client, merchants: Merchants) -> AsyncIterator[Receiver]:
    """Wants to know of every payment, one thing after another; the worker knows no other."""
    listening = await merchants.open("treasurer", "payment.*", ordered=True)
    async with merchants.working(home, temporal):
        yield listening


async def hears(treasurer: Receiver, invoice: TestInvoice, *types: EventType) -> list[Event]:
    """Waits for these, in this order, and no others."""
    resource = ids.payment_id(PaymentHash.of_bytes(invoice.payment_hash))

    async def ask() -> list[Delivery]:
        return [each for each in treasurer.taken.values() if resource in each.body]

    told = await eventually(ask, lambda each: len(each) >= len(types), what=", ".join(types))
    events = [Event.model_validate_json(each.body) for each in told]
    assert [event.type for event in events] == list(types)
    assert treasurer.duplicates == 0
    for event in events:
        assert event.resource == resource
        CATALOGUE[event.type].data.model_validate(event.data)
    return events


async def test_a_payment_that_settles_is_told_once(
    home: House, client: FulguriteClient, treasurer: Receiver
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    receipt = await (await client.pay(to_pay(invoice))).receipt()
    # The same again is no news: a hash succeeds once.
    await (await client.pay(to_pay(invoice))).receipt()
    [event] = await hears(treasurer, invoice, E.PAYMENT_SUCCEEDED)

    told = Receipt.model_validate(event.data)
    assert (told.status, told.fee_msat) == (PaymentState.SUCCEEDED, receipt.fee_msat)
    assert event.id == f"payment-succeeded-{receipt.payment_hash}"
    await assert_true(home, receipt, invoice)


async def test_a_payment_that_fails_is_told_each_time(
    home: House, client: FulguriteClient, treasurer: Receiver
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    for _ in range(2):
        hopeless = to_pay(invoice, fee_limit={"msat": 0}, deadline_seconds=NO_RETRY_SECONDS)
        receipt = await (await client.pay(hopeless)).receipt()
        assert receipt.status is PaymentState.FAILED
        await assert_true(home, receipt, invoice)
    receipt = await (await client.pay(to_pay(invoice))).receipt()
    events = await hears(
        treasurer, invoice, E.PAYMENT_FAILED, E.PAYMENT_FAILED, E.PAYMENT_SUCCEEDED
    )

    assert len({event.id for event in events}) == 3
    await assert_true(home, receipt, invoice)


async def test_a_payment_that_hangs_is_told_before_it_ends(
    home: House, client: FulguriteClient, treasurer: Receiver
) -> None:
    carol = home.network.nodes["carol"]
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    payment = await client.pay(to_pay(invoice, stuck_after_seconds=1))
    await carol.wait_for_invoice(invoice, ACCEPTED)
    [event] = await hears(treasurer, invoice, E.PAYMENT_STUCK)
    still = await lnd_says(home.network.nodes["alice"], invoice, LndPayment.IN_FLIGHT)
    await carol.settle(invoice)
    receipt = await payment.receipt()
    await hears(treasurer, invoice, E.PAYMENT_STUCK, E.PAYMENT_SUCCEEDED)

    assert PaymentView.model_validate(event.data).state is PaymentState.STUCK
    assert still.payment_hash == receipt.payment_hash
    await assert_true(home, receipt, invoice)


async def test_a_payment_that_waits_for_a_person_is_told_and_what_they_say(
    home: House, client: FulguriteClient, treasurer: Receiver
) -> None:
    carol = home.network.nodes["carol"]
    big = {"approval_above_msat": 1}
    approved, rejected, withdrawn = [await carol.invoice(AMOUNT_MSAT) for _ in range(3)]
    lapsed = await carol.invoice(AMOUNT_MSAT)
    payments = [await client.pay(to_pay(each, **big)) for each in (approved, rejected, withdrawn)]
    payments.append(await client.pay(to_pay(lapsed, **big, approval_expires_seconds=1)))
    for invoice, payment in zip((approved, rejected, withdrawn), payments, strict=False):
        await reaches(payment, PaymentState.AWAITING_APPROVAL)
        await hears(treasurer, invoice, E.PAYMENT_AWAITING_APPROVAL)
    await payments[0].approve(Approval(approver="ada"))
    await payments[1].reject(Rejection(approver="ada", reason="not ours"))
    await payments[2].cancel(Cancellation(reason="changed my mind"))
    receipts = [await payment.receipt() for payment in payments]

    await hears(treasurer, approved, E.PAYMENT_AWAITING_APPROVAL, E.PAYMENT_SUCCEEDED)
    await hears(treasurer, rejected, E.PAYMENT_AWAITING_APPROVAL, E.PAYMENT_REJECTED)
    await hears(treasurer, withdrawn, E.PAYMENT_AWAITING_APPROVAL, E.PAYMENT_CANCELED)
    await hears(treasurer, lapsed, E.PAYMENT_AWAITING_APPROVAL, E.PAYMENT_EXPIRED)
    await assert_true(home, receipts[0], approved)
    for invoice in (rejected, withdrawn, lapsed):
        assert await home.network.nodes["alice"].payment(invoice.payment_hash) is None


async def test_a_payment_that_waits_for_liquidity_is_told_once_however_often_it_is_tried(
    home: House, client: FulguriteClient, treasurer: Receiver
) -> None:
    # More than alice has; the second attempt is due after five seconds, the last after seven.
    invoice = await home.network.nodes["bob"].invoice(90_000_000_000)
    payment = await client.pay(to_pay(invoice, wait_for_liquidity_seconds=7))
    receipt = await payment.receipt()
    told, _ = await hears(treasurer, invoice, E.PAYMENT_AWAITING_LIQUIDITY, E.PAYMENT_FAILED)

    assert PaymentView.model_validate(told.data).waits_until is not None
    assert receipt.sends == 3


@pytest.mark.usefixtures("working")
async def test_where_nobody_asked_nothing_is_told_and_the_fast_path_costs_the_same(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    """The shop wants to know of invoices only."""
    carol = home.network.nodes["carol"]
    quick, slow = await carol.invoice(AMOUNT_MSAT), await carol.hold_invoice(AMOUNT_MSAT)
    await (await client.pay(to_pay(quick))).receipt()
    payment = await client.pay(to_pay(slow, stuck_after_seconds=1))
    await reaches(payment, PaymentState.STUCK)
    await carol.settle(slow)
    await payment.receipt()

    for invoice in (quick, slow):
        payment_hash = PaymentHash.of_bytes(invoice.payment_hash)
        with pytest.raises(NotRetainedError):
            await client.event(f"payment-succeeded-{payment_hash}").view()
    handle = temporal.get_workflow_handle(ids.payment_id(PaymentHash.of_bytes(quick.payment_hash)))
    kinds = [each.event_type for each in (await handle.fetch_history()).events]
    # The payment itself; an emission would be one more.
    assert kinds.count(HistoryEvent.EVENT_TYPE_MARKER_RECORDED) == 1
