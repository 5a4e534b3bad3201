"""What a payment can meet, on both networks."""

from __future__ import annotations

import pytest

from devnet.house import House
from fulgurite.money import FeeLimit, Msat
from fulgurite.payments import PaymentState
from fulgurite.requests import PaymentRequest
from starter.client import FulguriteClient


@pytest.mark.usefixtures("working")
@pytest.mark.parametrize("payee", ["bob", "carol"])
async def test_an_invoice_is_paid_over_one_hop_and_over_two(
    home: House, client: FulguriteClient, payee: str
) -> None:
    invoice = await home.network.nodes[payee].invoice(50_000_000)

    payment = await client.pay(
        PaymentRequest(node="alice", invoice=invoice.payment_request, fee_limit=FeeLimit(sat=10))
    )
    receipt = await payment.receipt()

    assert receipt.status is PaymentState.SUCCEEDED
    assert receipt.amount_msat == Msat(50_000_000)
    assert receipt.fee_msat == (0 if payee == "bob" else 6_000)
    assert receipt.initiated_by_this_run
    paid = await home.network.nodes[payee].lookup(invoice)
    assert paid.amt_paid_msat == 50_000_000
