"""A wrong request is refused before anything moves, in words that say what to do.

Requests come as plain JSON, as any language would send them, so that nothing of ours on
the caller's side can catch the mistake first.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import bolt11
import pytest
from coincurve import PrivateKey
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from devnet.house import House
from devnet.node import TestInvoice
from fulgurite import ids
from fulgurite.errors import FulguriteError, InvoiceExpiredError
from fulgurite.identity import PaymentHash, Preimage
from fulgurite.sealing import UnsealingKey
from starter.client import FulguriteClient

from .telling import AMOUNT_MSAT, assert_nothing_moved, to_pay

pytestmark = pytest.mark.usefixtures("working")

FEE = {"sat": 10}


class _Missing:
    def __repr__(self) -> str:
        return "missing"


MISSING = _Missing()


@dataclass(frozen=True)
class Wrong:
    """Fields that replace those of a good request, and how it is refused for them."""

    fields: dict[str, object]
    error: str
    advice: str


def signed(*, currency: str, age_seconds: int = 0) -> tuple[str, PaymentHash]:
    """An invoice that nobody has, well-formed and signed."""
    payment_hash = Preimage.generate().hash()
    tags = bolt11.Tags()
    tags.add(bolt11.TagChar.payment_hash, str(payment_hash))
    tags.add(bolt11.TagChar.payment_secret, "11" * 32)
    tags.add(bolt11.TagChar.description, "")
    tags.add(bolt11.TagChar.expire_time, 60)
    invoice = bolt11.Bolt11(
        currency=currency,
        date=int(time.time()) - age_seconds,
        tags=tags,
        amount_msat=bolt11.MilliSatoshi(AMOUNT_MSAT),
    )
    return bolt11.encode(invoice, PrivateKey().to_hex()), payment_hash


async def refusal(
    temporal: Client,
    *arguments: Any,
    id: str,  # noqa: A002 - as Temporal names it
) -> ApplicationError:
    """Starts the workflow as a plain client would; returns the error that it ends with."""
    handle = await temporal.start_workflow(
        "PaymentWorkflow", args=arguments, id=id, task_queue=ids.TASK_QUEUE
    )
    with pytest.raises(WorkflowFailureError) as failed:
        await handle.result()
    cause = failed.value.cause
    assert isinstance(cause, ApplicationError)
    return cause


@pytest.fixture
async def payments_before(home: House) -> AsyncIterator[None]:
    """Fails a scenario in which LND was made to pay anything at all."""
    alice = home.network.nodes["alice"]
    before = len(await alice.payments())
    yield
    assert len(await alice.payments()) == before


@pytest.mark.usefixtures("payments_before")
@pytest.mark.parametrize(
    "wrong",
    [
        Wrong({"fee_limit": MISSING}, "InvalidRequestError", "fee_limit: Field required"),
        Wrong({"fee_limit": {}}, "InvalidRequestError", "give the fee limit once"),
        Wrong(
            {"fee_limit": {"sat": 1, "ppm": 5}}, "InvalidRequestError", "give the fee limit once"
        ),
        Wrong({"fee_limit": {"sat": 1.0}}, "InvalidRequestError", "fee_limit.sat"),
        Wrong({"fee_limit": {"sat": True}}, "InvalidRequestError", "fee_limit.sat"),
        Wrong({"fee_limit": {"msat": -1}}, "InvalidRequestError", "fee_limit.msat"),
        Wrong({"fee_limit": 10}, "InvalidRequestError", "fee_limit"),
        Wrong({"amount_msat": 1}, "AmountError", 'leave "amount_msat" out'),
        Wrong({"amount_msat": 1.5}, "InvalidRequestError", "amount_msat"),
        Wrong({"amount_msat": 1.0}, "InvalidRequestError", "amount_msat"),
        Wrong({"amount_msat": True}, "InvalidRequestError", "amount_msat"),
        Wrong({"amount_msat": "1"}, "InvalidRequestError", "amount_msat"),
        Wrong({"invoice": MISSING}, "InvalidRequestError", 'exactly one of "invoice" and'),
        Wrong({"invoice": "lnbcrt1nonsense"}, "MalformedInvoiceError", "copied whole"),
        Wrong({"invoice": 7}, "InvalidRequestError", "invoice"),
        Wrong({"node": "dave"}, "UnknownNodeError", "known: alice, bob, carol"),
        Wrong({"node": MISSING}, "InvalidRequestError", "node: Field required"),
        Wrong({"node": "no such name"}, "InvalidRequestError", "node"),
        Wrong({"max_parts": 0}, "InvalidRequestError", "max_parts"),
        Wrong({"time_preference": 2}, "InvalidRequestError", "time_preference"),
        Wrong({"outgoing_channels": ["x"]}, "InvalidRequestError", "800000x12x1"),
        Wrong({"last_hop": "02"}, "InvalidRequestError", "66 hex characters"),
        Wrong({"deadline_seconds": 0}, "InvalidRequestError", "deadline_seconds"),
        Wrong({"feelimit_sat": 5}, "InvalidRequestError", "feelimit_sat: Extra inputs"),
    ],
    ids=lambda wrong: " ".join(f"{name}={value}" for name, value in wrong.fields.items()),
)
async def test_a_wrong_request_is_refused(home: House, temporal: Client, wrong: Wrong) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    good = {"node": "alice", "invoice": invoice.payment_request, "fee_limit": FEE}
    request = {key: value for key, value in (good | wrong.fields).items() if value is not MISSING}

    refused = await refusal(temporal, request, id=f"payment/{invoice.payment_hash.hex()}")

    assert refused.type == wrong.error
    assert wrong.advice in refused.message
    assert refused.non_retryable
    await assert_nothing_moved(home, invoice)


@pytest.mark.usefixtures("payments_before")
@pytest.mark.parametrize("arguments", [["pay!"], [7], [None], [[]], [[{}]], [{}], []], ids=repr)
async def test_what_is_no_request_is_refused(temporal: Client, arguments: list[Any]) -> None:
    refused = await refusal(temporal, *arguments, id=f"payment/{Preimage.generate().hash()}")
    assert refused.type == "InvalidRequestError"


@pytest.mark.usefixtures("payments_before")
@pytest.mark.parametrize(
    "told",
    [{"requested_at": "2026-01-01T00:00:00Z", "state": "SUCCEEDED", "approved": True}, "nonsense"],
    ids=["a false past", "nonsense"],
)
async def test_nobody_tells_a_new_payment_what_has_happened_to_it(
    home: House, temporal: Client, told: object
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    request = {"node": "alice", "invoice": invoice.payment_request, "fee_limit": FEE}
    refused = await refusal(temporal, request, told, id=f"payment/{invoice.payment_hash.hex()}")

    assert (refused.type, refused.message) == (
        "InvalidRequestError",
        "give one argument, the request",
    )
    await assert_nothing_moved(home, invoice)


@pytest.mark.usefixtures("payments_before")
async def test_an_invoice_without_an_amount_needs_one(home: House, temporal: Client) -> None:
    invoice = await home.network.nodes["carol"].invoice()
    request = {"node": "alice", "invoice": invoice.payment_request, "fee_limit": FEE}
    refused = await refusal(temporal, request, id=f"payment/{invoice.payment_hash.hex()}")

    assert (refused.type, 'give "amount_msat"' in refused.message) == ("AmountError", True)


@pytest.mark.usefixtures("payments_before")
async def test_another_workflow_id_would_let_one_invoice_be_paid_twice(
    home: House, temporal: Client
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    request = {"node": "alice", "invoice": invoice.payment_request, "fee_limit": FEE}
    refused = await refusal(temporal, request, id="order-17")

    assert refused.type == "InvalidRequestError"
    assert f"must be payment/{invoice.payment_hash.hex()}" in refused.message
    await assert_nothing_moved(home, invoice)


@pytest.mark.usefixtures("payments_before")
async def test_an_invoice_of_another_network_is_refused(temporal: Client) -> None:
    text, payment_hash = signed(currency="bc")
    request = {"node": "alice", "invoice": text, "fee_limit": FEE}
    refused = await refusal(temporal, request, id=ids.payment_id(payment_hash))

    assert refused.type == "WrongNetworkError"
    assert "is for mainnet, alice is on regtest" in refused.message


@pytest.mark.usefixtures("payments_before")
async def test_an_expired_invoice_is_refused(temporal: Client) -> None:
    text, payment_hash = signed(currency="bcrt", age_seconds=3_600)
    request = {"node": "alice", "invoice": text, "fee_limit": FEE}
    refused = await refusal(temporal, request, id=ids.payment_id(payment_hash))

    assert (refused.type, "ask the payee" in refused.message) == ("InvoiceExpiredError", True)


@pytest.mark.usefixtures("payments_before")
async def test_a_node_does_not_pay_itself(home: House, temporal: Client) -> None:
    invoice = await home.network.nodes["alice"].invoice(AMOUNT_MSAT)
    request = {"node": "alice", "invoice": invoice.payment_request, "fee_limit": FEE}
    refused = await refusal(temporal, request, id=f"payment/{invoice.payment_hash.hex()}")

    assert (refused.type, "Pay from another node" in refused.message) == ("SelfPaymentError", True)
    await assert_nothing_moved(home, invoice)


@pytest.mark.usefixtures("payments_before")
@pytest.mark.parametrize("mistake", ["another hash", "another key", "no amount", "amount 0"])
async def test_a_keysend_must_fit_its_preimage_and_its_key(
    home: House, temporal: Client, mistake: str
) -> None:
    preimage = Preimage.generate()
    key = home.settings.public_sealing_key()
    payment_hash = preimage.hash()
    request: dict[str, object] = {"node": "alice", "fee_limit": FEE, "amount_msat": 1_000}
    match mistake:
        case "another hash":
            payment_hash = Preimage.generate().hash()
        case "another key":
            key = UnsealingKey.generate().sealing_key
        case "no amount":
            del request["amount_msat"]
        case "amount 0":
            request["amount_msat"] = 0
    request["keysend"] = {
        "destination": (await home.network.nodes["carol"].info()).identity_pubkey,
        "payment_hash": payment_hash,
        "sealed_preimage": key.seal(preimage),
    }
    refused = await refusal(temporal, request, id=ids.payment_id(payment_hash))

    assert refused.type == "InvalidRequestError"
    assert preimage.reveal().hex() not in refused.message
    nothing = TestInvoice("", payment_hash.raw(), preimage.reveal())
    await assert_nothing_moved(home, nothing)


async def test_the_typed_client_raises_the_refusal_by_its_class(client: FulguriteClient) -> None:
    text, payment_hash = signed(currency="bcrt", age_seconds=3_600)
    payment = await client.pay(to_pay(TestInvoice(text, payment_hash.raw(), bytes(32))))
    with pytest.raises(InvoiceExpiredError, match="ask the payee for a new one") as refused:
        await payment.receipt()
    assert not isinstance(refused.value, WorkflowFailureError)
    assert isinstance(refused.value, FulguriteError)
