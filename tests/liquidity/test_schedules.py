"""The autopilot on a schedule: from reconciliation's file, with a memory between runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from temporalio.client import (
    Client,
    ScheduleActionExecutionStartWorkflow,
    ScheduleHandle,
)

from devnet.house import House
from devnet.waiting import eventually
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.liquidity.deeds import DeedState
from fulgurite.liquidity.plans import LiquidityPlan, PlanState
from fulgurite.liquidity.policy import LiquidityPolicy, Mode, Remedy
from starter import schedules
from starter.client import FulguriteClient
from starter.liquidity import plan_of
from starter.schedules import PREFIX, Change, ScheduleFile
from tests.rebalances.ring import Ring

pytestmark = pytest.mark.timeout(300)


@pytest.fixture
async def budget(home: House) -> AsyncIterator[str]:
    """Of an alice that acts by herself; the workers must begin after this."""
    name = f"scheduled-{uuid4().hex[:8]}"
    policy = LiquidityPolicy(mode=Mode.ACT, budget=name, remedies=(Remedy.REBALANCE,))
    before = home.settings.nodes["alice"]
    home.settings.nodes["alice"] = before.model_copy(update={"liquidity": policy})
    yield name
    home.settings.nodes["alice"] = before


@pytest.mark.usefixtures("budget", "working")
async def test_each_run_knows_what_the_one_before_has_begun(
    budget: str, ring: Ring, temporal: Client, client: FulguriteClient
) -> None:
    await client.budget(budget).set(BudgetPolicy(fee_sat=1_000), by="olga")
    name = f"liquidity-{uuid4().hex[:8]}"
    file = ScheduleFile.model_validate(
        {"schedules": {name: {"workflow": "liquidity", "node": "alice", "every": "30d"}}}
    )
    [change] = [each async for each in schedules.apply(temporal, file) if each.name == name]
    [again] = [each async for each in schedules.apply(temporal, file) if each.name == name]
    assert (change.change, again.change) == (Change.CREATED, Change.UNCHANGED)
    schedule = temporal.get_schedule_handle(PREFIX + name)
    try:
        first = await _next(temporal, schedule, runs=1)
        second = await _next(temporal, schedule, runs=2)
    finally:
        await schedule.delete()
        await ring.settled()
    assert first.state is PlanState.BEGUN
    [deed] = [each for each in second.deeds if each.workflow_id == first.deeds[-1].workflow_id]
    assert deed.state in {DeedState.UNDER_WAY, DeedState.DONE}
    assert second.state is PlanState.PLANNED


async def _next(temporal: Client, schedule: ScheduleHandle, *, runs: int) -> LiquidityPlan:
    """The plan of one more run; `runs` with it."""
    await schedule.trigger()

    async def begun() -> list[str]:
        actions = (await schedule.describe()).info.recent_actions
        return [
            each.action.workflow_id
            for each in actions
            if isinstance(each.action, ScheduleActionExecutionStartWorkflow)
        ]

    found = await eventually(begun, lambda each: len(each) >= runs, what="a scheduled run")
    return await plan_of(temporal, found[-1]).receipt()
