"""What `--json` prints that is not a model of the domain. Published in docs/api/ like those."""

from __future__ import annotations

from pydantic import Field

from fulgurite.identity import PaymentHash
from fulgurite.invoices.receipts import InvoiceReceipt
from fulgurite.model import Model
from fulgurite.payments.receipts import Receipt
from starter.replay import EventReplay


class Outcome(Model):
    """What came of `pay` or `payment watch`."""

    payment_hash: PaymentHash
    attached: bool = Field(description="it was under way before this command, on its own terms")
    receipt: Receipt | None = Field(description="null: no verdict yet, and the payment goes on")


class InvoiceOutcome(Model):
    """What came of `invoice watch`, or of `invoice create --wait`."""

    payment_hash: PaymentHash
    receipt: InvoiceReceipt | None = Field(description="null: open, and nobody has paid yet")


class ReplayReport(Model):
    """What came of `events replay`."""

    dry_run: bool
    events: tuple[EventReplay, ...]


class Problem(Model):
    """Why a command did not do what it was asked to."""

    error: str = Field(description="the name of a class in `fulgurite.errors` or `starter.errors`")
    message: str = Field(description="what is wrong, and what to do next")
    retryable: bool = Field(description="the same command can work later without a change")


class Proof(Model):
    """The proof of payment, opened."""

    payment_hash: PaymentHash
    preimage: str = Field(pattern="^[0-9a-f]{64}$", description="its SHA-256 is the payment hash")


class PublicKey(Model):
    """The public half of a sealing key."""

    sealing_key: str = Field(pattern="^[0-9a-f]{64}$")
