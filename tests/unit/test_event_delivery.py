"""An event is one for all who tell it, and is sent again for days before it is given up."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from fulgurite.events.catalogue import Event, EventType, event
from fulgurite.events.delivery import pause_after
from fulgurite.identity import Preimage
from fulgurite.invoices.receipts import InvoiceReceipt
from fulgurite.invoices.states import InvoiceState

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
HASH = Preimage(bytes(32)).hash()


def settled(at: datetime, subject: str = HASH) -> Event:
    receipt = InvoiceReceipt(
        status=InvoiceState.SETTLED, payment_hash=HASH, node="carol", created_at=at, expires_at=at
    )
    return event(
        EventType.INVOICE_SETTLED,
        receipt,
        subject=subject,
        resource=f"invoice/{HASH}",
        node="carol",
        timestamp=at,
    )


def pauses(draw: float) -> list[timedelta]:
    every, tries = [], 1
    while (pause := pause_after(tries, draw)) is not None:
        every.append(pause)
        tries += 1
    return every


def test_the_same_news_has_one_id_whoever_tells_it_and_whenever() -> None:
    first, again = settled(NOW), settled(NOW + timedelta(days=1))

    assert first.id == again.id
    assert settled(NOW, f"{HASH}-2").id != first.id


@pytest.mark.parametrize("draw", [0.0, 0.5, 1.0])
def test_what_failed_is_sent_again_for_days(draw: float) -> None:
    every = pauses(draw)

    assert sum(every, timedelta(0)) >= timedelta(days=3)
    assert every[0] < timedelta(minutes=1), "an endpoint that restarts is back by then"
    assert all(earlier < later for earlier, later in pairwise(every))


def test_what_failed_together_does_not_come_back_together() -> None:
    assert all(early < late for early, late in zip(pauses(0.0), pauses(1.0), strict=True))
