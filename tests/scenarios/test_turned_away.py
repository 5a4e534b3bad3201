"""Who pays when LND takes it no more is counted, told, and leads to advice."""

from __future__ import annotations

import uuid

import pytest

from devnet.house import House
from devnet.receiver import Receiver
from devnet.waiting import eventually
from fulgurite.invoices.receipts import InvoiceView
from fulgurite.invoices.requests import InvoiceRequest
from fulgurite.invoices.states import InvoiceState
from fulgurite.money import Msat
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient

pytestmark = pytest.mark.usefixtures("working")

# Of no other invoice in the house.
AMOUNT_MSAT = Msat(4_321_987)
EXPIRY_SECONDS = 1


async def test_a_payer_who_comes_too_late_is_told_of_with_advice(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    request = InvoiceRequest(
        key=str(uuid.uuid4()),
        node="alice",
        amount_msat=AMOUNT_MSAT,
        expiry_seconds=EXPIRY_SECONDS,
    )
    created = await client.create_invoice(request)
    invoice = await client.invoice(request.key)
    await eventually(
        lambda: told(shop, f"invoice-expired-{created.payment_hash}"), what="expired, by LND too"
    )

    async def tried() -> InvoiceView:
        # LND tells of no HTLC that came before we listened, or between two listeners.
        paid = await home.network.nodes["bob"].pay_unread(
            created.payment_request, amount_msat=AMOUNT_MSAT
        )
        assert paid.status == lightning_pb2.Payment.FAILED
        return await invoice.view()

    def seen(view: InvoiceView) -> bool:
        return view.receipt.late_attempts > 0

    view = await eventually(tried, seen, what="late attempt", every_seconds=1)
    assert view.state is InvoiceState.EXPIRED
    assert view.receipt.late_seconds is not None
    assert "make such invoices with" in view.receipt.advice
    await eventually(
        lambda: told(shop, f"invoice-late_attempt-{created.payment_hash}-1"), what="webhook"
    )


async def told(shop: Receiver, event_id: str) -> bool:
    return event_id in shop.taken
