"""How the scenarios ask, wait, and hold what they are told against the truth."""

from __future__ import annotations

import asyncio

import pytest

from devnet.house import House
from devnet.node import SETTLED, LightningNode, TestInvoice
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite.payments.receipts import PaymentView, Receipt
from fulgurite.payments.requests import PaymentRequest
from fulgurite.payments.states import PaymentState
from protos.lnrpc import lightning_pb2
from starter.payment import Payment

LndPayment = lightning_pb2.Payment

# What only a simulation can do on request: lose an answer, dictate a verdict, hide a payment.
SIMULATED_ONLY = pytest.mark.parametrize("home", ["simulated"], indirect=True)

# One forwarder's fee, by `devnet.topology`: 1 sat and 100 ppm.
AMOUNT_MSAT = 50_000_000
TWO_HOP_FEE_MSAT = 6_000

# A deadline before the first retry is due, so that one failure is the last.
NO_RETRY_SECONDS = 4


def to_pay(invoice: TestInvoice, **more: object) -> PaymentRequest:
    """A request of alice's; `more` are fields of PaymentRequest, over modest defaults."""
    fields = {"node": "alice", "invoice": invoice.payment_request, "fee_limit": {"sat": 100}}
    return PaymentRequest.model_validate(fields | more)


async def reaches(
    payment: Payment, *states: PaymentState, timeout_seconds: float = 90
) -> PaymentView:
    """Waits until the payment is in one of `states`."""
    return await eventually(
        payment.view,
        lambda view: view.state in states,
        what=f"payment in {' or '.join(states)}",
        timeout_seconds=timeout_seconds,
    )


async def notes(payment: Payment, words: str, timeout_seconds: float = 90) -> PaymentView:
    """Waits until the payment's timeline has `words`."""
    return await eventually(
        payment.view,
        lambda view: any(words in line for line in view.timeline),
        what=f"payment that notes {words!r}",
        timeout_seconds=timeout_seconds,
    )


async def ends(payment: Payment, timeout_seconds: float = 150) -> Receipt:
    """The receipt; where none comes, a TimeoutError that says how the payment stands."""
    try:
        async with asyncio.timeout(timeout_seconds):
            return await payment.receipt()
    except TimeoutError as late:
        view = await payment.view()
        raise TimeoutError(f"no receipt after {timeout_seconds:g} s: {view!r}") from late


async def lnd_says(
    node: LightningNode, invoice: TestInvoice, status: LndPayment.PaymentStatus.ValueType
) -> LndPayment:
    """Waits until the node has the payment in `status`."""
    found = await eventually(
        lambda: node.payment(invoice.payment_hash),
        lambda payment: payment is not None and payment.status == status,
        what=f"{node.name}'s payment in {LndPayment.PaymentStatus.Name(status)}",
    )
    assert found is not None
    return found


async def assert_true(
    home: House, receipt: Receipt, invoice: TestInvoice, *, payee: str = "carol"
) -> None:
    """The receipt, the payer's LND, the payee's LND and the ledger tell one story."""
    every = await home.network.nodes["alice"].payments()
    [told] = [each for each in every if each.payment_hash == invoice.payment_hash.hex()]
    asked = await home.network.nodes[payee].lookup(invoice)
    succeeded = receipt.status is PaymentState.SUCCEEDED

    assert succeeded == (told.status == LndPayment.SUCCEEDED)
    assert succeeded == (asked.state == SETTLED)
    assert receipt.payment_hash == told.payment_hash
    # A real lnd forgets what failed once the payment has ended; the receipt remembers.
    assert receipt.attempts >= len(told.htlcs)
    if succeeded:
        settled = [h for h in told.htlcs if h.status == lightning_pb2.HTLCAttempt.SUCCEEDED]
        assert (receipt.amount_msat, receipt.fee_msat) == (told.value_msat, told.fee_msat)
        assert receipt.amount_msat == asked.amt_paid_msat
        assert receipt.parts == len(settled)
        assert receipt.sealed_preimage is not None
        proof = home.settings.unsealing_key().open(receipt.sealed_preimage)
        assert proof.reveal() == invoice.preimage
    else:
        assert receipt.status is PaymentState.FAILED
        assert told.status == LndPayment.FAILED
        reason = lightning_pb2.PaymentFailureReason.Name(told.failure_reason)
        assert reason == f"FAILURE_REASON_{receipt.failure_reason}"
        assert (receipt.parts, receipt.fee_msat, receipt.sealed_preimage) == (0, 0, None)
    if isinstance(home.network, SimulatedNetwork):
        ledger = home.network.ledger
        assert ledger.settled_payments(invoice.payment_hash) == int(succeeded)
        if succeeded:
            cost_msat = receipt.amount_msat + receipt.fee_msat
            assert ledger.sent_msat("alice", invoice.payment_hash) == cost_msat
        else:
            assert all(entry.payment_hash != invoice.payment_hash for entry in ledger.journal)


async def assert_nothing_moved(home: House, invoice: TestInvoice) -> None:
    """LND never made a payment of it."""
    assert await home.network.nodes["alice"].payment(invoice.payment_hash) is None
    if isinstance(home.network, SimulatedNetwork):
        assert home.network.ledger.sends(invoice.payment_hash) == []


async def hold_invoices(
    node: LightningNode, count: int, amount_msat: int = 10_000_000
) -> list[TestInvoice]:
    return list(
        await asyncio.gather(*(node.hold_invoice(amount_msat + n * 1_000) for n in range(count)))
    )
