"""The payment that a relay makes: a child workflow, asked for again until it has a verdict."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TypeAlias

from temporalio import workflow
from temporalio.common import WorkflowIDReusePolicy
from temporalio.exceptions import (
    ApplicationError,
    ChildWorkflowError,
    WorkflowAlreadyStartedError,
)

from fulgurite import ids
from fulgurite.errors import UnknownNodeError
from fulgurite.payments.receipts import Receipt
from fulgurite.payments.requests import PaymentRequest
from fulgurite.relays.calls import LOOK_AHEAD, LookAhead, Outlook
from fulgurite.relays.requests import Plan, only_asks
from workflows import search_attributes
from workflows.calling import call_here_or_on, refusal
from workflows.payment import PaymentWorkflow

_ONE_CALL = timedelta(minutes=2)

_Child: TypeAlias = workflow.ChildWorkflowHandle[PaymentWorkflow, Receipt]


@dataclass(frozen=True)
class Ending:
    """How the payment's workflow ended. With neither receipt nor refusal nothing is known."""

    receipt: Receipt | None = None
    refused: str = ""  # why, if LND was asked before that
    words: str = ""


class RelayedPayment:
    """One payment of one hash, over as many runs of its workflow as that takes."""

    def __init__(self, plan: Plan) -> None:
        self._order = plan.order
        self._node = plan.request.outgoing.node
        self._id = ids.payment_id(plan.payment_hash)
        self._child: _Child | None = None
        self._asked = self._node  # whose LND the child asks
        # To what pays this hash at present; what only asks need not be told.
        self.cancel_passed_on = False

    @property
    def under_way(self) -> bool:
        return self._child is not None

    @property
    def ended(self) -> bool:
        return self._child is not None and self._child.done()

    async def look(self, known: Outlook | None = None) -> Outlook:
        """What there is of it. With `known` the node, which may be away, is not asked again."""
        return await call_here_or_on(
            ids.node_queue(self._node),
            LOOK_AHEAD,
            LookAhead(node=self._node, payment_hash=self._order.payment_hash, known=known),
            at_most=_ONE_CALL,
            summary="look ahead",
        )

    async def begin(self, request: PaymentRequest, *, only_the_first: bool) -> bool:
        """False while another run is under way: an earlier one of ours, or somebody else's.

        Once that has ended this one can begin, and asks LND first what became of the other.
        With `only_the_first` also False when another one has ended since it was looked for:
        it may have paid, and from another node.
        """
        again = WorkflowIDReusePolicy.ALLOW_DUPLICATE
        first = WorkflowIDReusePolicy.REJECT_DUPLICATE
        try:
            self._child = await workflow.start_child_workflow(
                PaymentWorkflow.run,
                args=[request],
                id=self._id,
                task_queue=ids.TASK_QUEUE,
                id_reuse_policy=first if only_the_first else again,
                # What is in flight is followed, whatever becomes of the relay.
                parent_close_policy=workflow.ParentClosePolicy.ABANDON,
                search_attributes=search_attributes.of_request(request, self._order),
                static_summary=f"pay {self._order.amount} from {request.node}",
            )
        except WorkflowAlreadyStartedError:
            return False
        self._asked, self.cancel_passed_on = request.node, only_asks(request)
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
            # Another node's refusal says nothing of what was sent from the relay's own.
            why = _why_refused(error) if self._asked == self._node else None
            return Ending(refused=why.message) if why else Ending(words=str(error.cause or error))
        finally:
            self._child = None


def _why_refused(error: ChildWorkflowError) -> ApplicationError | None:
    """A refusal, if LND was asked before: a node that nobody knows any more could not be."""
    cause = error.cause
    if not isinstance(cause, ApplicationError) or cause.type == UnknownNodeError.__name__:
        return None
    return refusal(cause)
