"""What a plan remembers: all that was begun, whatever became of the plans that began it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.exceptions import TimeoutError, TimeoutType  # noqa: A004
from temporalio.testing import ActivityEnvironment
from temporalio.worker import Worker

from activities.liquidity import LiquidityActivities
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.leases.market import LeasedChannel
from fulgurite.leases.receipts import LeaseView
from fulgurite.leases.requests import LeaseRequest
from fulgurite.leases.states import LeaseState
from fulgurite.liquidity.calls import Recall, Recalled
from fulgurite.liquidity.deeds import Deed, DeedState
from fulgurite.liquidity.plans import LiquidityPlan, PlanState
from fulgurite.liquidity.policy import LONGEST_BACKOFF_HOURS, Mode, Remedy
from fulgurite.liquidity.pricing import Purse
from fulgurite.liquidity.requests import LiquidityRequest
from nodes.registry import Nodes
from tests.liquidity.forgetful import StandingLease, StandingPlan
from tests.liquidity.worlds import peer, point
from tests.unit.stage import World, failed, play
from workflows import calling, liquidity, metrics, search_attributes
from workflows.liquidity import LiquidityWorkflow

QUEUE = "standing"


class Past:
    """The plans and leases of one node, and who remembers them."""

    def __init__(self, temporal: Client) -> None:
        self.node = f"node-{uuid4().hex[:12]}"
        self._temporal = temporal
        self._begun = 0

    async def plan(self, *deeds: Deed, state: PlanState, ended: bool) -> None:
        """One that stands there; `ended`: it was ended by force."""
        now = datetime.now(UTC)
        planned_at = None if state is PlanState.LOOKING else now
        plan = LiquidityPlan(
            node=self.node,
            state=state,
            mode=Mode.ACT,
            began_at=now,
            planned_at=planned_at,
            deeds=deeds,
        )
        attributes = [SearchAttributePair(search_attributes.NODE, self.node)]
        handle = await self._temporal.start_workflow(
            StandingPlan.run,
            plan,
            id=ids.liquidity_id(self.node, now),
            task_queue=QUEUE,
            search_attributes=TypedSearchAttributes(attributes),
        )
        await handle.query(StandingPlan.view)
        if ended:
            await handle.terminate()
        self._begun += 1
        await eventually(self._listed, lambda found: found == self._begun, what="the index")

    async def _listed(self) -> int:
        query = f"{search_attributes.NODE.name} = '{self.node}'"
        return (await self._temporal.count_workflows(query)).count

    async def recall(self, *known: Deed) -> tuple[Deed, ...]:
        activities = LiquidityActivities(Nodes({}), self._temporal)
        ask = Recall(node=self.node, backoff_hours=24, known=known)
        recalled = await ActivityEnvironment().run(activities.recall, ask)
        assert isinstance(recalled, Recalled)
        return recalled.deeds


@pytest.fixture
async def past(temporal: Client) -> AsyncIterator[Past]:
    async with Worker(temporal, task_queue=QUEUE, workflows=[StandingPlan, StandingLease]):
        yield Past(temporal)


def _deed(key: str, remedy: Remedy = Remedy.REBALANCE, **fields: Any) -> Deed:
    return Deed(
        workflow_id=f"{remedy.lower()}/{key}",
        remedy=remedy,
        channel=point(1),
        fills=remedy is not Remedy.LEASE,
        amount_sat=100_000,
        limit_msat=1_000,
        began_at=datetime.now(UTC),
        **fields,
    )


@pytest.mark.parametrize("ended", [False, True], ids=["it runs", "it was ended by force"])
async def test_what_a_plan_that_is_not_completed_has_begun_is_known(
    past: Past, *, ended: bool
) -> None:
    """Also when many have come since who had not looked yet when they were ended."""
    deed = _deed(uuid4().hex)
    await past.plan(deed, state=PlanState.BEGINNING, ended=ended)
    for _ in range(6):
        await past.plan(state=PlanState.LOOKING, ended=True)
    [known] = await past.recall()
    # Nothing of that name was begun in these tests: nobody can say what became of it.
    assert (known.workflow_id, known.state) == (deed.workflow_id, DeedState.UNKNOWN)


async def test_a_leased_channel_is_remembered_until_its_term_is_over(
    past: Past, temporal: Client
) -> None:
    deed = _deed(uuid4().hex, Remedy.LEASE)
    channel = LeasedChannel(
        channel_point=point(7),
        amount_sat=100_000,
        duration_blocks=2_016,
        rate_ppb=400,
        premium_sat=81,
        execution_fee_sat=2,
        chain_fee_sat=100,
        peer=peer(7),
        nonce="ab" * 32,
    )
    request = LeaseRequest(
        key="key",
        node=past.node,
        amount_sat=100_000,
        max_rate_ppb=400,
        max_batch_fee_sat_per_vbyte=2,
    )
    view = LeaseView(
        state=LeaseState.LEASED,
        key="key",
        node=past.node,
        request=request,
        deadline=datetime.now(UTC),
        channels=(channel,),
    )
    lease = await temporal.start_workflow(
        StandingLease.run, view, id=deed.workflow_id, task_queue=QUEUE
    )
    [won] = await past.recall(deed)
    assert (won.state, won.brought) == (DeedState.DONE, (point(7),))
    # Long after any backoff it is what keeps others from filling the room that was paid for.
    old = won.model_copy(update={"ended_at": datetime.now(UTC) - timedelta(days=9)})
    assert await past.recall(old) == (old.model_copy(update={"because": won.because}),)
    await lease.terminate()
    [over] = await past.recall(won)
    assert (over.state, over.brought) == (DeedState.DONE, ())
    assert await past.recall(old) == ()


def test_a_plan_that_sees_nothing_hands_on_what_was_begun_before() -> None:
    deed = _deed("before", state=DeedState.UNDER_WAY)
    asked: list[Recall] = []

    async def answer(name: str, ask: Any) -> Any:
        if isinstance(ask, Recall):
            asked.append(ask)
            return Recalled(deeds=(deed,), purse=Purse(node="alice", named=False))
        error = failed("TimeoutError")
        error.__cause__ = TimeoutError(
            f"nobody does {name}",
            type=TimeoutType.SCHEDULE_TO_START,
            last_heartbeat_details=[],
        )
        raise error

    async def story() -> LiquidityPlan:
        request = LiquidityRequest(node="alice")
        return await LiquidityWorkflow(request).run(request)

    modules = (calling, liquidity, metrics)
    plan = play(World(answer), "liquidity/alice-1", modules, story)
    assert (plan.state, plan.deeds) == (PlanState.BLIND, (deed,))
    # Whatever the node's policy is, which nobody could read.
    assert [each.backoff_hours for each in asked] == [LONGEST_BACKOFF_HOURS]
