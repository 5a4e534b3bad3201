"""Receive, hold, pay, take: on a real Temporal, and what became of the money to the msat."""

from __future__ import annotations

import asyncio

import pytest
from temporalio.client import Client

from devnet.house import House
from devnet.node import ACCEPTED, CANCELED, OPEN, SETTLED
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.invoices.receipts import InvoiceView
from fulgurite.invoices.states import InvoiceState
from fulgurite.payments.states import FailureReason, PaymentState
from fulgurite.relays.receipts import RelayWarning
from fulgurite.relays.requests import RelayCancellation
from fulgurite.relays.states import RelayState
from protos.lnrpc import lightning_pb2
from workflows import search_attributes
from workflows.relay import RelayWorkflow

from .telling import (
    AMOUNT_MSAT,
    ASKED_MSAT,
    FEE_LIMIT_MSAT,
    NO_RETRY_SECONDS,
    OUR_FEE_MSAT,
    SIMULATED_ONLY,
    LndPayment,
    a_relay,
    ask,
    earned,
    hash_of,
    nothing_moved,
    paid_by,
    payment_is,
    sends_of,
)

pytestmark = pytest.mark.usefixtures("working", "oracle")


async def test_what_comes_in_is_taken_when_what_goes_out_is_paid(
    home: House, temporal: Client
) -> None:
    alice, bob, carol = (home.network.nodes[name] for name in ("alice", "bob", "carol"))
    invoice = await carol.invoice(AMOUNT_MSAT)
    relay = await ask(temporal, a_relay(invoice), invoice)
    paid = await paid_by(alice, relay)
    receipt = await relay.receipt()

    assert (receipt.status, receipt.warnings) == (RelayState.SETTLED, ())
    assert (paid.status, paid.value_msat) == (LndPayment.SUCCEEDED, ASKED_MSAT)
    assert paid.payment_preimage == invoice.preimage.hex()
    assert (receipt.received_msat, receipt.paid_msat) == (ASKED_MSAT, AMOUNT_MSAT)
    assert receipt.kept_msat == FEE_LIMIT_MSAT + OUR_FEE_MSAT
    assert receipt.payment is not None
    assert receipt.payment.initiated_by_this_run
    assert (await bob.lookup(invoice)).state == SETTLED
    assert (await carol.lookup(invoice)).amt_paid_msat == AMOUNT_MSAT
    if isinstance(home.network, SimulatedNetwork):
        assert earned(home, "alice", invoice) == -ASKED_MSAT
        assert earned(home, "bob", invoice) == receipt.kept_msat
        assert earned(home, "carol", invoice) == AMOUNT_MSAT
    found = (await relay.handle.describe()).typed_search_attributes
    assert found[search_attributes.STATE] == "SETTLED"
    assert found[search_attributes.PAYMENT_HASH] == hash_of(invoice)
    assert found[search_attributes.AMOUNT_MSAT] == ASKED_MSAT


@SIMULATED_ONLY
async def test_one_node_may_receive_and_another_pay(
    home: House, temporal: Client, simulated: SimulatedNetwork
) -> None:
    """Routing fees are paid out of what came in, and the ledger has every hop."""
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    request = a_relay(invoice, {"node": "bob"}, {"node": "alice"})
    relay = await ask(temporal, request, invoice)
    simulated.receive("bob", invoice.payment_hash)
    receipt = await relay.receipt()

    assert receipt.status is RelayState.SETTLED
    assert receipt.payment is not None
    fee_msat = receipt.payment.fee_msat
    assert fee_msat > 0
    assert receipt.kept_msat == ASKED_MSAT - AMOUNT_MSAT - fee_msat
    assert earned(home, "alice", invoice) == -AMOUNT_MSAT - fee_msat
    # Bob receives, and forwards for alice.
    assert earned(home, "bob", invoice) == ASKED_MSAT + fee_msat
    assert earned(home, "outside", invoice) == -ASKED_MSAT


