"""What these tests share: a house of their own, and a worker that hears nothing by itself.

Of their own, because a reconciliation sees all that any other test has left behind.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from temporalio.client import Client
from temporalio.worker import Worker

import worker
from activities.other_books import OtherBooksActivities
from activities.reconciliation import ReconciliationActivities
from devnet.house import House, endpoint, house
from devnet.receiver import Receiver, new_secret
from devnet.simulated import SimulatedNetwork
from fulgurite import ids
from fulgurite.reconciliation.calls import Reconciliation
from fulgurite.reconciliation.differences import ReconciliationReport
from nodes.registry import Nodes
from nodes.webhooks.sender import Webhooks
from starter.connect import connect
from workflows.reconciliation import ReconciliationWorkflow

Reconcile = Callable[..., Awaitable[ReconciliationReport]]

KINDS = [
    pytest.param("simulated", id="simulated"),
    pytest.param("regtest", id="regtest", marks=pytest.mark.regtest),
]


@pytest.fixture(scope="session")
async def bookkeeper() -> AsyncIterator[Receiver]:
    """Whoever is told of differences."""
    async with Receiver(new_secret()) as receiver:
        yield receiver


@pytest.fixture(scope="session", params=KINDS)
async def home(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, bookkeeper: Receiver
) -> AsyncIterator[House]:
    state_dir = tmp_path_factory.mktemp(f"reconciled-{request.param}")
    secret_path = state_dir / "bookkeeper.secret"
    [secret] = bookkeeper.secrets
    secret_path.write_text(secret)
    webhooks = {"bookkeeper": endpoint(bookkeeper, secret_path, "reconciliation.*")}
    async with house(request.param, state_dir, webhooks=webhooks) as built:
        yield built


@pytest.fixture(scope="session")
async def temporal(home: House) -> Client:
    return await connect(home.settings)


@pytest.fixture
async def nodes(home: House) -> AsyncIterator[Nodes]:
    configured = Nodes(home.settings.nodes)
    yield configured
    await configured.close()


@pytest.fixture
async def reconciling(home: House, temporal: Client, nodes: Nodes) -> AsyncIterator[Reconcile]:
    """Every worker, and no stream of invoices, so that settlements are missed; and the call."""

    async def reconcile(node: str, grace_seconds: int = 0) -> ReconciliationReport:
        return await temporal.execute_workflow(
            ReconciliationWorkflow.run,
            Reconciliation(node=node, grace_seconds=grace_seconds),
            id=f"{ids.scheduled_reconciliation_id(node)}-{uuid.uuid4()}",
            task_queue=ids.TASK_QUEUE,
        )

    webhooks = Webhooks(home.settings.webhooks)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(webhooks.close)
        for each in worker.workers(temporal, home.settings, nodes, webhooks):
            await stack.enter_async_context(each)
        yield reconcile
    if isinstance(home.network, SimulatedNetwork):
        home.network.ledger.assert_settled_at_most_once()
        home.network.ledger.assert_no_overlapping_sends()
        home.network.ledger.assert_balanced()


@pytest.fixture
async def no_invoices(home: House, temporal: Client, nodes: Nodes) -> AsyncIterator[None]:
    """Workers that run workflows and compare all but invoices: another process has those."""
    books = ReconciliationActivities(nodes, temporal)
    others = OtherBooksActivities(nodes, temporal, home.settings.unsealing_key())
    async with AsyncExitStack() as stack:
        for each in (
            Worker(
                temporal,
                task_queue=ids.TASK_QUEUE,
                workflows=worker.WORKFLOWS,
                activities=[others.find],
            ),
            *(
                Worker(temporal, task_queue=ids.swap_queue(node), activities=[others.swaps])
                for node in nodes.swapping()
            ),
            *(
                Worker(temporal, task_queue=ids.lease_queue(node), activities=[others.leases])
                for node in nodes.leasing()
            ),
            *(
                Worker(temporal, task_queue=ids.node_queue(node), activities=[books.payments])
                for node in home.network.nodes
            ),
        ):
            await stack.enter_async_context(each)
        yield
