"""A node of which payments hang, with workers of its own on a real Temporal."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from typing import Any

from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

import worker
from activities.turns import TurnActivities
from devnet.waiting import eventually
from fulgurite import ids
from workflows.chain import ChainWorkflow
from workflows.channel_watch import ChannelWatchWorkflow
from workflows.close import ChannelCloseWorkflow
from workflows.stuck import StuckPaymentWorkflow

from .hanging import HangingNode

WORKFLOWS = {
    *worker.WORKFLOWS,
    ChainWorkflow,
    ChannelCloseWorkflow,
    ChannelWatchWorkflow,
    StuckPaymentWorkflow,
}


@asynccontextmanager
async def hanging_node(client: Client) -> AsyncIterator[HangingNode]:
    """A node with workers, its blocks followed and its channels watched."""
    node = HangingNode(client)
    queues: Sequence[str] = (
        ids.TASK_QUEUE,
        ids.node_queue(node.name),
        ids.chain_queue(node.name),
        ids.close_queue(node.name),
    )
    activities = (
        *(node.follow, node.look_at_stuck, node.reconnect, node.close, node.look_at_close),
        *(node.begin_close, node.watch, node.back_up, node.list_, node.emit),
        TurnActivities(client).ask,
    )
    async with AsyncExitStack() as stack:
        for queue in queues:
            await stack.enter_async_context(
                Worker(
                    client,
                    task_queue=queue,
                    activities=activities,
                    workflows=tuple(WORKFLOWS) if queue == ids.TASK_QUEUE else (),
                    max_heartbeat_throttle_interval=timedelta(seconds=1),
                )
            )
        for_ever: list[WorkflowHandle[Any, Any]] = [
            await client.start_workflow(
                ChainWorkflow.run, node.name, id=ids.chain_id(node.name), task_queue=ids.TASK_QUEUE
            ),
            await client.start_workflow(
                ChannelWatchWorkflow.run,
                node.name,
                id=ids.channel_watch_id(node.name),
                task_queue=ids.TASK_QUEUE,
            ),
        ]
        await eventually(
            lambda: _view(client, ids.chain_id(node.name)), lambda view: view["tip"], what="blocks"
        )
        try:
            yield node
        finally:
            for each in for_ever:
                await each.terminate("the test is over")


async def _view(client: Client, workflow_id: str) -> Any:
    return await client.get_workflow_handle(workflow_id).query("view")