async def test_what_came_in_goes_back_when_what_goes_out_fails(
    home: House, temporal: Client
) -> None:
    alice, bob, carol = (home.network.nodes[name] for name in ("alice", "bob", "carol"))
    invoice = await carol.invoice(AMOUNT_MSAT)
    relay = await ask(temporal, a_relay(invoice), invoice)
    # The payee wants it no more.
    await carol.cancel(invoice)
    paid = await paid_by(alice, relay)
    receipt = await relay.receipt()

    assert (receipt.status, receipt.kept_msat) == (RelayState.CANCELED, 0)
    assert receipt.payment is not None
    assert receipt.payment.failure_reason is FailureReason.INCORRECT_PAYMENT_DETAILS
    assert paid.status == LndPayment.FAILED
    assert (await bob.lookup(invoice)).state == CANCELED
    if isinstance(home.network, SimulatedNetwork):
        assert nothing_moved(home, invoice)
        assert sends_of(home, "bob", invoice) == 1


@pytest.mark.parametrize("settles", [True, False])
async def test_it_stays_held_past_its_time_until_the_payment_has_a_verdict(
    home: House, temporal: Client, settles: bool
) -> None:
    alice, bob, carol = (home.network.nodes[name] for name in ("alice", "bob", "carol"))
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    request = a_relay(invoice, outgoing={"deadline_seconds": 4, "stuck_after_seconds": 1})
    relay = await ask(temporal, request, invoice)
    paying = paid_by(alice, relay)
    await carol.wait_for_invoice(invoice, ACCEPTED)
    upstream = temporal.get_workflow_handle(ids.invoice_id(hash_of(invoice)))
    late = await eventually(
        lambda: upstream.query("view", result_type=InvoiceView),
        lambda view: any("nobody decided in time: KEEP" in line for line in view.timeline),
        what="an upstream that nobody decided about in its time",
    )
    assert late.state is InvoiceState.ACCEPTED
    assert (await bob.lookup(invoice)).state == ACCEPTED
    assert (await relay.view()).state is RelayState.PAYING
    assert not paying.done()

    await (carol.settle if settles else carol.cancel)(invoice)
    receipt = await relay.receipt()
    assert receipt.status is (RelayState.SETTLED if settles else RelayState.CANCELED)
    assert (await paying).status == (LndPayment.SUCCEEDED if settles else LndPayment.FAILED)
    assert receipt.kept_msat == (ASKED_MSAT - AMOUNT_MSAT if settles else 0)


async def test_nobody_pays_and_nothing_is_sent(home: House, temporal: Client) -> None:
    bob, carol = home.network.nodes["bob"], home.network.nodes["carol"]
    invoice = await carol.invoice(AMOUNT_MSAT)
    relay = await ask(temporal, a_relay(invoice, {"expiry_seconds": 2}), invoice)
    receipt = await relay.receipt()

    assert (receipt.status, receipt.payment) == (RelayState.EXPIRED, None)
    assert await bob.payment(invoice.payment_hash) is None
    assert (await bob.lookup(invoice)).state == CANCELED


async def test_one_that_is_called_off_can_be_paid_no_more(home: House, temporal: Client) -> None:
    alice, bob, carol = (home.network.nodes[name] for name in ("alice", "bob", "carol"))
    invoice = await carol.invoice(AMOUNT_MSAT)
    relay = await ask(temporal, a_relay(invoice), invoice)
    view = await relay.handle.execute_update(RelayWorkflow.cancel, RelayCancellation(by="an op"))
    receipt = await relay.receipt()
    paid = await paid_by(alice, relay)

    assert view.cancel_requested
    assert (receipt.status, receipt.payment) == (RelayState.CANCELED, None)
    assert paid.status == LndPayment.FAILED
    assert await bob.payment(invoice.payment_hash) is None
    assert (await carol.lookup(invoice)).state == OPEN


@pytest.mark.parametrize("by_temporal", [True, False])
async def test_a_cancel_in_flight_stops_nothing_that_lnd_has(
    home: House, temporal: Client, by_temporal: bool
) -> None:
    alice, carol = home.network.nodes["alice"], home.network.nodes["carol"]
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    relay = await ask(temporal, a_relay(invoice), invoice)
    paying = paid_by(alice, relay)
    await carol.wait_for_invoice(invoice, ACCEPTED)
    if by_temporal:
        await relay.handle.cancel()
    else:
        await relay.handle.execute_update(RelayWorkflow.cancel, RelayCancellation(by="an op"))
    await relay.notes("cancel requested")
    await carol.settle(invoice)
    receipt = await relay.receipt()

    assert (receipt.status, receipt.warnings) == (RelayState.SETTLED, ())
    assert (await paying).status == LndPayment.SUCCEEDED


