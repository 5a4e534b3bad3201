"""An endpoint is asked what to do with what is held; that it does not say hurts nobody."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from devnet.house import House
from devnet.receiver import HANG, Delivery, Receiver
from devnet.waiting import eventually
from fulgurite.errors import InvalidRequestError
from fulgurite.invoices.receipts import CreatedInvoice, InvoiceView
from fulgurite.invoices.requests import Settlement
from fulgurite.invoices.states import InvoiceState
from starter.client import FulguriteClient

from .merchants import Merchants, merchants
from .receiving import assert_true, held, to_hold

__all__ = ["merchants"]  # a fixture

CALLBACK = {"decide_by": "CALLBACK", "callback": "judge"}


@pytest.fixture
async def judge(home: House, temporal: Client, merchants: Merchants) -> AsyncIterator[Receiver]:
    """Told of no event, and only asked; the worker knows no other endpoint."""
    listening = await merchants.open("judge", events=())
    async with merchants.working(home, temporal):
        yield listening


@pytest.mark.parametrize(
    ("verdict", "state"),
    [("SETTLE", InvoiceState.SETTLED), ("CANCEL", InvoiceState.CANCELED)],
)
async def test_an_endpoint_decides(
    home: House, client: FulguriteClient, judge: Receiver, verdict: str, state: InvoiceState
) -> None:
    judge.answer_body = {"verdict": verdict}
    async with held(home, client, hold=CALLBACK) as (created, invoice):
        receipt = await invoice.receipt()

    [asked] = asked_about(judge, created)
    assert asked.verified
    assert InvoiceView.model_validate_json(asked.body).state is InvoiceState.ACCEPTED
    assert receipt.status is state
    await assert_true(home, receipt)


@pytest.mark.parametrize(
    ("answer", "body"),
    [(500, {"verdict": "SETTLE"}), (200, {"verdict": "PERHAPS"}), (200, {})],
    ids=["down", "unclear", "silent"],
)
async def test_an_endpoint_that_does_not_decide_leaves_it_to_the_deadline(
    home: House, client: FulguriteClient, judge: Receiver, answer: int, body: object
) -> None:
    judge.answer, judge.answer_body = answer, body
    async with held(home, client, hold=CALLBACK | {"decide_within_seconds": 2}) as (_, invoice):
        receipt = await invoice.receipt()

    assert receipt.status is InvoiceState.CANCELED
    assert "nobody decided in time" in "".join((await invoice.view()).timeline)
    await assert_true(home, receipt)


@pytest.mark.usefixtures("judge")
async def test_an_endpoint_that_nobody_configured_is_refused_before_there_is_an_invoice(
    home: House, client: FulguriteClient
) -> None:
    before = len(await home.network.nodes["carol"].list_invoices())
    unknown = to_hold(hold=CALLBACK | {"callback": "juge"})
    with pytest.raises(InvalidRequestError, match=r"no webhook endpoint 'juge'.*known: judge"):
        await client.create_invoice(unknown)
    assert len(await home.network.nodes["carol"].list_invoices()) == before


async def test_an_endpoint_that_hangs_keeps_nobody_from_judge(
    home: House, client: FulguriteClient, judge: Receiver
) -> None:
    judge.answer = HANG
    async with held(home, client, hold=CALLBACK) as (created, invoice):

        async def asked() -> bool:
            return bool(asked_about(judge, created))

        await eventually(asked, what="an endpoint that is asked")
        await invoice.settle(Settlement(by="ada"))
        receipt = await invoice.receipt()
    timeline = "\n".join((await invoice.view()).timeline)

    assert receipt.status is InvoiceState.SETTLED
    assert "**SETTLING** by ada" in timeline
    # It was not given the time to.
    assert "did not decide" not in timeline
    await assert_true(home, receipt)


def asked_about(shop: Receiver, created: CreatedInvoice) -> list[Delivery]:
    return [each for each in shop.deliveries if each.id.startswith(f"ask-{created.payment_hash}-")]
