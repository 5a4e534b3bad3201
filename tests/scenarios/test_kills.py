"""kill -9 at every moment: one settled payment at most, and the receipt says what LND says.

Each scenario kills once and looks at many payments: what a dead worker held is given to
the next one only after Temporal's workflow task (10 s) or heartbeat (15 s) timeout.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from devnet.house import House
from devnet.node import ACCEPTED, TestInvoice
from devnet.proxy import Proxy, proxying
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite.payments.receipts import Receipt
from fulgurite.payments.states import PaymentState
from starter.client import FulguriteClient
from starter.payment import Payment

from .telling import (
    LndPayment,
    assert_nothing_moved,
    assert_true,
    hold_invoices,
    lnd_says,
    reaches,
    to_pay,
)

BATCH = 6
AMOUNT_MSAT = 10_000_000


async def begin(
    client: FulguriteClient, invoices: Sequence[TestInvoice], **more: object
) -> list[Payment]:
    """Asks for all at once, as a busy service would."""
    return list(await asyncio.gather(*(client.pay(to_pay(each, **more)) for each in invoices)))


async def ends(payments: Sequence[Payment]) -> list[Receipt]:
    return list(await asyncio.gather(*(payment.receipt() for payment in payments)))


async def holds_something(proxy: Proxy) -> None:
    """Waits until the worker has said what the proxy does not pass on."""

    async def held() -> int:
        return proxy.to_server.held_bytes

    await eventually(held, what="bytes held on their way from the worker")


async def assert_all_paid_once(
    home: House, receipts: Sequence[Receipt], invoices: Sequence[TestInvoice]
) -> None:
    for receipt, invoice in zip(receipts, invoices, strict=True):
        assert receipt.status is PaymentState.SUCCEEDED
        await assert_true(home, receipt, invoice)
        if isinstance(home.network, SimulatedNetwork):
            assert len(home.network.ledger.sends(invoice.payment_hash)) == 1


async def test_the_worker_dies_before_its_send_has_reached_lnd(
    home: House, client: FulguriteClient
) -> None:
    """What it sent arrives, if at all, when another worker has taken over."""
    carol = home.network.nodes["carol"]
    invoices = [await carol.invoice(AMOUNT_MSAT) for _ in range(BATCH)]
    async with proxying(home.network.nodes["alice"].address) as line:
        through_line = {"FULGURITE_NODES__ALICE__ADDRESS": line.address}
        async with home.worker("doomed", **through_line) as doomed:
            # The first payment opens the line; then LND's next word, that it knows nothing
            # of the others, is the last before the line to it goes dead.
            await ends(await begin(client, [await carol.invoice(AMOUNT_MSAT)]))
            line.to_client.at_next(line.to_server.pause)
            payments = await begin(client, invoices)
            await holds_something(line)
            await doomed.kill()
        for invoice in invoices:
            await assert_nothing_moved(home, invoice)
        async with home.worker("heir"):
            line.to_server.resume()
            receipts = await ends(payments)
    await assert_all_paid_once(home, receipts, invoices)


async def test_the_worker_dies_in_flight_and_before_the_answers_that_lnd_gives(
    home: House, client: FulguriteClient
) -> None:
    """Some payments it followed, some it had only just sent; some end while nobody looks."""
    alice, carol = home.network.nodes["alice"], home.network.nodes["carol"]
    followed, unanswered = await hold_invoices(carol, BATCH), await hold_invoices(carol, BATCH)
    async with proxying(alice.address) as line:
        through_line = {"FULGURITE_NODES__ALICE__ADDRESS": line.address}
        async with home.worker("doomed", **through_line) as doomed:
            in_flight = await begin(client, followed)
            await asyncio.gather(*(reaches(each, PaymentState.IN_FLIGHT) for each in in_flight))
            # By the time that somebody takes over, it is too late to send these.
            sent = await begin(client, unanswered, deadline_seconds=5)
            for invoice in unanswered:
                await carol.wait_for_invoice(invoice, ACCEPTED)
            line.to_client.pause()
            for invoice in [followed[0], *unanswered]:
                await carol.settle(invoice)
                await lnd_says(alice, invoice, LndPayment.SUCCEEDED)
            await carol.cancel(followed[1])
            await lnd_says(alice, followed[1], LndPayment.FAILED)
            await doomed.kill()
    if isinstance(home.network, SimulatedNetwork):
        # LND has them and does not find them at once (incident C).
        home.network.faults.hide_payments("alice", times=BATCH)
    async with home.worker("heir"):
        await end_the_rest(home, followed)
        receipts = await ends(sent)
        await assert_each_as_decided(home, await ends(in_flight), followed)
    assert all(receipt.initiated_by_this_run for receipt in receipts)
    await assert_all_paid_once(home, receipts, unanswered)


async def test_the_worker_dies_after_the_verdict_and_before_it_can_tell(
    home: House, client: FulguriteClient
) -> None:
    alice, carol = home.network.nodes["alice"], home.network.nodes["carol"]
    invoices = await hold_invoices(carol, BATCH)
    async with proxying(home.temporal.address) as line:
        through_line = {"FULGURITE_TEMPORAL_ADDRESS": line.address}
        async with home.worker("doomed", **through_line) as doomed:
            payments = await begin(client, invoices)
            for invoice in invoices:
                await carol.wait_for_invoice(invoice, ACCEPTED)
            line.to_server.pause()
            for invoice in invoices:
                await carol.settle(invoice)
            for invoice in invoices:
                await lnd_says(alice, invoice, LndPayment.SUCCEEDED)
            await holds_something(line)
            await doomed.kill()
    async with home.worker("heir"):
        receipts = await ends(payments)
    assert all(receipt.initiated_by_this_run for receipt in receipts)
    await assert_all_paid_once(home, receipts, invoices)


async def test_temporal_dies_while_payments_are_in_flight(
    home: House, client: FulguriteClient
) -> None:
    alice, carol = home.network.nodes["alice"], home.network.nodes["carol"]
    invoices = await hold_invoices(carol, BATCH)
    async with home.worker():
        payments = await begin(client, invoices[:-1])
        await asyncio.gather(*(reaches(each, PaymentState.IN_FLIGHT) for each in payments))
        # The last one is on its fast path when Temporal goes.
        payments += await begin(client, invoices[-1:])
        await carol.wait_for_invoice(invoices[-1], ACCEPTED)
        await home.temporal.kill()
        await carol.settle(invoices[0])
        await carol.cancel(invoices[1])
        await lnd_says(alice, invoices[0], LndPayment.SUCCEEDED)
        await home.temporal.start()
        await end_the_rest(home, invoices)
        await assert_each_as_decided(home, await ends(payments), invoices)


async def test_lnd_dies_while_payments_are_in_flight(home: House, client: FulguriteClient) -> None:
    carol = home.network.nodes["carol"]
    invoices = await hold_invoices(carol, BATCH)
    async with home.worker():
        payments = await begin(client, invoices[:-1])
        await asyncio.gather(*(reaches(each, PaymentState.IN_FLIGHT) for each in payments))
        payments += await begin(client, invoices[-1:])
        await carol.wait_for_invoice(invoices[-1], ACCEPTED)
        await home.network.stop_node("alice")
        await carol.settle(invoices[0])
        await carol.cancel(invoices[1])
        await home.network.start_node("alice")
        await end_the_rest(home, invoices)
        await assert_each_as_decided(home, await ends(payments), invoices)


async def end_the_rest(home: House, invoices: Sequence[TestInvoice]) -> None:
    """Of the first two the one is settled and the other canceled; so are the others now."""
    carol = home.network.nodes["carol"]
    for number, invoice in enumerate(invoices[2:]):
        await (carol.cancel if number % 2 else carol.settle)(invoice)


async def assert_each_as_decided(
    home: House, receipts: Sequence[Receipt], invoices: Sequence[TestInvoice]
) -> None:
    for number, (receipt, invoice) in enumerate(zip(receipts, invoices, strict=True)):
        assert receipt.status is (PaymentState.FAILED if number % 2 else PaymentState.SUCCEEDED)
        assert (receipt.sends, receipt.initiated_by_this_run) == (1, True)
        await assert_true(home, receipt, invoice)
