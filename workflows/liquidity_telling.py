"""A plan that was made for a payment tells it when one of its moves is over."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, Final

from temporalio import workflow
from temporalio.exceptions import FailureError

from fulgurite import ids
from fulgurite.identity import PaymentHash

# A swap can take days. A payment that waits for so long looks for itself every few minutes.
_AT_MOST: Final = timedelta(hours=6)


async def when_moved(payment_hash: PaymentHash, moves: Sequence[asyncio.Future[Any]]) -> None:
    """Whatever came of each: LND knows better than a receipt what can be sent by now."""
    pending, until = list(moves), workflow.now() + _AT_MOST
    while pending and (left := until - workflow.now()) > timedelta(0):
        over, pending = await workflow.wait(
            pending, timeout=left.total_seconds(), return_when=asyncio.FIRST_COMPLETED
        )
        if over:
            with suppress(FailureError):  # it waits no more
                payment = workflow.get_external_workflow_handle(ids.payment_id(payment_hash))
                await payment.signal("liquidity_moved")
