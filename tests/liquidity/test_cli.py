"""`fulgurite liquidity …`: a picture and a reason for each channel, a question, and a history."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from devnet.waiting import eventually
from fulgurite.liquidity.plans import LiquidityPlan, PlanState
from tests.commands import Command, valid
from tests.rebalances.ring import Ring

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("working", "ring")]


@pytest.fixture
def policy(tmp_path: Path) -> str:
    """Rebalances only, and no memory of what other scenarios moved."""
    path = tmp_path / "policy.toml"
    path.write_text('remedies = ["REBALANCE"]\nbackoff_hours = 0\n')
    return str(path)


async def test_a_plan_has_a_picture_and_a_reason_a_channel(fulgurite: Command, policy: str) -> None:
    shown = await fulgurite("liquidity", "plan", "alice", "--policy", policy)
    told = await fulgurite("liquidity", "plan", "alice", "--policy", policy, "--json")
    plan = LiquidityPlan.model_validate(valid(told.stdout, "liquidity-plan"))

    assert shown.exit_code == told.exit_code == 0
    assert {line.channel_id for line in plan.lines} == {
        word for word in shown.stdout.split() if word.count("x") == 2
    }
    for word in ("PLANNED", "IS_PARTNER", "LOCAL_LOW", "rebalance", "▓", "▒", "→ 50%"):
        assert word in shown.stdout


async def test_without_a_yes_nothing_moves(fulgurite: Command, policy: str, ring: Ring) -> None:
    before = await ring.local_sat("dave")
    refused = await fulgurite("liquidity", "apply", "alice", "--policy", policy, answer="n\n")
    assert refused.exit_code == 3
    assert "LOCAL_LOW" in refused.stderr

    async def last() -> str:
        return (await fulgurite("liquidity", "history", "alice", "--limit", "1")).stdout

    await eventually(last, lambda told: PlanState.REJECTED in told, what="the rejection")
    assert await ring.local_sat("dave") == before


async def test_with_a_yes_it_moves_and_the_history_tells(fulgurite: Command, policy: str) -> None:
    applied = await fulgurite(
        "liquidity", "apply", "alice", "--policy", policy, "--force", "--json"
    )
    plan = LiquidityPlan.model_validate(json.loads(applied.stdout))
    assert (applied.exit_code, plan.state) == (0, PlanState.BEGUN)
    [move] = [line.move for line in plan.moves if line.move]
    assert move.workflow_id

    async def told() -> str:
        await fulgurite("liquidity", "plan", "alice")
        return (await fulgurite("liquidity", "history", "alice")).stdout

    history = await eventually(told, lambda text: "DONE" in text, what="its end in the history")
    assert move.workflow_id in history
    assert "BEGUN" in history


@pytest.mark.parametrize(
    ("text", "says"),
    [("rule = 3", "rule"), ("mode = ", "no TOML"), ('mode = "ACT"', "budget")],
)
async def test_a_wrong_policy_is_told_where_it_is_wrong(
    fulgurite: Command, tmp_path: Path, text: str, says: str
) -> None:
    path = tmp_path / "wrong.toml"
    path.write_text(text)
    refused = await fulgurite("liquidity", "plan", "alice", "--policy", str(path))
    assert refused.exit_code == 2
    assert says in refused.stderr
