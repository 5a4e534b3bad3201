"""What lists have of each thing: as Temporal's index knows it."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from fulgurite.channels.states import CloseState
from fulgurite.events.catalogue import EventId, EventType
from fulgurite.identity import ChannelPoint, NodeName, NodePubkey, PaymentHash
from fulgurite.invoices.requests import Key
from fulgurite.invoices.states import InvoiceState
from fulgurite.leases.requests import LeaseKey
from fulgurite.leases.states import LeaseState
from fulgurite.model import Model
from fulgurite.money import Msat
from fulgurite.payments.states import FailureReason, PaymentState
from fulgurite.rebalances.states import RebalanceState
from fulgurite.stuck.states import LadderState
from fulgurite.swaps.states import SwapState

_STATUS = "Temporal's own word: RUNNING, COMPLETED, FAILED (refused), TERMINATED, …"


class PaymentSummary(Model):
    """A payment as Temporal's index knows it."""

    payment_hash: PaymentHash
    state: PaymentState = Field(
        description="REQUESTED also while the fast path pays: the index is not told in between"
    )
    workflow_status: str = Field(description=_STATUS)
    node: NodeName | None = Field(default=None, description="null: not indexed yet")
    destination: NodePubkey | None = None
    amount_msat: Msat | None = None
    failure_reason: FailureReason = FailureReason.NONE
    started_at: datetime
    closed_at: datetime | None = None


class InvoiceSummary(Model):
    """An invoice as Temporal's index knows it."""

    payment_hash: PaymentHash
    key: Key | None = Field(default=None, description="null: not indexed yet")
    state: InvoiceState
    workflow_status: str = Field(description=_STATUS)
    node: NodeName | None = Field(default=None, description="null: not indexed yet")
    amount_msat: Msat | None = Field(default=None, description="asked for; null: any")
    started_at: datetime
    closed_at: datetime | None = None


class LadderSummary(Model):
    """The ladder of a stuck payment as Temporal's index knows it."""

    payment_hash: PaymentHash
    state: LadderState
    workflow_status: str = Field(description=_STATUS)
    node: NodeName | None = Field(default=None, description="null: not indexed yet")
    started_at: datetime
    closed_at: datetime | None = None


class CloseSummary(Model):
    """A channel's closing as Temporal's index knows it."""

    channel_point: ChannelPoint
    workflow_id: str = Field(
        description="close/<channel point>; of the second of two nodes of ours, /<node> behind it"
    )
    state: CloseState
    workflow_status: str = Field(description=_STATUS)
    node: NodeName | None = Field(default=None, description="null: not indexed yet")
    started_at: datetime
    closed_at: datetime | None = None


class SwapSummary(Model):
    """A swap as Temporal's index knows it."""

    key: Key
    state: SwapState
    workflow_status: str = Field(description=_STATUS)
    node: NodeName | None = Field(default=None, description="null: not indexed yet")
    amount_sat: int | None = None
    started_at: datetime
    closed_at: datetime | None = None


class LeaseSummary(Model):
    """A lease as Temporal's index knows it."""

    key: LeaseKey
    state: LeaseState
    workflow_status: str = Field(description=_STATUS)
    node: NodeName | None = Field(default=None, description="null: not indexed yet")
    amount_msat: Msat | None = Field(default=None, description="what was bid for")
    started_at: datetime
    closed_at: datetime | None = None


class RebalanceSummary(Model):
    """A rebalance as Temporal's index knows it."""

    key: Key
    state: RebalanceState
    workflow_status: str = Field(description=_STATUS)
    node: NodeName | None = Field(default=None, description="null: not indexed yet")
    started_at: datetime
    closed_at: datetime | None = None


class EventState(StrEnum):
    """Where the delivery of an event to all its endpoints stands."""

    SENDING = "SENDING"  # an endpoint has not taken it yet
    DELIVERED = "DELIVERED"  # every endpoint has taken it
    # An endpoint never took it, and no try is left, or it was ended by force; can be replayed.
    DEAD = "DEAD"


class EventSummary(Model):
    """An event as Temporal's index knows it."""

    id: EventId
    type: EventType | None = Field(default=None, description="null: not indexed yet")
    state: EventState
    workflow_status: str = Field(description=_STATUS)
    node: NodeName | None = Field(default=None, description="null: not indexed yet")
    payment_hash: PaymentHash | None = Field(default=None, description="what it is about, if that")
    started_at: datetime = Field(description="when it happened, or was replayed last")
    closed_at: datetime | None = None
