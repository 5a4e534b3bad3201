"""The budgets of a lease: asked before anything moves, told what it has cost."""

from __future__ import annotations

from temporalio import workflow

from fulgurite.budgets.orders import Claim, Purpose
from fulgurite.leases.progress import LeaseProgress
from fulgurite.leases.receipts import LeaseCost
from fulgurite.leases.requests import LeaseRequest
from fulgurite.money import Msat
from workflows import reserving


async def reserve(lease: LeaseProgress, request: LeaseRequest) -> None:
    """The most that it can cost, in all of them or in none."""
    assert lease.quote is not None  # nothing moves without one
    worst = Msat.from_sat(lease.quote.cost_sat)
    refusal = await reserving.reserve(request.budgets, _claim(lease), Msat(0), worst)
    lease.heard_of_budgets(refusal, workflow.now())


async def settle(lease: LeaseProgress, request: LeaseRequest) -> None:
    """Once its cost is known: what was won has cost so much, and nothing more will follow."""
    if lease.settled or not request.budgets or not lease.cost_is_known:
        return
    claim, cost = _claim(lease), LeaseCost.of(lease.channels.values())
    if lease.channels:
        spent = Msat.from_sat(cost.total_sat)
        await reserving.commit(request.budgets, claim, Msat(0), spent, reserved=lease.reserved)
    else:
        await reserving.release(request.budgets, claim)
    lease.settled = True


def _claim(lease: LeaseProgress) -> Claim:
    return reserving.claim(lease.holder, lease.requested_at, Purpose.LEASE)
