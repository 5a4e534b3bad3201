"""Telling budgets: many callers at once, one update after another."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import timedelta
from typing import Final

from temporalio import activity
from temporalio.client import (
    Client,
    WorkflowUpdateFailedError,
    WorkflowUpdateRPCTimeoutOrCancelledError,
)
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError, RPCStatusCode

from activities.errors import application_error
from activities.heartbeats import heartbeating
from fulgurite import ids
from fulgurite.budgets.orders import (
    TELL_BUDGET,
    BudgetAnswer,
    BudgetAnswers,
    BudgetOrder,
    BudgetOrders,
    TellBudget,
)
from fulgurite.budgets.policy import BudgetName
from fulgurite.errors import BudgetUnreachableError, FulguriteError

# Temporal takes ten updates of one workflow at a time; of a worker one is under way, with so many
# orders: few enough that the book is never long at it.
_AT_ONCE: Final = 200
_PATIENCE: Final = timedelta(seconds=10)


class BudgetActivities:
    """Tells budgets through Temporal. It needs no node and no credential."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._counters: dict[BudgetName, _Counter] = {}

    @activity.defn(name=TELL_BUDGET.name)
    async def tell(self, ask: TellBudget) -> BudgetAnswer:
        """Has one order carried out, and gives the budget's answer.

        Raises BudgetUnreachableError, to be retried: it may have been carried out, and told
        again it changes nothing.
        """
        if ask.budget not in self._counters:
            self._counters[ask.budget] = _Counter(self._client, ask.budget)
        try:
            async with heartbeating():
                return await self._counters[ask.budget].take(ask.order)
        except FulguriteError as error:
            raise application_error(error) from error


class _Counter:
    """Where those queue who want the same budget."""

    def __init__(self, client: Client, budget: BudgetName) -> None:
        self._client = client
        self._budget = budget
        self._waiting: list[tuple[BudgetOrder, asyncio.Future[BudgetAnswer]]] = []
        self._serving: asyncio.Task[None] | None = None

    async def take(self, order: BudgetOrder) -> BudgetAnswer:
        answer: asyncio.Future[BudgetAnswer] = asyncio.get_running_loop().create_future()
        self._waiting.append((order, answer))
        if self._serving is None or self._serving.done():
            self._serving = asyncio.create_task(self._serve())
        return await answer

    async def _serve(self) -> None:
        """All who have come meanwhile at a time, while somebody waits."""
        while self._waiting:
            batch, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
            # Of who was canceled while he waited, the budget need not hear.
            batch = [(order, answer) for order, answer in batch if not answer.done()]
            if not batch:
                continue
            try:
                answers = await self._told([order for order, _ in batch])
            except Exception as error:  # noqa: BLE001 - whoever waits has to hear of it
                for _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
                continue
            for (_, answer), given in zip(batch, answers, strict=True):
                if not answer.done():
                    answer.set_result(given)

    async def _told(self, orders: Sequence[BudgetOrder]) -> Sequence[BudgetAnswer]:
        try:
            try:
                return await self._update(orders)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                # Nobody has set it: it is begun, to say so, and to keep what is debited.
                await self._begin()
                return await self._update(orders)
        except (
            RPCError,
            WorkflowUpdateFailedError,
            WorkflowUpdateRPCTimeoutOrCancelledError,
        ) as error:
            raise BudgetUnreachableError(
                f"budget {self._budget} gave no answer ({error}): nothing is sent without it"
            ) from error

    async def _update(self, orders: Sequence[BudgetOrder]) -> Sequence[BudgetAnswer]:
        budget = self._client.get_workflow_handle(ids.budget_id(self._budget))
        given: BudgetAnswers = await budget.execute_update(
            "tell",
            BudgetOrders(orders=tuple(orders)),
            result_type=BudgetAnswers,
            rpc_timeout=_PATIENCE,
        )
        return given.answers

    async def _begin(self) -> None:
        """Or finds that it has just gone on in a new run."""
        await self._client.start_workflow(
            "BudgetWorkflow",
            self._budget,
            id=ids.budget_id(self._budget),
            task_queue=ids.TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            static_summary=f"budget {self._budget}",
        )
