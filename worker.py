"""The worker: wiring, and nothing else."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from datetime import timedelta

import structlog
from temporalio.client import Client
from temporalio.worker import Worker

import settings as configuration
import telemetry
from activities.payments import PaymentActivities
from fulgurite import ids
from fulgurite.errors import FulguriteError
from nodes.registry import Nodes
from settings import Settings
from starter.connect import connect, leave
from workflows.payment import PaymentWorkflow

log = structlog.get_logger()


def workers(client: Client, settings: Settings, nodes: Nodes) -> Sequence[Worker]:
    """One for workflows and their fast path, and one for each node that we can pay from."""
    payments = PaymentActivities(nodes, settings.unsealing_key())
    grace = timedelta(seconds=settings.graceful_shutdown_seconds)
    of_workflows = Worker(
        client,
        task_queue=ids.TASK_QUEUE,
        workflows=[PaymentWorkflow],
        activities=[payments.dispatch],
        max_concurrent_local_activities=settings.max_concurrent_payments,
        graceful_shutdown_timeout=grace,
    )
    of_nodes = [
        Worker(
            client,
            task_queue=ids.node_queue(node),
            activities=[payments.dispatch, payments.follow],
            max_concurrent_activities=settings.max_followed_payments,
            # The SDK would hold heartbeats back for longer, and the cancels that they bring.
            max_heartbeat_throttle_interval=timedelta(seconds=1),
            graceful_shutdown_timeout=grace,
        )
        for node in nodes.paying()
    ]
    return [of_workflows, *of_nodes] if settings.runs_workflows else of_nodes


async def run(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT, then lets what is under way come to a safe point."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    nodes = Nodes(settings.nodes)
    client = await connect(settings, telemetry.metrics_runtime(settings.metrics_address))

    async def ready() -> dict[str, str]:
        return {f"node {name}": word for name, word in (await nodes.check()).items()}

    async with AsyncExitStack() as stack:
        stack.push_async_callback(nodes.close)
        await nodes.refuse_strangers()
        await stack.enter_async_context(telemetry.health_endpoint(settings.health_address, ready))
        for worker in workers(client, settings, nodes):
            await stack.enter_async_context(worker)
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
