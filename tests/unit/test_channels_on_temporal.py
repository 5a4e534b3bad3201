"""Chain time, a closing and a watch together, on a real Temporal, with a node that is a model.

What the other tests of these decide in virtual time is true here too: the sandbox takes the
modules, signals find their workflows, and a replay does the same again.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from temporalio import activity, workflow
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Replayer, Worker

from activities.blocks import Blocks
from activities.chain import ChainActivities
from activities.channel_watch import ChannelWatching
from activities.closing import CloseStarter, ClosingActivities
from activities.snapshots import Snapshots
from devnet.temporal import TemporalServer
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.attributes import REGISTRY
from fulgurite.chain.tip import ChainView, Tip
from fulgurite.channels.calls import BeginClose
from fulgurite.channels.closing import ClosePhase, Closing
from fulgurite.channels.receipts import CloseReceipt, CloseView
from fulgurite.channels.requests import CloseKind, CloseRequest
from fulgurite.channels.states import CloseState
from fulgurite.channels.watch import WatchView
from fulgurite.events.calls import EMIT_EVENT, Emitted
from fulgurite.events.catalogue import Event
from fulgurite.identity import ChannelPoint
from nodes.config import LndConfig
from tests.unit.channel_node import HASH, POINTS, ChannelNode, channel, htlc
from tests.unit.test_chain_workflow import block
from workflows.chain import ChainWorkflow
from workflows.channel_watch import ChannelWatchWorkflow
from workflows.close import ChannelCloseWorkflow
from workflows.plugin import STRICT, plugin

NODE = "alice"
OURS = (ChainWorkflow, ChannelCloseWorkflow, ChannelWatchWorkflow)


@workflow.defn(name="Listener", sandboxed=False)
class Listener:
    """A ladder that only listens."""

    def __init__(self) -> None:
        self._states: list[str] = []

    @workflow.run
    async def run(self) -> list[str]:
        await workflow.wait_condition(lambda: CloseState.CLOSED in self._states)
        return self._states

    @workflow.signal
    def closing_moved(self, view: dict[str, Any]) -> None:
        self._states.append(view["state"])


class LiveNode(ChannelNode):
    """With blocks that come when they are mined, and closes that go on with them."""

    def __init__(self) -> None:
        super().__init__(*(channel(point, htlc()) for point in POINTS))
        self.takes_seconds = 0.0
        self._queues: list[asyncio.Queue[Tip]] = []

    @asynccontextmanager
    async def blocks(self, after: Tip | None) -> AsyncIterator[AsyncIterator[Tip]]:  # noqa: ARG002
        queue: asyncio.Queue[Tip] = asyncio.Queue()
        queue.put_nowait(self.block)
        self._queues.append(queue)

        async def told() -> AsyncIterator[Tip]:
            while True:
                yield await queue.get()

        try:
            yield told()
        finally:
            self._queues.remove(queue)

    def mine(self, tip: Tip) -> None:
        """What was published is confirmed by one block, and swept by the next."""
        for point, phase in list(self.pending_now.items()):
            if phase is ClosePhase.WAITING_CLOSE:
                self.pending_now[point] = ClosePhase.FORCE_CLOSING
            else:
                del self.pending_now[point]
                self.ended.add(point)
        self.block = tip
        for queue in self._queues:
            queue.put_nowait(tip)

    def _closing(self, point: ChannelPoint, phase: ClosePhase) -> Closing:
        return Closing(phase=phase, tip=self.block, channel_point=point)


class House:
    """A worker's parts, on one real server."""

    def __init__(self, client: Client) -> None:
        self.client = client
        self.node = LiveNode()
        self.events: list[Event] = []
        self.starter = CloseStarter(client)
        config = LndConfig.model_validate({"network": "regtest", "tls_cert_path": "tls.cert"})
        blocks, snapshots = Blocks(lambda _: self.node), Snapshots(lambda _: self.node)
        self.chain = ChainActivities(blocks)
        self.closing = ClosingActivities(lambda _: self.node, snapshots)
        self.watching = ChannelWatching(lambda _: self.node, lambda _: config, snapshots, blocks)

    @activity.defn(name=EMIT_EVENT.name)
    async def emit(self, event: Event) -> Emitted:
        if event.id not in {each.id for each in self.events}:
            self.events.append(event)
        return Emitted(endpoints=())

    @asynccontextmanager
    async def working(self) -> AsyncIterator[None]:
        closing, watching = self.closing, self.watching
        async with (
            Worker(
                self.client,
                task_queue=ids.TASK_QUEUE,
                workflows=[*OURS, Listener],
                activities=[self.emit, self.starter.begin],
            ),
            Worker(
                self.client,
                task_queue=ids.chain_queue(NODE),
                activities=[self.chain.follow, closing.look, watching.watch, watching.back_up],
            ),
            Worker(
                self.client,
                task_queue=ids.close_queue(NODE),
                activities=[closing.close, closing.bump, closing.reconnect],
            ),
        ):
            yield

    async def begin(self, kind: Any, workflow_id: str) -> WorkflowHandle[Any, Any]:
        return await self.client.start_workflow(
            kind, NODE, id=workflow_id, task_queue=ids.TASK_QUEUE
        )

    async def order(self, point: ChannelPoint, kind: CloseKind, listener: str) -> str:
        """As a ladder does it."""
        request = CloseRequest(
            node=NODE,
            channel_point=point,
            kind=kind,
            for_payments=(HASH,) if kind is CloseKind.FORCE else (),
        )
        begun = await self.starter.begin(BeginClose(request=request, listener=listener))
        return begun.workflow_id

    async def state(self, workflow_id: str) -> CloseState:
        handle = self.client.get_workflow_handle(workflow_id)
        view: CloseView = await handle.query("view", result_type=CloseView)
        return view.state

    async def is_in(self, workflow_id: str, state: CloseState) -> None:
        await eventually(
            lambda: self.state(workflow_id),
            lambda found: found is state,
            what=f"{workflow_id} in {state}",
            timeout_seconds=30,
        )

    async def waiting(self) -> int:
        handle = self.client.get_workflow_handle(ids.chain_id(NODE))
        view: ChainView = await handle.query("view", result_type=ChainView)
        return len(view.alarms)

    async def replays(self, workflow_id: str) -> None:
        history = await self.client.get_workflow_handle(workflow_id).fetch_history()
        await Replayer(workflows=OURS, plugins=[plugin(STRICT)]).replay_workflow(history)


