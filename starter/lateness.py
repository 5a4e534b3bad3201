"""How long payers take, and how long invoices should be open: from what was seen."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable
from typing import Final

from pydantic import Field

from fulgurite.identity import NodeName
from fulgurite.invoices.receipts import InvoiceReceipt
from fulgurite.model import Model

_WITHIN_MINUTES: Final = (1, 5, 15, 60)
_ENOUGH_PERCENT: Final = 95


class LateWithin(Model):
    """Late payers, as far as they came within some minutes after the expiry."""

    minutes: int
    payers: int = Field(description="who paid or tried to, after the expiry and within that time")


class LatePayers(Model):
    """When payers came, by the invoices that ended and that Temporal retains.

    A payer is an invoice that was paid, or that somebody tried to pay. Who came after the
    late watch of an invoice was not seen.
    """

    node: NodeName | None = Field(default=None, description="null: every node's invoices")
    invoices: int = Field(description="that were looked at")
    payers: int
    in_time: int
    late: tuple[LateWithin, ...] = Field(description="each includes the ones before it")
    longest_late_seconds: int | None = None
    usual_expiry_seconds: int | None = Field(
        default=None, description="what most of these invoices were made with"
    )
    expiry_seconds_for_95_percent: int | None = Field(
        default=None, description="open for so long, an invoice is there for 95 % of the payers"
    )


def late_payers(receipts: Iterable[InvoiceReceipt], node: str | None) -> LatePayers:
    """The figures of these receipts."""
    every = list(receipts)
    late = sorted(each.late_seconds for each in every if each.late_seconds is not None)
    in_time = [each for each in every if each.paid_at and each.late_seconds is None]
    waits = sorted(wait for each in every if (wait := _wait_seconds(each)) is not None)
    usual = Counter(_open_seconds(each) for each in every).most_common(1)
    return LatePayers(
        node=node,
        invoices=len(every),
        payers=len(waits),
        in_time=len(in_time),
        late=tuple(
            LateWithin(minutes=minutes, payers=sum(each <= minutes * 60 for each in late))
            for minutes in _WITHIN_MINUTES
        ),
        longest_late_seconds=late[-1] if late else None,
        usual_expiry_seconds=usual[0][0] if usual else None,
        expiry_seconds_for_95_percent=(
            waits[math.ceil(len(waits) * _ENOUGH_PERCENT / 100) - 1] if waits else None
        ),
    )


def _wait_seconds(receipt: InvoiceReceipt) -> int | None:
    """From the making of the invoice until its payer came; None: nobody did."""
    if receipt.late_seconds is not None:
        return _open_seconds(receipt) + receipt.late_seconds
    if receipt.paid_at is None:
        return None
    return max(1, math.ceil((receipt.paid_at - receipt.created_at).total_seconds()))


def _open_seconds(receipt: InvoiceReceipt) -> int:
    return round((receipt.expires_at - receipt.created_at).total_seconds())
