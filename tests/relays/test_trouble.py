"""Whoever dies, is ended by force or comes in between: nothing is lost, nothing is paid twice."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from temporalio.client import Client

from devnet.house import House
from devnet.node import ACCEPTED, SETTLED
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import Refuse
from devnet.temporal import TemporalServer
from fulgurite import attributes, ids
from fulgurite.payments.requests import PaymentRequest
from fulgurite.payments.states import PaymentState
from fulgurite.relays.receipts import RelayWarning
from fulgurite.relays.states import RelayState
from starter.client import FulguriteClient
from starter.connect import connect

from .telling import (
    AMOUNT_MSAT,
    ASKED_MSAT,
    SIMULATED_ONLY,
    LndPayment,
    a_relay,
    ask,
    earned,
    hash_of,
    held,
    nothing_moved,
    paid_by,
    payment_is,
    sends_of,
)

pytestmark = [SIMULATED_ONLY, pytest.mark.usefixtures("oracle")]

KEPT_MSAT = ASKED_MSAT - AMOUNT_MSAT
# A run of a relay whose payment is in flight has more events than this.
SUGGEST_AFTER_EVENTS = 40


async def test_the_worker_dies_between_the_payment_and_the_settlement(
    home: House, temporal: Client, simulated: SimulatedNetwork
) -> None:
    """The preimage is in the history by then: whoever takes over has it."""
    alice, bob, carol = (home.network.nodes[name] for name in ("alice", "bob", "carol"))
    invoice = await carol.invoice(AMOUNT_MSAT)
    async with home.worker("doomed") as doomed:
        simulated.faults.add("bob", "SettleInvoice", Refuse(), times=1_000)
        relay = await ask(temporal, a_relay(invoice), invoice)
        paying = paid_by(alice, relay)
        await relay.reaches(RelayState.SETTLING)
        await doomed.kill()
    assert (await carol.lookup(invoice)).state == SETTLED
    assert (await bob.lookup(invoice)).state == ACCEPTED
    simulated.faults.clear()
    async with home.worker("heir"):
        receipt = await relay.receipt()

    assert (receipt.status, receipt.warnings) == (RelayState.SETTLED, ())
    assert receipt.kept_msat == earned(home, "bob", invoice) == KEPT_MSAT
    assert (await paying).status == LndPayment.SUCCEEDED
    assert sends_of(home, "bob", invoice) == 1


async def test_the_worker_dies_while_the_payment_is_in_flight_and_it_ends_meanwhile(
    home: House, temporal: Client
) -> None:
    alice, carol = home.network.nodes["alice"], home.network.nodes["carol"]
    invoices = [await carol.hold_invoice(AMOUNT_MSAT) for _ in range(2)]
    async with home.worker("doomed") as doomed:
        relays = [await ask(temporal, a_relay(each), each) for each in invoices]
        paying = [paid_by(alice, each) for each in relays]
        for invoice in invoices:
            await carol.wait_for_invoice(invoice, ACCEPTED)
        await doomed.kill()
    await carol.settle(invoices[0])
    await carol.cancel(invoices[1])
    async with home.worker("heir"):
        receipts = [await each.receipt() for each in relays]

    assert [each.status for each in receipts] == [RelayState.SETTLED, RelayState.CANCELED]
    assert [each.kept_msat for each in receipts] == [KEPT_MSAT, 0]
    assert [(await each).status for each in paying] == [LndPayment.SUCCEEDED, LndPayment.FAILED]
    assert [sends_of(home, "bob", each) for each in invoices] == [1, 1]


async def test_nothing_is_sent_when_too_few_blocks_are_left(home: House, temporal: Client) -> None:
    """It was paid while nobody looked, and blocks were found before somebody did."""
    alice, carol = home.network.nodes["alice"], home.network.nodes["carol"]
    invoice = await carol.invoice(AMOUNT_MSAT)
    async with home.worker("first"):
        request = a_relay(invoice, {"cltv_expiry_blocks": 148})
        relay = await ask(temporal, request, invoice)
    paying = paid_by(alice, relay)
    await held(home.network.nodes["bob"], relay)
    await home.network.mine(10)
    async with home.worker("second"):
        receipt = await relay.receipt()
        view = await relay.view()

    assert receipt.status is RelayState.CANCELED
    assert receipt.payment is not None
    assert receipt.payment.status is PaymentState.EXPIRED
    assert view.cltv_limit_blocks is None
    assert sends_of(home, "bob", invoice) == 0
    assert (await paying).status == LndPayment.FAILED
    assert nothing_moved(home, invoice)


@pytest.fixture
async def impatient(home: House, tmp_path: Path) -> AsyncIterator[House]:
    """The house with a Temporal that wants a new run after a few events."""
    async with TemporalServer(
        tmp_path,
        search_attributes=attributes.REGISTRY,
        dynamic_config={"limit.historyCount.suggestContinueAsNew": SUGGEST_AFTER_EVENTS},
    ) as server:
        settings = home.settings.model_copy(update={"temporal_address": server.address})
        yield replace(home, temporal=server, settings=settings)


async def test_a_relay_carries_on_over_several_runs(impatient: House) -> None:
    """In a new run nobody hears of the payment's end: LND is asked, and the preimage found."""
    alice, carol = impatient.network.nodes["alice"], impatient.network.nodes["carol"]
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    temporal = await connect(impatient.settings)
    there = {"FULGURITE_TEMPORAL_ADDRESS": impatient.temporal.address}
    async with impatient.worker("bounded", **there):
        relay = await ask(temporal, a_relay(invoice), invoice)
        first = (await relay.handle.describe()).run_id
        paying = paid_by(alice, relay)
        await carol.wait_for_invoice(invoice, ACCEPTED)
        await relay.notes("another workflow pays this hash")
        assert (await relay.handle.describe()).run_id != first
        await carol.settle(invoice)
        receipt = await relay.receipt()

    assert (receipt.status, receipt.kept_msat) == (RelayState.SETTLED, KEPT_MSAT)
    # It knows that it had begun this payment before.
    assert receipt.warnings == ()
    assert (await paying).status == LndPayment.SUCCEEDED
    assert sends_of(impatient, "bob", invoice) == 1


