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
from activities.blocks import Blocks
from activities.budgets import BudgetActivities
from activities.chain import ChainActivities
from activities.channel_watch import ChannelWatching
from activities.closing import CloseStarter, ClosingActivities
from activities.events import Announcer, EventActivities
from activities.invoices import InvoiceActivities
from activities.late_payers import LatePayers
from activities.leases import LeaseActivities
from activities.liquidity import LiquidityActivities
from activities.listening import InvoiceListening
from activities.other_books import OtherBooksActivities
from activities.payments import PaymentActivities
from activities.pricing import PricingActivities
from activities.rebalancing import RebalanceActivities
from activities.reconciliation import ReconciliationActivities
from activities.relays import RelayActivities
from activities.routing import InvoiceRouter
from activities.snapshots import Snapshots
from activities.stuck import StuckActivities
from activities.swaps import SwapActivities
from activities.turns import TurnActivities
from fulgurite import ids
from fulgurite.errors import FulguriteError
from nodes.registry import Nodes
from nodes.webhooks.sender import Webhooks
from settings import Settings
from starter.budget import configure_budgets
from starter.connect import connect, leave
from workflows.budget import BudgetWorkflow
from workflows.chain import ChainWorkflow
from workflows.channel_watch import ChannelWatchWorkflow
from workflows.close import ChannelCloseWorkflow
from workflows.create_invoice import CreateInvoiceWorkflow
from workflows.event import EventWorkflow
from workflows.invoice import InvoiceWorkflow
from workflows.invoice_stream import InvoiceStreamWorkflow
from workflows.lease import LeaseWorkflow
from workflows.liquidity import LiquidityWorkflow
from workflows.payment import PaymentWorkflow
from workflows.rebalance import RebalanceWorkflow
from workflows.reconciliation import ReconciliationWorkflow
from workflows.relay import RelayWorkflow
from workflows.stuck import StuckPaymentWorkflow
from workflows.swap import SwapWorkflow
from workflows.swap_quote import SwapQuoteWorkflow
from workflows.swap_sequence import SwapSequenceWorkflow
from workflows.turn_keeping import TurnsWorkflow

log = structlog.get_logger()


WORKFLOWS = (
    PaymentWorkflow,
    CreateInvoiceWorkflow,
    InvoiceWorkflow,
    InvoiceStreamWorkflow,
    RelayWorkflow,
    EventWorkflow,
    ReconciliationWorkflow,
    StuckPaymentWorkflow,
    SwapWorkflow,
    SwapQuoteWorkflow,
    SwapSequenceWorkflow,
    ChannelCloseWorkflow,
    ChainWorkflow,
    ChannelWatchWorkflow,
    TurnsWorkflow,
    RebalanceWorkflow,
    BudgetWorkflow,
    LeaseWorkflow,
    LiquidityWorkflow,
)


