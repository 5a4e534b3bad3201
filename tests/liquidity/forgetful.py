"""Workflows that stand in for a plan and for a lease, as they stand. In a module of their own,
which the sandbox takes."""

from __future__ import annotations

from temporalio import workflow

from fulgurite.leases.receipts import LeaseView
from fulgurite.liquidity.plans import LiquidityPlan


@workflow.defn(name="LiquidityWorkflow")
class StandingPlan:
    """Never comes to its end by itself."""

    @workflow.init
    def __init__(self, plan: LiquidityPlan) -> None:
        self._plan = plan

    @workflow.run
    async def run(self, plan: LiquidityPlan) -> LiquidityPlan:
        await workflow.wait_condition(lambda: False)
        return plan

    @workflow.query
    def view(self) -> LiquidityPlan:
        return self._plan


@workflow.defn(name="LeaseWorkflow")
class StandingLease:
    @workflow.init
    def __init__(self, lease: LeaseView) -> None:
        self._lease = lease

    @workflow.run
    async def run(self, lease: LeaseView) -> LeaseView:
        await workflow.wait_condition(lambda: False)
        return lease

    @workflow.query
    def view(self) -> LeaseView:
        return self._lease
