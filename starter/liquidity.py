"""The autopilot, as those see it who ask it: one plan, its approval, and the plans before."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import ClassVar

from pydantic import Field
from temporalio.client import Client, WorkflowExecutionStatus, WorkflowHandle
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)

from fulgurite import ids
from fulgurite.identity import NodeName
from fulgurite.liquidity.plans import OVER, LiquidityPlan, PlanState
from fulgurite.liquidity.requests import LiquidityRequest, PlanApproval
from fulgurite.liquidity.words import summary
from fulgurite.model import Model
from fulgurite.payments.requests import Approval, Rejection
from starter.errors import NotRetainedError, temporal_errors
from starter.handle import Handle
from workflows import search_attributes
from workflows.liquidity import LiquidityWorkflow


class PlanSummary(Model):
    """A plan as Temporal's index knows it."""

    workflow_id: str
    node: NodeName
    state: PlanState
    workflow_status: str = Field(description="Temporal's own word: RUNNING, COMPLETED, FAILED, …")
    started_at: datetime
    closed_at: datetime | None = None


class LiquidityRun(Handle[LiquidityPlan, LiquidityPlan]):
    """One run of the autopilot: `receipt` (its plan), `view`, `watch`, `approve` and `reject`."""

    _NOUN: ClassVar = "plan"

    def __init__(self, handle: WorkflowHandle[LiquidityWorkflow, LiquidityPlan]) -> None:
        super().__init__(handle, LiquidityWorkflow.view)
        self.id = handle.id

    def __repr__(self) -> str:
        return f"LiquidityRun({self.id})"

    async def approve(self, approval: Approval) -> LiquidityPlan:
        """Has the plan's moves begun; of a PlanApproval those of the channels that it names.

        Raises InvalidRequestError when there is nothing (more) to decide.
        """
        given = PlanApproval.model_validate(approval.model_dump())
        return await self._ordering(LiquidityWorkflow.approve, given)

    async def asks(self) -> LiquidityPlan:
        """Waits until the plan asks, or has ended without a question. Raises like `watch`."""
        async for view in self.watch():
            if view.state is PlanState.AWAITING_APPROVAL:
                return view
        return await self.receipt()

    async def reject(self, rejection: Rejection) -> LiquidityPlan:
        """Nothing is moved. Raises InvalidRequestError when there is nothing to decide."""
        return await self._ordering(LiquidityWorkflow.reject, rejection)

    def _standing(self, view: LiquidityPlan) -> str:
        return view.state

    def _is_last(self, view: LiquidityPlan) -> bool:
        return view.state in OVER


async def make_plan(client: Client, asked: LiquidityRequest) -> LiquidityRun:
    """Starts one run beside what a schedule starts; what `FulguriteClient.liquidity` does."""
    with temporal_errors():
        handle = await client.start_workflow(
            LiquidityWorkflow.run,
            asked,
            id=ids.liquidity_id(asked.node, datetime.now(UTC)),
            task_queue=ids.TASK_QUEUE,
            # As safe to repeat as a second question is: each call makes a plan of its own.
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            id_reuse_policy=WorkflowIDReusePolicy.REJECT_DUPLICATE,
            search_attributes=search_attributes_of(asked),
            static_summary=summary_of(asked),
        )
    return LiquidityRun(handle)


def plan_of(client: Client, workflow_id: str) -> LiquidityRun:
    """A plan by its workflow's id."""
    return LiquidityRun(client.get_workflow_handle_for(LiquidityWorkflow.run, workflow_id))


async def plans(client: Client, node: NodeName, *, limit: int) -> AsyncIterator[PlanSummary]:
    """The latest runs of a node, the newest first."""
    query = f"WorkflowType = 'LiquidityWorkflow' AND {search_attributes.NODE.name} = '{node}'"
    with temporal_errors():
        async for found in client.list_workflows(query, limit=limit):
            state = found.typed_search_attributes.get(search_attributes.STATE)
            status = found.status or WorkflowExecutionStatus.RUNNING
            yield PlanSummary(
                workflow_id=found.id,
                node=node,
                state=PlanState(state) if state else PlanState.LOOKING,
                workflow_status=status.name,
                started_at=found.start_time,
                closed_at=found.close_time,
            )


async def asking(client: Client, node: NodeName) -> LiquidityRun:
    """The newest plan of a node that waits for a person. Raises NotRetainedError."""
    async for found in plans(client, node, limit=20):
        if found.state is PlanState.AWAITING_APPROVAL:
            return plan_of(client, found.workflow_id)
    raise NotRetainedError(f"no plan of {node} waits for a decision")


def search_attributes_of(asked: LiquidityRequest) -> TypedSearchAttributes:
    """What a run is started with, by hand and by a schedule."""
    return TypedSearchAttributes(
        [
            SearchAttributePair(search_attributes.NODE, asked.node),
            SearchAttributePair(search_attributes.STATE, PlanState.LOOKING),
        ]
    )


def summary_of(asked: LiquidityRequest) -> str:
    return summary(asked.node, asked.mode)
