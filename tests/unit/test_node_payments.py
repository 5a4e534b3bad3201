"""What goes to LND is what was asked for, and what comes back is told as it is."""

from __future__ import annotations

from typing import Any

import pytest

from fulgurite.errors import UnexpectedAnswerError
from fulgurite.identity import Preimage
from fulgurite.money import FeeLimit, Msat
from fulgurite.payments.requests import PaymentRequest, understand
from fulgurite.payments.states import FailureReason, PaymentStatus
from nodes.lnd.payments import KEYSEND_RECORD, NodePayment, _send_request, node_payment
from protos.lnrpc import lightning_pb2
from protos.routerrpc import router_pb2
from tests.unit.invoices import PAYEE_PUBKEY, written
from tests.unit.test_requests import KEYSEND, PREIMAGE, a_request

Payment = lightning_pb2.Payment
Attempt = lightning_pb2.HTLCAttempt


def sent_for(
    request: PaymentRequest, preimage: Preimage | None = None
) -> router_pb2.SendPaymentRequest:
    return _send_request(request, understand(request), preimage)


def told(**fields: Any) -> NodePayment:
    return node_payment("alice", Payment(**fields))


def attempt(status: Attempt.HTLCStatus.ValueType, *, expiry: int = 0, ended_ns: int = 0) -> Attempt:
    return Attempt(
        status=status,
        resolve_time_ns=ended_ns,
        route=lightning_pb2.Route(total_time_lock=expiry),
    )


# To LND.


@pytest.mark.parametrize(
    ("limit", "msat"),
    [
        (FeeLimit(sat=3), 3_000),
        (FeeLimit(msat=Msat(7)), 7),
        (FeeLimit(ppm=1_000), 50),
        (FeeLimit(sat=0), 0),
    ],
)
def test_the_fee_limit_is_handed_to_lnd(limit: FeeLimit, msat: int) -> None:
    sent = sent_for(a_request(invoice=written(amount_msat=50_000), fee_limit=limit))

    assert sent.fee_limit_msat == msat


def test_every_wish_is_handed_to_lnd() -> None:
    invoice = written()
    sent = sent_for(
        a_request(
            invoice=f"lightning:{invoice.upper()}",
            timeout_seconds=7,
            max_parts=3,
            outgoing_channels=["1x2x3", "5"],
            last_hop=PAYEE_PUBKEY,
            time_preference=-0.5,
            cltv_limit_blocks=200,
        )
    )

    assert sent.payment_request == invoice
    assert (sent.timeout_seconds, sent.max_parts, sent.time_pref) == (7, 3, -0.5)
    assert sent.cltv_limit == 200
    assert list(sent.outgoing_chan_ids) == [1 << 40 | 2 << 16 | 3, 5]
    assert sent.last_hop_pubkey.hex() == PAYEE_PUBKEY
    assert not sent.amt_msat
    # `cancelable` is no field of ours: the payment outlives the one who asked for it.
    assert "cancelable" not in sent.DESCRIPTOR.fields_by_name
    assert sent.no_inflight_updates


def test_an_amount_is_handed_to_lnd_only_for_an_invoice_without_one() -> None:
    assert sent_for(a_request(invoice=written(amount_msat=None), amount_msat=5)).amt_msat == 5


def test_a_keysend_carries_its_preimage_to_the_payee_in_one_part() -> None:
    sent = sent_for(a_request(keysend=KEYSEND, amount_msat=5_000, max_parts=16), PREIMAGE)

    assert sent.payment_hash.hex() == PREIMAGE.hash()
    assert sent.dest.hex() == PAYEE_PUBKEY
    assert dict(sent.dest_custom_records) == {KEYSEND_RECORD: PREIMAGE.reveal()}
    assert (sent.amt_msat, sent.max_parts, sent.fee_limit_msat) == (5_000, 1, 10_000)
    assert not sent.payment_request


# From LND.


@pytest.mark.parametrize(
    ("status", "reason", "expected"),
    [
        (Payment.INITIATED, "NONE", PaymentStatus.IN_FLIGHT),
        (Payment.IN_FLIGHT, "NONE", PaymentStatus.IN_FLIGHT),
        # LND sets the reason when it stops trying; HTLCs may still be out and may settle.
        *((Payment.IN_FLIGHT, reason, PaymentStatus.IN_FLIGHT) for reason in ("TIMEOUT", "ERROR")),
        (Payment.FAILED, "NO_ROUTE", PaymentStatus.FAILED),
        (Payment.FAILED, "NONE", PaymentStatus.FAILED),
    ],
)
def test_only_the_status_decides(
    status: Payment.PaymentStatus.ValueType, reason: str, expected: PaymentStatus
) -> None:
    code = lightning_pb2.PaymentFailureReason.Value(f"FAILURE_REASON_{reason}")
    payment = told(status=status, failure_reason=code)

    assert (payment.status, payment.failure_reason) == (expected, FailureReason(reason))


@pytest.mark.parametrize("reason", list(FailureReason))
def test_every_reason_has_the_same_name_here_and_there(reason: FailureReason) -> None:
    names = set(lightning_pb2.PaymentFailureReason.keys())

    assert f"FAILURE_REASON_{reason}" in names
    assert len(names) == len(FailureReason)


def test_a_settled_payment_stays_so_though_some_of_its_htlcs_failed() -> None:
    """Seen in lnd up to 0.17.5: an HTLC of a settled payment was failed back."""
    preimage = Preimage.generate()
    payment = told(
        status=Payment.SUCCEEDED,
        failure_reason=lightning_pb2.FAILURE_REASON_TIMEOUT,
        payment_preimage=preimage.reveal().hex(),
        htlcs=[
            attempt(Attempt.SUCCEEDED, ended_ns=2_000_000_000),
            attempt(Attempt.FAILED, ended_ns=1_000_000_000),
        ],
    )

    assert payment.status is PaymentStatus.SUCCEEDED
    assert (payment.parts, payment.attempts) == (1, 2)
    assert payment.resolved_at is not None
    assert payment.resolved_at.timestamp() == 2
    assert payment.preimage == preimage
    assert preimage.reveal().hex() not in repr(payment)


def test_what_is_in_flight_is_counted_and_its_first_expiry_told() -> None:
    payment = told(
        status=Payment.IN_FLIGHT,
        payment_preimage="00" * 32,
        htlcs=[
            attempt(Attempt.IN_FLIGHT, expiry=700),
            attempt(Attempt.IN_FLIGHT, expiry=650),
            attempt(Attempt.FAILED, expiry=600, ended_ns=1),
        ],
    )

    assert (payment.parts, payment.attempts, payment.expiry_height) == (2, 3, 650)
    assert payment.resolved_at is None
    assert payment.preimage is None


@pytest.mark.parametrize(
    "fields", [{"status": 17}, {"status": Payment.FAILED, "failure_reason": 99}]
)
def test_a_word_of_a_later_lnd_is_no_failure(fields: dict[str, Any]) -> None:
    with pytest.raises(UnexpectedAnswerError, match="upgrade"):
        told(**fields)
