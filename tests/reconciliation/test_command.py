"""`fulgurite reconcile`, and what its exit code and its report say."""

from __future__ import annotations

import uuid
from datetime import timedelta

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError
from temporalio.worker import UnsandboxedWorkflowRunner, Worker

import workflows.reconciliation
from activities.other_books import OtherBooksActivities
from activities.reconciliation import ReconciliationActivities
from devnet.house import House
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.reconciliation.calls import Reconciliation
from fulgurite.reconciliation.differences import (
    Book,
    ReconciliationReport,
    ReconciliationState,
)
from nodes.registry import Nodes
from starter.client import FulguriteClient
from starter.reconciliation import ReconciliationBegun
from tests.commands import Command
from tests.scenarios.receiving import to_receive
from tests.scenarios.telling import SIMULATED_ONLY
from workflows import search_attributes
from workflows.reconciliation import ReconciliationWorkflow

from .conftest import Reconcile

pytestmark = SIMULATED_ONLY


@pytest.mark.usefixtures("reconciling")
async def test_a_node_that_agrees_is_worth_exit_code_0(fulgurite: Command) -> None:
    result = await fulgurite("reconcile", "bob", "--json")

    assert result.exit_code == 0
    report = ReconciliationReport.model_validate_json(result.stdout)
    assert (report.node, report.state) == ("bob", ReconciliationState.AGREES)
    assert report.ended_at is not None
    assert report.differences == ()


@pytest.mark.usefixtures("reconciling")
async def test_a_difference_is_printed_and_worth_exit_code_6(
    fulgurite: Command, client: FulguriteClient, temporal: Client
) -> None:
    created = await client.create_invoice(to_receive())
    workflow = temporal.get_workflow_handle(ids.invoice_id(created.payment_hash))
    await workflow.terminate("a mistake")

    result = await fulgurite("reconcile", "carol", "--grace", "0s")

    assert result.exit_code == 6
    assert f"UNFOLLOWED_INVOICE  invoice/{created.payment_hash}" in result.stdout
    assert "Create it again" in result.stdout
    assert "DIFFERS  carol" in result.stdout


@pytest.mark.usefixtures("reconciling")
async def test_one_that_is_left_under_way_is_named(fulgurite: Command, temporal: Client) -> None:
    result = await fulgurite("reconcile", "alice", "--no-wait", "--json")

    assert result.exit_code == 4
    begun = ReconciliationBegun.model_validate_json(result.stdout)
    assert begun.workflow_id.startswith("reconcile/alice-20")
    handle = temporal.get_workflow_handle_for(ReconciliationWorkflow.run, begun.workflow_id)
    assert (await handle.result()).node == "alice"


@pytest.mark.parametrize("arguments", [["Bob!"], ["bob", "--grace", "soon"]])
async def test_what_cannot_be_meant_is_refused(fulgurite: Command, arguments: list[str]) -> None:
    assert (await fulgurite("reconcile", *arguments, "--json")).exit_code == 2


async def test_operators_see_how_it_stands(temporal: Client, reconciling: Reconcile) -> None:
    report = await reconciling("bob")

    async def found() -> list[str | None]:
        query = (
            "WorkflowType = 'ReconciliationWorkflow' AND FulguriteNode = 'bob' "
            f"AND StartTime >= '{report.began_at.isoformat()}'"
        )
        return [
            each.typed_search_attributes.get(search_attributes.STATE)
            async for each in temporal.list_workflows(query)
        ]

    assert await eventually(found, what="the reconciliation in the list") == ["AGREES"]
    details = report.details()
    assert "### AGREES" in details
    assert "| payments | 0 | 0 | 0 |" in details


async def test_without_the_credential_for_one_half_the_other_is_compared(
    home: House, temporal: Client, nodes: Nodes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A deployment that only receives: nobody polls the payers' queue."""
    monkeypatch.setattr(workflows.reconciliation, "_WORKER_WITHIN", timedelta(seconds=1))
    comparisons = ReconciliationActivities(nodes, temporal)
    others = OtherBooksActivities(nodes, temporal, home.settings.unsealing_key())
    async with (
        Worker(
            temporal,
            task_queue=ids.TASK_QUEUE,
            workflows=[ReconciliationWorkflow],
            activities=[others.find],
            # The sandbox would read the patience anew.
            workflow_runner=UnsandboxedWorkflowRunner(),
        ),
        Worker(temporal, task_queue=ids.invoice_queue("bob"), activities=[comparisons.invoices]),
    ):
        report = await temporal.execute_workflow(
            ReconciliationWorkflow.run,
            Reconciliation(node="bob"),
            id=f"{ids.scheduled_reconciliation_id('bob')}-{uuid.uuid4()}",
            task_queue=ids.TASK_QUEUE,
        )

    assert report.state is ReconciliationState.INCOMPLETE
    assert report.invoices is not None
    assert report.payments is None
    assert report.not_compared[Book.PAYMENTS] == "no worker took it"
    assert "not all compared: no worker took it" in report.details()


@pytest.mark.usefixtures("reconciling")
async def test_a_malformed_request_from_another_language_is_refused(temporal: Client) -> None:
    with pytest.raises(WorkflowFailureError) as failed:
        await temporal.execute_workflow(
            "ReconciliationWorkflow",
            {"node": "bob", "colour": "red"},
            id=f"reconcile/bob-{uuid.uuid4()}",
            task_queue=ids.TASK_QUEUE,
        )
    refusal = failed.value.cause
    assert isinstance(refusal, ApplicationError)
    assert (refusal.type, refusal.non_retryable) == ("InvalidRequestError", True)
    assert "colour" in refusal.message
