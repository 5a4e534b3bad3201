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

from fulgurite.identity import NodeName
from fulgurite.invoices.receipts import InvoiceReceipt, InvoiceView
from fulgurite.invoices.states import InvoiceState
from fulgurite.model import Line, Model
from fulgurite.payments.receipts import PaymentView, Receipt
from fulgurite.payments.states import PaymentState
from fulgurite.reconciliation.differences import Difference
from fulgurite.relays.receipts import RelayReceipt, RelayView
from fulgurite.relays.states import RelayState

# No full stop in it: Standard Webhooks signs `id.timestamp.body`.
EventId = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{5,199}$")]


class EventType(StrEnum):
    """What happened. The first word is the kind of resource."""

    PAYMENT_AWAITING_APPROVAL = "payment.awaiting_approval"
    PAYMENT_STUCK = "payment.stuck"
    PAYMENT_SUCCEEDED = "payment.succeeded"
    PAYMENT_FAILED = "payment.failed"
    PAYMENT_REJECTED = "payment.rejected"
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
    EventType.PAYMENT_STUCK: EventKind(
        "a payment is in flight for longer than expected; only LND can end it", PaymentView
    ),
    EventType.PAYMENT_SUCCEEDED: EventKind("a payment settled", Receipt),
    EventType.PAYMENT_FAILED: EventKind("LND's verdict; nothing is in flight", Receipt),
    EventType.PAYMENT_REJECTED: EventKind("a person said no; nothing was sent", Receipt),
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
}

OF_PAYMENT: dict[PaymentState, EventType] = {
    PaymentState.AWAITING_APPROVAL: EventType.PAYMENT_AWAITING_APPROVAL,
    PaymentState.STUCK: EventType.PAYMENT_STUCK,
    PaymentState.SUCCEEDED: EventType.PAYMENT_SUCCEEDED,
    PaymentState.FAILED: EventType.PAYMENT_FAILED,
    PaymentState.REJECTED: EventType.PAYMENT_REJECTED,
    PaymentState.EXPIRED: EventType.PAYMENT_EXPIRED,
    PaymentState.CANCELED: EventType.PAYMENT_CANCELED,
}

# CLOSED is no news: EXPIRED was told when LND ended the invoice.
OF_INVOICE: dict[InvoiceState, EventType] = {
    InvoiceState.ACCEPTED: EventType.INVOICE_ACCEPTED,
    InvoiceState.SETTLED: EventType.INVOICE_SETTLED,
    InvoiceState.PAID_LATE: EventType.INVOICE_PAID_LATE,
    InvoiceState.CANCELED: EventType.INVOICE_CANCELED,
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
