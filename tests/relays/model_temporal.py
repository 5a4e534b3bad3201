"""Temporal for one workflow, in virtual time: its tasks are instant, its waiting costs nothing.

It stands in for `temporalio.workflow` in the modules of a relay. What the world answers is
the `World`'s; what Temporal promises is kept here: conditions are looked at after every step,
a child outlives its parent, and an answer that was given is in the history.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any, NoReturn, Protocol, TypeVar
from unittest import mock

from temporalio import workflow as real
from temporalio.exceptions import ChildWorkflowError

from tests.properties.clock import VirtualLoop
from workflows import at_lnd, calling, held_invoice, metrics, relay, relayed_payment

Result = TypeVar("Result")

LONGER_THAN_ANYTHING_SECONDS = 90 * 86_400.0

_MODULES = (at_lnd, calling, held_invoice, metrics, relay, relayed_payment)


class World(Protocol):
    """Who answers a relay."""

    def wants_a_new_run(self) -> bool: ...
    async def activity(self, name: str, ask: Any, *, local: bool) -> Any: ...
    async def begin_payment(self, request: Any) -> asyncio.Task[Any]: ...
    async def signal(self, workflow_id: str, name: str, data: Any) -> None: ...
    async def cancel(self, workflow_id: str) -> None: ...


class NewRun(Exception):  # noqa: N818 - an order, not an error
    """Continue-as-new."""

    def __init__(self, args: list[Any]) -> None:
        self.request, self.carried = args


class Loop(VirtualLoop):
    """Looks at every condition after every step."""

    def __init__(self) -> None:
        super().__init__()
        self.waiting: dict[asyncio.Future[None], Callable[[], bool]] = {}

    def _run_once(self) -> None:
        super()._run_once()  # type: ignore[misc]
        if self.time() > LONGER_THAN_ANYTHING_SECONDS:
            raise RuntimeError("it never ends")
        for future, condition in list(self.waiting.items()):
            if not future.done() and condition():
                future.set_result(None)


class Temporal:
    """`temporalio.workflow`, as far as a relay uses it."""

    ParentClosePolicy = real.ParentClosePolicy
    ActivityCancellationType = real.ActivityCancellationType
    logger = logging.getLogger("relay")

    def __init__(self, world: World, workflow_id: str, *, continued: bool) -> None:
        self._world = world
        self._info = SimpleNamespace(
            workflow_id=workflow_id,
            continued_run_id="before" if continued else None,
            workflow_start_time=self.now(),
            typed_search_attributes={},
            is_continue_as_new_suggested=world.wants_a_new_run,
        )

    def info(self) -> SimpleNamespace:
        return self._info

    def now(self) -> datetime:
        return _loop().now

    async def sleep(self, duration: timedelta, summary: str = "") -> None:  # noqa: ARG002
        await asyncio.sleep(duration.total_seconds())

    async def wait_condition(
        self,
        condition: Callable[[], bool],
        timeout: timedelta | None = None,
        timeout_summary: str = "",  # noqa: ARG002
    ) -> None:
        if condition():
            return
        loop = _loop()
        future: asyncio.Future[None] = loop.create_future()
        loop.waiting[future] = condition
        try:
            await asyncio.wait_for(future, timeout.total_seconds() if timeout else None)
        finally:
            del loop.waiting[future]

    def all_handlers_finished(self) -> bool:
        return True

    def continue_as_new(self, args: list[Any]) -> NoReturn:
        raise NewRun(args)

    def upsert_search_attributes(self, updates: Any) -> None: ...

    def set_current_details(self, details: str) -> None: ...

    def metric_meter(self) -> Any:
        return mock.MagicMock()

    def start_activity(self, name: str, ask: Any, **_: Any) -> asyncio.Task[Any]:
        return asyncio.create_task(self._world.activity(name, ask, local=False))

    async def execute_local_activity(self, name: str, ask: Any, **_: Any) -> Any:
        return await self._world.activity(name, ask, local=True)

    async def start_child_workflow(self, _: Any, *, args: list[Any], **__: Any) -> Any:
        return await self._world.begin_payment(args[0])

    def get_external_workflow_handle(self, workflow_id: str) -> _External:
        return _External(self._world, workflow_id)


class _External:
    def __init__(self, world: World, workflow_id: str) -> None:
        self._world, self._id = world, workflow_id

    def signal(self, name: str, data: Any) -> Awaitable[None]:
        return self._world.signal(self._id, name, data)

    def cancel(self) -> Awaitable[None]:
        return self._world.cancel(self._id)


@contextmanager
def standing_in(temporal: Temporal) -> Iterator[None]:
    """For as long as the block lasts, a relay's modules talk to this Temporal."""
    with ExitStack() as stack:
        for module in _MODULES:
            stack.enter_context(mock.patch.object(module, "workflow", temporal))
        yield


def run(story: Coroutine[Any, Any, Result]) -> Result:
    """Runs to the end, in virtual time, and cancels what is left."""
    with asyncio.Runner(loop_factory=Loop) as runner:
        return runner.run(story)


def child_error(cause: BaseException) -> ChildWorkflowError:
    """What a parent is told of a child that has failed."""
    error = ChildWorkflowError(
        "the child failed",
        namespace="default",
        workflow_id="payment/",
        run_id="",
        workflow_type="PaymentWorkflow",
        initiated_event_id=0,
        started_event_id=0,
        retry_state=None,
    )
    error.__cause__ = cause
    return error


def _loop() -> Loop:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    return loop