@SIMULATED_ONLY
async def test_a_cancel_between_two_attempts_is_the_last_word_on_more_of_them(
    home: House, temporal: Client, simulated: SimulatedNetwork
) -> None:
    """The payment is told too: its verdict stands, and what is held goes back."""
    alice, carol = home.network.nodes["alice"], home.network.nodes["carol"]
    simulated.faults.end_next_payment("bob", lightning_pb2.FAILURE_REASON_NO_ROUTE, times=100)
    invoice = await carol.invoice(AMOUNT_MSAT)
    relay = await ask(temporal, a_relay(invoice), invoice)
    paying = paid_by(alice, relay)
    await payment_is(temporal, invoice, PaymentState.BACKING_OFF)
    await relay.handle.execute_update(RelayWorkflow.cancel, RelayCancellation(by="an op"))
    receipt = await relay.receipt()

    assert receipt.status is RelayState.CANCELED
    assert receipt.payment is not None
    assert receipt.payment.status is PaymentState.FAILED
    assert (await paying).status == LndPayment.FAILED
    assert nothing_moved(home, invoice)


@SIMULATED_ONLY
@pytest.mark.parametrize("settles", [True, False])
async def test_a_loss_that_threatens_is_told_and_the_verdict_awaited(
    home: House, temporal: Client, settles: bool
) -> None:
    """Somebody has LND give upstream back while downstream is in flight."""
    alice, bob, carol = (home.network.nodes[name] for name in ("alice", "bob", "carol"))
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    relay = await ask(temporal, a_relay(invoice), invoice)
    paying = paid_by(alice, relay)
    await carol.wait_for_invoice(invoice, ACCEPTED)
    await relay.reaches(RelayState.PAYING)
    await bob.cancel(invoice)
    loud = await relay.reaches(RelayState.LOSS_POSSIBLE)
    assert loud.warnings == (RelayWarning.LOSS_POSSIBLE,)
    assert (await paying).status == LndPayment.FAILED
    found = (await relay.handle.describe()).typed_search_attributes
    assert found[search_attributes.STATE] == "LOSS_POSSIBLE"

    await (carol.settle if settles else carol.cancel)(invoice)
    receipt = await relay.receipt()
    assert receipt.status is (RelayState.LOST if settles else RelayState.CANCELED)
    assert receipt.kept_msat == earned(home, "bob", invoice) == (-AMOUNT_MSAT if settles else 0)
    lost = (RelayWarning.LOSS_POSSIBLE, RelayWarning.LOST)
    assert receipt.warnings == (lost if settles else lost[:1])


@SIMULATED_ONLY
async def test_no_route_is_taken_that_could_end_after_what_is_held(
    home: House, temporal: Client, simulated: SimulatedNetwork
) -> None:
    """As few blocks as a payee next door needs: none are left for a node in between."""
    carol = home.network.nodes["carol"]
    for node, reached in (("bob", True), ("alice", False)):
        invoice = await carol.invoice(AMOUNT_MSAT)
        request = a_relay(
            invoice,
            {"node": "bob", "cltv_expiry_blocks": 148},
            {"node": node, "deadline_seconds": 60 if reached else NO_RETRY_SECONDS},
        )
        relay = await ask(temporal, request, invoice)
        simulated.receive("bob", invoice.payment_hash)
        receipt = await relay.receipt()
        assert receipt.status is (RelayState.SETTLED if reached else RelayState.CANCELED)
        if not reached:
            assert receipt.payment is not None
            assert receipt.payment.failure_reason is FailureReason.NO_ROUTE


@SIMULATED_ONLY
async def test_the_same_request_attaches_and_gives_the_same_answer(
    home: House, temporal: Client, simulated: SimulatedNetwork
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    relays = await asyncio.gather(*(ask(temporal, a_relay(invoice), invoice) for _ in range(5)))
    simulated.receive("bob", invoice.payment_hash)
    receipts = [await each.receipt() for each in relays]

    assert len({each.payment_request for each in relays}) == 1
    assert len(set(map(str, receipts))) == 1
    assert sends_of(home, "bob", invoice) == 1
