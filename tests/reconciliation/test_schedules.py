"""Schedules come from one file: applied twice they change nothing, and only ours are touched."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import jsonschema
import pytest
from temporalio.client import (
    Client,
    Schedule,
    ScheduleActionStartWorkflow,
    ScheduleOverlapPolicy,
    ScheduleSpec,
    ScheduleUpdate,
    ScheduleUpdateInput,
)
from temporalio.service import RPCError

from devnet.house import ROOT
from devnet.waiting import eventually
from fulgurite.errors import InvalidRequestError
from fulgurite.reconciliation.differences import ReconciliationState
from starter import schedules
from starter.schedules import PREFIX, Change, ScheduleChange, ScheduleFile, ScheduleSummary
from tests.commands import Command
from tests.scenarios.telling import SIMULATED_ONLY

pytestmark = SIMULATED_ONLY

FOREIGN = "backup"
FILE = """
[schedules.reconcile-alice]
workflow = "reconcile"
node = "alice"
every = "15m"
jitter = "1m"

[schedules.reconcile-carol]
workflow = "reconcile"
node = "carol"
cron = "*/30 8-18 * * 1-5"
catch_up = "1h"
paused = true
"""


@pytest.fixture(autouse=True)
async def clean(temporal: Client) -> AsyncIterator[None]:
    yield
    # By name: Temporal's list lacks what is new, and has what is deleted.
    for each in (f"{PREFIX}reconcile-alice", f"{PREFIX}reconcile-carol", FOREIGN):
        with suppress(RPCError):
            await temporal.get_schedule_handle(each).delete()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "schedules.toml"
    file.write_text(FILE)
    return file


@pytest.fixture
def file(path: Path) -> ScheduleFile:
    return schedules.read(path)


async def applied(
    temporal: Client, file: ScheduleFile, *, prune: bool = False, dry_run: bool = False
) -> dict[str, ScheduleChange]:
    changes = schedules.apply(temporal, file, prune=prune, dry_run=dry_run)
    return {each.name: each async for each in changes}


async def listed(temporal: Client, names: int) -> dict[str, ScheduleSummary]:
    """Temporal's list is some moments behind."""

    async def ask() -> dict[str, ScheduleSummary]:
        return {each.name: each async for each in schedules.listed(temporal)}

    return await eventually(ask, lambda found: len(found) == names, what=f"{names} schedules")


def changed(file: ScheduleFile, name: str, **fields: object) -> ScheduleFile:
    entry = file.schedules[name].model_copy(update=fields)
    return ScheduleFile(schedules={**file.schedules, name: entry})


async def test_applied_twice_a_file_changes_nothing_the_second_time(
    temporal: Client, file: ScheduleFile
) -> None:
    first = await applied(temporal, file)
    second = await applied(temporal, file)

    assert {each.change for each in first.values()} == {Change.CREATED}
    assert {name: each.change for name, each in second.items()} == dict.fromkeys(
        ("reconcile-alice", "reconcile-carol"), Change.UNCHANGED
    )


async def test_a_schedule_skips_what_overlaps_and_makes_up_for_minutes(
    temporal: Client, file: ScheduleFile
) -> None:
    await applied(temporal, file)
    found = await temporal.get_schedule_handle(f"{PREFIX}reconcile-alice").describe()

    policy = found.schedule.policy
    assert policy.overlap is ScheduleOverlapPolicy.SKIP
    assert policy.catchup_window == timedelta(minutes=10)
    assert not policy.pause_on_failure
    assert found.schedule.spec.jitter == timedelta(minutes=1)
    assert isinstance(found.schedule.action, ScheduleActionStartWorkflow)
    assert found.schedule.action.id == "reconcile/alice"


async def test_what_differs_is_updated_and_told(temporal: Client, file: ScheduleFile) -> None:
    await applied(temporal, file)
    other = changed(file, "reconcile-carol", cron="0 3 * * *", catch_up="10m")

    changes = await applied(temporal, other)

    assert changes["reconcile-alice"].change is Change.UNCHANGED
    assert changes["reconcile-carol"].change is Change.UPDATED
    assert changes["reconcile-carol"].what == (
        "times: cron `*/30 8-18 * * 1-5` → cron `0 3 * * *`",
        "catch-up: 1h → 10m",
    )
    again = await applied(temporal, other)
    assert again["reconcile-carol"].change is Change.UNCHANGED


async def test_what_somebody_changed_by_hand_is_set_right(
    temporal: Client, file: ScheduleFile
) -> None:
    await applied(temporal, file)

    def meddle(found: ScheduleUpdateInput) -> ScheduleUpdate:
        schedule = found.description.schedule
        schedule.policy.overlap = ScheduleOverlapPolicy.ALLOW_ALL
        schedule.spec.end_at = schedule.spec.start_at
        return ScheduleUpdate(schedule)

    await temporal.get_schedule_handle(f"{PREFIX}reconcile-alice").update(meddle)

    changes = await applied(temporal, file)
    assert changes["reconcile-alice"].what == ("overlap: ALLOW_ALL → SKIP",)


