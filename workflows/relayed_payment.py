"""The payment that a relay makes: a child workflow, asked for again until it has a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

from temporalio import workflow
from temporalio.exceptions import (
    ApplicationError,
    ChildWorkflowError,
    WorkflowAlreadyStartedError,
)

from fulgurite import ids
from fulgurite.errors import UnknownNodeError
from fulgurite.payments.receipts import Receipt
from fulgurite.payments.requests import Order, PaymentRequest
from workflows import search_attributes
from workflows.calling import refusal
from workflows.payment import PaymentWorkflow

_Child: TypeAlias = workflow.ChildWorkflowHandle[PaymentWorkflow, Receipt]


@dataclass(frozen=True)
class Ending:
    """How the payment's workflow ended. With neither receipt nor refusal nothing is known."""

    receipt: Receipt | None = None
    refused: str = ""  # why, if LND was asked before that
    words: str = ""


class RelayedPayment:
    """One payment of one hash, over as many runs of its workflow as that takes."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._id = ids.payment_id(order.payment_hash)
        self._child: _Child | None = None
        self.cancel_passed_on = False

    @property
    def under_way(self) -> bool:
        return self._child is not None

    @property
    def ended(self) -> bool:
        return self._child is not None and self._child.done()

    async def begin(self, request: PaymentRequest) -> bool:
        """False while another run is under way: an earlier one of ours, or somebody else's.

        Once that has ended this one can begin, and asks LND first what became of the other.
        """
        try:
            self._child = await workflow.start_child_workflow(
                PaymentWorkflow.run,
                args=[request],
                id=self._id,
                task_queue=ids.TASK_QUEUE,
                # What is in flight is followed, whatever becomes of the relay.
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                search_attributes=search_attributes.of_request(request, self._order),
                static_summary=f"pay {self._order.amount} from {request.node}",
            )
        except WorkflowAlreadyStartedError:
            return False
        self.cancel_passed_on = False
        return True

    async def cancel(self) -> None:
        """No further attempts. Not by the child's handle: that could lose its verdict.

        Raises FailureError when it has ended.
        """
        self.cancel_passed_on = True
        await workflow.get_external_workflow_handle(self._id).cancel()

    async def ending(self) -> Ending:
        """Waits for the end; after it another run can begin."""
        assert self._child is not None
        child = self._child
        try:
            return Ending(receipt=await child)
        except ChildWorkflowError as error:
            why = _why_refused(error)
            return Ending(refused=why.message) if why else Ending(words=str(error.cause or error))
        finally:
            self._child = None


def _why_refused(error: ChildWorkflowError) -> ApplicationError | None:
    """A refusal, if LND was asked before: a node that nobody knows any more could not be."""
    cause = error.cause
    if not isinstance(cause, ApplicationError) or cause.type == UnknownNodeError.__name__:
        return None
    return refusal(cause)
