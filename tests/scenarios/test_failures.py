"""A payment that does not succeed fails by LND's verdict, for LND's reason, and not before."""

from __future__ import annotations

import grpc
import pytest

from devnet.house import House
from devnet.node import ACCEPTED
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import NeverClose
from fulgurite.payments.requests import Cancellation
from fulgurite.payments.states import ADVICE, FailureReason, PaymentState
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient

from .telling import AMOUNT_MSAT, NO_RETRY_SECONDS, SIMULATED_ONLY, assert_true, reaches, to_pay

pytestmark = pytest.mark.usefixtures("working")

# More than alice's side of both channels to bob.
TOO_MUCH_MSAT = 3_000_000_000


async def test_no_route_within_the_fee_limit(home: House, client: FulguriteClient) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    request = to_pay(invoice, fee_limit={"msat": 0}, deadline_seconds=NO_RETRY_SECONDS)
    receipt = await (await client.pay(request)).receipt()

    assert receipt.failure_reason is FailureReason.NO_ROUTE
    assert receipt.advice == ADVICE[FailureReason.NO_ROUTE]
    assert (receipt.sends, receipt.attempts, receipt.initiated_by_this_run) == (1, 0, True)
    await assert_true(home, receipt, invoice)


async def test_more_than_the_channels_hold_is_not_tried_twice(
    home: House, client: FulguriteClient
) -> None:
    invoice = await home.network.nodes["bob"].invoice(TOO_MUCH_MSAT)
    receipt = await (await client.pay(to_pay(invoice))).receipt()

    assert receipt.failure_reason is FailureReason.INSUFFICIENT_BALANCE
    assert (receipt.sends, receipt.attempts) == (1, 0)
    await assert_true(home, receipt, invoice, payee="bob")


async def test_a_canceled_invoice_is_refused_by_its_payee(
    home: House, client: FulguriteClient
) -> None:
    carol = home.network.nodes["carol"]
    invoice = await carol.invoice(AMOUNT_MSAT)
    await carol.cancel(invoice)
    receipt = await (await client.pay(to_pay(invoice))).receipt()

    assert receipt.failure_reason is FailureReason.INCORRECT_PAYMENT_DETAILS
    assert (receipt.sends, receipt.attempts) == (1, 1)
    await assert_true(home, receipt, invoice)


@SIMULATED_ONLY
@pytest.mark.parametrize(
    "reason", [FailureReason.TIMEOUT, FailureReason.ERROR, FailureReason.CANCELED]
)
async def test_every_other_verdict_is_told_by_its_name(
    home: House, simulated: SimulatedNetwork, client: FulguriteClient, reason: FailureReason
) -> None:
    invoice = await simulated.nodes["carol"].invoice(AMOUNT_MSAT)
    verdict = lightning_pb2.PaymentFailureReason.Value(f"FAILURE_REASON_{reason}")
    simulated.faults.end_next_payment("alice", verdict)
    # ERROR ends it whatever the deadline; the others leave no time for another attempt.
    deadline = 3_600 if reason is FailureReason.ERROR else NO_RETRY_SECONDS
    receipt = await (await client.pay(to_pay(invoice, deadline_seconds=deadline))).receipt()

    assert (receipt.status, receipt.failure_reason) == (PaymentState.FAILED, reason)
    assert receipt.advice == ADVICE[reason]
    await assert_true(home, receipt, invoice)


async def test_a_payee_that_comes_back_online_is_paid_by_a_later_attempt(
    home: House, client: FulguriteClient
) -> None:
    alice, carol = home.network.nodes["alice"], home.network.nodes["carol"]
    invoice = await carol.invoice(AMOUNT_MSAT)
    await home.network.stop_node("carol")
    try:
        payment = await client.pay(to_pay(invoice))
        view = await reaches(payment, PaymentState.BACKING_OFF)
    finally:
        await home.network.start_node("carol")
    assert view.update is not None
    assert view.update.failure_reason is FailureReason.NO_ROUTE
    if home.network.kind == "regtest":
        # lnd's memory of the failure would close the way for longer than a test may take.
        async with alice.channel() as channel:
            forget: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/routerrpc.Router/ResetMissionControl"
            )
            await forget(b"")
    receipt = await payment.receipt()

    assert receipt.status is PaymentState.SUCCEEDED
    assert receipt.sends > 1
    await assert_true(home, receipt, invoice)


async def test_retries_end_at_the_deadline_with_the_last_verdict(
    home: House, client: FulguriteClient
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    # The second attempt is due after five seconds, the third ten seconds after that.
    request = to_pay(invoice, fee_limit={"msat": 0}, deadline_seconds=9)
    payment = await client.pay(request)
    receipt = await payment.receipt()

    assert receipt.failure_reason is FailureReason.NO_ROUTE
    assert receipt.sends == 2
    assert "no time for another attempt" in (await payment.view()).timeline[-1]
    await assert_true(home, receipt, invoice)


async def test_a_cancel_between_two_attempts_leaves_the_verdict_standing(
    home: House, client: FulguriteClient
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    payment = await client.pay(to_pay(invoice, fee_limit={"msat": 0}))
    await reaches(payment, PaymentState.BACKING_OFF)
    await payment.cancel(Cancellation(reason="enough"))
    receipt = await payment.receipt()

    assert receipt.failure_reason is FailureReason.NO_ROUTE
    assert receipt.sends == 1
    await assert_true(home, receipt, invoice)


async def test_neither_lnds_timeout_nor_our_deadline_ends_what_is_in_flight(
    home: House, client: FulguriteClient
) -> None:
    """Incidents A, B and D: time is no verdict, and a stream need not end."""
    carol = home.network.nodes["carol"]
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    if isinstance(home.network, SimulatedNetwork):
        home.network.faults.add("alice", "TrackPaymentV2", NeverClose(), times=10)
    payment = await client.pay(
        to_pay(invoice, timeout_seconds=1, deadline_seconds=1, stuck_after_seconds=1)
    )
    await carol.wait_for_invoice(invoice, ACCEPTED)
    view = await reaches(payment, PaymentState.STUCK)
    if home.network.kind == "simulated":
        told = await home.network.nodes["alice"].payment(invoice.payment_hash)
        assert told is not None
        assert told.status == lightning_pb2.Payment.IN_FLIGHT
        assert told.failure_reason == lightning_pb2.FAILURE_REASON_TIMEOUT
    assert any("only LND can end it" in line for line in view.timeline)

    await carol.settle(invoice)
    receipt = await payment.receipt()
    assert receipt.status is PaymentState.SUCCEEDED
    assert receipt.failure_reason is FailureReason.NONE
    await assert_true(home, receipt, invoice)
