"""What runs by itself and when: one file, carried out in Temporal as often as one likes."""

from __future__ import annotations

import json
import tomllib
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, StringConstraints, ValidationError, model_validator
from temporalio.api.common.v1 import Payload
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionExecution,
    ScheduleActionExecutionStartWorkflow,
    ScheduleActionStartWorkflow,
    ScheduleAlreadyRunningError,
    ScheduleDescription,
    ScheduleHandle,
    ScheduleOverlapPolicy,
    SchedulePolicy,
    ScheduleState,
    ScheduleUpdate,
    ScheduleUpdateInput,
    WorkflowExecutionStatus,
)
from temporalio.service import RPCError, RPCStatusCode

from fulgurite import ids
from fulgurite.errors import InvalidRequestError
from fulgurite.identity import NodeName
from fulgurite.liquidity.policy import Mode
from fulgurite.liquidity.requests import LiquidityRequest
from fulgurite.model import Model, mistakes
from fulgurite.reconciliation.calls import Reconciliation
from starter import liquidity
from starter.errors import temporal_errors
from starter.reconciliation import search_attributes_of, summary_of
from starter.timetable import Cron, Span, in_words, span, span_in_words, times
from workflows import search_attributes
from workflows.liquidity import LiquidityWorkflow
from workflows.reconciliation import ReconciliationWorkflow

# Schedules of this prefix are ours; all others are left alone.
PREFIX: Final = "fulgurite/"

_NEXT_RUNS: Final = 3

Name = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,79}$")]


class ScheduleEntry(Model):
    """What runs, and when. Exactly one of `every` and `cron`."""

    workflow: Literal["reconcile", "liquidity"]
    node: NodeName
    mode: Mode | None = Field(
        default=None, description="of `liquidity`: EXPLAIN, ASK or ACT; null: the node's own"
    )
    every: Span | None = Field(default=None, description="`90s`, `15m`, `1h` or `1d`")
    cron: Cron | None = Field(
        default=None, description="minute hour day month weekday, in numbers, UTC: `30 3 * * *`"
    )
    jitter: Span | None = Field(
        default=None, description="each run is up to so long late, so that not all come together"
    )
    catch_up: Span = Field(
        default="10m", description="runs that Temporal was away for are made up for so long"
    )
    paused: bool | None = Field(
        default=None, description="null: as it is; whoever paused it may have had a reason"
    )

    @model_validator(mode="after")
    def _either_way(self) -> Self:
        if (self.every is None) == (self.cron is None):
            raise ValueError('give "every" or "cron", one of them')
        if self.mode is not None and self.workflow != "liquidity":
            raise ValueError('"mode" is for "liquidity"')
        return self

    def schedule(self) -> Schedule:
        return Schedule(
            action=self._reconciliation() if self.workflow == "reconcile" else self._liquidity(),
            spec=times(self.every, self.cron, self.jitter),
            policy=SchedulePolicy(
                overlap=ScheduleOverlapPolicy.SKIP,
                catchup_window=span(self.catch_up),
                pause_on_failure=False,
            ),
            state=ScheduleState(paused=bool(self.paused)),
        )

    def _reconciliation(self) -> ScheduleActionStartWorkflow:
        asked = Reconciliation(node=self.node)
        return ScheduleActionStartWorkflow(
            ReconciliationWorkflow.run,
            asked,
            id=ids.scheduled_reconciliation_id(self.node),
            task_queue=ids.TASK_QUEUE,
            typed_search_attributes=search_attributes_of(asked),
            static_summary=summary_of(asked),
        )

    def _liquidity(self) -> ScheduleActionStartWorkflow:
        asked = LiquidityRequest(node=self.node, mode=self.mode)
        return ScheduleActionStartWorkflow(
            LiquidityWorkflow.run,
            asked,
            id=ids.scheduled_liquidity_id(self.node),
            task_queue=ids.TASK_QUEUE,
            typed_search_attributes=liquidity.search_attributes_of(asked),
            static_summary=liquidity.summary_of(asked),
        )


class ScheduleFile(Model):
    """`schedules.toml`: every schedule of ours, by name."""

    schedules: dict[Name, ScheduleEntry] = Field(default_factory=dict)


class Change(StrEnum):
    """What applying a file does to a schedule."""

    CREATED = "CREATED"
    UPDATED = "UPDATED"
    UNCHANGED = "UNCHANGED"
    DELETED = "DELETED"
    LEFT = "LEFT"  # ours, and not in the file


class ScheduleChange(Model):
    """One schedule, after a file was applied."""

    name: str
    change: Change
    what: tuple[str, ...] = Field(default=(), description="what differed, before → after")


class ScheduleSummary(Model):
    """A schedule of ours, as Temporal has it."""

    name: str
    workflow: str = Field(description="the id of what it starts, without the time")
    times: str
    paused: bool
    note: str = ""
    running: bool
    next_runs: tuple[datetime, ...] = Field(description="the next three; none when paused")
    last_run: str | None = Field(default=None, description="the workflow it started last")
    last_started_at: datetime | None = None
    last_result: str | None = Field(
        default=None, description="its state, or Temporal's word; null: retained no more"
    )


def read(path: Path) -> ScheduleFile:
    """Raises InvalidRequestError, which says where the file is wrong."""
    try:
        return ScheduleFile.model_validate(tomllib.loads(path.read_text()))
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be read: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise InvalidRequestError(f"{path} is no TOML: {error}") from error
    except ValidationError as error:
        raise InvalidRequestError(f"{path}: {mistakes(error)}") from None


