"""A payment that outgrows one run of its workflow goes on in the next, and is still one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from devnet.house import House
from devnet.node import ACCEPTED
from devnet.temporal import TemporalServer
from devnet.waiting import eventually
from fulgurite import attributes, ids
from fulgurite.payments.requests import Cancellation
from fulgurite.payments.states import PaymentState
from starter.client import FulguriteClient
from starter.connect import connect
from workflows import search_attributes

from .telling import AMOUNT_MSAT, assert_true, ends, reaches, to_pay

# A run of a payment in flight that becomes stuck has eleven events or more.
SUGGEST_AFTER_EVENTS = 10


@pytest.fixture
async def impatient(home: House, tmp_path: Path) -> AsyncIterator[House]:
    """The house with a Temporal that wants a new run after a few events."""
    async with TemporalServer(
        tmp_path,
        search_attributes=attributes.REGISTRY,
        dynamic_config={"limit.historyCount.suggestContinueAsNew": SUGGEST_AFTER_EVENTS},
    ) as temporal:
        settings = home.settings.model_copy(update={"temporal_address": temporal.address})
        yield replace(home, temporal=temporal, settings=settings)


async def test_a_payment_carries_on_over_several_runs(impatient: House) -> None:
    carol = impatient.network.nodes["carol"]
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    temporal = await connect(impatient.settings)
    there = {"FULGURITE_TEMPORAL_ADDRESS": impatient.temporal.address}
    async with impatient.worker("bounded", **there):
        payment = await FulguriteClient(temporal).pay(to_pay(invoice, stuck_after_seconds=1))
        await carol.wait_for_invoice(invoice, ACCEPTED)
        handle = temporal.get_workflow_handle(ids.payment_id(payment.payment_hash))
        first = (await handle.describe()).run_id
        stuck = await reaches(payment, PaymentState.STUCK)
        await payment.cancel(Cancellation(reason="for the next run to remember"))
        # Told that it was heard before it carries on: the next run is a task away.
        await eventually(
            handle.describe, lambda described: described.run_id != first, what="the next run"
        )
        await carol.settle(invoice)
        receipt = await ends(payment)
        view = await payment.view()
        began = await temporal.get_workflow_handle(handle.id, run_id=first).describe()
        last = await handle.describe()

    assert receipt.status is PaymentState.SUCCEEDED
    assert receipt.requested_at == began.start_time
    assert (receipt.sends, receipt.initiated_by_this_run) == (1, True)
    assert view.timeline[: len(stuck.timeline)] == stuck.timeline
    assert view.cancel_requested
    # What operators search by goes from run to run.
    found = last.typed_search_attributes
    assert found[search_attributes.STATE] == "SUCCEEDED"
    assert found[search_attributes.PAYMENT_HASH] == receipt.payment_hash
    await assert_true(impatient, receipt, invoice)
