"""How a payment that LND has is followed: one activity at a time, on the node's own queue."""

from __future__ import annotations

from datetime import datetime, timedelta

from temporalio import workflow

from fulgurite import ids
from fulgurite.payments.calls import FOLLOW_PAYMENT, Follow
from fulgurite.payments.progress import Progress
from fulgurite.payments.receipts import PaymentUpdate
from fulgurite.payments.requests import Order, PaymentRequest
from fulgurite.payments.states import PaymentState
from workflows.calling import start_on

# How long one activity follows before the workflow takes stock.
_FOLLOW = timedelta(hours=6)


def until(progress: Progress, request: PaymentRequest) -> datetime:
    """When the workflow takes stock; at the latest when the payment is overdue."""
    longest = workflow.now() + _FOLLOW
    in_flight = progress.state is PaymentState.IN_FLIGHT
    return min(longest, progress.overdue_at(request)) if in_flight else longest


def start(
    progress: Progress, request: PaymentRequest, order: Order, until: datetime
) -> workflow.ActivityHandle[PaymentUpdate]:
    """To LND's verdict, or to `until`."""
    return start_on(
        ids.node_queue(request.node),
        FOLLOW_PAYMENT,
        Follow(
            node=request.node,
            payment_hash=order.payment_hash,
            until=until,
            last_failed_index=progress.last_failed_index,
            last_failed_at=progress.last_failed_at,
            patient=progress.state is not PaymentState.IN_FLIGHT,
        ),
        at_most=_FOLLOW + timedelta(hours=1),
        summary=f"follow {order.amount} from {request.node}",
    )
