"""An invoice's time ends: what comes a moment before or after is told as it was."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from devnet.house import House
from devnet.receiver import Receiver
from devnet.simulated import SimulatedNetwork
from fulgurite.events.catalogue import EventType
from fulgurite.invoices.receipts import InvoiceReceipt
from fulgurite.invoices.states import InvoiceState
from starter.client import FulguriteClient
from starter.errors import NotPaidError
from starter.invoice import Invoice

from .receiving import (
    LndPayment,
    assert_true,
    issued,
    reaches,
    shop_hears,
    to_hold,
    to_receive,
    until,
)
from .telling import SIMULATED_ONLY

pytestmark = pytest.mark.usefixtures("working")

# LND counts seconds: an invoice of two can be one and a bit.
SHORT = {"expiry_seconds": 2, "late_watch_seconds": 0}
A_MOMENT = timedelta(milliseconds=400)

# Only its amount tells whom a late payer meant: each of these is of no other invoice.
AMOUNTS_MSAT = range(4_654_321, 4_654_324)


async def test_an_invoice_that_nobody_pays_is_closed(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    created, invoice = await issued(client, to_receive(**SHORT))
    with pytest.raises(NotPaidError) as ended:
        await invoice.settled()
    receipt = await invoice.receipt()
    [event] = await shop_hears(shop, created.payment_hash, EventType.INVOICE_EXPIRED)
    refused = await home.network.nodes["alice"].pay_unread(created.payment_request)

    assert receipt.status is InvoiceState.CLOSED
    assert datetime.now(UTC) > receipt.expires_at
    assert ended.value.receipt.paid_msat == 0
    assert InvoiceReceipt.model_validate(event.data).status is InvoiceState.EXPIRED
    assert refused.status == LndPayment.FAILED
    await assert_true(home, receipt)


async def test_a_hold_invoice_that_nobody_pays_is_closed(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    created, invoice = await issued(client, to_hold(**SHORT))
    receipt = await invoice.receipt()
    await shop_hears(shop, created.payment_hash, EventType.INVOICE_EXPIRED)

    assert receipt.status is InvoiceState.CLOSED
    await assert_true(home, receipt)


@pytest.mark.parametrize("hold", [None, {"decide_by": "ACCEPT_ALL"}], ids=["normal", "hold"])
@pytest.mark.parametrize(
    "moment",
    [-A_MOMENT, timedelta(0), A_MOMENT, 3 * A_MOMENT],
    ids=["before", "at", "after", "well after"],
)
async def test_a_payment_near_the_expiry_is_told_as_lnd_took_it(
    home: House,
    client: FulguriteClient,
    shop: Receiver,
    moment: timedelta,
    hold: dict[str, str] | None,
) -> None:
    """Whether it gets through is LND's to say: it looks at no clock until it cancels."""
    created, invoice = await issued(client, to_receive(hold=hold, **SHORT))
    await until(created.expires_at + moment)
    paid = await home.network.nodes["alice"].pay_unread(created.payment_request)

    await assert_told_as_it_was(home, invoice, shop, paid)


async def assert_told_as_it_was(
    home: House, invoice: Invoice, shop: Receiver, paid: LndPayment
) -> InvoiceReceipt:
    """The payer, the payee's LND, the receipt and the webhooks agree."""
    receipt = await invoice.receipt()
    taken = paid.status == LndPayment.SUCCEEDED
    last = {
        InvoiceState.SETTLED: EventType.INVOICE_SETTLED,
        InvoiceState.PAID_LATE: EventType.INVOICE_PAID_LATE,
        InvoiceState.CLOSED: EventType.INVOICE_EXPIRED,
    }[receipt.status]
    view = await invoice.view()
    held = [EventType.INVOICE_ACCEPTED] * (view.hold is not None and taken)
    await shop_hears(shop, receipt.payment_hash, *held, last)

    assert taken == (receipt.status in {InvoiceState.SETTLED, InvoiceState.PAID_LATE})
    await assert_true(home, receipt)
    return receipt


@SIMULATED_ONLY
@pytest.mark.parametrize("hold", [None, {"decide_by": "ACCEPT_ALL"}], ids=["normal", "hold"])
async def test_a_late_payer_who_gets_through_is_told_with_advice(
    home: House,
    simulated: SimulatedNetwork,
    client: FulguriteClient,
    shop: Receiver,
    hold: dict[str, str] | None,
) -> None:
    """Incident R. As long as its watcher lags, LND takes what comes."""
    created, invoice = await issued(client, to_receive(hold=hold, **SHORT))
    simulated.registry("carol").stop()
    try:
        # Later than its last second, which is the clock that LND writes down.
        await until(created.expires_at + timedelta(seconds=1.1))
        paid = await simulated.nodes["alice"].pay_unread(created.payment_request)
    finally:
        simulated.registry("carol").start()
    receipt = await assert_told_as_it_was(home, invoice, shop, paid)

    assert receipt.status is InvoiceState.PAID_LATE
    assert receipt.late_seconds in {1, 2}
    assert "make such invoices with" in receipt.advice


@SIMULATED_ONLY
async def test_who_comes_when_only_lnd_has_closed_it_is_told_of(
    home: House, client: FulguriteClient
) -> None:
    """The workflow still waits for LND's last word: Temporal's list shows it as open."""

    # One try for each; another one only because the listener may have begun after the first.
    for amount_msat in AMOUNTS_MSAT:
        created, invoice = await issued(
            client, to_receive(expiry_seconds=2, amount_msat=amount_msat)
        )
        await until(created.expires_at + A_MOMENT)
        refused = await home.network.nodes["alice"].pay_unread(created.payment_request)
        await until(created.expires_at + timedelta(seconds=10))
        view = await invoice.view()

        assert refused.status == LndPayment.FAILED
        if view.receipt.late_attempts:
            break
    assert view.state is InvoiceState.EXPIRED
    assert view.receipt.late_attempts == 1


@SIMULATED_ONLY
async def test_lnd_is_asked_until_it_has_closed_what_has_expired(
    home: House, simulated: SimulatedNetwork, client: FulguriteClient, shop: Receiver
) -> None:
    """Only then is it certain that nobody has paid: no conclusion from a clock."""
    created, invoice = await issued(client, to_receive(**SHORT))
    simulated.registry("carol").stop()
    try:
        view = await reaches(invoice, InvoiceState.EXPIRED)
        assert not view.unpaid_for_good
    finally:
        simulated.registry("carol").start()
    receipt = await invoice.receipt()
    await shop_hears(shop, created.payment_hash, EventType.INVOICE_EXPIRED)

    assert receipt.status is InvoiceState.CLOSED
    await assert_true(home, receipt)


async def test_a_node_that_was_away_at_the_expiry_has_the_last_word(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    created, invoice = await issued(client, to_receive(**SHORT))
    await home.network.stop_node("carol")
    try:
        view = await reaches(invoice, InvoiceState.EXPIRED)
        assert not view.unpaid_for_good
    finally:
        await home.network.start_node("carol")
    receipt = await invoice.receipt()
    await shop_hears(shop, created.payment_hash, EventType.INVOICE_EXPIRED)

    assert receipt.status is InvoiceState.CLOSED
    await assert_true(home, receipt)
