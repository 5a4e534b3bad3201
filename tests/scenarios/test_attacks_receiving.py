"""What a hostile reader of the receiving side tried, each as it went wrong before it was mended."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.client import Client, WorkflowHandle, WorkflowUpdateFailedError
from temporalio.service import RPCError

import worker
from devnet.house import House
from devnet.node import OPEN
from devnet.receiver import Receiver
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import Refuse
from devnet.temporal import TemporalServer
from devnet.waiting import eventually
from fulgurite import attributes
from fulgurite.errors import InvalidRequestError
from fulgurite.events.catalogue import Event, EventType
from fulgurite.identity import NodePubkey
from fulgurite.invoices.receipts import LateAttempt
from fulgurite.invoices.requests import Decision, InvoiceCancellation, Settlement, Verdict
from fulgurite.invoices.states import InvoiceState, LndInvoiceState
from fulgurite.money import Msat
from fulgurite.payments.requests import PaymentRequest
from nodes.registry import Nodes
from starter.client import FulguriteClient, keysend
from starter.connect import connect
from starter.invoice import Invoice
from workflows import at_lnd
from workflows.invoice import InvoiceWorkflow

from .lone_invoice import ENDPOINT, HELD, LoneInvoice, word
from .receiving import (
    AMOUNT_MSAT,
    being_paid,
    issued,
    reaches,
    to_hold,
    to_receive,
    told_of,
    working_as,
)
from .telling import SIMULATED_ONLY

pytestmark = SIMULATED_ONLY

# An invoice that is held has more events than this.
SUGGEST_AFTER_EVENTS = 22
NOBODY: list[list[Any]] = [[None], [], [{}], [17]]
ADA = InvoiceCancellation(by="ada")


@pytest.fixture(scope="module")
async def small(tmp_path_factory: pytest.TempPathFactory, home: House) -> AsyncIterator[Client]:
    """A Temporal that wants a new run after a few events."""
    async with TemporalServer(
        tmp_path_factory.mktemp("small-runs"),
        search_attributes=attributes.REGISTRY,
        dynamic_config={"limit.historyCount.suggestContinueAsNew": SUGGEST_AFTER_EVENTS},
    ) as server:
        there = {"temporal_address": server.address}
        yield await connect(home.settings.model_copy(update=there))


async def in_state(
    invoice: LoneInvoice, handle: WorkflowHandle[Any, Any], state: InvoiceState
) -> None:
    async def now() -> InvoiceState:
        return (await invoice.view(handle)).state

    await eventually(now, lambda it: it is state, what=f"invoice in {state}")


async def run_of(handle: WorkflowHandle[Any, Any]) -> str:
    run_id = (await handle.describe()).run_id
    assert run_id
    return run_id


async def test_a_callback_that_never_decides_does_not_fill_the_history(small: Client) -> None:
    """Asked every few seconds for days, the workflow was ended by Temporal with money held."""
    hold = {"decide_by": "CALLBACK", "callback": ENDPOINT, "decide_within_seconds": 86_400}
    invoice = LoneInvoice(HELD, hold=hold)
    async with invoice.running(small) as handle:
        await in_state(invoice, handle, InvoiceState.ACCEPTED)
        held_since = (await invoice.view(handle)).decide_before
        first = await run_of(handle)
        await eventually(lambda: run_of(handle), lambda run: run != first, what="a new run")
        view = await invoice.view(handle)
        invoice.verdict = Verdict.SETTLE
        receipt = await asyncio.wait_for(handle.result(), 60)

    assert (view.state, view.decide_before) == (InvoiceState.ACCEPTED, held_since)
    assert receipt["status"] == InvoiceState.SETTLED
    assert [each.type for each in invoice.told] == [
        EventType.INVOICE_ACCEPTED,
        EventType.INVOICE_SETTLED,
    ]


async def test_late_payers_without_number_do_not_fill_the_history(small: Client) -> None:
    """To fail costs a payer nothing; each try was an event, a webhook, and kept for ever."""
    invoice = LoneInvoice(LndInvoiceState.CANCELED, expires_in_seconds=0, late_watch_seconds=600)
    attempts = 150
    async with invoice.running(small) as handle:
        await eventually(
            lambda: invoice.view(handle), lambda view: view.unpaid_for_good, what="expiry"
        )
        first = await run_of(handle)
        for number in range(attempts):
            attempt = LateAttempt(at=datetime.now(UTC), amount_msat=Msat(number + 1))
            await handle.signal("late_attempt", attempt)
        view = await eventually(
            lambda: invoice.view(handle),
            lambda view: view.receipt.late_attempts == attempts,
            what="every attempt counted",
        )
        await eventually(lambda: run_of(handle), lambda run: run != first, what="a new run")

    told = [each.id for each in invoice.told if each.type is EventType.INVOICE_LATE_ATTEMPT]
    assert 1 <= len(set(told)) < attempts
    assert view.receipt.late_seconds is not None


async def test_who_comes_after_the_expiry_is_late_before_our_own_clock_rings(
    temporal: Client,
) -> None:
    """LND takes nothing from the expiry on; our state follows some moments later."""
    invoice = LoneInvoice(LndInvoiceState.OPEN)
    expires_at = invoice.order.invoice.expires_at
    async with invoice.running(temporal) as handle:
        await in_state(invoice, handle, InvoiceState.OPEN)
        for late_seconds in (-1, 0, 1):
            at = expires_at + timedelta(seconds=late_seconds)
            await handle.signal("late_attempt", LateAttempt(at=at, amount_msat=Msat(1_000)))
        view = await eventually(
            lambda: invoice.view(handle),
            lambda view: view.receipt.late_attempts > 0,
            what="a late attempt",
        )
        await asyncio.wait_for(invoice.reached[EventType.INVOICE_LATE_ATTEMPT].wait(), 15)

    assert (view.state, view.receipt.late_attempts) == (InvoiceState.OPEN, 1)
    assert view.receipt.late_seconds == 1


async def test_an_order_that_was_taken_is_not_overruled_by_the_default(temporal: Client) -> None:
    """While the world was told that nobody had decided, somebody did, and was told "yes"."""
    hold = {"decide_within_seconds": 1, "default": "CANCEL"}
    invoice = LoneInvoice(HELD, hold=hold)
    invoice.gates[EventType.INVOICE_UNDECIDED].clear()
    async with invoice.running(temporal) as handle:
        await invoice.reached[EventType.INVOICE_UNDECIDED].wait()
        try:
            await handle.execute_update(InvoiceWorkflow.settle, Settlement(by="ada"))
            taken = True
        except WorkflowUpdateFailedError:
            taken = False
        invoice.gates[EventType.INVOICE_UNDECIDED].set()
        receipt = await asyncio.wait_for(handle.result(), 30)

    assert receipt["status"] == (InvoiceState.SETTLED if taken else InvoiceState.CANCELED)


async def test_what_is_held_against_a_payment_is_not_sent_back_by_hand(temporal: Client) -> None:
    """Invariant 7: only who knows what became of the payment may say so."""
    hold = {"decide_by": "WORKFLOW", "workflow_id": "relay/x", "payment_hash": "theirs"}
    invoice = LoneInvoice(HELD, hold=hold | {"default": "KEEP"})
    async with invoice.running(temporal) as handle:
        await in_state(invoice, handle, InvoiceState.ACCEPTED)
        with pytest.raises(WorkflowUpdateFailedError):
            await handle.execute_update(InvoiceWorkflow.cancel, ADA)
        await handle.cancel()
        await eventually(
            lambda: invoice.view(handle),
            lambda view: "canceled in Temporal" in "".join(view.timeline),
            what="a note of the cancel",
        )
        assert invoice.state is HELD
        await handle.signal("decide", Decision(verdict=Verdict.CANCEL, by="relay/x"))
        receipt = await asyncio.wait_for(handle.result(), 30)

    assert receipt["status"] == InvoiceState.CANCELED


@pytest.mark.parametrize(
    "forged",
    [
        {"state": "SETTLED", "paid_at": "2026-01-01T00:00:00"},
        {"state": "ACCEPTED", "paid_msat": 1},
        {"state": "PERHAPS"},
        "SETTLED",
        None,
        17,
    ],
    ids=["a time of nowhere", "held, though no hold invoice", "unknown", "text", "null", "number"],
)
async def test_a_word_that_lnd_cannot_have_said_wedges_nothing(
    temporal: Client, forged: object
) -> None:
    invoice = LoneInvoice(LndInvoiceState.OPEN)
    async with invoice.running(temporal) as handle:
        await in_state(invoice, handle, InvoiceState.OPEN)
        await handle.signal("heard", forged)
        await handle.signal("late_attempt", forged)
        await handle.signal("decide", forged)
        for name in ("heard", "late_attempt", "decide"):
            await handle.signal(name, args=[])
            await handle.signal(name, args=[forged, forged])
        await handle.signal("heard", word(LndInvoiceState.SETTLED))
        receipt = await asyncio.wait_for(handle.result(), 15)

    assert receipt["status"] == InvoiceState.SETTLED


async def test_a_cancellation_by_nobody_is_refused(temporal: Client) -> None:
    """It was answered as if it had been taken."""
    invoice = LoneInvoice(LndInvoiceState.OPEN)
    async with invoice.running(temporal) as handle:
        for given in NOBODY:
            with pytest.raises((WorkflowUpdateFailedError, RPCError)):
                await handle.execute_update("cancel", args=given)
        await handle.execute_update("cancel", ADA)
        receipt = await asyncio.wait_for(handle.result(), 15)

    assert receipt["status"] == InvoiceState.CANCELED


async def test_many_open_invoices_keep_no_order_from_being_carried_out(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    """Each open hold invoice is watched; the watches took every place that a worker has."""
    few = home.settings.model_copy(update={"max_followed_payments": 3})
    nodes = Nodes(few.nodes)
    async with working_as(temporal, few):
        await worker.listen(temporal, nodes)
        others = [await issued(client, to_hold()) for _ in range(5)]
        created, invoice = await issued(client, to_hold(hold={"decide_by": "ACCEPT_ALL"}))
        async with being_paid(home.network.nodes["alice"], created):
            await reaches(invoice, InvoiceState.SETTLED, timeout_seconds=60)
        for _, other in others:
            await other.cancel(ADA)
            await reaches(other, InvoiceState.CANCELED)
    await nodes.close()


async def test_many_held_invoices_are_all_decided_long_before_their_htlcs_expire(
    home: House, client: FulguriteClient, temporal: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Invariant 8. Each is watched, and those that found no place had their clock alone."""
    # Two minutes a block are for blocks that take ten.
    monkeypatch.setattr(at_lnd, "_LOOK_A_BLOCK", timedelta(seconds=0.2))
    few = home.settings.model_copy(update={"max_followed_payments": 2})
    alice, carol = home.network.nodes["alice"], home.network.nodes["carol"]
    patience = {"decide_within_seconds": 86_400}
    async with working_as(temporal, few), AsyncExitStack() as payments:

        async def held(blocks: int) -> tuple[Invoice, int]:
            created, invoice = await issued(
                client, to_hold(cltv_expiry_blocks=blocks, hold=patience)
            )
            await payments.enter_async_context(being_paid(alice, created))
            view = await reaches(invoice, InvoiceState.ACCEPTED, timeout_seconds=90)
            assert view.decide_before_height is not None
            return invoice, view.decide_before_height

        # These have time, and every place.
        before = [await held(144) for _ in range(2)]
        behind = [await held(48) for _ in range(3)]
        due = max(height for _, height in behind)
        await home.network.mine(due - (await carol.info()).block_height)
        for invoice, _ in behind:
            await reaches(invoice, InvoiceState.CANCELED, timeout_seconds=90)
        for invoice, _ in before:
            assert (await invoice.view()).state is InvoiceState.ACCEPTED
            await invoice.cancel(ADA)


