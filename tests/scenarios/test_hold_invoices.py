"""What is held is decided once, in time, and LND is told whatever dies or lags."""

from __future__ import annotations

import asyncio
import uuid
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle

from devnet.house import House
from devnet.node import ACCEPTED, CANCELED, SETTLED, TestInvoice
from devnet.receiver import Receiver
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import DropAnswer, Fault, Refuse, RestartNode
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.errors import InvalidRequestError
from fulgurite.events.catalogue import EventType
from fulgurite.identity import Preimage
from fulgurite.invoices.receipts import InvoiceView
from fulgurite.invoices.requests import Decision, InvoiceCancellation, Settlement, Verdict
from fulgurite.invoices.states import DECIDE_BEFORE_EXPIRY_BLOCKS, InvoiceState
from starter.client import FulguriteClient

from .receiving import (
    AMOUNT_MSAT,
    LndPayment,
    assert_true,
    being_paid,
    held,
    issued,
    lnd_has,
    notes,
    reaches,
    shop_hears,
    to_hold,
    until,
)
from .telling import SIMULATED_ONLY

pytestmark = pytest.mark.usefixtures("working")

ADA = Settlement(by="ada")
NO = InvoiceCancellation(by="ada", reason="out of stock")

HELD, TAKEN = EventType.INVOICE_ACCEPTED, EventType.INVOICE_SETTLED
BACK, UNDECIDED = EventType.INVOICE_CANCELED, EventType.INVOICE_UNDECIDED


