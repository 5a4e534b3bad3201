"""What a plan for a payment asks a person: nothing that another open plan asks already."""

from __future__ import annotations

from datetime import timedelta
from typing import Final

from temporalio import workflow

from fulgurite import ids
from fulgurite.liquidity.calls import RECALL_DEEDS, Recall
from fulgurite.liquidity.confirming import not_asked_yet
from fulgurite.liquidity.plans import ChannelLine, LiquidityPlan
from workflows.calling import start_on

_LOOK_AT_MOST: Final = timedelta(minutes=5)
_ONE_ASKS: Final = "one-open-plan-asks-for-a-peer"


async def left_to_ask(plan: LiquidityPlan) -> tuple[ChannelLine, ...]:
    """Its lines, without the moves that an earlier plan waits for a person's word on.

    To be called once it is seen to ask: of two that ask at the same time, the later one sees
    the earlier one, and gives way.
    """
    if not workflow.patched(_ONE_ASKS):
        return plan.lines
    assert plan.planned_at is not None
    recalled = await start_on(
        ids.TASK_QUEUE,
        RECALL_DEEDS,
        Recall(node=plan.node, backoff_hours=0),
        at_most=_LOOK_AT_MOST,
        summary="who asks already",
    )
    own = plan.planned_at, workflow.info().workflow_id
    return not_asked_yet(plan.lines, [each for each in recalled.asking if each.asks_since < own])
