"""What a person sees while a payment is under way."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator

import pytest
from rich.console import Console

from fulgurite.payments.receipts import PaymentUpdate, PaymentView, Receipt
from fulgurite.payments.states import FailureReason, PaymentState, PaymentStatus
from starter.cli import progress, rendering
from starter.cli.progress import Lines, Picture, teller, wait_for
from starter.errors import WorkerUnavailableError
from starter.payment import Payment

VIEW = PaymentView.model_validate(
    {
        "state": PaymentState.IN_FLIGHT,
        "payment_hash": "ab" * 32,
        "destination": "02" * 33,
        "node": "alice",
        "amount_msat": 25_000_000,
        "fee_limit_msat": 1_000,
        "cancel_requested": True,
        "update": PaymentUpdate(status=PaymentStatus.IN_FLIGHT, parts=2, expiry_height=366),
        "timeline": ("12:00 **DISPATCHING**", "12:01 **IN_FLIGHT** LND has it"),
    }
)
MOMENT = rendering.moment(VIEW)
RECEIPT = Receipt.model_validate(
    {
        "status": PaymentState.SUCCEEDED,
        "failure_reason": FailureReason.NONE,
        **VIEW.model_dump(include={"payment_hash", "destination", "node", "amount_msat"}),
        "fee_limit_msat": 1_000,
        "requested_at": "2026-01-01T00:00:00Z",
        "completed_at": "2026-01-01T00:00:01Z",
    }
)


class PaymentThatCannotBeSeen(Payment):
    """Its workers are away at first; it ends without anybody having looked."""

    def __init__(self) -> None:
        self.looked = asyncio.Event()

    async def receipt(self) -> Receipt:
        await self.looked.wait()
        return RECEIPT

    async def watch(self) -> AsyncIterator[PaymentView]:
        if not self.looked.is_set():
            self.looked.set()
            raise WorkerUnavailableError("no worker answers")
        yield VIEW


def rendered(picture: Picture) -> str:
    console = Console(file=io.StringIO(), width=100, record=True)
    console.print(picture)
    return console.export_text()


def test_the_picture_says_what_is_in_flight_and_until_when() -> None:
    picture = Picture()
    picture.tell(MOMENT)
    text = rendered(picture)
    assert "IN_FLIGHT  25,000 sat to 0202020202…020202 from alice" in text
    assert "only LND can end it; 2 HTLCs; the first expires at height 366; cancel requested" in text
    assert "12:01 IN_FLIGHT LND has it" in text
    assert "Ctrl-C leaves it under way" in text


def test_the_picture_shows_trouble_until_there_is_news() -> None:
    picture = Picture()
    picture.trouble("no worker answers")
    assert "no worker answers" in rendered(picture)
    picture.tell(MOMENT)
    assert "no worker answers" not in rendered(picture)


def test_lines_are_told_once() -> None:
    console = Console(file=io.StringIO(), width=20, record=True)
    lines = Lines(console)
    for _ in range(2):
        lines.tell(MOMENT)
        lines.trouble("no worker answers, and this is longer than twenty characters")
    assert console.export_text().splitlines() == [
        "12:00 DISPATCHING",
        "12:01 IN_FLIGHT LND has it",
        "no worker answers, and this is longer than twenty characters",
    ]


def test_a_pipe_gets_lines_and_json_gets_silence() -> None:
    console = Console(file=io.StringIO(), record=True)
    with teller(console, quiet=True) as silence:
        silence.tell(MOMENT)
        silence.trouble("no worker answers")
    assert console.export_text() == ""
    with teller(console, quiet=False) as told:
        told.tell(MOMENT)
    assert "IN_FLIGHT" in console.export_text()


async def test_waiting_outlasts_workers_that_are_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_PAUSE_AFTER_TROUBLE_SECONDS", 0)
    picture = Picture()
    payment = PaymentThatCannotBeSeen()
    told = await wait_for(payment.receipt(), payment.watch, rendering.moment, picture)
    assert told == RECEIPT
