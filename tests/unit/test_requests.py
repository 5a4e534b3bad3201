"""A request is understood in one way, or refused before anything moves."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from fulgurite.bolt11 import ChainNetwork
from fulgurite.errors import AmountError, MalformedInvoiceError
from fulgurite.identity import NodePubkey, Preimage
from fulgurite.money import FeeLimit, Msat
from fulgurite.payments.requests import Keysend, PaymentRequest, send_until, understand
from fulgurite.sealing import UnsealingKey
from tests.unit.invoices import PAYEE_PUBKEY, written

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
PREIMAGE = Preimage.generate()
KEYSEND = Keysend(
    destination=NodePubkey(PAYEE_PUBKEY),
    payment_hash=PREIMAGE.hash(),
    sealed_preimage=UnsealingKey.generate().sealing_key.seal(PREIMAGE),
)


def a_request(**fields: Any) -> PaymentRequest:
    return PaymentRequest.model_validate({"node": "alice", "fee_limit": {"sat": 10}} | fields)


def test_an_invoice_is_understood() -> None:
    order = understand(a_request(invoice=written(amount_msat=7_000), fee_limit={"ppm": 500_000}))

    assert (order.amount, order.fee_limit) == (7_000, 3_500)
    assert order.destination == PAYEE_PUBKEY
    assert order.network is ChainNetwork.REGTEST
    assert order.expires_at is not None


def test_a_keysend_is_understood() -> None:
    order = understand(a_request(keysend=KEYSEND, amount_msat=7_000))

    assert order.payment_hash == PREIMAGE.hash()
    assert (order.amount, order.fee_limit) == (Msat(7_000), Msat(10_000))
    assert order.network is None
    assert order.expires_at is None


def test_an_invoice_without_an_amount_takes_the_requests() -> None:
    assert understand(a_request(invoice=written(amount_msat=None), amount_msat=5)).amount == 5


@pytest.mark.parametrize("amount_msat", [None, 0])
def test_an_amount_that_nobody_names_is_refused(amount_msat: int | None) -> None:
    with pytest.raises(AmountError, match='give "amount_msat"'):
        understand(a_request(invoice=written(amount_msat=None), amount_msat=amount_msat))


def test_an_amount_named_twice_is_refused_also_when_it_is_the_same() -> None:
    with pytest.raises(AmountError, match='leave "amount_msat" out'):
        understand(a_request(invoice=written(amount_msat=5), amount_msat=5))


def test_a_malformed_invoice_is_refused() -> None:
    with pytest.raises(MalformedInvoiceError):
        understand(a_request(invoice="lnbc1"))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"invoice": written(), "keysend": KEYSEND, "amount_msat": 1},
        {"keysend": KEYSEND},
        {"keysend": KEYSEND, "amount_msat": 0},
        {"invoice": written(), "fee_limit": None},
        {"invoice": written(), "fee_limit": {}},
        {"invoice": written(), "node": "Alice"},
        {"invoice": written(), "node": ""},
        {"invoice": written(), "timeout_seconds": 0},
        {"invoice": written(), "max_parts": 0},
        {"invoice": written(), "time_preference": 1.5},
        {"invoice": written(), "time_preference": float("nan")},
        {"invoice": written(), "outgoing_channels": ["1x2"]},
        {"invoice": written(), "last_hop": "bob"},
        {"invoice": written(), "deadline_seconds": 0},
        {"invoice": written(), "amount_msat": 1.0},
        {"invoice": written(), "feelimit": 1},
    ],
)
def test_a_request_that_contradicts_itself_is_no_request(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        a_request(**fields)


def test_a_fee_limit_has_no_default() -> None:
    with pytest.raises(ValidationError, match="fee_limit"):
        PaymentRequest.model_validate({"node": "alice", "invoice": written()})


def test_what_is_wrong_is_named_and_not_repeated() -> None:
    """Somebody will put the preimage where the sealed one belongs."""
    secret = PREIMAGE.reveal().hex()
    with pytest.raises(ValidationError) as caught:
        a_request(keysend=KEYSEND.model_dump() | {"sealed_preimage": secret}, amount_msat=1)

    assert "sealed_preimage" in str(caught.value)
    # pydantic would show the input's two ends.
    assert secret[:8] not in str(caught.value)
    assert secret[-8:] not in str(caught.value)


def test_a_request_survives_json() -> None:
    request = a_request(
        invoice=written(),
        fee_limit=FeeLimit(msat=Msat(1)),
        outgoing_channels=["123", "1x2x3", "4:5:6"],
        last_hop=PAYEE_PUBKEY.upper(),
    )

    assert PaymentRequest.model_validate_json(request.model_dump_json()) == request
    assert request.outgoing_channels == ("0x0x123", "1x2x3", "4x5x6")


def test_no_attempt_begins_after_the_deadline_or_the_invoices_end() -> None:
    request = a_request(invoice=written(created_at=int(NOW.timestamp())), deadline_seconds=60)
    order = understand(request)
    later = NOW + timedelta(seconds=3_590)

    assert send_until(request, order, NOW) == NOW + timedelta(seconds=60)
    assert send_until(request, order, later) == NOW + timedelta(seconds=3_600)
    keysend = a_request(keysend=KEYSEND, amount_msat=1, deadline_seconds=60)
    assert send_until(keysend, understand(keysend), NOW) == NOW + timedelta(seconds=60)


def test_no_attempt_begins_after_a_moment_that_was_named() -> None:
    request = a_request(invoice=written(created_at=int(NOW.timestamp())), deadline_seconds=60)
    order = understand(request)
    for seconds, effective in ((59, 59), (61, 60)):
        named = request.model_copy(update={"no_attempt_after": NOW + timedelta(seconds=seconds)})
        assert send_until(named, order, NOW) == NOW + timedelta(seconds=effective)


def test_a_moment_needs_its_time_zone() -> None:
    """Without one nobody could say whether it has passed."""
    with pytest.raises(ValidationError, match="no_attempt_after"):
        a_request(invoice=written(), no_attempt_after="2026-01-01T00:00:00")
