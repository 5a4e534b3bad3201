"""The courses of what is done for a whole node, and of relays between two payments."""

from __future__ import annotations

import asyncio
import uuid

import grpc

from activities.comparing import PAGE
from devnet.simulated.faults import Refuse
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.invoices.requests import InvoiceRequest
from fulgurite.invoices.stream import StreamView
from fulgurite.money import Msat
from fulgurite.payments.states import PaymentState
from fulgurite.reconciliation.calls import HANDED_OVER_AT, Reconciliation
from fulgurite.reconciliation.differences import Book, DifferenceKind
from fulgurite.relays.requests import RelayCancellation
from fulgurite.relays.states import RelayState
from starter.reconciliation import reconcile
from tests.relays.telling import AMOUNT_MSAT, a_relay, ask, paid_by
from tests.replay.recording import Recording, Shape
from workflows.invoice_stream import InvoiceStreamWorkflow
from workflows.relay import RelayWorkflow


async def _listening(on: Recording) -> None:
    """Until operators have been shown that it listens, which takes a minute."""
    stream = on.temporal.get_workflow_handle(ids.invoice_stream_id("bob"))
    async with on.worker():

        async def ask() -> StreamView:
            return await stream.query(InvoiceStreamWorkflow.view)

        await eventually(ask, lambda view: view.rounds > 0, what="a round", timeout_seconds=120)
    on.keep(stream.id)


async def _agreeing(on: Recording) -> None:
    async with on.worker():
        run = await reconcile(on.temporal, Reconciliation(node="bob"))
        await run.receipt()
    on.keep(run.id)


async def _differing(on: Recording) -> None:
    """A payment is in flight, and its workflow was ended by force."""
    invoice = await on.held()
    async with on.worker():
        await on.pay(invoice=invoice.payment_request)
        await on.comes_to(PaymentState.IN_FLIGHT)
        assert on.played is not None
        await on.played.terminate()
        run = await reconcile(on.temporal, Reconciliation(node="alice", grace_seconds=0))
        report = await run.receipt()
        assert report.differences
        await on.carol.cancel(invoice)
    on.keep(run.id)


async def _without_loopd(on: Recording) -> None:
    """Every book that a node can have but rebalances; and its loopd is away."""
    refused = Refuse(grpc.StatusCode.UNAVAILABLE)
    on.network.faults.add("alice.loop", "ListSwaps", refused, times=1_000)
    async with on.worker():
        run = await reconcile(on.temporal, Reconciliation(node="alice"))
        report = await run.receipt()
        assert list(report.not_compared) == [Book.SWAPS]
        assert report.leases is not None
    on.keep(run.id)


async def _differing_a_lot(on: Recording) -> None:
    """More than is handed over at once, and then more to compare: another run goes on."""
    async with on.worker():
        await asyncio.gather(*(_forgotten_invoice(on) for _ in range(HANDED_OVER_AT)))
        for _ in range(PAGE):
            on.network.issue("bob", value_msat=1_000)
        run = await reconcile(on.temporal, Reconciliation(node="bob", grace_seconds=0))
        report = await run.receipt()
        assert report.kinds == {DifferenceKind.UNFOLLOWED_INVOICE: HANDED_OVER_AT}
    on.keep(run.id)


async def _forgotten_invoice(on: Recording) -> None:
    created = await on.client.create_invoice(
        InvoiceRequest(key=str(uuid.uuid4()), node="bob", amount_msat=Msat(1_000))
    )
    await on.temporal.get_workflow_handle(ids.invoice_id(created.payment_hash)).terminate()


async def _relayed(on: Recording) -> None:
    invoice = await on.carol.invoice(AMOUNT_MSAT)
    async with on.worker():
        relay = await ask(on.temporal, a_relay(invoice), invoice)
        await paid_by(on.alice, relay)
        assert (await relay.receipt()).status is RelayState.SETTLED
    on.keep(relay.handle.id)


async def _not_relayed(on: Recording) -> None:
    """What is to be paid cannot be, and what came in goes back."""
    invoice = await on.carol.invoice(AMOUNT_MSAT)
    await on.carol.cancel(invoice)
    async with on.worker():
        relay = await ask(on.temporal, a_relay(invoice), invoice)
        await paid_by(on.alice, relay)
        assert (await relay.receipt()).status is RelayState.CANCELED
    on.keep(relay.handle.id)


async def _relay_that_nobody_pays(on: Recording) -> None:
    invoice = await on.carol.invoice(AMOUNT_MSAT)
    async with on.worker():
        relay = await ask(on.temporal, a_relay(invoice), invoice)
        await relay.handle.execute_update(RelayWorkflow.cancel, RelayCancellation(by="ada"))
        assert (await relay.receipt()).status is RelayState.CANCELED
    on.keep(relay.handle.id)


SHAPES = (
    Shape("listening", _listening),
    Shape("reconciled-and-agreeing", _agreeing),
    Shape("reconciled-and-differing", _differing),
    Shape("reconciled-without-loopd", _without_loopd),
    Shape("reconciled-in-several-runs", _differing_a_lot, impatient=True),
    Shape("relayed", _relayed),
    Shape("not-relayed", _not_relayed),
    Shape("relay-that-nobody-pays", _relay_that_nobody_pays),
)