def workers(
    client: Client, settings: Settings, nodes: Nodes, webhooks: Webhooks
) -> Sequence[Worker]:
    """One for workflows and their fast path, and one for each node's role and each endpoint."""
    key = settings.unsealing_key()
    announcer = Announcer(client, webhooks)
    payments = PaymentActivities(nodes, key, announcer.wanted)
    invoices = InvoiceActivities(nodes, key, client, webhooks)
    rebalances = RebalanceActivities(nodes, key)
    router = InvoiceRouter(client, announcer, rebalances.has_made)
    listening = InvoiceListening(nodes, router, LatePayers(nodes, client))
    relays = RelayActivities(nodes, client)
    events = EventActivities(client, announcer, webhooks)
    books = ReconciliationActivities(nodes, client)
    others = OtherBooksActivities(nodes, client, key)
    blocks, snapshots = Blocks(nodes.chain), Snapshots(nodes.channels)
    chain = ChainActivities(blocks)
    closing, closings = ClosingActivities(nodes.closing, snapshots), CloseStarter(client)
    watching = ChannelWatching(
        nodes.channels, lambda node: nodes.connection(node).config, snapshots, blocks
    )
    stuck = StuckActivities(nodes, key.sealing_key, snapshots)
    swaps = SwapActivities(nodes.loop, snapshots)
    turns = TurnActivities(client)
    budgets = BudgetActivities(client)
    liquidity, pricing = LiquidityActivities(nodes, client), PricingActivities(nodes)
    leases = LeaseActivities(
        nodes.pool, lambda node: nodes.pool(node).connection.config.approval_above_sat, snapshots
    )

    def polls(
        queue: str, *activities: Callable[..., Any], at_once: int = settings.max_followed_payments
    ) -> Worker:
        return Worker(
            client,
            task_queue=queue,
            activities=activities,
            workflows=WORKFLOWS if queue == ids.TASK_QUEUE else (),
            max_cached_workflows=settings.max_cached_workflows,
            max_concurrent_activities=at_once,
            max_concurrent_local_activities=settings.max_concurrent_payments,
            # The SDK would hold heartbeats back for longer, and the cancels that they bring.
            max_heartbeat_throttle_interval=timedelta(seconds=1),
            graceful_shutdown_timeout=timedelta(seconds=settings.graceful_shutdown_seconds),
        )

    def at(
        names: Sequence[str], queue: Callable[[str], str], *activities: Callable[..., Any]
    ) -> list[Worker]:
        return [polls(queue(name), *activities) for name in names]

    at_nodes = [
        *at(
            *(nodes.paying(), ids.node_queue),
            *(payments.dispatch, payments.follow, relays.look_ahead, books.payments, stuck.look),
        ),
        *at(
            *(nodes.receiving(), ids.invoice_queue),
            *(invoices.create, invoices.look_up, invoices.watch, invoices.settle, invoices.cancel),
            *(listening.listen, books.invoices),
        ),
        # Invoices that are watched for days must not take the places of orders, nor of the stream.
        *at(nodes.receiving(), ids.open_watch_queue, invoices.watch),
        *at(nodes.receiving(), ids.held_watch_queue, invoices.watch),
        *at(
            *(nodes.observing(), ids.chain_queue),
            *(chain.follow, watching.watch, watching.back_up, watching.list_channels),
            *(closing.look, liquidity.look),
        ),
        *at(nodes.closing_nodes(), ids.close_queue, closing.close, closing.bump, closing.reconnect),
        *at(
            *(nodes.rebalancing(), ids.rebalance_queue),
            *(rebalances.look, rebalances.recall, rebalances.prepare, rebalances.send),
            *(pricing.prices, others.rebalances),
        ),
        *at(
            *(nodes.swapping(), ids.swap_queue),
            *(swaps.quote, swaps.initiate, swaps.look, swaps.follow, swaps.abandon, pricing.prices),
            others.swaps,
        ),
        *at(
            *(nodes.leasing(), ids.lease_queue),
            *(leases.quote, leases.look, leases.submit, leases.withdraw),
            *(leases.open_account, leases.renew_account, pricing.prices, others.leases),
        ),
    ]
    if not settings.runs_workflows:
        return at_nodes
    at_endpoints = [
        polls(
            *(ids.webhook_queue(name), events.send, invoices.ask),
            at_once=settings.max_webhooks_at_once,
        )
        for name in settings.webhooks
    ]
    of_workflows = polls(
        ids.TASK_QUEUE,
        *(payments.dispatch, invoices.create, relays.look_ahead, events.emit, events.find_before),
        *(closings.begin, turns.ask, budgets.tell, liquidity.recall, others.find),
    )
    return [of_workflows, *at_nodes, *at_endpoints]


async def listen(client: Client, nodes: Nodes) -> None:
    """Sees to it that each node's invoices, blocks and channels are listened to, once."""
    listeners = (
        *((InvoiceStreamWorkflow, ids.invoice_stream_id(node)) for node in nodes.receiving()),
        *((ChainWorkflow, ids.chain_id(node)) for node in nodes.observing()),
        *((ChannelWatchWorkflow, ids.channel_watch_id(node)) for node in nodes.observing()),
    )
    for kind, workflow_id in listeners:
        what, _, node = workflow_id.partition("/")
        with suppress(WorkflowAlreadyStartedError):
            await client.start_workflow(
                kind.__name__,
                node,
                id=workflow_id,
                task_queue=ids.TASK_QUEUE,
                static_summary=f"{what.replace('-', ' ')} of {node}",
            )


async def run(settings: Settings) -> None:
    """Runs until SIGTERM or SIGINT, then lets what is under way come to a safe point."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    nodes, webhooks = Nodes(settings.nodes), Webhooks(settings.webhooks)
    client = await connect(settings, telemetry.metrics_runtime(settings.metrics_address))

    async def ready() -> dict[str, str]:
        lnds, loops, pools = await asyncio.gather(
            nodes.check(), nodes.check_loops(), nodes.check_pools()
        )
        words = {f"node {name}": word for name, word in lnds.items()}
        words |= {f"loop {name}": word for name, word in loops.items()}
        return words | {f"pool {name}": word for name, word in pools.items()}

    async with AsyncExitStack() as stack:
        stack.push_async_callback(nodes.close)
        stack.push_async_callback(webhooks.close)
        await nodes.refuse_strangers()
        await stack.enter_async_context(telemetry.health_endpoint(settings.health_address, ready))
        # Before anything can be asked of them.
        await configure_budgets(client, settings.every_budget())
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
