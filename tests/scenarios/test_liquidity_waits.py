"""A payment that lacks liquidity waits for it, where its caller says so, and is paid once."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from uuid import uuid4

import grpc
import pytest
from temporalio.client import Client

from devnet.house import House
from devnet.node import TestInvoice
from devnet.simulated import SimulatedNetwork
from fulgurite import ids
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.payments.receipts import Receipt
from fulgurite.payments.requests import Cancellation
from fulgurite.payments.states import ADVICE, FailureReason, PaymentState
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient

from .conftest import balances_sat
from .telling import AMOUNT_MSAT, assert_true, notes, reaches, to_pay

# Beyond what alice has, and what she is paid then: reserves and fees fit in between.
SHORT_BY_SAT, PAID_SAT = 100_000, 400_000
WAITS = {"wait_for_liquidity_seconds": 600}


async def too_much(home: House) -> TestInvoice:
    """An invoice of bob's for more than alice can send."""
    has_sat = sum(await balances_sat(home.network.nodes["alice"]))
    return await home.network.nodes["bob"].invoice((has_sat + SHORT_BY_SAT) * 1_000)


async def bob_pays_alice(home: House, sat: int) -> None:
    alice, bob = home.network.nodes["alice"], home.network.nodes["bob"]
    invoice = await alice.invoice(sat * 1_000)
    payment = await bob.pay(invoice.payment_request)
    assert payment.status == lightning_pb2.Payment.SUCCEEDED, payment


@asynccontextmanager
async def given_back(home: House) -> AsyncIterator[None]:
    """Afterwards alice has as much as before: carol alone could not restore it."""
    before_sat = sum(await balances_sat(home.network.nodes["alice"]))
    try:
        yield
    finally:
        missing_sat = before_sat - sum(await balances_sat(home.network.nodes["alice"]))
        if missing_sat > 0:
            await bob_pays_alice(home, missing_sat)


async def assert_failed(home: House, receipt: Receipt, invoice: TestInvoice, sends: int) -> None:
    assert receipt.status is PaymentState.FAILED
    assert receipt.failure_reason is FailureReason.INSUFFICIENT_BALANCE
    assert receipt.sends == sends
    assert receipt.advice.startswith(ADVICE[FailureReason.INSUFFICIENT_BALANCE])
    assert "It waited for a remedy" in receipt.advice
    await assert_true(home, receipt, invoice, payee="bob")


@pytest.mark.usefixtures("working")
async def test_it_goes_on_when_somebody_has_paid_the_node(
    home: House, client: FulguriteClient
) -> None:
    async with given_back(home):
        invoice = await too_much(home)
        payment = await client.pay(to_pay(invoice, **WAITS))
        view = await reaches(payment, PaymentState.AWAITING_LIQUIDITY)
        assert view.waits_until is not None
        await bob_pays_alice(home, PAID_SAT)
        receipt = await payment.receipt()

        assert receipt.status is PaymentState.SUCCEEDED
        assert receipt.sends > 1
        await assert_true(home, receipt, invoice, payee="bob")


