"""What became of a relay, and how to read it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from fulgurite.identity import NodeName, NodePubkey, PaymentHash
from fulgurite.model import Model
from fulgurite.money import Msat
from fulgurite.payments.receipts import Receipt
from fulgurite.relays.states import RelayState


class RelayWarning(StrEnum):
    """What somebody should look at."""

    LOSS_POSSIBLE = "LOSS_POSSIBLE"  # LND gave upstream back while downstream was open
    LOST = "LOST"  # and downstream was paid
    PAID_BY_ANOTHER = "PAID_BY_ANOTHER"  # not this relay had LND pay the hash
    SETTLED_UNPAID = "SETTLED_UNPAID"  # upstream was settled, and downstream was not paid


class RelayReceipt(Model):
    """The result of a relay's workflow."""

    status: RelayState = Field(description="a terminal state")
    warnings: tuple[RelayWarning, ...] = ()
    advice: str = Field(default="", description="what to do next, when it did not settle")
    payment_hash: PaymentHash
    incoming_node: NodeName
    outgoing_node: NodeName
    destination: NodePubkey
    asked_msat: Msat = Field(description="what the payer was to pay")
    received_msat: Msat = Field(default=Msat(0), description="what upstream brought us")
    paid_msat: Msat = Field(default=Msat(0), description="what downstream cost us, fees included")
    kept_msat: int = Field(default=0, description="the difference; below zero it is a loss")
    payment: Receipt | None = Field(default=None, description="downstream's; null: never asked")
    metadata: dict[str, str] = Field(default_factory=dict)
    requested_at: datetime
    completed_at: datetime


class RelayView(Model):
    """A running or finished relay, for those who watch."""

    state: RelayState
    warnings: tuple[RelayWarning, ...] = ()
    payment_hash: PaymentHash
    payment_request: str = Field(description="BOLT11, for the payer; empty until it is written")
    expires_at: datetime | None = Field(default=None, description="of the payment request")
    incoming_node: NodeName
    outgoing_node: NodeName
    destination: NodePubkey
    asked_msat: Msat
    held_msat: Msat = Msat(0)
    first_expiry_height: int | None = Field(
        default=None, description="block height at which the first HTLC that is held expires"
    )
    cltv_limit_blocks: int | None = Field(
        default=None, description="how far ahead downstream may expire; null: nothing is sent"
    )
    cancel_requested: bool = False
    payment: Receipt | None = None
    timeline: tuple[str, ...] = Field(default=(), description="oldest first, RFC 3339 and words")
