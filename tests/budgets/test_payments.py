"""Payments against a budget, with everything real but, on one of the networks, the money."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from devnet.house import House, WorkerProcess
from devnet.node import ACCEPTED
from devnet.waiting import eventually
from fulgurite.budgets.policy import BudgetPolicy, BudgetState
from fulgurite.payments.requests import PaymentRequest
from fulgurite.payments.states import PaymentState
from starter.client import FulguriteClient
from starter.payment import Payment

from .asking import stands

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("oracle")]
S = PaymentState


@asynccontextmanager
async def guarded(home: House, policy: str) -> AsyncIterator[WorkerProcess]:
    """A worker in whose configuration stands one line more."""
    async with home.worker(FULGURITE_NODES__ALICE__PAYMENT_BUDGET=policy) as worker:
        yield worker


def asked(invoice: str, **more: Any) -> PaymentRequest:
    fields = {"node": "alice", "invoice": invoice, "fee_limit": {"sat": 10}}
    return PaymentRequest.model_validate(fields | more)


async def pay(home: House, client: FulguriteClient, sat: int, **more: Any) -> Payment:
    invoice = await home.network.nodes["carol"].invoice(sat * 1_000)
    return await client.pay(asked(invoice.payment_request, **more))


async def test_one_line_of_configuration_bounds_what_a_node_pays_whoever_asks(
    home: House, client: FulguriteClient
) -> None:
    line = json.dumps({"amount_sat": 10_000, "rolling_seconds": 86_400})
    async with guarded(home, line):
        budget = client.budget("alice-payments")
        paid = await (await pay(home, client, 6_000)).receipt()
        assert (paid.status, paid.budgets) == (S.SUCCEEDED, ("alice-payments",))

        refused = await (await pay(home, client, 5_000)).receipt()
        assert refused.status is S.OVER_BUDGET
        assert refused.refusal is not None
        assert refused.refusal.frees_at is not None
        assert not await home.network.nodes["alice"].payment(bytes.fromhex(refused.payment_hash))

        view = await budget.view()
        assert view.spent_msat == 6_000_000 + paid.fee_msat
        assert (view.holders, view.reserved_msat) == (0, 0)

        # One that nobody has set lets nothing leave (invariant 12).
        unset = await (await pay(home, client, 1_000, budgets=["nobody-set-this"])).receipt()
        assert unset.status is S.OVER_BUDGET
        assert not await home.network.nodes["alice"].payment(bytes.fromhex(unset.payment_hash))
        assert (await client.budget("nobody-set-this").view()).state is BudgetState.NOT_SET

        # A person raises it, and the same invoice is asked for again.
        await budget.set(BudgetPolicy(amount_sat=20_000), by="ada")
        again = await (await pay(home, client, 5_000)).receipt()
        assert again.status is S.SUCCEEDED


async def test_a_held_payment_counts_through_every_crash_until_its_verdict(
    home: House, client: FulguriteClient
) -> None:
    """Incident G, on the whole stack: worker and Temporal die while it is in flight."""
    carol, name = home.network.nodes["carol"], f"b{uuid.uuid4().hex[:8]}"
    async with home.worker() as worker:
        budget = client.budget(name)
        await budget.set(BudgetPolicy(amount_sat=10_000, rolling_seconds=86_400), by="ada")
        invoice = await carol.hold_invoice(8_000_000)
        held = await client.pay(asked(invoice.payment_request, budgets=[name], deadline_seconds=2))
        await carol.wait_for_invoice(invoice, ACCEPTED)
        await worker.kill()
        await home.temporal.kill()
        await home.temporal.start()
        await worker.start()
        view = await stands(client, name)
        assert (view.holders, view.reserved_msat) == (1, 8_010_000)
        assert view.oldest[0].holder == f"payment/{held.payment_hash}@alice"

        # The one that waits for room is paid once there is some: when the first goes back.
        waiting = await pay(home, client, 5_000, budgets=[name], wait_for_budget=True)
        await eventually(
            waiting.view, lambda seen: seen.refusal is not None, what="one that waits for room"
        )
        await carol.cancel(invoice)
        assert (await held.receipt()).status is S.FAILED
        paid = await waiting.receipt()
        assert paid.status is S.SUCCEEDED
        view = await budget.view()
        assert (view.holders, view.spent_msat) == (0, 5_000_000 + paid.fee_msat)


async def test_many_at_once_while_the_worker_dies_spend_no_more_than_there_is(
    home: House, client: FulguriteClient
) -> None:
    """Incidents F and M."""
    name = f"b{uuid.uuid4().hex[:8]}"
    async with home.worker() as worker:
        budget = client.budget(name)
        await budget.set(BudgetPolicy(amount_sat=10_100, rolling_seconds=86_400), by="ada")
        payments = await asyncio.gather(
            *(pay(home, client, 1_000, budgets=[name]) for _ in range(25))
        )
        ending = [asyncio.create_task(payment.receipt()) for payment in payments]
        await stands(client, name, lambda seen: seen.spent_msat + seen.reserved_msat > 3_000_000)
        await worker.kill()
        await worker.start()
        receipts = await asyncio.gather(*ending)
        paid = [receipt for receipt in receipts if receipt.status is S.SUCCEEDED]
        assert {receipt.status for receipt in receipts} == {S.SUCCEEDED, S.OVER_BUDGET}
        assert len(paid) == 10
        view = await budget.view()
        left = sum(receipt.amount_msat + receipt.fee_msat for receipt in paid)
        assert (view.holders, view.spent_msat) == (0, left)
        assert left <= 10_100_000
