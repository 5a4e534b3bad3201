"""The courses of a budget, and of payments that it counts."""

from __future__ import annotations

import asyncio
import uuid

from devnet.node import ACCEPTED
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.payments.requests import Cancellation
from fulgurite.payments.states import PaymentState
from starter.budget import Budget, configure_budgets
from tests.replay.recording import Recording, Shape

S = PaymentState
_POLICY = BudgetPolicy(amount_sat=60_000, fee_sat=100, rolling_seconds=86_400)


async def _budget(on: Recording) -> Budget:
    budget = on.client.budget(f"b{uuid.uuid4().hex[:8]}")
    await budget.set(_POLICY, by="ada")
    return budget


async def _counted(on: Recording) -> None:
    invoice = await on.carol.invoice(50_000_000)
    async with on.worker():
        budget = await _budget(on)
        await on.pay(invoice=invoice.payment_request, budgets=[budget.name])
        await on.ends(S.SUCCEEDED)


async def _counted_and_failed(on: Recording) -> None:
    invoice = await on.held()
    async with on.worker():
        budget = await _budget(on)
        await on.pay(invoice=invoice.payment_request, budgets=[budget.name])
        await on.carol.wait_for_invoice(invoice, ACCEPTED)
        await on.carol.cancel(invoice)
        await on.ends(S.FAILED)


async def _over_budget(on: Recording) -> None:
    invoice = await on.carol.invoice(61_000_000)
    async with on.worker():
        budget = await _budget(on)
        await on.pay(invoice=invoice.payment_request, budgets=[budget.name])
        await on.ends(S.OVER_BUDGET)


async def _waited_for_room(on: Recording) -> None:
    held, invoice = await on.held(), await on.carol.invoice(50_000_000)
    async with on.worker():
        budget = await _budget(on)
        await on.pay(invoice=held.payment_request, budgets=[budget.name])
        await on.carol.wait_for_invoice(held, ACCEPTED)
        waits = await on.pay(
            invoice=invoice.payment_request, budgets=[budget.name], wait_for_budget=True
        )
        await eventually(waits.view, lambda view: view.refusal is not None, what="no room")
        await on.carol.cancel(held)
        await on.ends(S.SUCCEEDED)


async def _canceled_while_it_waits_for_room(on: Recording) -> None:
    invoice = await on.carol.invoice(50_000_000)
    async with on.worker():
        budget = await _budget(on)
        held = await on.held()
        await on.pay(invoice=held.payment_request, budgets=[budget.name])
        await on.carol.wait_for_invoice(held, ACCEPTED)
        waits = await on.pay(
            invoice=invoice.payment_request, budgets=[budget.name], wait_for_budget=True
        )
        await eventually(waits.view, lambda view: view.refusal is not None, what="no room")
        await waits.cancel(Cancellation())
        await on.ends(S.CANCELED)
        await on.carol.cancel(held)


async def _kept(on: Recording) -> None:
    """A budget that is configured, spent from until it is low, asked too much, and set anew."""
    async with on.worker():
        budget = await _budget(on)
        await configure_budgets(on.temporal, {budget.name: _POLICY})
        for amount_msat, end in ((50_000_000, S.SUCCEEDED), (58_000_000, S.OVER_BUDGET)):
            invoice = await on.carol.invoice(amount_msat)
            await on.pay(invoice=invoice.payment_request, budgets=[budget.name])
            await on.ends(end)
        await budget.set(BudgetPolicy(amount_sat=0), by="ada")
    on.keep(ids.budget_id(budget.name))


async def _kept_over_runs(on: Recording) -> None:
    async with on.worker():
        budget = await _budget(on)
        for number in range(3):
            await budget.set(BudgetPolicy(amount_sat=60_000 + number), by="ada")
            invoice = await on.carol.invoice(10_000_000)
            payment = await on.pay(invoice=invoice.payment_request, budgets=[budget.name])
            await asyncio.wait_for(payment.receipt(), 60)
        assert (await budget.view()).holders == 0  # the last run has begun, too
    on.keep(ids.budget_id(budget.name))


SHAPES = (
    Shape("counted-by-a-budget", _counted),
    Shape("counted-and-failed", _counted_and_failed),
    Shape("over-budget", _over_budget),
    Shape("waited-for-room", _waited_for_room),
    Shape("canceled-while-it-waits-for-room", _canceled_while_it_waits_for_room),
    Shape("budget-kept", _kept),
    Shape("budget-kept-over-runs", _kept_over_runs, impatient=True),
)