async def test_somebody_takes_what_is_held(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    created, invoice = await issued(client, to_hold())
    async with being_paid(home.network.nodes["alice"], created) as paying:
        view = await reaches(invoice, InvoiceState.ACCEPTED)
        told = await lnd_has(home, created, ACCEPTED)
        [accepted] = await shop_hears(shop, created.payment_hash, HELD)
        await invoice.settle(ADA)
    receipt = await invoice.receipt()
    await shop_hears(shop, created.payment_hash, HELD, TAKEN)

    assert (view.receipt.paid_msat, view.receipt.settled_at) == (AMOUNT_MSAT, None)
    assert InvoiceView.model_validate(accepted.data).receipt == view.receipt
    first_expiry = min(htlc.expiry_height for htlc in told.htlcs)
    assert view.decide_before_height is not None
    assert view.decide_before_height <= first_expiry - DECIDE_BEFORE_EXPIRY_BLOCKS
    assert (await paying).status == LndPayment.SUCCEEDED
    assert receipt.status is InvoiceState.SETTLED
    await assert_true(home, receipt)


async def test_somebody_sends_back_what_is_held(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    async with held(home, client) as (created, invoice):
        await reaches(invoice, InvoiceState.ACCEPTED)
        await invoice.cancel(NO)
    receipt = await invoice.receipt()
    await shop_hears(shop, created.payment_hash, HELD, BACK)

    assert receipt.status is InvoiceState.CANCELED
    assert "by ada out of stock" in "".join((await invoice.view()).timeline)
    await assert_true(home, receipt)


async def test_a_policy_may_take_whatever_comes(home: House, client: FulguriteClient) -> None:
    async with held(home, client, hold={"decide_by": "ACCEPT_ALL"}) as (_, invoice):
        receipt = await invoice.settled()

    await assert_true(home, receipt)


@pytest.mark.parametrize(
    ("least_msat", "most_msat", "state"),
    [
        (AMOUNT_MSAT, AMOUNT_MSAT, InvoiceState.SETTLED),
        (AMOUNT_MSAT + 1, None, InvoiceState.CANCELED),
        (0, AMOUNT_MSAT - 1, InvoiceState.CANCELED),
    ],
    ids=["within", "too little", "too much"],
)
async def test_a_policy_may_look_at_the_amount(
    home: House,
    client: FulguriteClient,
    least_msat: int,
    most_msat: int | None,
    state: InvoiceState,
) -> None:
    policy = {"decide_by": "AMOUNT", "min_msat": least_msat, "max_msat": most_msat}
    async with held(home, client, hold=policy) as (_, invoice):
        receipt = await invoice.receipt()

    assert receipt.status is state
    await assert_true(home, receipt)


@pytest.mark.parametrize(
    ("verdict", "state"),
    [(Verdict.SETTLE, InvoiceState.SETTLED), (Verdict.CANCEL, InvoiceState.CANCELED)],
)
async def test_a_workflow_decides_that_is_signalled(
    home: House, client: FulguriteClient, temporal: Client, verdict: Verdict, state: InvoiceState
) -> None:
    """Of any language: no worker of ours knows it, and its history shows what it was told."""
    theirs = await temporal.start_workflow(
        "SomebodysOrder", id=f"order/{uuid.uuid4()}", task_queue="somebodys"
    )
    policy = {"decide_by": "WORKFLOW", "workflow_id": theirs.id}
    async with held(home, client, hold=policy, notify_workflow_id=theirs.id) as (created, invoice):
        await eventually(
            lambda: signals(theirs),
            lambda told: {"invoice_accepted", "fulgurite_event"} <= set(told),
            what="signals",
        )
        await temporal.get_workflow_handle(ids.invoice_id(created.payment_hash)).signal(
            "decide", Decision(verdict=verdict, by=theirs.id)
        )
        receipt = await invoice.receipt()
    told = await signals(theirs)
    await theirs.terminate()

    assert receipt.status is state
    assert sorted(told) == ["fulgurite_event", "fulgurite_event", "invoice_accepted"]
    await assert_true(home, receipt)


async def signals(workflow: WorkflowHandle[Any, Any]) -> list[str]:
    events = (await workflow.fetch_history()).events
    return [
        event.workflow_execution_signaled_event_attributes.signal_name
        for event in events
        if event.HasField("workflow_execution_signaled_event_attributes")
    ]


@pytest.mark.parametrize("default", [Verdict.CANCEL, Verdict.SETTLE])
async def test_when_nobody_decides_the_default_does_in_time(
    home: House,
    client: FulguriteClient,
    shop: Receiver,
    default: Verdict,
) -> None:
    patience = {"decide_within_seconds": 1, "default": default}
    async with held(home, client, hold=patience) as (created, invoice):
        receipt = await invoice.receipt()
    settles = default is Verdict.SETTLE
    await shop_hears(shop, created.payment_hash, HELD, UNDECIDED, TAKEN if settles else BACK)

    assert receipt.status is (InvoiceState.SETTLED if settles else InvoiceState.CANCELED)
    await assert_true(home, receipt)


async def test_when_nobody_decides_the_default_does_long_before_the_htlc_expires(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    """Invariant 8. LND itself would send it back at 18 blocks, and soon close the channel."""
    carol = home.network.nodes["carol"]
    async with held(home, client, cltv_expiry_blocks=48) as (created, invoice):
        view = await reaches(invoice, InvoiceState.ACCEPTED)
        first_expiry = min(h.expiry_height for h in (await lnd_has(home, created, ACCEPTED)).htlcs)
        assert view.decide_before_height is not None
        await home.network.mine(view.decide_before_height - (await carol.info()).block_height)
        receipt = await invoice.receipt()
        height = (await carol.info()).block_height
    await shop_hears(shop, created.payment_hash, HELD, UNDECIDED, BACK)

    assert receipt.status is InvoiceState.CANCELED
    assert first_expiry - height >= DECIDE_BEFORE_EXPIRY_BLOCKS
    await assert_true(home, receipt)


async def test_who_has_the_preimage_decides_and_may_err(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    key = home.settings.public_sealing_key()
    theirs = Preimage.generate()
    async with held(home, client, hold={"payment_hash": theirs.hash()}) as (created, invoice):
        await reaches(invoice, InvoiceState.ACCEPTED)
        with pytest.raises(InvalidRequestError, match="sealed_preimage"):
            await invoice.settle(ADA)
        wrong = Settlement(by="bert", sealed_preimage=key.seal(Preimage.generate()))
        await invoice.settle(wrong)
        await notes(invoice, "does not belong to the payment hash")
        view = await reaches(invoice, InvoiceState.ACCEPTED)
        still = await lnd_has(home, created, ACCEPTED)
        await invoice.settle(Settlement(by="ada", sealed_preimage=key.seal(theirs)))
        receipt = await invoice.receipt()
    await shop_hears(shop, created.payment_hash, HELD, TAKEN)

    assert created.payment_hash == theirs.hash()
    assert (view.state, still.state) == (InvoiceState.ACCEPTED, ACCEPTED)
    assert receipt.status is InvoiceState.SETTLED
    await assert_true(home, receipt)


@pytest.mark.parametrize("paid", [False, True], ids=["open", "held"])
async def test_a_cancel_in_temporal_reaches_lnd(
    home: House, client: FulguriteClient, temporal: Client, *, paid: bool
) -> None:
    created, invoice = await issued(client, to_hold())
    workflow = temporal.get_workflow_handle(ids.invoice_id(created.payment_hash))
    if paid:
        async with being_paid(home.network.nodes["alice"], created):
            await reaches(invoice, InvoiceState.ACCEPTED)
            await workflow.cancel()
    else:
        await workflow.cancel()
    receipt = await invoice.receipt()

    assert receipt.status is InvoiceState.CANCELED
    await assert_true(home, receipt)


async def test_what_is_held_when_the_invoice_expires_can_still_be_taken_and_is_not_late(
    home: House, client: FulguriteClient
) -> None:
    async with held(home, client, expiry_seconds=2) as (created, invoice):
        await reaches(invoice, InvoiceState.ACCEPTED)
        await until(created.expires_at)
        await invoice.settle(ADA)
    receipt = await invoice.receipt()

    assert receipt.status is InvoiceState.SETTLED
    assert receipt.settled_at is not None
    assert receipt.settled_at >= created.expires_at
    await assert_true(home, receipt)


@pytest.mark.parametrize(
    ("by_hand", "state"),
    [(SETTLED, InvoiceState.SETTLED), (CANCELED, InvoiceState.CANCELED)],
    ids=["settled", "canceled"],
)
async def test_what_is_decided_in_lnd_itself_is_found_out(
    home: House, client: FulguriteClient, by_hand: int, state: InvoiceState
) -> None:
    """lnd tells a cancellation to nobody but who follows that invoice."""
    carol = home.network.nodes["carol"]
    preimage = Preimage.generate()
    async with held(home, client, hold={"payment_hash": preimage.hash()}) as (created, invoice):
        await reaches(invoice, InvoiceState.ACCEPTED)
        theirs = TestInvoice("", created.payment_hash.raw(), preimage.reveal())
        await (carol.settle if by_hand == SETTLED else carol.cancel)(theirs)
        receipt = await invoice.receipt()

    assert receipt.status is state
    await assert_true(home, receipt)


@pytest.mark.parametrize("settles", [True, False], ids=["settle", "cancel"])
async def test_an_order_waits_for_a_node_that_is_away_and_is_carried_out_once(
    home: House, client: FulguriteClient, *, settles: bool
) -> None:
    async with held(home, client) as (_, invoice):

        async def order() -> InvoiceView:
            return await (invoice.settle(ADA) if settles else invoice.cancel(NO))

        async def contradict() -> None:
            with pytest.raises(InvalidRequestError, match="nothing to"):
                await (invoice.cancel(NO) if settles else invoice.settle(ADA))

        await reaches(invoice, InvoiceState.ACCEPTED)
        await home.network.stop_node("carol")
        try:
            await asyncio.gather(*(order() for _ in range(5)))
            await reaches(invoice, InvoiceState.SETTLING, InvoiceState.CANCELING)
            await order()
            await contradict()
        finally:
            await home.network.start_node("carol")
        receipt = await invoice.receipt()
    with pytest.raises(InvalidRequestError, match=receipt.status):
        await (invoice.cancel(NO) if settles else invoice.settle(ADA))
    assert (await order()).state is receipt.status

    assert receipt.status is (InvoiceState.SETTLED if settles else InvoiceState.CANCELED)
    await assert_true(home, receipt)


@SIMULATED_ONLY
@pytest.mark.parametrize("method", ["SettleInvoice", "CancelInvoice"])
@pytest.mark.parametrize(
    "fault",
    [
        Refuse(),
        DropAnswer(),
        RestartNode(after_effect=False),
        RestartNode(after_effect=True),
    ],
    ids=lambda fault: type(fault).__name__,
)
async def test_an_order_whose_answer_is_lost_is_carried_out_once(
    home: House,
    simulated: SimulatedNetwork,
    client: FulguriteClient,
    shop: Receiver,
    *,
    method: str,
    fault: Fault,
) -> None:
    settles = method == "SettleInvoice"
    simulated.faults.add("carol", method, fault)
    async with held(home, client) as (created, invoice):
        await reaches(invoice, InvoiceState.ACCEPTED)
        await (invoice.settle(ADA) if settles else invoice.cancel(NO))
        receipt = await invoice.receipt()
    await shop_hears(shop, created.payment_hash, HELD, TAKEN if settles else BACK)

    assert receipt.status is (InvoiceState.SETTLED if settles else InvoiceState.CANCELED)
    await assert_true(home, receipt)