@pytest.mark.timeout(900)  # the first time it may have to build the server
async def test_orders_and_sights_become_one_close_each_and_blocks_move_them(tmp_path: Path) -> None:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            TemporalServer(tmp_path / "temporal", search_attributes=REGISTRY)
        )
        house = House(await Client.connect(server.address, plugins=[plugin(STRICT)]))
        await stack.enter_async_context(house.working())
        chain = await house.begin(ChainWorkflow.run, ids.chain_id(NODE))
        watch = await house.begin(ChannelWatchWorkflow.run, ids.channel_watch_id(NODE))
        listener = await house.client.start_workflow(
            Listener.run, id="stuck/x", task_queue=ids.TASK_QUEUE
        )

        # Many order one close, and the watch sees it too.
        ordered = {await house.order(POINTS[0], CloseKind.FORCE, "stuck/x") for _ in range(20)}
        assert ordered == {ids.close_id(POINTS[0])}
        # A peer closes another, and nobody has ordered that.
        house.node.begin_closing(POINTS[1])
        house.node.stir()
        both = [ids.close_id(POINTS[0]), ids.close_id(POINTS[1])]
        for each in both:
            await eventually(partial(_exists, house.client, each), what=each, timeout_seconds=30)
            await house.is_in(each, CloseState.WAITING_CLOSE)
        assert house.node.calls["close"] == 1

        # Whoever waits for a block sleeps in the chain's workflow.
        await eventually(house.waiting, lambda found: found == 2, what="two wait")
        house.node.mine(block(101))
        for each in both:
            await house.is_in(each, CloseState.FORCE_CLOSING)
        await eventually(house.waiting, lambda found: found == 2, what="two wait again")
        house.node.mine(block(102))
        for each in both:
            handle: WorkflowHandle[Any, CloseReceipt] = house.client.get_workflow_handle(
                each, result_type=CloseReceipt
            )
            assert (await handle.result()).status is CloseState.CLOSED

        states = await listener.result()
        assert states[-3:] == ["WAITING_CLOSE", "FORCE_CLOSING", "CLOSED"]
        assert sorted(event.type for event in house.events) == [
            *["channel.closed"] * 2,
            *["channel.closing"] * 2,
        ]
        view: WatchView = await watch.query("view", result_type=WatchView)
        assert view.closings == 2

        # A watch that could not look meanwhile sees them late, and takes no receipt's place.
        for point in POINTS[:2]:
            late = BeginClose(
                request=CloseRequest(node=NODE, channel_point=point, kind=CloseKind.FOLLOW)
            )
            ended = house.client.get_workflow_handle(ids.close_id(point))
            before = (await ended.describe()).run_id
            await house.starter.begin(late)
            assert (await ended.describe()).run_id == before
        for each in (chain.id, watch.id, *both):
            await house.replays(each)


async def _exists(client: Client, workflow_id: str) -> bool:
    query = f"WorkflowId = '{workflow_id}'"
    return [found.id async for found in client.list_workflows(query)] != []