async def apply(
    client: Client, file: ScheduleFile, *, prune: bool = False, dry_run: bool = False
) -> AsyncIterator[ScheduleChange]:
    """Brings Temporal to what the file says; a second time changes nothing.

    With `prune`, ours that are not in the file are deleted. With `dry_run` nothing is done,
    and what would be is told. Raises TemporalUnavailableError and TemporalRefusedError.
    """
    with temporal_errors():
        for name, entry in file.schedules.items():
            yield await _apply(client, name, entry, dry_run=dry_run)
        async for name, _ in _ours(client):
            if name in file.schedules:
                continue
            if prune and not dry_run:
                await client.get_schedule_handle(PREFIX + name).delete()
            yield ScheduleChange(name=name, change=Change.DELETED if prune else Change.LEFT)


async def listed(client: Client) -> AsyncIterator[ScheduleSummary]:
    """Every schedule of ours, by name."""
    with temporal_errors():
        async for name, described in _ours(client):
            yield await _summary(client, name, described)


async def _ours(client: Client) -> AsyncIterator[tuple[str, ScheduleDescription]]:
    """Asked one by one: Temporal's list still has some that are long deleted."""
    found = [each.id async for each in await client.list_schedules() if each.id.startswith(PREFIX)]
    for schedule_id in sorted(found):
        if described := await _described(client.get_schedule_handle(schedule_id)):
            yield schedule_id.removeprefix(PREFIX), described


async def _apply(
    client: Client, name: str, entry: ScheduleEntry, *, dry_run: bool
) -> ScheduleChange:
    handle, wanted = client.get_schedule_handle(PREFIX + name), entry.schedule()
    found = await _described(handle)
    if found is None:
        if not dry_run:
            try:
                await client.create_schedule(handle.id, wanted)
            except ScheduleAlreadyRunningError:
                # Somebody applies at the same time.
                return await _apply(client, name, entry, dry_run=dry_run)
        return ScheduleChange(name=name, change=Change.CREATED, what=(in_words(wanted.spec),))
    wanted = _with_state_of(found.schedule, wanted, entry)
    before, after = await _essence(client, found.schedule), await _essence(client, wanted)
    what = tuple(
        f"{key}: {before[key]} → {after[key]}" for key in after if before[key] != after[key]
    )
    if not what:
        return ScheduleChange(name=name, change=Change.UNCHANGED)
    if not dry_run:

        def update(latest: ScheduleUpdateInput) -> ScheduleUpdate:
            return ScheduleUpdate(_with_state_of(latest.description.schedule, wanted, entry))

        await handle.update(update)
    return ScheduleChange(name=name, change=Change.UPDATED, what=what)


def _with_state_of(found: Schedule, wanted: Schedule, entry: ScheduleEntry) -> Schedule:
    """Keeps the note and, where the file does not say, whether it is paused."""
    paused = found.state.paused if entry.paused is None else entry.paused
    return replace(wanted, state=replace(found.state, paused=paused))


async def _described(handle: ScheduleHandle) -> ScheduleDescription | None:
    try:
        return await handle.describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise


async def _essence(client: Client, schedule: Schedule) -> dict[str, str]:
    """All that a file can say, in words."""
    action, policy = schedule.action, schedule.policy
    assert isinstance(action, ScheduleActionStartWorkflow)
    window = policy.catchup_window
    return {
        "starts": f"{action.workflow} {action.id} on {action.task_queue}",
        "with": json.dumps(await _arguments(client, action), sort_keys=True),
        "times": in_words(schedule.spec),
        "overlap": policy.overlap.name,
        "catch-up": span_in_words(window) if window else "Temporal's own",
        "pause on failure": "yes" if policy.pause_on_failure else "no",
        "paused": "yes" if schedule.state.paused else "no",
    }


async def _arguments(client: Client, action: ScheduleActionStartWorkflow) -> list[Any]:
    """As JSON. What Temporal gives back is encoded, as it was given."""
    given: list[Any] = []
    for argument in action.args:
        if isinstance(argument, Payload):
            given += await client.data_converter.decode([argument])
        else:
            given.append(argument.model_dump(mode="json"))
    return given


async def _summary(client: Client, name: str, described: ScheduleDescription) -> ScheduleSummary:
    info, schedule = described.info, described.schedule
    assert isinstance(schedule.action, ScheduleActionStartWorkflow)
    last = info.recent_actions[-1] if info.recent_actions else None
    last_id = _workflow_id(last.action) if last else None
    return ScheduleSummary(
        name=name,
        workflow=schedule.action.id,
        times=in_words(schedule.spec),
        paused=schedule.state.paused,
        note=schedule.state.note or "",
        running=bool(info.running_actions),
        next_runs=() if schedule.state.paused else tuple(info.next_action_times[:_NEXT_RUNS]),
        last_run=last_id,
        last_started_at=last.started_at if last else None,
        last_result=await _result(client, last_id) if last_id else None,
    )


def _workflow_id(action: ScheduleActionExecution) -> str:
    assert isinstance(action, ScheduleActionExecutionStartWorkflow)
    return action.workflow_id


async def _result(client: Client, workflow_id: str) -> str | None:
    try:
        described = await client.get_workflow_handle(workflow_id).describe()
    except RPCError as error:
        if error.status is RPCStatusCode.NOT_FOUND:
            return None
        raise
    if described.status is WorkflowExecutionStatus.COMPLETED:
        return described.typed_search_attributes.get(search_attributes.STATE) or "COMPLETED"
    return described.status.name if described.status else None
