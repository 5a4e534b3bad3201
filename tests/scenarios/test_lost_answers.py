"""What LND did is found out, whatever became of its answer: no conclusion from silence."""

from __future__ import annotations

import grpc
import pytest

from devnet.house import House
from devnet.node import ACCEPTED
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import (
    Delay,
    DropAnswer,
    Fault,
    NeverClose,
    Refuse,
    RepeatMessages,
    RestartNode,
    Stall,
)
from fulgurite.payments.states import FailureReason, PaymentState
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient

from .telling import AMOUNT_MSAT, SIMULATED_ONLY, assert_true, notes, reaches, to_pay

pytestmark = [pytest.mark.usefixtures("working"), SIMULATED_ONLY]


@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("TrackPaymentV2", Refuse()),
        ("TrackPaymentV2", RestartNode()),
        ("SendPaymentV2", Refuse()),
        ("SendPaymentV2", Delay(1)),
        ("SendPaymentV2", DropAnswer()),
        ("SendPaymentV2", RepeatMessages()),
        ("SendPaymentV2", NeverClose()),
        ("SendPaymentV2", Stall()),
        ("SendPaymentV2", RestartNode(after_effect=False)),
        ("SendPaymentV2", RestartNode(after_effect=True)),
    ],
    ids=lambda given: given if isinstance(given, str) else type(given).__name__,
)
async def test_a_call_that_goes_wrong_once_does_no_harm(
    home: House, simulated: SimulatedNetwork, client: FulguriteClient, method: str, fault: Fault
) -> None:
    invoice = await simulated.nodes["carol"].invoice(AMOUNT_MSAT)
    simulated.faults.add("alice", method, fault)
    receipt = await (await client.pay(to_pay(invoice))).receipt()

    assert receipt.status is PaymentState.SUCCEEDED
    assert (receipt.initiated_by_this_run, receipt.sends) == (True, 1)
    assert len(simulated.ledger.sends(invoice.payment_hash)) == 1
    await assert_true(home, receipt, invoice)


async def test_an_answer_lost_in_flight_is_no_failure(
    home: House, simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    """Incident A: the caller's timeout said nothing about the HTLC."""
    carol = simulated.nodes["carol"]
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    simulated.faults.add("alice", "SendPaymentV2", DropAnswer())
    payment = await client.pay(to_pay(invoice))
    await carol.wait_for_invoice(invoice, ACCEPTED)
    await reaches(payment, PaymentState.IN_FLIGHT)
    await carol.settle(invoice)
    receipt = await payment.receipt()

    assert receipt.status is PaymentState.SUCCEEDED
    assert receipt.initiated_by_this_run
    await assert_true(home, receipt, invoice)


@pytest.mark.parametrize("seconds", [1, 3_600], ids=["deadline over", "deadline far"])
async def test_a_payment_that_lnd_cannot_find_yet_is_asked_for_again(
    home: House, simulated: SimulatedNetwork, client: FulguriteClient, seconds: int
) -> None:
    """Incident C: NotFound after a send is no verdict, also when it is too late to send."""
    invoice = await simulated.nodes["carol"].invoice(AMOUNT_MSAT)
    simulated.faults.add("alice", "SendPaymentV2", DropAnswer())
    # The first is true. The others come after the send.
    simulated.faults.hide_payments("alice", times=8)
    receipt = await (await client.pay(to_pay(invoice, deadline_seconds=seconds))).receipt()

    assert receipt.status is PaymentState.SUCCEEDED
    assert len(simulated.ledger.sends(invoice.payment_hash)) == 1
    await assert_true(home, receipt, invoice)


async def test_a_send_refused_for_its_form_may_hide_one_that_was_made(
    home: House, simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    """LND looks at the invoice's expiry before it looks whether it has paid it."""
    invoice = await simulated.nodes["carol"].invoice(AMOUNT_MSAT)
    expired = Refuse(grpc.StatusCode.UNKNOWN, "invoice expired. Valid until yesterday")
    simulated.faults.add("alice", "SendPaymentV2", DropAnswer())
    simulated.faults.add("alice", "SendPaymentV2", expired)
    simulated.faults.hide_payments("alice", times=3)
    receipt = await (await client.pay(to_pay(invoice))).receipt()

    assert receipt.status is PaymentState.SUCCEEDED
    await assert_true(home, receipt, invoice)


async def test_a_fee_above_the_limit_is_told(
    home: House, simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    """Incident H: the limit was handed to LND, and LND did not keep it."""
    invoice = await simulated.nodes["carol"].invoice(AMOUNT_MSAT)
    simulated.faults.overcharge_next_payment("alice", 50_000)
    receipt = await (await client.pay(to_pay(invoice, fee_limit={"sat": 10}))).receipt()

    assert receipt.status is PaymentState.SUCCEEDED
    assert (receipt.fee_limit_msat, receipt.fee_msat) == (10_000, 56_000)
    assert receipt.warnings == ("FEE_LIMIT_EXCEEDED",)
    await assert_true(home, receipt, invoice)


async def test_an_htlc_that_failed_beside_those_that_settled_is_no_failure(
    home: House, simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    """Incident O: the payment's status decides, and not what became of one HTLC."""
    invoice = await simulated.nodes["carol"].invoice(100_000_000)
    hold = simulated.faults.hold_htlcs("bob", payment_hash=invoice.payment_hash)
    payment = await client.pay(to_pay(invoice))
    await hold.caught()
    hold.fail(lightning_pb2.Failure.TEMPORARY_CHANNEL_FAILURE)
    receipt = await payment.receipt()

    assert receipt.status is PaymentState.SUCCEEDED
    assert receipt.attempts > receipt.parts
    await assert_true(home, receipt, invoice)


async def test_a_success_stays_one_when_it_is_asked_for_again(
    home: House, simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    """Incidents L and O: nothing that happens after SUCCEEDED makes it FAILED."""
    invoice = await simulated.nodes["carol"].invoice(AMOUNT_MSAT)
    first = await (await client.pay(to_pay(invoice))).receipt()
    simulated.faults.hide_payments("alice", times=2)
    again = await (await client.pay(to_pay(invoice))).receipt()

    assert first.status is again.status is PaymentState.SUCCEEDED
    assert (again.initiated_by_this_run, again.failure_reason) == (False, FailureReason.NONE)
    assert len(simulated.ledger.sends(invoice.payment_hash)) == 1
    await assert_true(home, again, invoice)


async def test_a_node_that_is_away_is_waited_for(
    home: House, simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    invoice = await simulated.nodes["carol"].invoice(AMOUNT_MSAT)
    await simulated.stop_node("alice")
    try:
        payment = await client.pay(to_pay(invoice))
        view = await notes(payment, "continued on the node's queue")
    finally:
        await simulated.start_node("alice")
    assert view.state is PaymentState.DISPATCHING
    receipt = await payment.receipt()

    assert receipt.status is PaymentState.SUCCEEDED
    await assert_true(home, receipt, invoice)
