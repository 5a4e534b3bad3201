"""What these tests share: a house of their own, and a worker that hears nothing by itself.

Of their own, because a reconciliation sees all that any other test has left behind.
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import pytest
from temporalio import activity
from temporalio.client import Client
from temporalio.worker import Worker

from activities.events import Announcer, EventActivities
from activities.heartbeats import heartbeating
from activities.invoices import InvoiceActivities
from activities.payments import PaymentActivities
from activities.reconciliation import ReconciliationActivities
from devnet.house import House, endpoint, house
from devnet.receiver import Receiver, new_secret
from devnet.simulated import SimulatedNetwork
from fulgurite import ids
from fulgurite.payments.calls import FOLLOW_PAYMENT, Follow
from fulgurite.payments.receipts import PaymentUpdate
from fulgurite.reconciliation.calls import Reconciliation
from fulgurite.reconciliation.differences import ReconciliationReport
from nodes.registry import Nodes
from nodes.webhooks.sender import Webhooks
from settings import CONFIG_VARIABLE
from starter.client import FulguriteClient
from starter.connect import connect
from tests.starter.conftest import Command
from workflows.create_invoice import CreateInvoiceWorkflow
from workflows.event import EventWorkflow
from workflows.invoice import InvoiceWorkflow
from workflows.payment import PaymentWorkflow
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


@pytest.fixture(scope="session")
async def client(temporal: Client) -> FulguriteClient:
    return FulguriteClient(temporal)


@pytest.fixture
async def nodes(home: House) -> AsyncIterator[Nodes]:
    configured = Nodes(home.settings.nodes)
    yield configured
    await configured.close()


@dataclass
class Follower:
    """Follows payments; the next `deaf` times it hears nothing."""

    payments: PaymentActivities
    deaf: int = 0

    @activity.defn(name=FOLLOW_PAYMENT.name)
    async def follow(self, ask: Follow) -> PaymentUpdate:
        if self.deaf:
            self.deaf -= 1
            async with heartbeating(0.2):
                await asyncio.Event().wait()
        return await self.payments.follow(ask)


@pytest.fixture
async def follower(home: House, nodes: Nodes) -> Follower:
    return Follower(PaymentActivities(nodes, home.settings.unsealing_key(), lambda *_: False))


@pytest.fixture
async def reconciling(
    home: House, temporal: Client, nodes: Nodes, follower: Follower
) -> AsyncIterator[Reconcile]:
    """Everything but the nodes' invoice streams, so that settlements are missed; and the call."""
    webhooks = Webhooks(home.settings.webhooks)
    invoices = InvoiceActivities(nodes, home.settings.unsealing_key(), temporal, webhooks)
    events = EventActivities(temporal, Announcer(temporal, webhooks), webhooks)
    comparisons = ReconciliationActivities(nodes, temporal)

    def polls(
        queue: str, *activities: Callable[..., Any], workflows: Sequence[type] = ()
    ) -> Worker:
        return Worker(
            temporal,
            task_queue=queue,
            activities=activities,
            workflows=workflows,
            max_heartbeat_throttle_interval=timedelta(seconds=1),
        )

    async def reconcile(node: str, grace_seconds: int = 0) -> ReconciliationReport:
        return await temporal.execute_workflow(
            ReconciliationWorkflow.run,
            Reconciliation(node=node, grace_seconds=grace_seconds),
            id=f"{ids.scheduled_reconciliation_id(node)}-{uuid.uuid4()}",
            task_queue=ids.TASK_QUEUE,
        )

    workers = [
        polls(
            ids.TASK_QUEUE,
            *(follower.payments.dispatch, invoices.create, events.emit),
            workflows=(
                *(PaymentWorkflow, CreateInvoiceWorkflow, InvoiceWorkflow, EventWorkflow),
                ReconciliationWorkflow,
            ),
        ),
        *(polls(ids.webhook_queue(name), events.send) for name in home.settings.webhooks),
    ]
    for node in nodes:
        paying = follower.payments.dispatch, follower.follow, comparisons.payments
        receiving = invoices.look_up, invoices.watch, invoices.cancel, comparisons.invoices
        workers.append(polls(ids.node_queue(node), *paying))
        workers.append(polls(ids.invoice_queue(node), *receiving))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(webhooks.close)
        for worker in workers:
            await stack.enter_async_context(worker)
        yield reconcile
    if isinstance(home.network, SimulatedNetwork):
        home.network.ledger.assert_settled_at_most_once()
        home.network.ledger.assert_no_overlapping_sends()
        home.network.ledger.assert_balanced()


@pytest.fixture
async def workflows_only(temporal: Client, nodes: Nodes) -> AsyncIterator[None]:
    """What a reconciliation needs but for the invoices of its node."""
    webhooks = Webhooks({})
    events = EventActivities(temporal, Announcer(temporal, webhooks), webhooks)
    comparisons = ReconciliationActivities(nodes, temporal)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(webhooks.close)
        for worker in (
            Worker(
                temporal,
                task_queue=ids.TASK_QUEUE,
                workflows=[ReconciliationWorkflow, PaymentWorkflow, InvoiceWorkflow],
                activities=[events.emit],
            ),
            *(
                Worker(temporal, task_queue=ids.node_queue(node), activities=[comparisons.payments])
                for node in nodes
            ),
        ):
            await stack.enter_async_context(worker)
        yield


@pytest.fixture
def fulgurite(home: House) -> Command:
    return Command({CONFIG_VARIABLE: str(home.config_path)})
