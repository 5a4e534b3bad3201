"""A rebalance: begun, watched, called off, and found again by its key."""

from __future__ import annotations

from typing import ClassVar

from temporalio.client import Client
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError

from fulgurite import ids
from fulgurite.errors import KeyReusedError
from fulgurite.rebalances.receipts import RebalanceReceipt, RebalanceView
from fulgurite.rebalances.requests import RebalanceCancellation, RebalanceRequest
from fulgurite.rebalances.states import REBALANCE, RebalanceState
from starter.errors import temporal_errors
from starter.handle import Handle
from workflows import search_attributes
from workflows.rebalance import RebalanceWorkflow


class Rebalance(Handle[RebalanceReceipt, RebalanceView]):
    """A rebalance: `receipt` when it has ended, `view`, `watch` and `cancel`."""

    _NOUN: ClassVar = "rebalance"

    def __init__(self, client: Client, key: str, *, attached: bool) -> None:
        """`attached`: it was under way, or had ended, before."""
        super().__init__(
            client.get_workflow_handle_for(RebalanceWorkflow.run, ids.rebalance_id(key)),
            RebalanceWorkflow.view,
        )
        self.key = key
        self.attached = attached

    def __repr__(self) -> str:
        return f"Rebalance({self.key}, attached={self.attached})"

    async def cancel(self, reason: str = "") -> RebalanceView:
        """Begins nothing more. What is in flight stays until LND ends it.

        Raises InvalidRequestError when it has ended.
        """
        return await self._ordering(RebalanceWorkflow.cancel, RebalanceCancellation(reason=reason))

    def _standing(self, view: RebalanceView) -> str:
        return f"{view.state} {view.attempts} {view.moved_msat}"

    def _is_last(self, view: RebalanceView) -> bool:
        return view.state in REBALANCE.terminal


async def begin_rebalance(client: Client, request: RebalanceRequest) -> Rebalance:
    """Starts a rebalance, or joins its key's; what `FulguriteClient.rebalance` does."""
    attached = False
    try:
        with temporal_errors():
            await client.start_workflow(
                RebalanceWorkflow.run,
                request,
                id=ids.rebalance_id(request.key),
                task_queue=ids.TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                # What ended by force finds its attempts again; what was refused moved nothing.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                search_attributes=TypedSearchAttributes(
                    [
                        SearchAttributePair(search_attributes.STATE, RebalanceState.REQUESTED),
                        SearchAttributePair(search_attributes.NODE, request.node),
                        SearchAttributePair(search_attributes.KEY, request.key),
                    ]
                ),
                static_summary=f"rebalance {request.key} of {request.node}",
            )
    except WorkflowAlreadyStartedError:
        attached = True
        await _check_same(client, request)
    return Rebalance(client, request.key, attached=attached)


async def _check_same(client: Client, request: RebalanceRequest) -> None:
    running = client.get_workflow_handle_for(RebalanceWorkflow.run, ids.rebalance_id(request.key))
    with temporal_errors():
        asked = await running.query(RebalanceWorkflow.request)
    if asked != request:
        raise KeyReusedError(f"the key {request.key} belongs to another rebalance: take a new one")
