"""The ladder of an attempt that hangs, as its rebalance deals with it."""

from __future__ import annotations

from contextlib import suppress

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from fulgurite import ids
from fulgurite.identity import NodeName, PaymentHash
from fulgurite.payments.receipts import PaymentUpdate
from fulgurite.payments.states import PaymentStatus
from fulgurite.rebalances.calls import SendOutcome, Sent
from fulgurite.stuck.requests import StuckRequest
from workflows import payment_ladder
from workflows.stuck import StuckPaymentWorkflow


async def begin(node: NodeName, payment_hash: PaymentHash) -> None:
    """It hangs like any payment, and is taken up the same ladder by itself."""
    with suppress(WorkflowAlreadyStartedError):
        await workflow.start_child_workflow(
            StuckPaymentWorkflow.run,
            args=[StuckRequest(node=node, payment_hash=payment_hash)],
            id=ids.stuck_id(payment_hash),
            task_queue=ids.TASK_QUEUE,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            parent_close_policy=workflow.ParentClosePolicy.ABANDON,
            static_summary=f"stuck on {node}",
        )


async def tell(payment_hash: PaymentHash, answer: Sent) -> None:
    """It ends with LND's verdict. What LND never took, it finds out by asking."""
    if answer.outcome is SendOutcome.NOT_SENT:
        return
    update = PaymentUpdate(
        status=PaymentStatus(answer.outcome.value),
        failure_reason=answer.failure_reason,
        amount_msat=answer.amount_msat,
        fee_msat=answer.fee_msat,
    )
    await payment_ladder.tell(payment_hash, update)
