"""What can differ between what we say and what a node says. Told, never silently repaired."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from fulgurite.identity import NodeName, PaymentHash
from fulgurite.model import Model


class DifferenceKind(StrEnum):
    """How the two books differ."""

    MISSED_SETTLEMENT = "MISSED_SETTLEMENT"  # the node settled an invoice; ours waits: delivered
    STALE_INVOICE = "STALE_INVOICE"  # the node ended an invoice unpaid; ours waits: told
    STALE_IN_FLIGHT = "STALE_IN_FLIGHT"  # the node has a verdict; our payment waits: asked anew
    UNFOLLOWED_PAYMENT = "UNFOLLOWED_PAYMENT"  # ours was ended by force; the node still has it
    STATE_DIFFERS = "STATE_DIFFERS"  # both ended, and not the same way
    AMOUNT_DIFFERS = "AMOUNT_DIFFERS"  # both settled, over different amounts
    UNKNOWN_TO_NODE = "UNKNOWN_TO_NODE"  # ours is open; the node knows nothing of it


class Difference(Model):
    """One line of a reconciliation that does not agree."""

    kind: DifferenceKind
    node: NodeName
    payment_hash: PaymentHash
    resource: str = Field(description="the workflow, `payment/<payment hash>` or `invoice/…`")
    ours: str = Field(description="what the workflow says")
    theirs: str = Field(description="what the node says")
    action: str = Field(description="what was done about it, or what to do")


class Counts(Model):
    """How many records were compared."""

    ours: int = 0
    not_ours: int = 0
    agreeing: int = 0
    differing: int = 0


class ReconciliationReport(Model):
    """The result of one reconciliation."""

    node: NodeName
    began_at: datetime
    ended_at: datetime
    invoices: Counts
    payments: Counts
    differences: tuple[Difference, ...] = Field(
        default=(), max_length=100, description="the first hundred; the rest are in the events"
    )
