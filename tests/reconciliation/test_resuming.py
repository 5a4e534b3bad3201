"""A comparison that dies goes on from where it was, with what it had counted."""

from __future__ import annotations

import sys
import uuid
from collections.abc import AsyncIterator

import grpc
import pytest
from temporalio.client import Client, WorkflowHandle

from devnet.house import ROOT, House
from devnet.processes import Daemon
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import Delay, Refuse
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.reconciliation.calls import COMPARE_INVOICES, Reconciliation, Tally
from fulgurite.reconciliation.differences import ReconciliationReport
from settings import CONFIG_VARIABLE
from tests.scenarios.telling import SIMULATED_ONLY
from workflows.reconciliation import ReconciliationWorkflow

from .conftest import Reconcile

pytestmark = SIMULATED_ONLY

PAGES = 6
MANY = 500 * PAGES - 50


@pytest.fixture(scope="module")
async def busy(home: House) -> SimulatedNetwork:
    """bob has some thousand invoices of other people."""
    assert isinstance(home.network, SimulatedNetwork)
    for _ in range(MANY):
        home.network.issue("bob", value_msat=1_000)
    return home.network


@pytest.fixture
def asked(busy: SimulatedNetwork, monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The offset of every ListInvoices that bob answered or refused."""
    offsets: list[int] = []
    database = busy.registry("bob").database
    page = database.page

    def watched(query: object, *, pending_only: bool) -> object:
        offsets.append(query.offset)  # type: ignore[attr-defined]
        return page(query, pending_only=pending_only)  # type: ignore[arg-type]

    monkeypatch.setattr(database, "page", watched)
    return offsets


async def test_after_an_error_it_goes_on_at_the_page_that_failed(
    busy: SimulatedNetwork, asked: list[int], reconciling: Reconcile
) -> None:
    answered = Delay(0)
    for fault in (answered, answered, Refuse(grpc.StatusCode.UNAVAILABLE), answered):
        busy.faults.add("bob", "ListInvoices", fault)

    report = await reconciling("bob")

    assert report.invoices is not None
    assert report.invoices.not_ours == MANY
    assert asked == sorted(set(asked)), "no page was read twice"
    assert len(asked) == PAGES + 1, "and the last one is empty"


@pytest.fixture
async def comparer(home: House) -> AsyncIterator[Daemon]:
    """A worker for bob's invoices, as a process of its own."""
    daemon = Daemon(
        "comparer",
        [sys.executable, "-m", "tests.reconciliation.comparer", "bob"],
        state_dir=home.state_dir,
        environment={CONFIG_VARIABLE: str(home.config_path), "PYTHONPATH": str(ROOT)},
    )
    daemon.start()
    yield daemon
    await daemon.stop()


@pytest.mark.usefixtures("no_invoices")
async def test_after_a_kill_another_worker_goes_on(
    busy: SimulatedNetwork,
    asked: list[int],
    temporal: Client,
    comparer: Daemon,
) -> None:
    busy.faults.add("bob", "ListInvoices", Delay(1), times=PAGES)
    run = await temporal.start_workflow(
        ReconciliationWorkflow.run,
        Reconciliation(node="bob", grace_seconds=0),
        id=f"{ids.scheduled_reconciliation_id('bob')}-{uuid.uuid4()}",
        task_queue=ids.TASK_QUEUE,
    )
    beaten = await eventually(
        lambda: _beaten(temporal, run),
        lambda tally: tally is not None and tally.after_index > 0,
        what="a heartbeat with some pages",
    )
    await comparer.kill()
    assert beaten is not None
    before = len(asked)

    comparer.start()
    report = await run.result()

    assert report.invoices is not None
    assert report.invoices.not_ours == MANY
    assert asked[before:], "it was killed before its end"
    assert min(asked[before:]) >= beaten.after_index


async def _beaten(
    temporal: Client, run: WorkflowHandle[ReconciliationWorkflow, ReconciliationReport]
) -> Tally | None:
    for pending in (await run.describe()).raw_description.pending_activities:
        if pending.activity_type.name == COMPARE_INVOICES.name:
            details = pending.heartbeat_details.payloads
            if details:
                [beaten] = await temporal.data_converter.decode(details)
                return Tally.model_validate(beaten)
    return None
