"""A reconciliation by hand, as the one who asked for it sees it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import ClassVar

from temporalio.client import Client, WorkflowHandle
from temporalio.common import (
    SearchAttributePair,
    TypedSearchAttributes,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)

from fulgurite import ids
from fulgurite.model import Model
from fulgurite.reconciliation.calls import Reconciliation
from fulgurite.reconciliation.differences import ReconciliationReport, ReconciliationState
from starter.errors import temporal_errors
from starter.handle import Handle
from workflows import search_attributes
from workflows.reconciliation import ReconciliationWorkflow


class ReconciliationBegun(Model):
    """A reconciliation that nobody waits for."""

    workflow_id: str


class ReconciliationRun(Handle[ReconciliationReport, ReconciliationReport]):
    """A reconciliation under way or ended: `receipt` (its report), `view`, `watch`."""

    _NOUN: ClassVar = "reconciliation"

    def __init__(
        self, handle: WorkflowHandle[ReconciliationWorkflow, ReconciliationReport]
    ) -> None:
        super().__init__(handle, ReconciliationWorkflow.view)
        self.id = handle.id

    def _standing(self, view: ReconciliationReport) -> str:
        return view.state

    def _is_last(self, view: ReconciliationReport) -> bool:
        return view.state is not ReconciliationState.COMPARING


async def reconcile(client: Client, asked: Reconciliation) -> ReconciliationRun:
    """Starts one beside whatever a schedule runs, which does no harm.

    Raises TemporalUnavailableError and TemporalRefusedError.
    """
    with temporal_errors():
        handle = await client.start_workflow(
            ReconciliationWorkflow.run,
            asked,
            id=ids.reconciliation_id(asked.node, datetime.now(UTC)),
            task_queue=ids.TASK_QUEUE,
            # Two calls within one second get one reconciliation.
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            search_attributes=search_attributes_of(asked),
            static_summary=summary_of(asked),
        )
    return ReconciliationRun(handle)


def search_attributes_of(asked: Reconciliation) -> TypedSearchAttributes:
    """What a reconciliation is started with, by hand and by a schedule."""
    return TypedSearchAttributes([SearchAttributePair(search_attributes.NODE, asked.node)])


def summary_of(asked: Reconciliation) -> str:
    return f"reconcile {asked.node}"
