"""A workflow of ours, run to its end in virtual time, with a world that does as it is told.

What waits for days in production takes milliseconds here. See `tests.relays.model_temporal`.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Coroutine, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from types import ModuleType
from typing import Any, TypeVar
from unittest import mock

from temporalio.exceptions import (
    ActivityError,
    ApplicationError,
    RetryState,
    TimeoutError,  # noqa: A004
    TimeoutType,
)

from tests.relays.model_temporal import Temporal, run

Result = TypeVar("Result")
Activity = Callable[[str, Any], Awaitable[Any]]


class World:
    """Who answers: `activity` takes a call's name and what it asks."""

    def __init__(self, activity: Activity, *, runs_after: int = 1_000_000) -> None:
        """`runs_after`: so many activities fill a history, and a new run must follow."""
        self._activity = activity
        self._left = runs_after

    def wants_a_new_run(self) -> bool:
        return self._left <= 0

    async def activity(self, name: str, ask: Any, *, local: bool) -> Any:  # noqa: ARG002
        self._left -= 1
        return await self._activity(name, ask)

    async def begin_payment(self, request: Any) -> asyncio.Task[Any]:
        raise NotImplementedError(request)

    async def signal(self, workflow_id: str, name: str, data: Any) -> None:
        raise NotImplementedError(workflow_id, name, data)

    async def cancel(self, workflow_id: str) -> None:
        raise NotImplementedError(workflow_id)


class Stage(Temporal):
    """`temporalio.workflow`, as far as events and streams use it."""

    def __init__(self, world: World, workflow_id: str) -> None:
        super().__init__(world, workflow_id, continued=False)
        self._world = world
        self._chance = random.Random(7)

    def random(self) -> random.Random:
        return self._chance

    async def wait(
        self, tasks: Iterable[asyncio.Task[Any]], *, return_when: str
    ) -> tuple[list[asyncio.Task[Any]], list[asyncio.Task[Any]]]:
        tasks = list(tasks)
        await asyncio.wait(tasks, return_when=return_when)
        return [each for each in tasks if each.done()], [each for each in tasks if not each.done()]

    def patched(self, change: str) -> bool:
        """A history that is recorded now has every change."""
        assert change
        return True

    def has_last_completion_result(self) -> bool:
        return False

    async def execute_activity(self, name: str, ask: Any, **_: Any) -> Any:
        return await self._world.activity(name, ask, local=False)


def play(
    world: World, workflow_id: str, modules: tuple[ModuleType, ...], story: Callable[[], Any]
) -> Any:
    """What `story`, a workflow's run, comes to. Raises `NewRun` where it continues as new."""

    async def on_stage() -> Any:
        with _standing_in(Stage(world, workflow_id), modules):
            work: Coroutine[Any, Any, Any] = story()
            return await work

    return run(on_stage())


@contextmanager
def _standing_in(stage: Stage, modules: tuple[ModuleType, ...]) -> Iterator[None]:
    with ExitStack() as stack:
        for module in modules:
            stack.enter_context(mock.patch.object(module, "workflow", stage))
        yield


def failed(kind: str, message: str = "it did not work") -> ActivityError:
    """How an activity's error, a class of `fulgurite.errors` by name, reaches a workflow."""
    return _because(ApplicationError(message, type=kind))


def worker_lost() -> ActivityError:
    """How the death of the worker that ran an activity reaches a workflow."""
    silence = TimeoutError(
        "activity Heartbeat timeout", type=TimeoutType.HEARTBEAT, last_heartbeat_details=[]
    )
    return _because(silence)


def _because(cause: BaseException) -> ActivityError:
    error = ActivityError(
        "activity failed",
        scheduled_event_id=0,
        started_event_id=0,
        identity="",
        activity_type="",
        activity_id="",
        retry_state=RetryState.MAXIMUM_ATTEMPTS_REACHED,
    )
    error.__cause__ = cause
    return error
