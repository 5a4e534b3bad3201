"""Every event there is, what it means and what it carries. Published in docs/api/events/.

An event's id is made of what happened to what, so that the same news, told twice, is one
event: receivers drop duplicates by `id` alone (it is also the `webhook-id`).
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field, JsonValue, StringConstraints

from fulgurite.channels.receipts import CloseReceipt, CloseView
from fulgurite.channels.watch import BackupFailure, ChannelNotice
from fulgurite.identity import NodeName
from fulgurite.invoices.receipts import InvoiceReceipt, InvoiceView
from fulgurite.invoices.states import InvoiceState
from fulgurite.leases.receipts import LeaseReceipt, LeaseView
from fulgurite.leases.states import LeaseState
from fulgurite.liquidity.plans import PlanNotice
from fulgurite.model import Line, Model
from fulgurite.payments.receipts import PaymentView, Receipt
from fulgurite.payments.states import PaymentState
from fulgurite.rebalances.receipts import RebalanceReceipt, RebalanceView
from fulgurite.rebalances.states import RebalanceState
from fulgurite.reconciliation.differences import Difference
from fulgurite.relays.receipts import RelayReceipt, RelayView
from fulgurite.relays.states import RelayState
from fulgurite.stuck.receipts import LadderView
from fulgurite.stuck.states import LadderState
from fulgurite.swaps.receipts import SwapReceipt, SwapView
from fulgurite.swaps.states import SwapState

# No full stop in it: Standard Webhooks signs `id.timestamp.body`.
EventId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{5,199}$")]


class EventType(StrEnum):
    """What happened. The first word is the kind of resource."""

    PAYMENT_AWAITING_APPROVAL = "payment.awaiting_approval"
    PAYMENT_AWAITING_LIQUIDITY = "payment.awaiting_liquidity"
    PAYMENT_STUCK = "payment.stuck"
    PAYMENT_HUNG = "payment.hung"
    PAYMENT_FORCE_CLOSE_APPROVAL = "payment.force_close_approval"
    PAYMENT_RESOLVING_ON_CHAIN = "payment.resolving_on_chain"
    PAYMENT_SUCCEEDED = "payment.succeeded"
    PAYMENT_FAILED = "payment.failed"
    PAYMENT_REJECTED = "payment.rejected"
    PAYMENT_OVER_BUDGET = "payment.over_budget"
    PAYMENT_EXPIRED = "payment.expired"
    PAYMENT_CANCELED = "payment.canceled"
    INVOICE_ACCEPTED = "invoice.accepted"
    INVOICE_UNDECIDED = "invoice.undecided"
    INVOICE_SETTLED = "invoice.settled"
    INVOICE_PAID_LATE = "invoice.paid_late"
    INVOICE_LATE_ATTEMPT = "invoice.late_attempt"
    INVOICE_EXPIRED = "invoice.expired"
    INVOICE_CANCELED = "invoice.canceled"
    RELAY_LOSS_POSSIBLE = "relay.loss_possible"
    RELAY_LOST = "relay.lost"
    RECONCILIATION_DIFFERENCE = "reconciliation.difference"
    CHANNEL_CLOSING = "channel.closing"
    CHANNEL_CLOSED = "channel.closed"
    CHANNEL_SWEEP_FORGOTTEN = "channel.sweep_forgotten"
    CHANNEL_INACTIVE = "channel.inactive"
    CHANNEL_ACTIVE = "channel.active"
    CHANNEL_BACKUP_FAILED = "channel.backup_failed"
    LEASE_AWAITING_APPROVAL = "lease.awaiting_approval"
    LEASE_LEASED = "lease.leased"
    LEASE_TERM_ENDED = "lease.term_ended"
    LEASE_CLOSED_EARLY = "lease.closed_early"
    LEASE_NOT_LEASED = "lease.not_leased"
    LIQUIDITY_AWAITING_APPROVAL = "liquidity.awaiting_approval"
    LIQUIDITY_BEGUN = "liquidity.begun"
    REBALANCE_MOVED = "rebalance.moved"
    REBALANCE_NOT_MOVED = "rebalance.not_moved"
    REBALANCE_STUCK = "rebalance.stuck"
    SWAP_AWAITING_APPROVAL = "swap.awaiting_approval"
    SWAP_UNCERTAIN = "swap.uncertain"
    SWAP_STALLED = "swap.stalled"
    SWAP_SUCCEEDED = "swap.succeeded"
    SWAP_FAILED = "swap.failed"
    SWAP_NOT_BEGUN = "swap.not_begun"


@dataclass(frozen=True)
class EventKind:
    """The meaning and the data of one type. `version` counts incompatible changes of `data`."""

    means: str
    data: type[Model]
    version: int = 1


CATALOGUE: dict[EventType, EventKind] = {
    EventType.PAYMENT_AWAITING_APPROVAL: EventKind(
        "a payment is above a threshold and waits for a person; nothing has moved", PaymentView
    ),
    EventType.PAYMENT_AWAITING_LIQUIDITY: EventKind(
        "a payment failed for want of liquidity, and waits for some; told once", PaymentView
    ),
    EventType.PAYMENT_STUCK: EventKind(
        "a payment is in flight for longer than expected; only LND can end it", PaymentView
    ),
    EventType.PAYMENT_HUNG: EventKind(
        "where a stuck payment hangs, and for how many blocks; its peer is called", LadderView
    ),
    EventType.PAYMENT_FORCE_CLOSE_APPROVAL: EventKind(
        "a person is asked to have a channel force closed, or to say no", LadderView
    ),
    EventType.PAYMENT_RESOLVING_ON_CHAIN: EventKind(
        "a channel that carries the payment is being closed: the chain will decide", PaymentView
    ),
    EventType.PAYMENT_SUCCEEDED: EventKind("a payment settled", Receipt),
    EventType.PAYMENT_FAILED: EventKind("LND's verdict; nothing is in flight", Receipt),
    EventType.PAYMENT_REJECTED: EventKind("a person said no; nothing was sent", Receipt),
    EventType.PAYMENT_OVER_BUDGET: EventKind(
        "a budget had no room for a payment; nothing was sent", Receipt
    ),
    EventType.PAYMENT_EXPIRED: EventKind("time ran out before anything was sent", Receipt),
    EventType.PAYMENT_CANCELED: EventKind("called off before anything was sent", Receipt),
    EventType.INVOICE_ACCEPTED: EventKind(
        "a hold invoice is paid, and held until it is decided", InvoiceView
    ),
    EventType.INVOICE_UNDECIDED: EventKind(
        "nobody decided about a held invoice in time; its default is carried out", InvoiceView
    ),
    EventType.INVOICE_SETTLED: EventKind(
        "an invoice was paid; `managed` is false for one that was not made by us", InvoiceReceipt
    ),
    EventType.INVOICE_PAID_LATE: EventKind(
        "an invoice was paid after its expiry; the money is ours all the same", InvoiceReceipt
    ),
    EventType.INVOICE_LATE_ATTEMPT: EventKind(
        "somebody tried to pay an expired invoice, and LND took it no more", InvoiceReceipt
    ),
    EventType.INVOICE_EXPIRED: EventKind(
        "an invoice expired unpaid, and LND has closed it", InvoiceReceipt
    ),
    EventType.INVOICE_CANCELED: EventKind(
        "an invoice was called off; what was held went back", InvoiceReceipt
    ),
    EventType.RELAY_LOSS_POSSIBLE: EventKind(
        "what a relay held went back while its payment is in flight: a person should look",
        RelayView,
    ),
    EventType.RELAY_LOST: EventKind(
        "a relay's payment succeeded, and what it held went back: money is lost", RelayReceipt
    ),
    EventType.RECONCILIATION_DIFFERENCE: EventKind(
        "what we say and what the node says differ; nothing was repaired silently", Difference
    ),
    EventType.CHANNEL_CLOSING: EventKind(
        "a channel is being closed, by whomever; it is followed to its last output", CloseView
    ),
    EventType.CHANNEL_CLOSED: EventKind(
        "a channel is closed, and every output of it is resolved", CloseReceipt
    ),
    EventType.CHANNEL_SWEEP_FORGOTTEN: EventKind(
        "an output of ours could be swept, and LND does not try: restart LND", CloseView
    ),
    EventType.CHANNEL_INACTIVE: EventKind(
        "a channel's peer is away for longer than a while: nothing passes", ChannelNotice
    ),
    EventType.CHANNEL_ACTIVE: EventKind(
        "a channel that was told to be inactive works again", ChannelNotice
    ),
    EventType.CHANNEL_BACKUP_FAILED: EventKind(
        "the static channel backup could not be kept: what is stored may be out of date",
        BackupFailure,
    ),
    EventType.LIQUIDITY_AWAITING_APPROVAL: EventKind(
        "the autopilot has a plan, and asks a person before it moves anything", PlanNotice
    ),
    EventType.LIQUIDITY_BEGUN: EventKind(
        "the autopilot has begun moves, each in a workflow of its own", PlanNotice
    ),
    EventType.REBALANCE_MOVED: EventKind(
        "liquidity has moved between channels of a node; `reason` says why not more of it",
        RebalanceReceipt,
    ),
    EventType.REBALANCE_NOT_MOVED: EventKind(
        "a rebalance has moved nothing, and cost nothing; its receipt says why", RebalanceReceipt
    ),
    EventType.REBALANCE_STUCK: EventKind(
        "an attempt of a rebalance is in flight for longer than expected, and has a ladder",
        RebalanceView,
    ),
    EventType.SWAP_AWAITING_APPROVAL: EventKind(
        "a swap is above a threshold and waits for a person; nothing has moved", SwapView
    ),
    EventType.SWAP_UNCERTAIN: EventKind(
        "loopd may have begun a swap, and does not list it: a person is asked", SwapView
    ),
    EventType.SWAP_STALLED: EventKind(
        "loopd does not go on with a swap until it is restarted or mended", SwapView
    ),
    EventType.SWAP_SUCCEEDED: EventKind(
        "a swap is done; `warnings` says whether it cost more than it might", SwapReceipt
    ),
    EventType.SWAP_FAILED: EventKind(
        "loopd's verdict: it failed, or was abandoned, or a person gave it up", SwapReceipt
    ),
    EventType.SWAP_NOT_BEGUN: EventKind(
        "refused, rejected, called off or out of time: loopd did not begin it", SwapReceipt
    ),
    EventType.LEASE_AWAITING_APPROVAL: EventKind(
        "a lease can cost more than a threshold, and waits for a person; nothing has moved",
        LeaseView,
    ),
    EventType.LEASE_LEASED: EventKind(
        "a bid in Pool has won inbound channels, which are open now", LeaseView
    ),
    EventType.LEASE_TERM_ENDED: EventKind(
        "a lease's term is over: its peer may close the channel from now on", LeaseReceipt
    ),
    EventType.LEASE_CLOSED_EARLY: EventKind(
        "leased channels were closed before their term was over", LeaseReceipt
    ),
    EventType.LEASE_NOT_LEASED: EventKind(
        "a lease has come to nothing; its receipt says why, and nothing was paid for channels",
        LeaseReceipt,
    ),
}

OF_PAYMENT: dict[PaymentState, EventType] = {
    PaymentState.AWAITING_APPROVAL: EventType.PAYMENT_AWAITING_APPROVAL,
    PaymentState.AWAITING_LIQUIDITY: EventType.PAYMENT_AWAITING_LIQUIDITY,
    PaymentState.STUCK: EventType.PAYMENT_STUCK,
    PaymentState.RESOLVING_ON_CHAIN: EventType.PAYMENT_RESOLVING_ON_CHAIN,
    PaymentState.SUCCEEDED: EventType.PAYMENT_SUCCEEDED,
    PaymentState.FAILED: EventType.PAYMENT_FAILED,
    PaymentState.REJECTED: EventType.PAYMENT_REJECTED,
    PaymentState.OVER_BUDGET: EventType.PAYMENT_OVER_BUDGET,
    PaymentState.EXPIRED: EventType.PAYMENT_EXPIRED,
    PaymentState.CANCELED: EventType.PAYMENT_CANCELED,
}

OF_LADDER: dict[LadderState, EventType] = {
    LadderState.RECONNECTING: EventType.PAYMENT_HUNG,
    LadderState.AWAITING_APPROVAL: EventType.PAYMENT_FORCE_CLOSE_APPROVAL,
}

OF_SWAP: dict[SwapState, EventType] = {
    SwapState.AWAITING_APPROVAL: EventType.SWAP_AWAITING_APPROVAL,
    SwapState.UNCERTAIN: EventType.SWAP_UNCERTAIN,
    SwapState.STALLED: EventType.SWAP_STALLED,
    SwapState.SUCCEEDED: EventType.SWAP_SUCCEEDED,
    **dict.fromkeys(
        (SwapState.FAILED, SwapState.ABANDONED, SwapState.GIVEN_UP), EventType.SWAP_FAILED
    ),
    **dict.fromkeys(
        (SwapState.REFUSED, SwapState.REJECTED, SwapState.EXPIRED, SwapState.CANCELED),
        EventType.SWAP_NOT_BEGUN,
    ),
}

# CLOSED is no news: EXPIRED was told when LND ended the invoice.
OF_INVOICE: dict[InvoiceState, EventType] = {
    InvoiceState.ACCEPTED: EventType.INVOICE_ACCEPTED,
    InvoiceState.SETTLED: EventType.INVOICE_SETTLED,
    InvoiceState.PAID_LATE: EventType.INVOICE_PAID_LATE,
    InvoiceState.CANCELED: EventType.INVOICE_CANCELED,
}

OF_LEASE: dict[LeaseState, EventType] = {
    LeaseState.AWAITING_APPROVAL: EventType.LEASE_AWAITING_APPROVAL,
    LeaseState.LEASED: EventType.LEASE_LEASED,
    LeaseState.TERM_ENDED: EventType.LEASE_TERM_ENDED,
    LeaseState.CLOSED_EARLY: EventType.LEASE_CLOSED_EARLY,
    LeaseState.EXPIRED: EventType.LEASE_NOT_LEASED,
    LeaseState.CANCELED: EventType.LEASE_NOT_LEASED,
    LeaseState.REJECTED: EventType.LEASE_NOT_LEASED,
    LeaseState.REFUSED: EventType.LEASE_NOT_LEASED,
    LeaseState.FAILED: EventType.LEASE_NOT_LEASED,
}

OF_REBALANCE: dict[RebalanceState, EventType] = {
    RebalanceState.STUCK: EventType.REBALANCE_STUCK,
    RebalanceState.MOVED: EventType.REBALANCE_MOVED,
    RebalanceState.PARTLY_MOVED: EventType.REBALANCE_MOVED,
    RebalanceState.NOT_MOVED: EventType.REBALANCE_NOT_MOVED,
    RebalanceState.OVER_BUDGET: EventType.REBALANCE_NOT_MOVED,
    RebalanceState.CANCELED: EventType.REBALANCE_NOT_MOVED,
}

OF_RELAY: dict[RelayState, EventType] = {
    RelayState.LOSS_POSSIBLE: EventType.RELAY_LOSS_POSSIBLE,
    RelayState.LOST: EventType.RELAY_LOST,
}


class Event(Model):
    """Something that happened, as the body of a webhook has it."""

    id: EventId
    type: EventType
    version: int = Field(default=1, description="of `data`, for this type")
    timestamp: datetime = Field(description="when it happened")
    node: NodeName
    resource: Line = Field(description="the id of the workflow, `payment/<payment hash>`, …")
    data: dict[str, JsonValue] = Field(description="by the type's own schema")
    after: EventId | None = Field(
        default=None, description="the event of this resource that came before, if one did"
    )


def event(
    kind: EventType,
    data: Model,
    *,
    subject: str,
    resource: str,
    node: NodeName,
    timestamp: datetime,
    after: EventId | None = None,
) -> Event:
    """News of `kind`.

    `subject` makes it one event: a payment hash, and a number where the same can happen again.
    """
    known = CATALOGUE[kind]
    assert isinstance(data, known.data)
    return Event(
        id=f"{kind.replace('.', '-')}-{subject}",
        type=kind,
        version=known.version,
        timestamp=timestamp,
        node=node,
        resource=resource,
        data=data.model_dump(mode="json"),
        after=after,
    )
