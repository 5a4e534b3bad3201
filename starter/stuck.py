"""The ladder of a payment that hangs: how far it has climbed, and a person's word on it."""

from __future__ import annotations

from typing import ClassVar

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from fulgurite import ids
from fulgurite.identity import PaymentHash
from fulgurite.payments.requests import Approval, Rejection
from fulgurite.stuck.receipts import LadderReceipt, LadderView
from fulgurite.stuck.requests import StuckRequest
from fulgurite.stuck.states import LADDER
from starter.errors import temporal_errors
from starter.handle import Handle
from workflows.stuck import StuckPaymentWorkflow


class StuckPayment(Handle[LadderReceipt, LadderView]):
    """A ladder that was begun: `receipt`, `view`, `watch`, `approve` and `reject`.

    What becomes of the payment is the payment's own to say: `FulguriteClient.payment`.
    """

    _NOUN: ClassVar = "ladder"

    def __init__(self, client: Client, payment_hash: PaymentHash, *, attached: bool) -> None:
        """`attached`: the payment or somebody else began it; its policy is theirs."""
        super().__init__(
            client.get_workflow_handle_for(StuckPaymentWorkflow.run, ids.stuck_id(payment_hash)),
            StuckPaymentWorkflow.view,
        )
        self.payment_hash = payment_hash
        self.attached = attached

    def __repr__(self) -> str:
        return f"StuckPayment({self.payment_hash}, attached={self.attached})"

    async def approve(self, approval: Approval) -> LadderView:
        """Orders the force close, whatever the policy. It is asked of LND once a channel.

        Raises InvalidRequestError when there is nothing (more) to decide.
        """
        return await self._ordering(StuckPaymentWorkflow.approve, approval)

    async def reject(self, rejection: Rejection) -> LadderView:
        """Forbids it: LND goes to the chain by itself when the HTLC expires.

        Raises InvalidRequestError when there is nothing (more) to decide.
        """
        return await self._ordering(StuckPaymentWorkflow.reject, rejection)

    def _standing(self, view: LadderView) -> str:
        return view.state

    def _is_last(self, view: LadderView) -> bool:
        return view.state in LADDER.terminal


async def begin_ladder(client: Client, request: StuckRequest) -> StuckPayment:
    """Starts a ladder, or joins the one under way; what `FulguriteClient.begin_ladder` does."""
    attached = False
    try:
        with temporal_errors():
            await client.start_workflow(
                StuckPaymentWorkflow.run,
                request,
                id=ids.stuck_id(request.payment_hash),
                task_queue=ids.TASK_QUEUE,
                # As with USE_EXISTING there is one; and who joins is told that he does.
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                # One that has ended was another attempt's, or asks LND and ends at once.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                static_summary=f"stuck on {request.node}",
            )
    except WorkflowAlreadyStartedError:
        attached = True
    return StuckPayment(client, request.payment_hash, attached=attached)
