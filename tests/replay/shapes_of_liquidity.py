"""The courses of the autopilot: it explains, asks and acts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from devnet.simulated.openings import CONFIRMATIONS
from devnet.waiting import eventually
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.identity import PaymentHash
from fulgurite.liquidity.outbound import Outbound
from fulgurite.liquidity.plans import LiquidityPlan, PlanState
from fulgurite.liquidity.policy import LiquidityPolicy, Mode
from fulgurite.liquidity.requests import LiquidityRequest, PlanApproval
from fulgurite.payments.requests import Rejection
from starter.liquidity import LiquidityRun
from tests.replay.recording import Recording, Shape

_BUDGET = "liquidity"


async def _made(
    on: Recording, mode: Mode, outbound: Outbound | None = None, **policy: Any
) -> LiquidityRun:
    """Of a node that has got an empty channel, and a full one with another peer."""
    on.network.open_channel("carol", "alice", capacity_sat=1_000_000)
    on.network.open_channel("alice", "bob", capacity_sat=1_000_000)
    await on.network.mine(CONFIRMATIONS)
    wanted = LiquidityPolicy.model_validate({"budget": _BUDGET, "backoff_hours": 0} | policy)
    request = LiquidityRequest(node="alice", mode=mode, policy=wanted, outbound=outbound)
    run = await on.client.liquidity(request)
    on.keep(run.id)
    return run


async def _explained(on: Recording) -> None:
    async with on.worker():
        plan = await (await _made(on, Mode.EXPLAIN)).receipt()
    assert plan.state is PlanState.PLANNED


async def _asks(run: LiquidityRun) -> None:
    await eventually(
        run.view, lambda plan: plan.state is PlanState.AWAITING_APPROVAL, what="the question"
    )


async def _rejected(on: Recording) -> None:
    async with on.worker():
        await on.client.budget(_BUDGET).set(BudgetPolicy(fee_sat=10_000), by="olga")
        run = await _made(on, Mode.ASK)
        await _asks(run)
        await run.reject(Rejection(approver="olga"))
        plan = await run.receipt()
    assert plan.state is PlanState.REJECTED


async def _moved(on: Recording, plan: LiquidityPlan) -> None:
    """Until its rebalances are over: the next shape's plan is of the same node."""
    assert plan.state is PlanState.BEGUN
    for deed in plan.deeds:
        await on.client.rebalancing(deed.workflow_id.partition("/")[2]).receipt()


async def _approved(on: Recording) -> None:
    async with on.worker():
        await on.client.budget(_BUDGET).set(BudgetPolicy(fee_sat=10_000), by="olga")
        run = await _made(on, Mode.ASK)
        await _asks(run)
        await run.approve(PlanApproval(approver="olga"))
        await _moved(on, await run.receipt())


async def _acted(on: Recording) -> None:
    async with on.worker():
        await on.client.budget(_BUDGET).set(BudgetPolicy(fee_sat=10_000), by="olga")
        await _moved(on, await (await _made(on, Mode.ACT)).receipt())


def _outbound() -> Outbound:
    """For a payment that is over when it is told."""
    return Outbound(
        payment_hash=PaymentHash("ab" * 32),
        amount_sat=9_000_000,
        until=datetime.now(UTC) + timedelta(hours=1),
    )


async def _for_a_payment(on: Recording) -> None:
    async with on.worker():
        await on.client.budget(_BUDGET).set(BudgetPolicy(fee_sat=10_000), by="olga")
        await _moved(on, await (await _made(on, Mode.ACT, _outbound())).receipt())


async def _asked_for_a_payment(on: Recording) -> None:
    async with on.worker():
        await on.client.budget(_BUDGET).set(BudgetPolicy(fee_sat=10_000), by="olga")
        run = await _made(on, Mode.ASK, _outbound())
        await _asks(run)
        await run.approve(PlanApproval(approver="olga"))
        await _moved(on, await run.receipt())


SHAPES = (
    Shape("liquidity-explained", _explained),
    Shape("liquidity-rejected", _rejected),
    Shape("liquidity-approved", _approved),
    Shape("liquidity-acted", _acted),
    Shape("liquidity-for-a-payment", _for_a_payment),
    Shape("liquidity-asked-for-a-payment", _asked_for_a_payment),
)
