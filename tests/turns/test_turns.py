"""Turns on a real Temporal: one writer a channel, whoever dies, ends or begins a new run."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack

import pytest
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
)
from temporalio.exceptions import ApplicationError, CancelledError
from temporalio.worker import Replayer, Worker

from activities.turns import TurnActivities
from devnet.temporal import TemporalServer
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.attributes import REGISTRY
from fulgurite.errors import InvalidRequestError
from fulgurite.identity import ChannelPoint
from fulgurite.turns.requests import TurnsView
from tests.turns.writer import NODE, Errand, Writer
from workflows.plugin import STRICT, plugin
from workflows.turn_keeping import TurnsWorkflow

POINTS = [ChannelPoint(f"{number:064x}:0") for number in range(3)]


class Stage:
    """A Temporal, a worker of it, and writers."""

    def __init__(self, client: Client, queue: str) -> None:
        self.client = client
        self._queue = queue

    async def writer(
        self, name: str, *points: int, **errand: int | bool
    ) -> WorkflowHandle[Writer, str]:
        channels = [POINTS[point] for point in points]
        return await self.client.start_workflow(
            Writer.run,
            Errand.model_validate({"channels": channels, **errand}),
            id=f"writer/{name}",
            task_queue=self._queue,
        )

    async def book(self) -> TurnsView:
        keeper = self.client.get_workflow_handle(ids.turns_id(NODE))
        return await keeper.query(TurnsWorkflow.view)

    async def comes_to(self, until: Callable[[list[str], list[str]], bool], what: str) -> None:
        """Waits until those who hold and those who wait are as they should be."""

        async def names() -> tuple[list[str], list[str]]:
            view = await self.book()
            held = sorted(turn.ask.holder.removeprefix("writer/") for turn in view.held)
            return held, [ask.holder.removeprefix("writer/") for ask in view.waiting]

        await eventually(names, lambda seen: until(*seen), what=what)

    async def empty(self) -> None:
        await self.comes_to(lambda held, waiting: not held and not waiting, "an empty book")


@pytest.fixture(scope="module")
async def stage(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(
            TemporalServer(tmp_path_factory.mktemp("turns"), search_attributes=REGISTRY)
        )
        client = await Client.connect(server.address, plugins=[plugin(STRICT)])
        await stack.enter_async_context(
            Worker(
                client,
                task_queue=ids.TASK_QUEUE,
                workflows=[TurnsWorkflow, Writer],
                activities=[TurnActivities(client).ask],
            )
        )
        yield Stage(client, ids.TASK_QUEUE)


async def holds(writer: WorkflowHandle[Writer, str]) -> None:
    async def asked() -> bool:
        return await writer.query(Writer.holds)

    await eventually(asked, what="its turn")


async def test_two_who_share_a_channel_take_turns_and_a_third_does_not_wait(stage: Stage) -> None:
    first, second = await stage.writer("first", 0, 1), None
    await holds(first)
    second = await stage.writer("second", 1, 2)
    await stage.comes_to(lambda _, waiting: waiting == ["second"], "the second waits")
    apart = await stage.writer("apart", 0, urgent=True)
    await stage.comes_to(lambda _, waiting: waiting == ["apart", "second"], "urgency goes first")

    async def wanted_by() -> str:
        return await first.query(Writer.wanted_by)

    await eventually(wanted_by, lambda by: by == "writer/apart", what="the first is told who waits")
    assert not await second.query(Writer.holds)
    await first.signal(Writer.go, "on")
    await holds(second)
    await holds(apart)
    await second.signal(Writer.go, "on")
    await apart.signal(Writer.go, "on")
    await asyncio.gather(first.result(), second.result(), apart.result())
    await stage.empty()


async def test_a_new_run_keeps_the_turn_and_nobody_comes_between(stage: Stage) -> None:
    writer = await stage.writer("long", 0)
    await holds(writer)
    [before] = (await stage.book()).held
    waits = await stage.writer("waits", 0)
    await stage.comes_to(lambda _, waiting: waiting == ["waits"], "somebody waits")
    await writer.signal(Writer.go, "again")

    async def runs() -> bool:
        renewed = [t for t in (await stage.book()).held if t.ask.ask_id != before.ask.ask_id]
        return bool(renewed) and renewed[0].since == before.since

    await eventually(runs, what="the turn of the new run, never given back")
    current: WorkflowHandle[Writer, str] = stage.client.get_workflow_handle("writer/long")
    await holds(current)
    assert not await waits.query(Writer.holds)
    await current.signal(Writer.go, "on")
    await holds(waits)
    await waits.signal(Writer.go, "on")
    await waits.result()
    await stage.empty()


async def test_who_is_ended_by_force_loses_its_turn_as_soon_as_somebody_wants_it(
    stage: Stage,
) -> None:
    writer = await stage.writer("dies", 2)
    await holds(writer)
    await writer.terminate()
    heir = await stage.writer("heir", 2)
    await holds(heir)  # long before the ten minutes are over
    await heir.cancel()  # who is canceled gives back, too
    with pytest.raises(Exception) as ended:  # noqa: PT011 - its cause tells
        await heir.result()
    assert isinstance(ended.value.__cause__, CancelledError)
    await stage.empty()


async def test_a_turn_is_over_in_time_and_who_had_it_waits_for_another(stage: Stage) -> None:
    writer = await stage.writer("slow", 0, at_most_seconds=1)
    await holds(writer)
    waits = await stage.writer("next", 0)
    await holds(waits)
    await writer.signal(Writer.go, "renew")
    await stage.comes_to(lambda _, waiting: waiting == ["slow"], "it waits again")
    await waits.signal(Writer.go, "on")
    assert (await writer.result()).startswith("held until")
    await stage.empty()


async def test_a_cancel_ends_no_turn(stage: Stage) -> None:
    writer = await stage.writer("undisturbed", 0)
    await holds(writer)
    keeper = stage.client.get_workflow_handle(ids.turns_id(NODE))
    await keeper.cancel()
    waits = await stage.writer("behind", 0)
    await stage.comes_to(lambda _, waiting: waiting == ["behind"], "who came later waits")
    assert (await keeper.describe()).status is WorkflowExecutionStatus.RUNNING
    assert not await waits.query(Writer.holds)
    for each in (writer, waits):
        await each.signal(Writer.go, "on")
        await each.result()
    await stage.empty()


@pytest.mark.parametrize(
    "given",
    [["Not A Node"], [None], [{"node": "nowhere"}], ["bob"], [7, 7], ["nowhere", {"held": 7}]],
)
async def test_what_is_no_node_is_refused_and_wedges_nothing(
    stage: Stage, given: list[object]
) -> None:
    handle = await stage.client.start_workflow(
        "TurnsWorkflow", args=given, id=ids.turns_id("nowhere"), task_queue=ids.TASK_QUEUE
    )
    with pytest.raises(WorkflowFailureError) as raised:
        await handle.result()
    assert isinstance(raised.value.cause, ApplicationError)
    assert raised.value.cause.type == InvalidRequestError.__name__


async def test_who_does_not_wait_for_another_turn_is_told_so(stage: Stage) -> None:
    writer = await stage.writer("brief", 0, at_most_seconds=1)
    await holds(writer)
    waits = await stage.writer("patient", 0)
    await holds(waits)
    await writer.signal(Writer.go, "renew or leave")
    assert await writer.result() == "others have these channels for too long"
    await waits.signal(Writer.go, "on")
    await waits.result()
    await stage.empty()


async def test_who_has_no_patience_leaves_its_place(stage: Stage) -> None:
    writer = await stage.writer("has", 1)
    await holds(writer)
    hasty = await stage.writer("hasty", 1, patience_seconds=0)
    assert await hasty.result() == "others have these channels for too long"
    await stage.comes_to(lambda held, waiting: (held, waiting) == (["has"], []), "its place free")
    await writer.signal(Writer.go, "on")
    await writer.result()
    await stage.empty()


async def test_what_has_been_is_replayed_as_it_was(stage: Stage) -> None:
    """After all of the above: the keeper of the book, and a writer with a new run."""
    replayer = Replayer(workflows=[TurnsWorkflow, Writer], plugins=[plugin(STRICT)])
    for workflow_id in (ids.turns_id(NODE), "writer/long", "writer/slow"):
        handle = stage.client.get_workflow_handle(workflow_id)
        await replayer.replay_workflow(await handle.fetch_history())
