"""What goes to LND is the invoice that was asked for, and what comes back is told as it is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from fulgurite.errors import UnexpectedAnswerError
from fulgurite.identity import Digest, PaymentHash, Preimage
from fulgurite.invoices.requests import Hold, InvoiceRequest
from fulgurite.invoices.states import LndInvoiceState
from fulgurite.money import Msat
from nodes.lnd.invoices import HOLD_CLTV_BLOCKS, LndInvoices, NodeInvoice, _node_invoice
from protos.invoicesrpc import invoices_pb2
from protos.lnrpc import lightning_pb2

Invoice = lightning_pb2.Invoice
Htlc = lightning_pb2.InvoiceHTLC

PREIMAGE = Preimage.generate()
HASH = PREIMAGE.hash()
DIGEST = Digest("ab" * 32)
CREATED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
BECH32 = "bcrt1qw508d6qejxtdg4y5r3zarvary0c5xw7kygt080"


def a_request(**fields: Any) -> InvoiceRequest:
    return InvoiceRequest.model_validate({"key": "order-1", "node": "alice"} | fields)


@dataclass
class Lnd:
    """Both stubs at once: notes what it is sent, and answers what it was given."""

    answer: Any = None
    sent: list[Any] = field(default_factory=list)
    options: dict[str, Any] = field(default_factory=dict)

    def __getattr__(self, method: str) -> Any:
        async def call(message: Any, **options: Any) -> Any:
            self.sent.append((method, message))
            self.options = options
            return self.answer

        return call


@pytest.fixture
def lnd() -> Lnd:
    return Lnd()


@pytest.fixture
def invoices(lnd: Lnd) -> LndInvoices:
    made = LndInvoices.__new__(LndInvoices)
    made._node = "alice"
    made._credential = (("macaroon", "00"),)
    made._lightning = made._invoices = lnd  # type: ignore[assignment]
    return made


def told(**fields: Any) -> NodeInvoice:
    return _node_invoice("alice", Invoice(**{"r_hash": HASH.raw()} | fields))


def htlc(
    state: str, msat: int, *, of: int = 0, came: int = 0, went: int = 0, expiry: int = 0
) -> Htlc:
    return Htlc(
        state=lightning_pb2.InvoiceHTLCState.Value(state),
        amt_msat=msat,
        mpp_total_amt_msat=of,
        accept_time=came,
        resolve_time=went,
        expiry_height=expiry,
    )


# To LND.


async def test_every_wish_is_handed_to_lnd(lnd: Lnd, invoices: LndInvoices) -> None:
    request = a_request(
        amount_msat=7_001,
        memo="a cup of tea",
        expiry_seconds=60,
        private_channels=True,
        fallback_address=BECH32,
        cltv_expiry_blocks=40,
    )

    await invoices.add(request, HASH, PREIMAGE)

    assert lnd.sent == [
        (
            "AddInvoice",
            Invoice(
                r_preimage=PREIMAGE.reveal(),
                value_msat=7_001,
                memo="a cup of tea",
                expiry=60,
                private=True,
                fallback_addr=BECH32,
                cltv_expiry=40,
            ),
        )
    ]
    assert lnd.options["metadata"] == (("macaroon", "00"),)


async def test_what_was_not_asked_for_is_left_to_lnd(lnd: Lnd, invoices: LndInvoices) -> None:
    await invoices.add(a_request(description_hash=DIGEST), HASH, PREIMAGE)

    assert lnd.sent == [
        (
            "AddInvoice",
            Invoice(r_preimage=PREIMAGE.reveal(), description_hash=DIGEST.raw(), expiry=86_400),
        )
    ]


@pytest.mark.parametrize("preimage", [PREIMAGE, None])
async def test_lnd_never_gets_the_preimage_of_a_hold_invoice(
    lnd: Lnd, invoices: LndInvoices, preimage: Preimage | None
) -> None:
    await invoices.add(a_request(hold=Hold(), amount_msat=5, memo="tea"), HASH, preimage)

    ((method, message),) = lnd.sent
    assert method == "AddHoldInvoice"
    assert message == invoices_pb2.AddHoldInvoiceRequest(
        hash=HASH.raw(), value_msat=5, memo="tea", expiry=86_400, cltv_expiry=HOLD_CLTV_BLOCKS
    )
    assert PREIMAGE.reveal() not in message.SerializeToString()


async def test_a_hold_invoice_keeps_the_blocks_that_were_asked_for(
    lnd: Lnd, invoices: LndInvoices
) -> None:
    await invoices.add(a_request(hold=Hold(), cltv_expiry_blocks=200), HASH, None)

    assert lnd.sent[0][1].cltv_expiry == 200


async def test_an_invoice_is_not_written_with_somebody_elses_preimage(
    lnd: Lnd, invoices: LndInvoices
) -> None:
    with pytest.raises(AssertionError):
        await invoices.add(a_request(), HASH, Preimage.generate())

    assert lnd.sent == []


@pytest.mark.parametrize("backwards", [False, True])
async def test_a_page_says_where_the_next_one_goes_on(
    lnd: Lnd, invoices: LndInvoices, backwards: bool
) -> None:
    lnd.answer = lightning_pb2.ListInvoiceResponse(
        invoices=[Invoice(r_hash=HASH.raw(), add_index=index) for index in (8, 9)],
        first_index_offset=8,
        last_index_offset=9,
    )

    page = await invoices.page(
        after_index=10, limit=2, pending_only=True, created_from=CREATED, backwards=backwards
    )

    assert [invoice.add_index for invoice in page.invoices] == [8, 9]
    assert page.last_index == (8 if backwards else 9)
    assert lnd.sent[0][1] == lightning_pb2.ListInvoiceRequest(
        index_offset=10,
        num_max_invoices=2,
        pending_only=True,
        reversed=backwards,
        creation_date_start=int(CREATED.timestamp()),
    )


async def test_an_empty_page_leaves_one_where_one_was(lnd: Lnd, invoices: LndInvoices) -> None:
    lnd.answer = lightning_pb2.ListInvoiceResponse()

    page = await invoices.page(after_index=10, limit=2)

    assert (page.invoices, page.last_index) == ((), 10)


async def test_what_has_no_payment_hash_is_nobodys_invoice(lnd: Lnd, invoices: LndInvoices) -> None:
    """A spontaneous AMP payment has none; it must not end the listing either."""
    lnd.answer = lightning_pb2.ListInvoiceResponse(
        invoices=[Invoice(is_amp=True, add_index=1)], last_index_offset=1
    )

    page = await invoices.page(after_index=0, limit=2)

    assert (page.invoices, page.last_index) == ((), 1)


# From LND.


async def updates_of(invoices: LndInvoices, *messages: Invoice) -> list[PaymentHash]:
    async def stream() -> AsyncIterator[Invoice]:
        for message in messages:
            yield message

    return [invoice.payment_hash async for invoice in invoices._updates(stream())]


async def test_a_stream_passes_over_what_has_no_payment_hash(invoices: LndInvoices) -> None:
    known = Invoice(r_hash=HASH.raw())

    assert await updates_of(invoices, Invoice(is_amp=True), known) == [HASH]


@pytest.mark.parametrize("state", list(LndInvoiceState))
def test_every_state_has_the_same_name_here_and_there(state: LndInvoiceState) -> None:
    assert told(state=Invoice.InvoiceState.Value(state)).state is state
    assert len(Invoice.InvoiceState.keys()) == len(LndInvoiceState)


def test_a_state_of_a_later_lnd_is_neither_paid_nor_unpaid() -> None:
    with pytest.raises(UnexpectedAnswerError, match="upgrade"):
        told(state=17)


def test_what_was_asked_for_is_told() -> None:
    invoice = told(
        payment_request="lnbcrt1",
        memo="tea",
        description_hash=DIGEST.raw(),
        value_msat=7_001,
        creation_date=int(CREATED.timestamp()),
        expiry=60,
        add_index=3,
        private=True,
        is_keysend=True,
    )

    assert (invoice.payment_hash, invoice.payment_request) == (HASH, "lnbcrt1")
    assert (invoice.memo, invoice.description_hash) == ("tea", DIGEST)
    assert invoice.amount == Msat(7_001)
    assert (invoice.created_at, invoice.expiry_seconds) == (CREATED, 60)
    assert invoice.expires_at == CREATED + timedelta(seconds=60)
    assert (invoice.add_index, invoice.settle_index) == (3, 0)
    assert invoice.private
    assert invoice.is_keysend


def test_the_payer_chooses_where_no_amount_is_asked_for() -> None:
    assert told().amount is None


def test_a_settled_invoice_tells_what_came_and_when_the_last_of_it_came() -> None:
    invoice = told(
        state=Invoice.SETTLED,
        amt_paid_msat=1_000,
        settle_date=103,
        settle_index=9,
        htlcs=[
            htlc("SETTLED", 600, of=1_000, came=102, went=103),
            htlc("SETTLED", 400, of=1_000, came=101, went=103),
        ],
    )

    assert (invoice.paid, invoice.parts, invoice.partial) == (1_000, 2, 0)
    assert invoice.paid_at == datetime.fromtimestamp(102, tz=UTC)
    assert invoice.settled_at == datetime.fromtimestamp(103, tz=UTC)
    assert invoice.settle_index == 9
    assert invoice.first_expiry_height is None


def test_a_held_invoice_tells_when_its_first_htlc_expires() -> None:
    invoice = told(
        state=Invoice.ACCEPTED,
        htlcs=[
            htlc("ACCEPTED", 600, of=1_000, came=101, expiry=700),
            htlc("ACCEPTED", 400, of=1_000, came=102, expiry=650),
            htlc("CANCELED", 500, of=1_000, came=1, went=121, expiry=600),
        ],
    )

    assert (invoice.paid, invoice.parts, invoice.first_expiry_height) == (1_000, 2, 650)
    assert invoice.paid_at == datetime.fromtimestamp(102, tz=UTC)
    assert (invoice.partial, invoice.settled_at) == (500, None)


def test_the_first_part_of_a_set_pays_nothing_yet() -> None:
    invoice = told(htlcs=[htlc("ACCEPTED", 600, of=1_000, came=101)], amt_paid_msat=600)

    assert (invoice.paid, invoice.parts, invoice.paid_at) == (0, 0, None)


@pytest.mark.parametrize(
    ("htlcs", "partial"),
    [
        pytest.param([htlc("CANCELED", 600, of=1_000, went=9)], 600, id="one part"),
        pytest.param(
            [htlc("CANCELED", 600, of=1_000, went=9), htlc("CANCELED", 600, of=1_000, went=70)],
            1_200,
            id="one part, tried twice",
        ),
        pytest.param(
            [htlc("CANCELED", 600, of=1_000, went=9), htlc("CANCELED", 400, of=1_000, went=9)],
            0,
            id="complete, and canceled by its receiver",
        ),
        pytest.param([htlc("CANCELED", 1_000, of=1_000, went=9)], 0, id="whole, and canceled"),
        pytest.param([htlc("CANCELED", 1_000, went=9)], 0, id="without a total, and canceled"),
        pytest.param([htlc("SETTLED", 1_000, of=1_000, went=9)], 0, id="settled"),
    ],
)
def test_what_was_never_completed_is_told_apart_from_what_was_canceled(
    htlcs: list[Htlc], partial: int
) -> None:
    assert told(state=Invoice.CANCELED, htlcs=htlcs).partial == partial


def test_a_hold_invoice_is_one_whose_preimage_lnd_does_not_know() -> None:
    assert told(state=Invoice.ACCEPTED).is_hold
    assert not told(r_preimage=PREIMAGE.reveal()).is_hold
    assert not told(is_amp=True).is_hold


def test_no_preimage_stays_in_what_is_told() -> None:
    invoice = told(r_preimage=PREIMAGE.reveal(), state=Invoice.SETTLED)

    assert PREIMAGE.reveal().hex() not in repr(invoice)
    assert str(PREIMAGE.reveal()) not in repr(invoice)


def test_workflows_are_told_the_same() -> None:
    invoice = told(
        state=Invoice.ACCEPTED,
        htlcs=[
            htlc("ACCEPTED", 1_000, came=102, expiry=650),
            htlc("CANCELED", 500, of=1_000, came=1, went=121),
        ],
    )
    update = invoice.update()

    assert (update.state, update.paid_msat, update.partial_msat) == ("ACCEPTED", 1_000, 500)
    assert (update.parts, update.first_expiry_height) == (1, 650)
    assert (update.paid_at, update.settled_at) == (invoice.paid_at, None)
    assert not update.terminal


def test_an_invoice_credential_is_asked_for_and_nothing_more() -> None:
    asked = []

    class Connection:
        name = "alice"

        def credential(self, role: str) -> tuple[()]:
            asked.append(role)
            return ()

        def channel(self) -> Any:
            return type("Channel", (), {"__getattr__": lambda *_: lambda *_, **__: None})()

    LndInvoices(Connection())  # type: ignore[arg-type]

    assert asked == ["invoice"]
