"""The courses that an invoice can take."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from devnet.simulated.faults import Refuse
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.errors import KeyReusedError
from fulgurite.identity import Preimage
from fulgurite.invoices.receipts import CreatedInvoice, InvoiceView, LateAttempt
from fulgurite.invoices.requests import (
    Decision,
    InvoiceCancellation,
    InvoiceRequest,
    Settlement,
    Verdict,
)
from fulgurite.invoices.states import InvoiceState
from fulgurite.money import Msat
from starter.invoice import Invoice
from tests.replay.recording import Recording, Shape

S = InvoiceState
AMOUNT_MSAT = 20_000_000
ADA = Settlement(by="ada")


def asked(**more: Any) -> InvoiceRequest:
    fields = {"key": f"order-{uuid.uuid4().hex}", "node": "carol", "amount_msat": AMOUNT_MSAT}
    return InvoiceRequest.model_validate(fields | more)


async def issued(on: Recording, **more: Any) -> tuple[CreatedInvoice, Invoice]:
    """An invoice, whose history is kept."""
    created = await on.client.create_invoice(asked(**more))
    on.keep(ids.invoice_id(created.payment_hash))
    return created, await on.client.invoice(created.payment_hash)


@asynccontextmanager
async def held(on: Recording, **more: Any) -> AsyncIterator[Invoice]:
    """A hold invoice that alice has paid, until the block has decided."""
    created, invoice = await issued(on, **({"hold": {}} | more))
    paying = asyncio.create_task(on.alice.pay(created.payment_request))
    await comes_to(invoice, S.ACCEPTED, S.SETTLING, S.CANCELING, S.SETTLED, S.CANCELED)
    yield invoice
    await paying


async def comes_to(invoice: Invoice, *states: InvoiceState) -> InvoiceView:
    return await eventually(
        invoice.view, lambda view: view.state in states, what=f"one of {', '.join(states)}"
    )


async def ends(invoice: Invoice, state: InvoiceState) -> None:
    receipt = await invoice.receipt()
    assert receipt.status is state, receipt


# The making of one.


async def _created(on: Recording) -> None:
    request = asked()
    async with on.worker():
        await on.client.create_invoice(request)
    on.keep(ids.invoice_key_id(request.key))


async def _created_on_the_nodes_queue(on: Recording) -> None:
    request = asked()
    on.network.faults.add("carol", "AddInvoice", Refuse(), times=2)
    async with on.worker():
        await on.client.create_invoice(request)
    on.keep(ids.invoice_key_id(request.key))


async def _not_created(on: Recording) -> None:
    request = asked()
    async with on.worker():
        await on.client.create_invoice(request)
        with pytest.raises(KeyReusedError):
            await on.client.create_invoice(asked(key=request.key, memo="another"))
    on.keep(ids.invoice_key_id(request.key))


# One that is settled as soon as it is paid.


async def _paid(on: Recording) -> None:
    async with on.worker():
        created, invoice = await issued(on)
        await on.alice.pay(created.payment_request)
        await ends(invoice, S.SETTLED)


async def _paid_and_told(on: Recording) -> None:
    async with on.merchant() as (_, settings), on.worker(settings):
        created, invoice = await issued(on, notify_workflow_id="order/unknown")
        await on.alice.pay(created.payment_request)
        await ends(invoice, S.SETTLED)


async def _expired(on: Recording) -> None:
    async with on.worker():
        _, invoice = await issued(on, expiry_seconds=1, late_watch_seconds=0)
        await ends(invoice, S.CLOSED)


async def _paid_late(on: Recording) -> None:
    async with on.worker():
        created, invoice = await issued(on, expiry_seconds=1)
        on.network.registry("carol").stop()
        await comes_to(invoice, S.EXPIRED)
        await on.alice.pay_unread(created.payment_request)
        on.network.registry("carol").start()
        await ends(invoice, S.PAID_LATE)


async def _tried_late(on: Recording) -> None:
    async with on.worker():
        _, invoice = await issued(on, expiry_seconds=1, late_watch_seconds=4)
        await eventually(invoice.view, lambda view: view.unpaid_for_good, what="LND's last word")
        attempt = LateAttempt(at=datetime.now(UTC), amount_msat=Msat(AMOUNT_MSAT))
        await on.temporal.get_workflow_handle(ids.invoice_id(invoice.payment_hash)).signal(
            "late_attempt", attempt
        )
        await ends(invoice, S.CLOSED)


async def _tried_late_while_open(on: Recording) -> None:
    """LND has closed it, and our own clock has not rung yet."""
    async with on.worker():
        created, invoice = await issued(on)
        at = created.expires_at + timedelta(seconds=1)
        await on.temporal.get_workflow_handle(ids.invoice_id(invoice.payment_hash)).signal(
            "late_attempt", LateAttempt(at=at, amount_msat=Msat(AMOUNT_MSAT))
        )
        await eventually(
            invoice.view, lambda view: view.receipt.late_attempts > 0, what="a late attempt"
        )
        await invoice.cancel(InvoiceCancellation(by="ada"))
        await ends(invoice, S.CANCELED)


async def _canceled(on: Recording) -> None:
    async with on.worker():
        _, invoice = await issued(on)
        await invoice.cancel(InvoiceCancellation(by="ada", reason="out of stock"))
        await ends(invoice, S.CANCELED)


async def _canceled_in_temporal(on: Recording) -> None:
    async with on.worker():
        _, invoice = await issued(on)
        await invoice._handle.cancel()
        await ends(invoice, S.CANCELED)


async def _known_before(on: Recording) -> None:
    """Its first workflow was ended by force, and it was paid before the second began."""
    request = asked()
    async with on.worker():
        created = await on.client.create_invoice(request)
        on.keep(ids.invoice_id(created.payment_hash))
        assert on.played is not None
        await on.played.terminate()
        await on.alice.pay(created.payment_request)
        await on.client.create_invoice(request)
        await ends(await on.client.invoice(created.payment_hash), S.SETTLED)


# One that is held.


async def _held_then_settled(on: Recording) -> None:
    async with on.worker(), held(on) as invoice:
        await invoice.settle(ADA)
        await ends(invoice, S.SETTLED)


async def _held_then_canceled(on: Recording) -> None:
    async with on.worker(), held(on) as invoice:
        await invoice.cancel(InvoiceCancellation(by="ada"))
        await ends(invoice, S.CANCELED)


async def _held_and_canceled_in_temporal(on: Recording) -> None:
    async with on.worker(), held(on) as invoice:
        await invoice._handle.cancel()
        await ends(invoice, S.CANCELED)


async def _held_and_undecided(on: Recording) -> None:
    async with on.worker(), held(on, hold={"decide_within_seconds": 1}) as invoice:
        await ends(invoice, S.CANCELED)


async def _held_near_its_height(on: Recording) -> None:
    async with on.worker(), held(on, cltv_expiry_blocks=48) as invoice:
        until = (await invoice.view()).decide_before_height
        assert until is not None
        await on.network.mine(until - on.network.chain.height)
        await ends(invoice, S.CANCELED)


async def _accepted_by_policy(on: Recording) -> None:
    async with on.worker(), held(on, hold={"decide_by": "ACCEPT_ALL"}) as invoice:
        await ends(invoice, S.SETTLED)


async def _decided_by_callback(on: Recording) -> None:
    hold = {"decide_by": "CALLBACK", "callback": "merchant"}
    async with on.merchant() as (merchant, settings), on.worker(settings):
        merchant.answer_body = {"verdict": "SETTLE"}
        async with held(on, hold=hold) as invoice:
            await ends(invoice, S.SETTLED)


async def _callback_overtaken(on: Recording) -> None:
    """It is not known to any worker; somebody else decides."""
    async with (
        on.worker(),
        held(on, hold={"decide_by": "CALLBACK", "callback": "nobody"}) as invoice,
    ):
        await invoice.settle(ADA)
        await ends(invoice, S.SETTLED)


async def _decided_by_workflow(on: Recording) -> None:
    theirs = await on.temporal.start_workflow(
        "SomebodysOrder", id=f"order/{uuid.uuid4()}", task_queue="somebodys"
    )
    hold = {"decide_by": "WORKFLOW", "workflow_id": theirs.id}
    async with on.worker(), held(on, hold=hold) as invoice:
        assert on.played is not None
        await on.played.signal("decide", Decision(verdict=Verdict.CANCEL, by=theirs.id))
        await ends(invoice, S.CANCELED)
    await theirs.terminate()


async def _settled_at_the_second_try(on: Recording) -> None:
    key, theirs = on.house.settings.public_sealing_key(), Preimage.generate()
    async with on.worker(), held(on, hold={"payment_hash": theirs.hash()}) as invoice:
        wrong = Settlement(by="bert", sealed_preimage=key.seal(Preimage.generate()))
        await invoice.settle(wrong)
        await eventually(
            invoice.view,
            lambda view: view.state is S.ACCEPTED and "**SETTLING**" in "".join(view.timeline),
            what="a refusal",
        )
        await invoice.settle(Settlement(by="ada", sealed_preimage=key.seal(theirs)))
        await ends(invoice, S.SETTLED)


async def _carried_on(on: Recording) -> None:
    async with on.worker(), held(on) as invoice:
        await invoice.settle(ADA)
        await ends(invoice, S.SETTLED)


SHAPES = (
    Shape("invoice-created", _created),
    Shape("invoice-created-on-the-nodes-queue", _created_on_the_nodes_queue),
    Shape("invoice-not-created", _not_created),
    Shape("invoice-paid", _paid),
    Shape("invoice-paid-and-told", _paid_and_told),
    Shape("invoice-expired", _expired),
    Shape("invoice-paid-late", _paid_late),
    Shape("invoice-tried-late", _tried_late),
    Shape("invoice-tried-late-while-open", _tried_late_while_open),
    Shape("invoice-canceled", _canceled),
    Shape("invoice-canceled-in-temporal", _canceled_in_temporal),
    Shape("invoice-known-before", _known_before),
    Shape("invoice-held-then-settled", _held_then_settled),
    Shape("invoice-held-then-canceled", _held_then_canceled),
    Shape("invoice-held-and-canceled-in-temporal", _held_and_canceled_in_temporal),
    Shape("invoice-held-and-undecided", _held_and_undecided),
    Shape("invoice-held-near-its-height", _held_near_its_height),
    Shape("invoice-accepted-by-policy", _accepted_by_policy),
    Shape("invoice-decided-by-callback", _decided_by_callback),
    Shape("invoice-callback-overtaken", _callback_overtaken),
    Shape("invoice-decided-by-workflow", _decided_by_workflow),
    Shape("invoice-settled-at-the-second-try", _settled_at_the_second_try),
    Shape("invoice-continued-as-new", _carried_on, impatient=True),
)