@pytest.mark.usefixtures("working")
async def test_a_relay_that_was_ended_by_force_goes_on_when_it_is_asked_for_again(
    home: House, temporal: Client
) -> None:
    alice, carol = home.network.nodes["alice"], home.network.nodes["carol"]
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    first = await ask(temporal, a_relay(invoice), invoice)
    paying = paid_by(alice, first)
    await carol.wait_for_invoice(invoice, ACCEPTED)
    await first.handle.terminate("a test")
    again = await ask(temporal, a_relay(invoice), invoice)
    await again.notes("another workflow pays this hash")
    await carol.settle(invoice)
    receipt = await again.receipt()

    assert again.payment_request == first.payment_request
    assert (receipt.status, receipt.kept_msat) == (RelayState.SETTLED, KEPT_MSAT)
    assert receipt.warnings == ()
    assert (await paying).status == LndPayment.SUCCEEDED
    assert sends_of(home, "bob", invoice) == 1


@pytest.mark.usefixtures("working")
async def test_it_settles_without_the_invoices_workflow(home: House, temporal: Client) -> None:
    """Somebody has ended it by force: LND takes the same order from the relay."""
    alice, bob, carol = (home.network.nodes[name] for name in ("alice", "bob", "carol"))
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    relay = await ask(temporal, a_relay(invoice), invoice)
    paying = paid_by(alice, relay)
    await carol.wait_for_invoice(invoice, ACCEPTED)
    await temporal.get_workflow_handle(ids.invoice_id(hash_of(invoice))).terminate("a test")
    await carol.settle(invoice)
    receipt = await relay.receipt()

    assert (receipt.status, receipt.kept_msat) == (RelayState.SETTLED, KEPT_MSAT)
    assert (await bob.lookup(invoice)).state == SETTLED
    assert (await paying).status == LndPayment.SUCCEEDED


@pytest.mark.usefixtures("working")
async def test_a_payment_that_was_ended_by_force_is_asked_about_and_nothing_goes_back(
    home: House, temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("workflows.relay._AFTER_FORCE", timedelta(seconds=3))
    monkeypatch.setattr("activities.relays._ARRIVES", timedelta(seconds=3))
    alice, bob, carol = (home.network.nodes[name] for name in ("alice", "bob", "carol"))
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    relay = await ask(temporal, a_relay(invoice), invoice)
    paying = paid_by(alice, relay)
    await payment_is(temporal, invoice, PaymentState.IN_FLIGHT)
    await temporal.get_workflow_handle(ids.payment_id(hash_of(invoice))).terminate("a test")
    await relay.notes("ended without a verdict")
    assert (await bob.lookup(invoice)).state == ACCEPTED
    await payment_is(temporal, invoice, PaymentState.IN_FLIGHT)
    await carol.settle(invoice)
    receipt = await relay.receipt()

    assert (receipt.status, receipt.kept_msat) == (RelayState.SETTLED, KEPT_MSAT)
    assert (await paying).status == LndPayment.SUCCEEDED
    assert sends_of(home, "bob", invoice) == 1


@pytest.mark.usefixtures("working")
@pytest.mark.parametrize("settles", [True, False])
async def test_somebody_else_pays_the_hash_meanwhile(
    home: House, temporal: Client, client: FulguriteClient, settles: bool
) -> None:
    """What comes in stays held until that has ended, and LND's word on it decides."""
    alice, carol = home.network.nodes["alice"], home.network.nodes["carol"]
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    relay = await ask(temporal, a_relay(invoice), invoice)
    theirs = await client.pay(
        PaymentRequest.model_validate(
            {"node": "bob", "invoice": invoice.payment_request, "fee_limit": {"sat": 10}}
        )
    )
    await carol.wait_for_invoice(invoice, ACCEPTED)
    paying = paid_by(alice, relay)
    await relay.notes("another workflow pays this hash")
    assert not paying.done()
    await (carol.settle if settles else carol.cancel)(invoice)
    await theirs.receipt()
    receipt = await relay.receipt()

    if settles:
        assert (receipt.status, receipt.kept_msat) == (RelayState.SETTLED, KEPT_MSAT)
        assert receipt.warnings == (RelayWarning.PAID_BY_ANOTHER,)
    else:
        assert (receipt.status, receipt.kept_msat) == (RelayState.CANCELED, 0)
    assert (await paying).status == (LndPayment.SUCCEEDED if settles else LndPayment.FAILED)
