"""The worker: wiring, and nothing else."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack, suppress
from datetime import timedelta
from typing import Any

import structlog
from temporalio.client import Client
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.worker import Worker

import settings as configuration
import telemetry
from activities.events import Announcer, EventActivities
from activities.invoices import InvoiceActivities
from activities.late_payers import LatePayers
from activities.listening import InvoiceListening
from activities.payments import PaymentActivities
from activities.reconciliation import ReconciliationActivities
from activities.relays import RelayActivities
from activities.routing import InvoiceRouter
from fulgurite import ids
from fulgurite.errors import FulguriteError
from nodes.registry import Nodes
from nodes.webhooks.sender import Webhooks
from settings import Settings
from starter.connect import connect, leave
from workflows.create_invoice import CreateInvoiceWorkflow
from workflows.event import EventWorkflow
from workflows.invoice import InvoiceWorkflow
from workflows.invoice_stream import InvoiceStreamWorkflow
from workflows.payment import PaymentWorkflow
from workflows.reconciliation import ReconciliationWorkflow
from workflows.relay import RelayWorkflow

log = structlog.get_logger()


WORKFLOWS = (
    PaymentWorkflow,
    CreateInvoiceWorkflow,
    InvoiceWorkflow,
    InvoiceStreamWorkflow,
    RelayWorkflow,
    EventWorkflow,
    ReconciliationWorkflow,
)


def workers(
    client: Client, settings: Settings, nodes: Nodes, webhooks: Webhooks
) -> Sequence[Worker]:
    """One for workflows and their fast path, and one for each node's role and each endpoint."""
    key = settings.unsealing_key()
    announcer = Announcer(client, webhooks)
    payments = PaymentActivities(nodes, key, announcer.wanted)
    invoices = InvoiceActivities(nodes, key, client, webhooks)
    listening = InvoiceListening(nodes, InvoiceRouter(client, announcer), LatePayers(nodes, client))
    relays = RelayActivities(nodes, client)
    events = EventActivities(client, announcer, webhooks)
    books = ReconciliationActivities(nodes, client)

    def polls(queue: str, *activities: Callable[..., Any], at_once: int) -> Worker:
        return Worker(
            client,
            task_queue=queue,
            activities=activities,
            workflows=WORKFLOWS if queue == ids.TASK_QUEUE else (),
            max_concurrent_activities=at_once,
            max_concurrent_local_activities=settings.max_concurrent_payments,
            # The SDK would hold heartbeats back for longer, and the cancels that they bring.
            max_heartbeat_throttle_interval=timedelta(seconds=1),
            graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
        )

    at_nodes = [
        polls(
            ids.node_queue(node),
            *(payments.dispatch, payments.follow, relays.look_ahead, books.payments),
            at_once=settings.max_followed_payments,
        )
        for node in nodes.paying()
    ] + [
        polls(
            ids.invoice_queue(node),
            *(invoices.create, invoices.look_up, invoices.watch, invoices.settle, invoices.cancel),
            *(listening.listen, books.invoices),
            at_once=settings.max_followed_payments,
        )
        for node in nodes.receiving()
    ]
    # Invoices that are watched for days must not take the places of orders, nor of the stream.
    at_nodes += [
        polls(queue(node), invoices.watch, at_once=settings.max_followed_payments)
        for node in nodes.receiving()
        for queue in (ids.open_watch_queue, ids.held_watch_queue)
    ]
    if not settings.runs_workflows:
        return at_nodes
    at_endpoints = [
        polls(
            ids.webhook_queue(name),
            *(events.send, invoices.ask),
            at_once=settings.max_webhooks_at_once,
        )
        for name in settings.webhooks
    ]
    of_workflows = polls(
        ids.TASK_QUEUE,
        *(payments.dispatch, invoices.create, relays.look_ahead, events.emit, events.find_before),
        at_once=settings.max_followed_payments,
    )
    return [of_workflows, *at_nodes, *at_endpoints]


async def listen(client: Client, nodes: Nodes) -> None:
    """Sees to it that the invoices of each node we receive with are listened to, once."""
    for node in nodes.receiving():
        with suppress(WorkflowAlreadyStartedError):
            await client.start_workflow(
                InvoiceStreamWorkflow.run,
                node,
                id=ids.invoice_stream_id(node),
                task_queue=ids.TASK_QUEUE,
                static_summary=f"invoices of {node}",
            )


async def run(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT, then lets what is under way come to a safe point."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    nodes, webhooks = Nodes(settings.nodes), Webhooks(settings.webhooks)
    client = await connect(settings, telemetry.metrics_runtime(settings.metrics_address))

    async def ready() -> dict[str, str]:
        return {f"node {name}": word for name, word in (await nodes.check()).items()}

    async with AsyncExitStack() as stack:
        stack.push_async_callback(nodes.close)
        stack.push_async_callback(webhooks.close)
        await nodes.refuse_strangers()
        await stack.enter_async_context(telemetry.health_endpoint(settings.health_address, ready))
        for worker in workers(client, settings, nodes, webhooks):
            await stack.enter_async_context(worker)
        await listen(client, nodes)
        log.info("worker started", nodes=sorted(nodes), checks=await ready())
        await stop.wait()
        log.info("worker stopping", grace_seconds=settings.graceful_shutdown_seconds)


def main() -> None:
    """Console script `fulgurite-worker`."""
    try:
        settings = configuration.load()
        telemetry.configure_logging(settings.log_level)
        asyncio.run(run(settings))
    except FulguriteError as error:
        sys.stderr.write(f"fulgurite-worker: {error}\n")
        leave(1)
    leave(0)


if __name__ == "__main__":
    main()
