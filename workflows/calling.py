"""Calling activities by the contracts of `fulgurite.calls`, typed on both sides."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from temporalio import workflow
from temporalio.common import RetryPolicy
from temporalio.exceptions import ActivityError, ApplicationError, TimeoutError, TimeoutType  # noqa: A004

from fulgurite.calls import Call, Gives, Takes
from fulgurite.errors import FulguriteError, InvalidRequestError, by_name
from fulgurite.model import mistakes

# One try: what a local activity cannot tell is asked again where operators see it.
_ONCE = RetryPolicy(maximum_attempts=1)
_FOR_EVER = RetryPolicy(
    initial_interval=timedelta(seconds=1), maximum_interval=timedelta(seconds=30)
)
_LOCAL_TIMEOUT = timedelta(seconds=60)
_HEARTBEAT_TIMEOUT = timedelta(seconds=15)
# What the SDK's core calls it when a worker leaves before an activity has ended.
_SHUTDOWN = "WorkerShutdown"

Said = TypeVar("Said", bound=BaseModel)


# A local activity's own error comes bare, another one's wrapped in an ActivityError.
ACTIVITY_ERRORS = (ActivityError, ApplicationError)


async def call_local(
    call: Call[Takes, Gives], ask: Takes, *, summary: str, for_ever: bool = False
) -> Gives:
    """Within the workflow's task, on the worker that runs it. Tried once, unless `for_ever`."""
    given: Gives = await workflow.execute_local_activity(
        call.name,
        ask,
        result_type=call.gives,
        start_to_close_timeout=_LOCAL_TIMEOUT,
        retry_policy=_FOR_EVER if for_ever else _ONCE,
        summary=summary,
    )
    return given


def start_on(
    queue: str,
    call: Call[Takes, Gives],
    ask: Takes,
    *,
    at_most: timedelta,
    start_within: timedelta | None = None,
    summary: str,
) -> workflow.ActivityHandle[Gives]:
    """On a task queue, heartbeating, retried until it gives an answer or refuses.

    `start_within`: it ends, as `nobody_came` tells, when no worker takes it within that time.
    """
    handle: workflow.ActivityHandle[Gives] = workflow.start_activity(
        call.name,
        ask,
        task_queue=queue,
        result_type=call.gives,
        start_to_close_timeout=at_most,
        schedule_to_start_timeout=start_within,
        heartbeat_timeout=_HEARTBEAT_TIMEOUT,
        retry_policy=_FOR_EVER,
        cancellation_type=workflow.ActivityCancellationType.WAIT_CANCELLATION_COMPLETED,
        summary=summary,
    )
    return handle


async def done_or(activity: workflow.ActivityHandle[Any], interrupted: Callable[[], bool]) -> bool:
    """True when the activity has an answer; False when it was cut off before that."""
    interruption = asyncio.create_task(workflow.wait_condition(interrupted))
    await workflow.wait([activity, interruption], return_when=asyncio.FIRST_COMPLETED)
    if activity.done():
        interruption.cancel()
        return True
    activity.cancel()
    await workflow.wait([activity])
    return not activity.cancelled() and activity.exception() is None


async def call_here_or_on(
    queue: str, call: Call[Takes, Gives], ask: Takes, *, at_most: timedelta, summary: str
) -> Gives:
    """On this worker; where it cannot, on those that hold what it takes."""
    try:
        return await call_local(call, ask, summary=summary)
    except ACTIVITY_ERRORS as error:
        if refusal(error):
            raise
    return await start_on(queue, call, ask, at_most=at_most, summary=summary)


async def try_on(
    queue: str,
    call: Call[Takes, Gives],
    ask: Takes,
    *,
    at_most: timedelta,
    start_within: timedelta,
    summary: str,
) -> Gives:
    """On a task queue, heartbeating, once: who calls decides whether and when to try again."""
    given: Gives = await workflow.execute_activity(
        call.name,
        ask,
        task_queue=queue,
        result_type=call.gives,
        start_to_close_timeout=at_most,
        schedule_to_start_timeout=start_within,
        heartbeat_timeout=_HEARTBEAT_TIMEOUT,
        retry_policy=_ONCE,
        summary=summary,
    )
    return given


def nobody_came(error: ActivityError) -> bool:
    """Whether it ended because no worker took it in time: none is there, or each is busy."""
    cause = error.cause
    return isinstance(cause, TimeoutError) and cause.type is TimeoutType.SCHEDULE_TO_START


def worker_was_lost(error: ActivityError) -> bool:
    """Whether its worker fell silent, or had to leave: nobody knows what it had done by then."""
    cause = error.cause
    silent = isinstance(cause, TimeoutError) and cause.type is TimeoutType.HEARTBEAT
    return silent or (isinstance(cause, ApplicationError) and cause.type == _SHUTDOWN)


def read_signal(kind: type[Said], given: tuple[Any, ...]) -> Said | None:
    """What a signal says; None, and a line in the log, where it is nothing of that kind.

    Whoever reaches Temporal can signal anything, and nobody is told that it was refused. A
    handler that raised would hold up its workflow for ever: it stays in the history.
    """
    try:
        [said] = given
        return kind.model_validate(said)
    except ValueError:
        workflow.logger.warning("a signal that is no %s was dropped", kind.__name__)
        return None


def refused(error: FulguriteError | ValidationError) -> ApplicationError:
    """A refusal in Temporal's form: what `refusal` and the client know it by."""
    if isinstance(error, ValidationError):
        error = InvalidRequestError(mistakes(error))
    return ApplicationError(str(error), type=type(error).__name__, non_retryable=True)


def refusal(error: ActivityError | ApplicationError) -> ApplicationError | None:
    """The caller's own mistake, if that is why the activity ended; it proves nothing moved."""
    cause = error.cause if isinstance(error, ActivityError) else error
    if not isinstance(cause, ApplicationError) or not cause.non_retryable:
        return None
    kind = by_name(cause.type or "")
    return cause if kind and issubclass(kind, InvalidRequestError) else None
