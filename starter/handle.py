"""What the handles of payments, invoices and events share: waiting, looking and ordering."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, ClassVar, Final, Generic, TypeVar

from temporalio.client import (
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowHandle,
    WorkflowQueryFailedError,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.workflow import UpdateMethodMultiParam

from fulgurite.errors import FulguriteError, InvalidRequestError
from starter.errors import (
    NotRetainedError,
    TemporalUnavailableError,
    WorkerUnavailableError,
    of_failed_workflow,
    temporal_errors,
    told,
)

# How long a worker may take to answer a question or an order.
_FIRST_PATIENCE: Final = timedelta(seconds=5)
_PATIENCE: Final = timedelta(seconds=10)
# Between two looks: short for what settles in a moment, long for what hangs for days.
_FIRST_PAUSE_SECONDS: Final = 0.2
_LONGEST_PAUSE_SECONDS: Final = 5.0

Result = TypeVar("Result")
View = TypeVar("View")
Order = TypeVar("Order")
Answer = TypeVar("Answer")


class Handle(ABC, Generic[Result, View]):
    """One workflow of ours: cheap, without a connection of its own, and no proof that it exists.

    Every method raises NotRetainedError when Temporal retains no such workflow, and all
    but `receipt` raise TemporalUnavailableError when it does not answer. Neither says
    anything about the money: only a receipt does.
    """

    _NOUN: ClassVar[str]

    def __init__(self, handle: WorkflowHandle[Any, Result], view: Callable[[Any], View]) -> None:
        """`view` is the workflow's query."""
        self._handle = handle
        self._view = view

    @abstractmethod
    def _standing(self, view: View) -> str:
        """The view's state, in a word."""

    @abstractmethod
    def _is_last(self, view: View) -> bool:
        """Whether no other view follows."""

    async def receipt(self) -> Result:
        """Waits for the end, for as long as that takes; it may be days.

        Rides out a Temporal that is away; bound it with `asyncio.timeout` where that is too
        patient. Being canceled while waiting changes nothing for the workflow. Raises the
        class of `fulgurite.errors` that a refused request was refused with (nothing has
        moved), and VerdictUnknownError when somebody ended the workflow by force.
        """
        while True:
            try:
                return await self._asking(self._handle.result())
            except TemporalUnavailableError:
                await asyncio.sleep(_LONGEST_PAUSE_SECONDS)
            except WorkflowFailureError as failure:
                raise of_failed_workflow(failure, self._handle.id) from failure

    async def view(self) -> View:
        """How it stands. Raises like `receipt`, and WorkerUnavailableError."""
        try:
            try:
                return await self._queried(_FIRST_PATIENCE)
            except WorkerUnavailableError:
                # Temporal can lose a query, or its answer, while a worker is there.
                return await self._queried(_PATIENCE)
        except WorkflowQueryFailedError as failed:
            # The answer carries no type of error; the end of a refused workflow does.
            if (await self._describe()).status is WorkflowExecutionStatus.FAILED:
                await self.receipt()
            raise InvalidRequestError(failed.message) from failed

    async def _queried(self, patience: timedelta) -> View:
        return await self._asking(self._handle.query(self._view, rpc_timeout=patience))

    async def watch(self) -> AsyncIterator[View]:
        """Views as they change, the present one first and the last one last.

        Looks seldom when little happens, and at once when the workflow ends. Raises like
        `view`.
        """
        async with self._ending() as ended:
            seen, pause_seconds = None, _FIRST_PAUSE_SECONDS
            while True:
                view = await self.view()
                if view != seen:
                    yield view
                    seen, pause_seconds = view, _FIRST_PAUSE_SECONDS
                if self._is_last(view):
                    return
                await asyncio.wait({ended}, timeout=pause_seconds)
                if ended.done():
                    ended.result()
                pause_seconds = min(pause_seconds * 2, _LONGEST_PAUSE_SECONDS)

    @asynccontextmanager
    async def _ending(self) -> AsyncIterator[asyncio.Task[Result]]:
        """The receipt, awaited beside whatever the block does."""
        ended = asyncio.create_task(self.receipt())
        try:
            yield ended
        finally:
            ended.cancel()
            await asyncio.wait({ended})
            if not ended.cancelled():
                ended.exception()

    async def status(self) -> WorkflowExecutionStatus:
        """Temporal's own word on its latest run, which takes no worker to tell."""
        return (await self._describe()).status or WorkflowExecutionStatus.RUNNING

    async def _describe(self) -> WorkflowExecutionDescription:
        return await self._asking(self._handle.describe())

    async def _asking(self, answer: Awaitable[Answer]) -> Answer:
        with temporal_errors():
            return await answer

    async def _ordering(
        self,
        update: UpdateMethodMultiParam[[Any, Order], View],
        order: Order,
        *,
        done: Collection[str] = (),
    ) -> View:
        """Has an order taken; one that has been carried out, in the states `done`, is taken.

        Raises InvalidRequestError where the workflow refuses it.
        """
        try:
            return await self._asking(
                self._handle.execute_update(update, order, rpc_timeout=_PATIENCE)
            )
        except WorkflowUpdateFailedError as failed:
            if done and self._standing(view := await self.view()) in done:
                return view
            raise told(failed.cause) or FulguriteError(str(failed.cause)) from failed
        except WorkflowUpdateRPCTimeoutOrCancelledError as late:
            raise WorkerUnavailableError(
                f"no worker answered within {_PATIENCE.seconds} s, and the order may still be "
                f"carried out: start `fulgurite-worker`, then look at the {self._NOUN}"
            ) from late
        except NotRetainedError as error:
            # An update does not tell an ended workflow from an unknown one; a query does.
            view = await self.view()
            if (standing := self._standing(view)) in done:
                return view
            raise InvalidRequestError(f"too late: the {self._NOUN} is {standing}") from error
