"""Above a threshold a person decides, and until then nothing moves."""

from __future__ import annotations

import pytest
from temporalio.client import Client

from devnet.house import House
from devnet.node import ACCEPTED
from fulgurite import ids
from fulgurite.errors import InvalidRequestError
from fulgurite.payments.requests import Approval, Cancellation, Rejection
from fulgurite.payments.states import PaymentState
from starter.client import FulguriteClient

from .telling import AMOUNT_MSAT, assert_nothing_moved, assert_true, reaches, to_pay

ASKED_FOR = {"approval_above_msat": AMOUNT_MSAT - 1}
NODE_THRESHOLD = {"FULGURITE_NODES__ALICE__APPROVAL_ABOVE_SAT": "20000"}


@pytest.mark.usefixtures("working")
async def test_an_approved_payment_is_paid(home: House, client: FulguriteClient) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    payment = await client.pay(to_pay(invoice, **ASKED_FOR))
    await reaches(payment, PaymentState.AWAITING_APPROVAL)
    await assert_nothing_moved(home, invoice)
    await payment.approve(Approval(approver="ada", note="it is the rent"))
    with pytest.raises(InvalidRequestError, match=r"too late|nothing to decide|decided already"):
        await payment.approve(Approval(approver="bea"))
    receipt = await payment.receipt()

    assert receipt.status is PaymentState.SUCCEEDED
    assert any("approved by ada it is the rent" in line for line in (await payment.view()).timeline)
    await assert_true(home, receipt, invoice)


@pytest.mark.usefixtures("working")
async def test_an_amount_at_the_threshold_needs_nobody(
    home: House, client: FulguriteClient
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    payment = await client.pay(to_pay(invoice, approval_above_msat=AMOUNT_MSAT))
    assert (await payment.receipt()).status is PaymentState.SUCCEEDED


@pytest.mark.usefixtures("working")
@pytest.mark.parametrize("ending", ["rejected", "expired", "deadline", "canceled"])
async def test_without_a_yes_nothing_moves(
    home: House, client: FulguriteClient, ending: str
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    patience = {"expired": {"approval_expires_seconds": 1}, "deadline": {"deadline_seconds": 1}}
    payment = await client.pay(to_pay(invoice, **ASKED_FOR, **patience.get(ending, {})))
    if ending in {"rejected", "canceled"}:
        await reaches(payment, PaymentState.AWAITING_APPROVAL)
    if ending == "rejected":
        await payment.reject(Rejection(approver="ada", reason="twice the price"))
    if ending == "canceled":
        await payment.cancel(Cancellation(reason="found it cheaper"))
    receipt = await payment.receipt()

    expected = {"rejected": PaymentState.REJECTED, "canceled": PaymentState.CANCELED}
    assert receipt.status is expected.get(ending, PaymentState.EXPIRED)
    assert (receipt.sends, receipt.initiated_by_this_run) == (0, False)
    assert receipt.advice.startswith("Nothing was sent.")
    with pytest.raises(InvalidRequestError, match="too late"):
        await payment.approve(Approval(approver="bea"))
    await assert_nothing_moved(home, invoice)


@pytest.mark.usefixtures("working")
async def test_what_lnd_has_already_is_followed_and_not_asked_about_again(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    carol = home.network.nodes["carol"]
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    request = to_pay(invoice, **ASKED_FOR)
    first = await client.pay(request)
    await reaches(first, PaymentState.AWAITING_APPROVAL)
    await first.approve(Approval(approver="ada"))
    await carol.wait_for_invoice(invoice, ACCEPTED)
    await temporal.get_workflow_handle(ids.payment_id(first.payment_hash)).terminate("by force")

    again = await client.pay(request)
    view = await reaches(again, PaymentState.IN_FLIGHT, PaymentState.AWAITING_APPROVAL)
    assert view.state is PaymentState.IN_FLIGHT
    await carol.settle(invoice)
    receipt = await again.receipt()

    assert (receipt.status, receipt.sends) == (PaymentState.SUCCEEDED, 0)
    paid_before = await (await client.pay(request)).receipt()
    assert paid_before.status is PaymentState.SUCCEEDED


async def test_the_nodes_own_threshold_holds_whatever_the_caller_asks(
    home: House, client: FulguriteClient
) -> None:
    carol = home.network.nodes["carol"]
    approved, rejected = await carol.invoice(AMOUNT_MSAT), await carol.invoice(AMOUNT_MSAT)
    small, known = await carol.invoice(20_000_000), await carol.invoice(AMOUNT_MSAT)
    await home.network.nodes["alice"].pay(known.payment_request)
    async with home.worker("approving", **NODE_THRESHOLD):
        payments = [await client.pay(to_pay(each)) for each in (approved, rejected)]
        for payment in payments:
            view = await reaches(payment, PaymentState.AWAITING_APPROVAL)
            assert "a person is asked above 20,000 sat" in view.timeline[-1]
        await assert_nothing_moved(home, approved)
        await payments[0].approve(Approval(approver="ada"))
        await payments[1].reject(Rejection(approver="ada"))
        receipts = [await payment.receipt() for payment in payments]
        within = await (await client.pay(to_pay(small))).receipt()
        # Nobody needs to approve what has been paid already.
        paid = await (await client.pay(to_pay(known))).receipt()

    assert [receipt.status for receipt in receipts] == [
        PaymentState.SUCCEEDED,
        PaymentState.REJECTED,
    ]
    await assert_true(home, receipts[0], approved)
    await assert_nothing_moved(home, rejected)
    await assert_true(home, within, small)
    assert (paid.status, paid.initiated_by_this_run) == (PaymentState.SUCCEEDED, False)
