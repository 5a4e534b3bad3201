"""The ladder of a payment that is stuck, as the payment deals with it."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from datetime import timedelta
from typing import Any

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import FailureError, WorkflowAlreadyStartedError

from fulgurite import ids
from fulgurite.identity import PaymentHash
from fulgurite.payments.progress import Progress
from fulgurite.payments.receipts import PaymentUpdate
from fulgurite.payments.requests import PaymentRequest
from fulgurite.stuck.requests import StuckRequest
from workflows.stuck import StuckPaymentWorkflow

# Sweeps take blocks: what is not known so soon after the verdict is in the ladder's own receipt.
_COUNTING = timedelta(minutes=1)


async def begin(request: PaymentRequest, payment_hash: PaymentHash) -> None:
    """Starts it, or tells the one that runs that this attempt hangs as well.

    That can have been begun by hand, or for an attempt before this one.
    """
    while not await _started(request, payment_hash):
        with suppress(FailureError):  # it has ended between the two
            ladder = workflow.get_external_workflow_handle(ids.stuck_id(payment_hash))
            await ladder.signal("hangs_again")
            return


async def _started(request: PaymentRequest, payment_hash: PaymentHash) -> bool:
    try:
        ladder = await workflow.start_child_workflow(
            StuckPaymentWorkflow.run,
            args=[
                StuckRequest(
                    node=request.node,
                    payment_hash=payment_hash,
                    policy=request.ladder,
                    followed=True,
                )
            ],
            id=ids.stuck_id(payment_hash),
            task_queue=ids.TASK_QUEUE,
            # The one before came to its end: this is another attempt of the hash.
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            # What it has closed is followed to the last sweep, when the payment has its verdict.
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            static_summary=f"stuck on {request.node}",
        )
    except WorkflowAlreadyStartedError:
        return False
    ladder.add_done_callback(_is_over)
    return True


def _is_over(ladder: asyncio.Future[Any]) -> None:
    """Whatever ended it, by force or not: the payment goes on, and asks LND."""
    if not ladder.cancelled():
        ladder.exception()


async def counted(progress: Progress) -> None:
    """Waits a while for what the chain has cost, so that it stands on the payment's receipt."""
    if progress.on_chain is None:
        return
    with suppress(TimeoutError):
        await workflow.wait_condition(
            lambda: progress.on_chain is not None and progress.on_chain.complete,
            timeout=_COUNTING,
            timeout_summary="what the chain has cost",
        )


async def tell(payment_hash: PaymentHash, update: PaymentUpdate) -> None:
    """Gives it LND's verdict. There may be none, or it may have ended."""
    with suppress(FailureError):
        ladder = workflow.get_external_workflow_handle(ids.stuck_id(payment_hash))
        await ladder.signal("verdict", update)
