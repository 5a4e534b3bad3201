"""A person's word on a payment: waited for while it is wanted and there is time."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import TypeAlias

from temporalio import workflow

from fulgurite.payments.progress import Progress
from fulgurite.payments.requests import Approval, Order, PaymentRequest, Rejection
from fulgurite.payments.states import PaymentEvent

Word: TypeAlias = Approval | Rejection | None


async def asked(
    progress: Progress, request: PaymentRequest, order: Order, word: Callable[[], Word]
) -> tuple[PaymentEvent, str]:
    """What a person said, as `word` tells once it is said; or that nobody did in time."""
    left = progress.last_moment(request, order) - workflow.now()
    patience = timedelta(seconds=request.approval_expires_seconds)
    try:
        await workflow.wait_condition(
            lambda: word() is not None or progress.cancel_requested,
            timeout=max(min(patience, left), timedelta(0)),
            timeout_summary="a person's approval",
        )
    except TimeoutError:
        return progress.or_given_up(PaymentEvent.LAPSED), "nobody answered in time"
    match word():
        case Approval(approver=who, note=note):
            progress.approved = True
            return PaymentEvent.APPROVED, f"approved by {who} {note}"
        case Rejection(approver=who, reason=why):
            return progress.or_given_up(PaymentEvent.REJECTED), f"by {who} {why}"
        case None:
            return progress.or_given_up(PaymentEvent.CANCELED), ""