@pytest.mark.usefixtures("working")
async def test_another_nodes_settlement_of_the_hash_settles_nothing_here(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    """Who knows the preimage sends one satoshi to another node of ours."""
    bob, key = home.network.nodes["bob"], home.settings.unsealing_key().sealing_key
    gift = keysend(NodePubkey((await bob.info()).identity_pubkey), sealing_key=key)
    created, invoice = await issued(client, to_hold(hold={"payment_hash": gift.payment_hash}))
    payment = await client.pay(
        PaymentRequest.model_validate(
            {"node": "alice", "keysend": gift, "amount_msat": 1_000, "fee_limit": {"sat": 10}}
        )
    )
    await payment.receipt()

    async def told() -> list[Event]:
        deliveries = told_of(shop, created.payment_hash)
        return [Event.model_validate_json(each.body) for each in deliveries]

    def paid(events: list[Event]) -> list[Event]:
        return [each for each in events if each.type is EventType.INVOICE_SETTLED]

    [gifts] = paid(await eventually(told, lambda them: bool(paid(them)), what="the gift told"))
    assert gifts.node == "bob"
    assert (await invoice.view()).state is InvoiceState.OPEN
    await reaches(invoice, InvoiceState.OPEN)
    await invoice.cancel(ADA)
    receipt = await invoice.receipt()

    assert receipt.status is InvoiceState.CANCELED


@pytest.mark.usefixtures("working")
async def test_an_invoice_that_lnd_has_forgotten_is_closed(
    client: FulguriteClient, simulated: SimulatedNetwork
) -> None:
    """lnd can be set to delete what it cancels: it was asked for ever."""
    simulated.faults.forget_canceled_invoices("carol")
    expiring, first = await issued(client, to_receive(expiry_seconds=1, late_watch_seconds=0))
    _, second = await issued(client, to_hold())
    await second.cancel(ADA)
    closed = await asyncio.wait_for(first.receipt(), 30)
    canceled = await asyncio.wait_for(second.receipt(), 30)

    assert closed.status is InvoiceState.CLOSED
    assert canceled.status is InvoiceState.CANCELED
    assert expiring.payment_hash == closed.payment_hash


@pytest.mark.usefixtures("working")
async def test_an_invoice_that_is_made_again_is_watched_again(
    home: House, client: FulguriteClient, simulated: SimulatedNetwork
) -> None:
    """LND had forgotten the first, and took money for the second that nobody was told of."""
    simulated.faults.forget_canceled_invoices("carol")
    request = to_receive()
    created, invoice = await issued(client, request)
    await invoice.cancel(ADA)
    await asyncio.wait_for(invoice.receipt(), 30)
    again, invoice = await issued(client, request)
    await home.network.nodes["alice"].pay(again.payment_request)
    receipt = await asyncio.wait_for(invoice.settled(), 30)

    assert again.payment_hash == created.payment_hash
    assert receipt.status is InvoiceState.SETTLED
    assert receipt.paid_msat == AMOUNT_MSAT


@pytest.mark.usefixtures("working")
@pytest.mark.parametrize("hold", [None, {}], ids=["plain", "hold"])
async def test_an_invoice_that_nobody_would_watch_is_called_off(
    home: House, client: FulguriteClient, simulated: SimulatedNetwork, hold: object
) -> None:
    """LND had forgotten the first, whose workflow still looked out for late payers."""
    simulated.faults.forget_canceled_invoices("carol")
    request = to_receive(hold=hold, expiry_seconds=1, late_watch_seconds=600)
    created, invoice = await issued(client, request)
    await eventually(invoice.view, lambda view: view.unpaid_for_good, what="LND's last word")
    # The second is there already when it is asked for again.
    simulated.faults.add("carol", "CancelInvoice", Refuse())
    for _ in range(2):
        with pytest.raises(InvalidRequestError, match="take a new key"):
            await client.create_invoice(request)
    carol = home.network.nodes["carol"]
    open_ = {each.r_hash for each in await carol.list_invoices() if each.state == OPEN}

    assert created.payment_hash.raw() not in open_
    assert (await invoice.view()).state is InvoiceState.EXPIRED
    assert (await client.create_invoice(to_receive(hold=hold))).payment_request
