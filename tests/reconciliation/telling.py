"""Reconciliations in the houses of swaps, rebalances and leases, which others use too."""

from __future__ import annotations

import uuid

from temporalio.client import Client

from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.reconciliation.calls import Reconciliation
from fulgurite.reconciliation.differences import Difference, DifferenceKind, ReconciliationReport
from workflows.reconciliation import ReconciliationWorkflow


async def reconciled(temporal: Client, node: str = "alice") -> ReconciliationReport:
    """Of this very moment, whatever was begun a moment before."""
    return await temporal.execute_workflow(
        ReconciliationWorkflow.run,
        Reconciliation(node=node, grace_seconds=0),
        id=f"{ids.scheduled_reconciliation_id(node)}-{uuid.uuid4()}",
        task_queue=ids.TASK_QUEUE,
    )


async def told(temporal: Client, resource: str) -> list[Difference]:
    """What one reconciliation tells of one workflow."""
    report = await reconciled(temporal)
    return [each for each in report.differences if each.resource == resource]


async def comes_to_tell(temporal: Client, resource: str, kind: DifferenceKind) -> Difference:
    """The same, once Temporal's index has it, which is a moment behind."""
    [difference] = await eventually(
        lambda: told(temporal, resource),
        lambda found: [each.kind for each in found] == [kind],
        what=f"{kind} of {resource}",
        timeout_seconds=60,
    )
    return difference