@pytest.mark.usefixtures("working")
async def test_whoever_has_moved_liquidity_can_have_it_go_on_at_once(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    invoice = await too_much(home)
    payment = await client.pay(to_pay(invoice, **WAITS))
    await reaches(payment, PaymentState.AWAITING_LIQUIDITY)
    handle = temporal.get_workflow_handle(ids.payment_id(payment.payment_hash))
    await handle.signal("liquidity_moved", "whatever comes with it")
    view = await notes(payment, "liquidity has moved")
    assert "the autopilot is" in " ".join(view.timeline)
    # It had not: LND says so again, and the wait goes on.
    await reaches(payment, PaymentState.AWAITING_LIQUIDITY)
    await payment.cancel(Cancellation(reason="enough"))
    receipt = await payment.receipt()

    await assert_failed(home, receipt, invoice, receipt.sends)
    assert receipt.sends >= 2


@pytest.mark.usefixtures("working")
async def test_what_somebody_else_has_lnd_pay_meanwhile_is_not_paid_again(
    home: House, client: FulguriteClient
) -> None:
    async with given_back(home):
        invoice = await too_much(home)
        payment = await client.pay(to_pay(invoice, **WAITS))
        await reaches(payment, PaymentState.AWAITING_LIQUIDITY)
        await bob_pays_alice(home, PAID_SAT)
        # Whoever is first: LND lets one of the two pay it.
        with suppress(grpc.aio.AioRpcError):
            await home.network.nodes["alice"].pay(invoice.payment_request)
        receipt = await payment.receipt()

        assert receipt.status is PaymentState.SUCCEEDED
        await assert_true(home, receipt, invoice, payee="bob")


@pytest.mark.usefixtures("working")
async def test_after_its_wait_a_payment_without_a_route_goes_on_as_any_other(
    home: House, client: FulguriteClient
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    request = to_pay(invoice, fee_limit={"msat": 0}, wait_for_liquidity_seconds=2)
    payment = await client.pay(request)
    view = await reaches(payment, PaymentState.BACKING_OFF)
    assert any("AWAITING_LIQUIDITY" in line for line in view.timeline)
    await payment.cancel(Cancellation(reason="enough"))
    receipt = await payment.receipt()

    assert receipt.failure_reason is FailureReason.NO_ROUTE
    assert receipt.sends >= 2
    await assert_true(home, receipt, invoice)


@pytest.mark.usefixtures("working")
async def test_when_its_time_is_over_lnd_is_asked_a_last_time(
    home: House, client: FulguriteClient
) -> None:
    invoice = await too_much(home)
    payment = await client.pay(to_pay(invoice, wait_for_liquidity_seconds=2))

    await assert_failed(home, await payment.receipt(), invoice, sends=2)


@pytest.mark.usefixtures("working")
async def test_the_deadline_ends_the_wait_with_the_verdict_and_no_other_attempt(
    home: House, client: FulguriteClient
) -> None:
    invoice = await too_much(home)
    # The second attempt would be due after five seconds.
    payment = await client.pay(to_pay(invoice, deadline_seconds=4, **WAITS))

    await assert_failed(home, await payment.receipt(), invoice, sends=1)
    assert "no remedy came in time" in (await payment.view()).timeline[-1]


@pytest.mark.usefixtures("working")
async def test_a_cancel_while_it_waits_leaves_the_verdict_standing(
    home: House, client: FulguriteClient
) -> None:
    budget = client.budget(f"patient-{uuid4().hex[:8]}")
    async with given_back(home):
        await budget.set(BudgetPolicy(amount_sat=10_000_000, rolling_seconds=86_400), by="olga")
        invoice = await too_much(home)
        payment = await client.pay(to_pay(invoice, budgets=[budget.name], **WAITS))
        view = await reaches(payment, PaymentState.AWAITING_LIQUIDITY)
        # As between any two attempts.
        assert (await budget.view()).reserved_msat == view.amount_msat + view.fee_limit_msat
        await payment.cancel(Cancellation(reason="enough"))
        # Too late for this payment: nothing more is sent.
        await bob_pays_alice(home, PAID_SAT)

        receipt = await payment.receipt()
        await assert_failed(home, receipt, invoice, receipt.sends)
        assert (await budget.view()).reserved_msat == 0


async def test_a_wait_survives_kill_9_of_its_worker_and_what_comes_meanwhile_counts(
    home: House, client: FulguriteClient
) -> None:
    async with given_back(home):
        invoice = await too_much(home)
        async with home.worker("doomed") as doomed:
            payment = await client.pay(to_pay(invoice, **WAITS))
            await reaches(payment, PaymentState.AWAITING_LIQUIDITY)
            await doomed.kill()
        await bob_pays_alice(home, PAID_SAT)
        async with home.worker("heir"):
            receipt = await payment.receipt()

        assert receipt.status is PaymentState.SUCCEEDED
        await assert_true(home, receipt, invoice, payee="bob")
        if isinstance(home.network, SimulatedNetwork):
            assert home.network.ledger.settled_payments(invoice.payment_hash) == 1