async def test_who_paused_a_schedule_is_asked_before_it_goes_on(
    temporal: Client, file: ScheduleFile
) -> None:
    await applied(temporal, file)
    handle = temporal.get_schedule_handle(f"{PREFIX}reconcile-alice")
    await handle.pause(note="until the disk is changed")

    slower = await applied(temporal, changed(file, "reconcile-alice", every="1h"))

    assert slower["reconcile-alice"].what == (
        "times: every 15m, up to 1m late → every 1h, up to 1m late",
    )
    found = await handle.describe()
    assert found.schedule.state.paused
    assert found.schedule.state.note == "until the disk is changed"
    resumed = await applied(temporal, changed(file, "reconcile-alice", every="1h", paused=False))
    assert resumed["reconcile-alice"].what == ("paused: yes → no",)


async def test_only_ours_and_only_on_request_are_deleted(
    temporal: Client, file: ScheduleFile
) -> None:
    foreign = ScheduleActionStartWorkflow("Backup", id="backup", task_queue="others")
    await temporal.create_schedule(FOREIGN, Schedule(action=foreign, spec=ScheduleSpec()))
    await applied(temporal, file)
    await listed(temporal, 2)
    fewer = ScheduleFile(schedules={"reconcile-alice": file.schedules["reconcile-alice"]})

    assert (await applied(temporal, fewer))["reconcile-carol"].change is Change.LEFT
    would = await applied(temporal, fewer, prune=True, dry_run=True)
    assert would["reconcile-carol"].change is Change.DELETED
    assert len(await listed(temporal, 2)) == 2
    assert (await applied(temporal, fewer, prune=True))["reconcile-carol"].change is Change.DELETED

    assert list(await listed(temporal, 1)) == ["reconcile-alice"]
    assert (await temporal.get_schedule_handle(FOREIGN).describe()).id == FOREIGN


async def test_a_dry_run_creates_nothing(temporal: Client, file: ScheduleFile) -> None:
    would = await applied(temporal, file, dry_run=True)
    assert {each.change for each in would.values()} == {Change.CREATED}
    again = await applied(temporal, file)
    assert {each.change for each in again.values()} == {Change.CREATED}


@pytest.mark.usefixtures("reconciling")
async def test_a_schedule_reconciles_and_shows_its_last_result(
    temporal: Client, file: ScheduleFile
) -> None:
    every_second = changed(file, "reconcile-alice", every="1s", jitter=None)
    await applied(temporal, every_second)

    async def ask() -> ScheduleSummary:
        return (await listed(temporal, 2))["reconcile-alice"]

    summary = await eventually(
        ask,
        lambda found: found.last_result in set(ReconciliationState) - {"COMPARING"},
        what="a result",
    )

    assert summary.workflow == "reconcile/alice"
    assert summary.last_run is not None
    assert summary.last_run.startswith("reconcile/alice-20")
    assert summary.next_runs
    assert not (await listed(temporal, 2))["reconcile-carol"].next_runs


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[schedules.x]\nworkflow =", "no TOML"),
        ('[schedules.x]\nworkflow = "reconcile"\nnode = "alice"', "one of them"),
        ('[schedules."Not so"]\nworkflow = "reconcile"\nnode = "alice"\nevery = "1m"', "schedules"),
        ('[tasks.x]\nworkflow = "reconcile"', "tasks"),
    ],
)
def test_a_wrong_file_is_refused_with_the_reason(path: Path, text: str, why: str) -> None:
    path.write_text(text)
    with pytest.raises(InvalidRequestError, match=why):
        schedules.read(path)


def test_the_schema_of_the_file_says_the_same(path: Path) -> None:
    schema = ScheduleFile.model_json_schema()
    jsonschema.validate(schedules.read(path).model_dump(mode="json"), schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"schedules": {"x": {"workflow": "pay", "node": "alice"}}}, schema)


def test_the_documents_example_is_a_file(path: Path) -> None:
    page = (ROOT / "docs" / "reconciliation.md").read_text()
    [example] = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    path.write_text(example)
    assert len(schedules.read(path).schedules) == 2


async def test_the_command_applies_and_lists(fulgurite: Command, path: Path) -> None:
    first = await fulgurite("schedules", "apply", str(path))
    assert first.exit_code == 0
    assert "CREATED    reconcile-alice" in first.stdout
    dry = await fulgurite("schedules", "apply", str(path), "--dry-run", "--json")
    changes = [ScheduleChange.model_validate_json(line) for line in dry.stdout.splitlines()]
    assert {each.change for each in changes} == {Change.UNCHANGED}

    async def ask() -> list[ScheduleSummary]:
        result = await fulgurite("schedules", "list", "--json")
        return [ScheduleSummary.model_validate_json(line) for line in result.stdout.splitlines()]

    found = await eventually(ask, lambda seen: len(seen) == 2, what="both schedules")
    assert [each.name for each in found] == ["reconcile-alice", "reconcile-carol"]
    table = await fulgurite("schedules", "list")
    assert "every 15m, up to 1m late" in table.stdout
    assert "paused" in table.stdout


@pytest.fixture
def wrong(path: Path) -> Path:
    path.write_text(FILE.replace("15m", "often"))
    return path


async def test_the_command_says_where_the_file_is_wrong(fulgurite: Command, wrong: Path) -> None:
    result = await fulgurite("schedules", "apply", str(wrong), "--json")
    assert result.exit_code == 2
    assert "schedules.reconcile-alice.every" in json.loads(result.stdout)["message"]
