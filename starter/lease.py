"""A lease of inbound liquidity: begun, followed to the end of its term, and called off."""

from __future__ import annotations

from typing import ClassVar

from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from fulgurite import ids
from fulgurite.errors import KeyReusedError
from fulgurite.leases.receipts import LeaseReceipt, LeaseView
from fulgurite.leases.requests import LeaseCancellation, LeaseKey, LeaseRequest
from fulgurite.leases.states import LEASE
from fulgurite.payments.requests import Approval, Rejection
from starter.errors import temporal_errors
from starter.handle import Handle
from workflows.lease import LeaseWorkflow


class Lease(Handle[LeaseReceipt, LeaseView]):
    """A lease that was begun: `receipt` at the end of its term, `view`, `watch`, `cancel`."""

    _NOUN: ClassVar = "lease"

    def __init__(self, client: Client, key: LeaseKey, *, attached: bool) -> None:
        """`attached`: it was under way or over before; its terms are the first request's."""
        super().__init__(
            client.get_workflow_handle_for(LeaseWorkflow.run, ids.lease_id(key)),
            LeaseWorkflow.view,
        )
        self.key = key
        self.attached = attached

    def __repr__(self) -> str:
        return f"Lease({self.key}, attached={self.attached})"

    async def approve(self, approval: Approval) -> LeaseView:
        """Allows what it can cost. Raises InvalidRequestError when there is nothing to decide."""
        return await self._ordering(LeaseWorkflow.approve, approval)

    async def reject(self, rejection: Rejection) -> LeaseView:
        """Says no: nothing moves. Raises InvalidRequestError when there is nothing to decide."""
        return await self._ordering(LeaseWorkflow.reject, rejection)

    async def cancel(self, cancellation: LeaseCancellation | None = None) -> LeaseView:
        """Takes the bid back; what it has won by then is followed to its end.

        Raises InvalidRequestError when there is no bid to take back any more.
        """
        return await self._ordering(LeaseWorkflow.cancel, cancellation or LeaseCancellation())

    def _standing(self, view: LeaseView) -> str:
        return view.state

    def _is_last(self, view: LeaseView) -> bool:
        return view.state in LEASE.terminal


async def begin_lease(client: Client, request: LeaseRequest) -> Lease:
    """Starts a lease, or joins the key's own; what `FulguriteClient.lease` does."""
    attached = False
    try:
        with temporal_errors():
            await client.start_workflow(
                LeaseWorkflow.run,
                request,
                id=ids.lease_id(request.key),
                task_queue=ids.TASK_QUEUE,
                # As with USE_EXISTING there is one; and who joins is told that he does.
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                # One that was ended by force is taken up again: its bid is found by its mark.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                static_summary=f"lease {request.amount_sat:,} sat for {request.node}",
            )
    except WorkflowAlreadyStartedError:
        attached = True
    lease = Lease(client, request.key, attached=attached)
    if attached and (await lease.view()).request != request:
        raise KeyReusedError(f"the key {request.key} belongs to another lease: take a new one")
    return lease
