"""What became of an invoice: LND's word on it, what we make of it, and how to read it."""

from __future__ import annotations

from datetime import datetime

from pydantic import AwareDatetime, Field

from fulgurite.bolt11 import read_invoice
from fulgurite.errors import FulguriteError
from fulgurite.identity import NodeName, NodePubkey, PaymentHash
from fulgurite.invoices.requests import Hold, InvoiceRequest, Key
from fulgurite.invoices.states import InvoiceState, LndInvoiceState
from fulgurite.model import Model
from fulgurite.money import Msat


class InvoiceUpdate(Model):
    """LND's word on an invoice at one moment."""

    state: LndInvoiceState
    paid_msat: Msat = Field(default=Msat(0), description="settled, or held")
    partial_msat: Msat = Field(
        default=Msat(0), description="came in parts that were never completed, and went back"
    )
    parts: int = Field(default=0, description="HTLCs that are held or settled")
    paid_at: AwareDatetime | None = Field(
        default=None, description="when the last of these HTLCs arrived, by LND's clock"
    )
    settled_at: AwareDatetime | None = None
    first_expiry_height: int | None = Field(
        default=None, description="block height at which the first held HTLC expires"
    )

    @property
    def terminal(self) -> bool:
        return self.state in {LndInvoiceState.SETTLED, LndInvoiceState.CANCELED}


def payee_of(payment_request: str) -> NodePubkey | None:
    """The node that has signed it; None where that cannot be read."""
    try:
        return read_invoice(payment_request).destination
    except FulguriteError:
        return None


class CreatedInvoice(Model):
    """An invoice that LND has written. The same for every call with the same key."""

    request: InvoiceRequest
    payment_hash: PaymentHash
    payment_request: str = Field(description="BOLT11, for the payer")
    created_at: datetime
    expires_at: datetime

    @property
    def payee(self) -> NodePubkey | None:
        """The node that wrote it; None where that cannot be read."""
        return payee_of(self.payment_request)


class LateAttempt(Model):
    """Somebody tried to pay when LND took it no more."""

    at: AwareDatetime
    amount_msat: Msat


class InvoiceReceipt(Model):
    """The result of an invoice's workflow, and what its events tell."""

    status: InvoiceState
    payment_hash: PaymentHash
    node: NodeName
    key: Key | None = Field(default=None, description="null: made by somebody else on the node")
    managed: bool = Field(default=True, description="false: not made by us; only seen")
    memo: str = ""
    metadata: dict[str, str] = Field(default_factory=dict)
    amount_msat: Msat | None = Field(default=None, description="asked for; null: any")
    paid_msat: Msat = Msat(0)
    overpaid_msat: Msat = Field(default=Msat(0), description="more than was asked for")
    partial_msat: Msat = Field(
        default=Msat(0), description="came in parts that were never completed, and went back"
    )
    parts: int = 0
    created_at: datetime
    expires_at: datetime
    paid_at: datetime | None = None
    settled_at: datetime | None = None
    late_seconds: int | None = Field(
        default=None, description="how long after the expiry it was paid, or last tried"
    )
    late_attempts: int = Field(default=0, description="payers who came when LND took no more")
    advice: str = ""


class InvoiceView(Model):
    """A running or finished invoice, for those who watch."""

    state: InvoiceState
    payment_request: str
    receipt: InvoiceReceipt
    hold: Hold | None = Field(default=None, description="who decides; null: no hold invoice")
    unpaid_for_good: bool = Field(
        default=False, description="LND takes no payment for it any more, and has none"
    )
    decide_before_height: int | None = Field(
        default=None, description="a held invoice is decided at this height at the latest"
    )
    decide_before: datetime | None = Field(
        default=None, description="and at this moment at the latest"
    )
    timeline: tuple[str, ...] = Field(default=(), description="oldest first, RFC 3339 and words")
