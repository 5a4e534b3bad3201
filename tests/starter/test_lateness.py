"""What is made of when payers came."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fulgurite.invoices.receipts import InvoiceReceipt
from fulgurite.invoices.states import InvoiceState
from starter.cli import invoice_rendering
from starter.lateness import late_payers

MADE = datetime(2026, 1, 31, 12, tzinfo=UTC)


def receipt(
    *, paid_after: float | None = None, tried_late: int | None = None, expiry: int = 600
) -> InvoiceReceipt:
    """Paid `paid_after` seconds, or tried in vain `tried_late` seconds after the expiry."""
    late = None if paid_after is None or paid_after <= expiry else round(paid_after - expiry)
    return InvoiceReceipt(
        status=InvoiceState.CLOSED if paid_after is None else InvoiceState.SETTLED,
        payment_hash="ab" * 32,
        node="carol",
        created_at=MADE,
        expires_at=MADE + timedelta(seconds=expiry),
        paid_at=None if paid_after is None else MADE + timedelta(seconds=paid_after),
        late_seconds=late or tried_late,
        late_attempts=int(tried_late is not None),
    )


def test_late_payers_are_counted_by_how_late_they_were() -> None:
    figures = late_payers(
        [
            *(receipt(paid_after=seconds) for seconds in (5, 60, 600, 601)),
            *(receipt(tried_late=seconds) for seconds in (60, 61, 900, 7_200)),
            receipt(),
        ],
        "carol",
    )
    assert (figures.node, figures.invoices, figures.payers, figures.in_time) == ("carol", 9, 8, 3)
    within = {each.minutes: each.payers for each in figures.late}
    assert within == {1: 2, 5: 3, 15: 4, 60: 4}
    assert figures.longest_late_seconds == 7_200
    assert figures.usual_expiry_seconds == 600


@pytest.mark.parametrize(
    ("waits", "enough"),
    [
        ([30], 30),
        ([10, 700], 700),
        (list(range(1, 101)), 95),
        ([*([20] * 19), 5_000], 20),
        ([*([20] * 18), 5_000, 5_000], 5_000),
        ([0.2], 1),
    ],
)
def test_the_expiry_for_95_percent_leaves_out_one_in_twenty(
    waits: list[float], enough: int
) -> None:
    receipts = [receipt(paid_after=wait) for wait in waits]
    assert late_payers(receipts, None).expiry_seconds_for_95_percent == enough
    open_for_so_long = [receipt(paid_after=wait, expiry=enough) for wait in waits]
    assert late_payers(open_for_so_long, None).in_time >= 0.95 * len(waits)


def test_an_invoice_is_late_by_its_own_expiry() -> None:
    figures = late_payers(
        [receipt(paid_after=50, expiry=60), receipt(paid_after=50, expiry=40)], None
    )
    assert figures.in_time == 1
    assert figures.late[0].payers == 1


def test_where_nobody_came_there_is_nothing_to_advise() -> None:
    figures = late_payers([receipt()], None)
    assert (figures.payers, figures.expiry_seconds_for_95_percent) == (0, None)
    assert figures.longest_late_seconds is None
    assert "nobody came" in invoice_rendering.advice(figures).plain
    assert late_payers([], None).usual_expiry_seconds is None


def test_people_read_shares_and_what_to_do() -> None:
    told = invoice_rendering.advice(
        late_payers([receipt(paid_after=100), receipt(tried_late=90)], None)
    ).plain
    assert "in time        1  (50.0% of the payers)" in told
    assert "≤ 1 min late   0  (0.0% of the payers)" in told
    assert "≤ 5 min late   1  (50.0% of the payers)" in told
    assert "longest late   1 min 30 s" in told
    assert "95 % of the payers came within 11 min 30 s" in told
    assert "make them with --expiry 690s or more" in told
