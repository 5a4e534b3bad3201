"""What LND's word makes of an invoice: whoever paid is told of, whenever and however they paid."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fulgurite.events.catalogue import OF_INVOICE
from fulgurite.identity import Preimage
from fulgurite.invoices.progress import InvoiceProgress
from fulgurite.invoices.receipts import CreatedInvoice, InvoiceUpdate
from fulgurite.invoices.requests import (
    MIN_HOLD_CLTV_BLOCKS,
    DecideBy,
    Hold,
    InvoiceRequest,
    Verdict,
)
from fulgurite.invoices.states import INVOICE, InvoiceState, LndInvoiceState
from fulgurite.money import Msat

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
INVOICE_OF_A_MINUTE = CreatedInvoice(
    request=InvoiceRequest(
        key="k-1", node="carol", amount_msat=Msat(1_000), expiry_seconds=60, hold=Hold()
    ),
    payment_hash=Preimage(bytes(32)).hash(),
    payment_request="lnbcrt1",
    created_at=NOW,
    expires_at=NOW + MINUTE,
)
FIRST_EXPIRY_HEIGHT = 700

under_way = pytest.mark.parametrize("state", sorted(INVOICE.states - INVOICE.terminal))


def word(state: LndInvoiceState, *, paid_at: datetime | None = None) -> InvoiceUpdate:
    paid = state in {LndInvoiceState.ACCEPTED, LndInvoiceState.SETTLED}
    return InvoiceUpdate(
        state=state,
        paid_msat=Msat(1_000 if paid else 0),
        parts=int(paid),
        paid_at=paid_at,
        settled_at=paid_at if state is LndInvoiceState.SETTLED else None,
        first_expiry_height=FIRST_EXPIRY_HEIGHT if state is LndInvoiceState.ACCEPTED else None,
    )


def hears(progress: InvoiceProgress, update: InvoiceUpdate, at: datetime) -> InvoiceState:
    if moved := progress.heard(INVOICE_OF_A_MINUTE, update, at):
        progress.fire(moved[0], at)
    return progress.state


@under_way
def test_who_paid_in_time_has_paid(state: InvoiceState) -> None:
    progress = InvoiceProgress(state=state)
    settled = word(LndInvoiceState.SETTLED, paid_at=NOW + MINUTE)

    assert hears(progress, settled, NOW + 9 * MINUTE) is InvoiceState.SETTLED
    receipt = progress.receipt(INVOICE_OF_A_MINUTE)
    assert (receipt.paid_msat, receipt.late_seconds, receipt.advice) == (1_000, None, "")


@under_way
def test_who_paid_late_has_paid_too_and_is_told_with_advice(state: InvoiceState) -> None:
    progress = InvoiceProgress(state=state)
    settled = word(LndInvoiceState.SETTLED, paid_at=NOW + MINUTE + timedelta(seconds=7))

    assert hears(progress, settled, NOW + 9 * MINUTE) is InvoiceState.PAID_LATE
    receipt = progress.receipt(INVOICE_OF_A_MINUTE)
    assert (receipt.paid_msat, receipt.late_seconds) == (1_000, 7)
    assert "make such invoices with" in receipt.advice


@pytest.mark.parametrize("state", sorted(INVOICE.terminal))
def test_what_has_ended_is_moved_by_no_word_that_comes_again(state: InvoiceState) -> None:
    progress = InvoiceProgress(state=state)

    for lnd_state in LndInvoiceState:
        assert hears(progress, word(lnd_state, paid_at=NOW), NOW) is state


def test_every_end_is_an_event_but_the_one_that_was_told_before() -> None:
    assert INVOICE.terminal - OF_INVOICE.keys() == {InvoiceState.CLOSED}


@pytest.mark.parametrize("state", [InvoiceState.OPEN, InvoiceState.EXPIRED])
def test_only_lnd_says_that_nobody_has_paid(state: InvoiceState) -> None:
    """By its clock or by ours an invoice may be over: until LND has closed it, it can be paid."""
    progress = InvoiceProgress(state=state)

    assert hears(progress, word(LndInvoiceState.OPEN), NOW + 9 * MINUTE) is state
    assert not progress.ended_unpaid
    closed = word(LndInvoiceState.CANCELED)
    assert hears(progress, closed, NOW + 9 * MINUTE) is InvoiceState.EXPIRED
    assert progress.ended_unpaid


@under_way
def test_a_late_word_that_it_is_open_wipes_nothing_of_what_is_held(state: InvoiceState) -> None:
    """The deadline's height was gone, and an amount that fits looked like none."""
    held = word(LndInvoiceState.ACCEPTED, paid_at=NOW)
    progress = InvoiceProgress(state=state, update=held)
    can_be_open = state in {InvoiceState.OPEN, InvoiceState.EXPIRED}
    assert hears(progress, word(LndInvoiceState.OPEN), NOW) is state
    if can_be_open:
        return

    amount = Hold(decide_by=DecideBy.AMOUNT, min_msat=Msat(1_000))
    assert progress.decide_before_height() is not None
    assert progress.verdict_of_policy(amount) is Verdict.SETTLE
    assert progress.receipt(INVOICE_OF_A_MINUTE).paid_msat == 1_000


def test_what_is_held_is_decided_long_before_its_first_htlc_expires() -> None:
    """Invariant 8. The number stands here once more, so that nobody lowers it by the way."""
    progress = InvoiceProgress()

    assert progress.decide_before_height() is None
    held = word(LndInvoiceState.ACCEPTED, paid_at=NOW)
    assert hears(progress, held, NOW) is InvoiceState.ACCEPTED
    height = progress.decide_before_height()
    assert height is not None
    assert FIRST_EXPIRY_HEIGHT - height > 24, "and some blocks for LND to act in"
    assert MIN_HOLD_CLTV_BLOCKS >= 48, "and some to decide in"
