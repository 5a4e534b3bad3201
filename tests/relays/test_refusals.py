"""What cannot end well is refused before anybody is given anything to pay."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from temporalio.client import Client, WorkflowUpdateFailedError
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from devnet.house import House
from devnet.node import OPEN, TestInvoice
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.invoices.requests import InvoiceRequest
from fulgurite.payments.requests import PaymentRequest
from starter.client import FulguriteClient
from workflows.relay import RelayWorkflow

from .telling import (
    AMOUNT_MSAT,
    SIMULATED_ONLY,
    Relay,
    a_relay,
    ask,
    hash_of,
    nothing_moved,
)

pytestmark = [SIMULATED_ONLY, pytest.mark.usefixtures("working", "oracle")]


async def refusal(asking: Awaitable[Relay]) -> ApplicationError:
    """Why the payer was given nothing."""
    with pytest.raises(WorkflowUpdateFailedError) as refused:
        await asking
    assert isinstance(refused.value.cause, ApplicationError)
    return refused.value.cause


Given = tuple[TestInvoice, dict[str, Any], dict[str, Any]]


async def expires_too_soon(home: House) -> Given:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT, expiry_seconds=700)
    return invoice, {"expiry_seconds": 600}, {}


async def names_no_amount(home: House) -> Given:
    return await home.network.nodes["carol"].invoice(0), {}, {}


async def is_the_payers_own(home: House) -> Given:
    return await home.network.nodes["bob"].invoice(AMOUNT_MSAT), {}, {}


async def is_the_receivers_own(home: House) -> Given:
    return await home.network.nodes["bob"].invoice(AMOUNT_MSAT), {}, {"node": "alice"}


async def brings_too_little(home: House) -> Given:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    return invoice, {"fee_msat": None, "amount_msat": AMOUNT_MSAT}, {}


async def is_held_too_shortly(home: House) -> Given:
    return await home.network.nodes["carol"].invoice(AMOUNT_MSAT), {"cltv_expiry_blocks": 147}, {}


async def pays_from_nowhere(home: House) -> Given:
    return await home.network.nodes["carol"].invoice(AMOUNT_MSAT), {}, {"node": "mallory"}


async def receives_nowhere(home: House) -> Given:
    return await home.network.nodes["carol"].invoice(AMOUNT_MSAT), {"node": "mallory"}, {}


@pytest.mark.parametrize(
    ("given", "error"),
    [
        (expires_too_soon, "InvoiceExpiredError"),
        (names_no_amount, "AmountError"),
        (is_the_payers_own, "SelfPaymentError"),
        (is_the_receivers_own, "KeyReusedError"),
        (brings_too_little, "AmountError"),
        (is_held_too_shortly, "InvalidRequestError"),
        (pays_from_nowhere, "UnknownNodeError"),
        (receives_nowhere, "UnknownNodeError"),
    ],
)
async def test_what_cannot_work_is_refused(
    home: House, temporal: Client, given: Callable[[House], Awaitable[Given]], error: str
) -> None:
    invoice, incoming, outgoing = await given(home)
    cause = await refusal(ask(temporal, a_relay(invoice, incoming, outgoing), invoice))

    assert cause.type == error
    assert nothing_moved(home, invoice)


async def test_what_is_paid_already_is_not_paid_for_again(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    """Another payer's money would be taken for a payment that was made for somebody else."""
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    request = PaymentRequest.model_validate(
        {"node": "bob", "invoice": invoice.payment_request, "fee_limit": {"sat": 10}}
    )
    await (await client.pay(request)).receipt()
    cause = await refusal(ask(temporal, a_relay(invoice), invoice))

    assert "has this payment already" in cause.message


async def test_an_invoice_of_ours_needs_no_relay(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    created = await client.create_invoice(
        InvoiceRequest.model_validate(
            {"key": "of-carol", "node": "carol", "amount_msat": AMOUNT_MSAT}
        )
    )
    invoice = TestInvoice(created.payment_request, created.payment_hash.raw(), b"")
    cause = await refusal(ask(temporal, a_relay(invoice), invoice))

    assert (cause.type, "is an invoice of ours" in cause.message) == ("SelfPaymentError", True)
    assert (await home.network.nodes["carol"].lookup(invoice)).state == OPEN


async def test_other_terms_for_the_same_invoice_are_an_error(
    home: House, temporal: Client, simulated: SimulatedNetwork
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    relay = await ask(temporal, a_relay(invoice), invoice)
    cause = await refusal(ask(temporal, a_relay(invoice, {"fee_msat": 1}), invoice))
    assert cause.type == "KeyReusedError"

    simulated.receive("bob", invoice.payment_hash)
    await relay.receipt()


async def test_a_malformed_request_is_refused_and_wedges_nothing(
    home: House, temporal: Client
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    relay_id = ids.relay_id(hash_of(invoice))
    for wrong in ({"incoming": 5}, None, a_relay(invoice).model_dump(mode="json") | {"more": 1}):
        handle = await temporal.start_workflow(
            RelayWorkflow.run, wrong, id=relay_id, task_queue=ids.TASK_QUEUE
        )
        described = await eventually(
            handle.describe, lambda found: found.close_time is not None, what="a refused relay"
        )
        assert described.status is not None
        assert described.status.name == "FAILED"


async def test_under_another_id_nothing_is_relayed(home: House, temporal: Client) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    handle = await temporal.start_workflow(
        RelayWorkflow.run, a_relay(invoice), id="relay/mine", task_queue=ids.TASK_QUEUE
    )
    described = await eventually(
        handle.describe, lambda found: found.close_time is not None, what="a refused relay"
    )
    assert described.status is not None
    assert described.status.name == "FAILED"
    with pytest.raises(RPCError) as unknown:
        await temporal.get_workflow_handle(ids.invoice_id(hash_of(invoice))).describe()
    assert unknown.value.status is RPCStatusCode.NOT_FOUND
