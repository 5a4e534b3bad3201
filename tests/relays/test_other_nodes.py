"""Another node of ours has the hash: its word is its own, and nobody else's FAILED is about it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError

from activities.relays import RelayActivities
from devnet.house import House
from devnet.node import ACCEPTED, SETTLED, TestInvoice
from devnet.simulated import SimulatedNetwork
from fulgurite import ids
from fulgurite.identity import PaymentHash
from fulgurite.payments.requests import PaymentRequest
from fulgurite.payments.states import PaymentState
from fulgurite.relays.receipts import RelayWarning
from fulgurite.relays.states import RelayState
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient
from starter.payment import Payment

from .telling import (
    AMOUNT_MSAT,
    ASKED_MSAT,
    SIMULATED_ONLY,
    LndPayment,
    Relay,
    a_relay,
    ask,
    earned,
    hash_of,
    paid_by,
    payment_is,
    sends_of,
)

pytestmark = [SIMULATED_ONLY, pytest.mark.usefixtures("working", "oracle")]


async def pay_from(client: FulguriteClient, node: str, invoice: TestInvoice) -> Payment:
    """As `fulgurite pay --node` does, beside any relay."""
    request = {"node": node, "invoice": invoice.payment_request, "fee_limit": {"sat": 100}}
    return await client.pay(PaymentRequest.model_validate(request))


async def refusal(temporal: Client, invoice: TestInvoice, node: str) -> ApplicationError:
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await ask(temporal, a_relay(invoice, outgoing={"node": node}), invoice)
    assert isinstance(refused.value.cause, ApplicationError)
    return refused.value.cause


async def told(relay: Relay) -> tuple[RelayState, tuple[RelayWarning, ...]]:
    receipt = await relay.receipt()
    return receipt.status, receipt.warnings


async def test_a_relay_is_not_asked_for_again_from_another_node(
    home: House, temporal: Client
) -> None:
    """That one's LND knows nothing of what the first has in flight, and would say FAILED."""
    alice, bob, carol = (home.network.nodes[name] for name in ("alice", "bob", "carol"))
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    first = await ask(temporal, a_relay(invoice), invoice)
    paying = paid_by(alice, first)
    await carol.wait_for_invoice(invoice, ACCEPTED)
    await first.handle.terminate("a test")
    cause = await refusal(temporal, invoice, "alice")

    assert cause.type == "KeyReusedError"
    assert "pays from another node" in cause.message
    assert (await bob.lookup(invoice)).state == ACCEPTED
    again = await ask(temporal, a_relay(invoice), invoice)
    await carol.settle(invoice)
    assert await told(again) == (RelayState.SETTLED, ())
    assert (await paying).status == LndPayment.SUCCEEDED
    assert sends_of(home, "alice", invoice) == 1


@pytest.mark.parametrize("by_force", [False, True])
@pytest.mark.parametrize("settles", [True, False])
async def test_who_pays_from_another_node_beside_a_relay_is_waited_for_and_asked(
    home: House,
    temporal: Client,
    client: FulguriteClient,
    *,
    simulated: SimulatedNetwork,
    monkeypatch: pytest.MonkeyPatch,
    settles: bool,
    by_force: bool,
) -> None:
    monkeypatch.setattr("activities.relays._ARRIVES", timedelta(0))
    bob, carol = home.network.nodes["bob"], home.network.nodes["carol"]
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    relay = await ask(temporal, a_relay(invoice, outgoing={"deadline_seconds": 60}), invoice)
    await pay_from(client, "alice", invoice)
    await carol.wait_for_invoice(invoice, ACCEPTED)
    if by_force:
        await payment_is(temporal, invoice, PaymentState.IN_FLIGHT)
        await temporal.get_workflow_handle(ids.payment_id(hash_of(invoice))).terminate("a test")
    simulated.receive("bob", invoice.payment_hash)
    await relay.reaches(RelayState.PAYING)
    await (carol.settle if settles else carol.cancel)(invoice)

    # Where theirs has failed the relay pays, and is told the same by the payee.
    status = RelayState.SETTLED if settles else RelayState.CANCELED
    assert await told(relay) == (status, (RelayWarning.PAID_BY_ANOTHER,) if settles else ())
    assert sends_of(home, "bob", invoice) == (0 if settles else 1)
    assert ((await bob.lookup(invoice)).state == SETTLED) is settles
    if settles:
        assert earned(home, "outside", invoice) == -ASKED_MSAT


async def test_who_pays_just_after_it_was_looked_for_is_not_missed(
    home: House,
    temporal: Client,
    client: FulguriteClient,
    simulated: SimulatedNetwork,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It begins and ends between the relay's look and its payment."""
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    relay = await ask(temporal, a_relay(invoice), invoice)
    look, looks = RelayActivities._invoice_key, 0

    async def then_somebody_pays(self: RelayActivities, payment_hash: PaymentHash) -> str | None:
        nonlocal looks
        looks += 1
        key = await look(self, payment_hash)
        if looks == 1:
            await (await pay_from(client, "alice", invoice)).receipt()
        return key

    monkeypatch.setattr(RelayActivities, "_invoice_key", then_somebody_pays)
    simulated.receive("bob", invoice.payment_hash)

    assert await told(relay) == (RelayState.SETTLED, (RelayWarning.PAID_BY_ANOTHER,))
    assert sends_of(home, "bob", invoice) == 0


async def test_what_another_node_has_paid_is_not_paid_for_again(
    home: House, temporal: Client, client: FulguriteClient
) -> None:
    """Also where a third one has been told since that it cannot be paid."""
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    await (await pay_from(client, "alice", invoice)).receipt()
    for _ in range(2):
        cause = await refusal(temporal, invoice, "bob")
        assert "alice has this payment already" in cause.message
        receipt = await (await pay_from(client, "bob", invoice)).receipt()
        assert receipt.status is PaymentState.FAILED


async def test_a_payment_that_an_earlier_relay_has_begun_sends_no_more_when_upstream_is_gone(
    home: House, temporal: Client, simulated: SimulatedNetwork
) -> None:
    alice, bob, carol = (home.network.nodes[name] for name in ("alice", "bob", "carol"))
    simulated.faults.end_next_payment("bob", lightning_pb2.FAILURE_REASON_NO_ROUTE, times=1)
    invoice = await carol.invoice(AMOUNT_MSAT)
    first = await ask(temporal, a_relay(invoice), invoice)
    paying = paid_by(alice, first)
    await payment_is(temporal, invoice, PaymentState.BACKING_OFF)
    await first.handle.terminate("a test")
    await bob.cancel(invoice)
    again = await ask(temporal, a_relay(invoice), invoice)

    assert await told(again) == (RelayState.CANCELED, (RelayWarning.LOSS_POSSIBLE,))
    assert (await paying).status == LndPayment.FAILED
    assert sends_of(home, "bob", invoice) == 1
    assert earned(home, "bob", invoice) == 0
