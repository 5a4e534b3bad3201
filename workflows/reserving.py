"""Budgets, as any workflow that spends deals with them.

Reserve the worst case before anything can be sent; then, once and for certain, either commit
what has left, or release because nothing has and nothing will. What is unknown stays reserved.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from temporalio import workflow

from fulgurite import ids
from fulgurite.budgets.orders import (
    TELL_BUDGET,
    BudgetOrder,
    Claim,
    Holder,
    OrderKind,
    Purpose,
    Refusal,
    TellBudget,
    holder_at,
)
from fulgurite.budgets.policy import BudgetName
from fulgurite.identity import NodeName
from fulgurite.money import Msat
from workflows.calling import start_on

_ONE_CALL = timedelta(minutes=1)
_BY_NODE: Final = "budgets-know-holders-by-node"


def known_as(node: NodeName, budgets: Sequence[BudgetName]) -> Holder | None:
    """Under which name this workflow spends: to be asked as it starts, and kept over its runs.

    None where it began before keys were told apart by node: it may have reserved under its id
    alone, and goes by that name to its end.
    """
    if budgets and workflow.patched(_BY_NODE):
        return holder_at(node, workflow.info().workflow_id)
    return None


def claim(holder: Holder | None, since: datetime, purpose: Purpose) -> Claim:
    """Of this workflow, under the name that `known_as` has given it."""
    return Claim(holder=holder or workflow.info().workflow_id, since=since, purpose=purpose)


async def reserve(
    budgets: Sequence[BudgetName], claim: Claim, amount_msat: Msat, fee_msat: Msat
) -> Refusal | None:
    """None once every budget has granted the amount and, beside it, so much in fees at worst.

    All or nothing. Waits for as long as a budget cannot be reached. Who is canceled in here
    does not know what was granted: `release`, whatever became of it.
    """
    for number, budget in enumerate(budgets):
        refusal = await _tell(budget, OrderKind.RESERVE, claim, amount_msat, fee_msat)
        if refusal:
            await release(budgets[:number], claim)
            return refusal
    return None


async def commit(
    budgets: Sequence[BudgetName],
    claim: Claim,
    amount_msat: Msat,
    fee_msat: Msat,
    *,
    reserved: bool = True,
) -> None:
    """So much has left for good, and counts, whatever was reserved and is reserved still.

    With `reserved` False, by a run that has reserved nothing itself, it counts only where an
    earlier run of the same id has left a reservation behind. Waits for as long as it takes.
    """
    kind = OrderKind.COMMIT if reserved else OrderKind.COMMIT_RESERVED
    for budget in budgets:
        await _tell(budget, kind, claim, amount_msat, fee_msat)


async def release(budgets: Sequence[BudgetName], claim: Claim) -> None:
    """Nothing has left and nothing will: only by LND's word, or where nothing was ever sent."""
    for budget in budgets:
        await _tell(budget, OrderKind.RELEASE, claim, Msat(0), Msat(0))


async def _tell(
    budget: BudgetName, kind: OrderKind, claim: Claim, amount_msat: Msat, fee_msat: Msat
) -> Refusal | None:
    order = BudgetOrder(kind=kind, claim=claim, amount_msat=amount_msat, fee_msat=fee_msat)
    # Not as a local activity: a thousand of these would take every place for workflow tasks,
    # and leave none to the budget's own, whose answer they wait for.
    answer = await start_on(
        ids.TASK_QUEUE,
        TELL_BUDGET,
        TellBudget(budget=budget, order=order),
        at_most=_ONE_CALL,
        summary=f"{kind.replace('_', ' ').lower()} in budget {budget}",
    )
    return answer.refusal
