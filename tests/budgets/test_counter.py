"""A thousand at the counter of one budget, while what serves them dies and begins anew."""

from __future__ import annotations

import asyncio
import random
import uuid
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import pytest
from temporalio.client import (
    Client,
    WorkflowExecutionStatus,
    WorkflowFailureError,
    WorkflowUpdateFailedError,
)
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

import worker
from activities.budgets import BudgetActivities
from devnet.house import House
from fulgurite import ids
from fulgurite.budgets.orders import BudgetAnswer, BudgetOrder, Claim, OrderKind, TellBudget
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.errors import BudgetUnreachableError, InvalidRequestError
from fulgurite.money import Msat
from nodes.registry import Nodes
from nodes.webhooks.sender import Webhooks
from starter.budget import configure_budgets
from starter.client import FulguriteClient
from workflows import budget as budgets

from .asking import stands

pytestmark = pytest.mark.timeout(300)
K = OrderKind
LONG = 7 * 86_400
_BEGAN = datetime(2026, 1, 1, tzinfo=UTC)


class Counter:
    """What Temporal does for a workflow that tells a budget: it asks again until it is answered."""

    def __init__(self, temporal: Client, name: str) -> None:
        self._activities = BudgetActivities(temporal)
        self._name = name
        self.unanswered = 0

    async def tell(self, kind: OrderKind, holder: str, sat: int, fee_sat: int = 0) -> BudgetAnswer:
        order = BudgetOrder(
            kind=kind,
            claim=Claim(holder=holder, since=_BEGAN),
            amount_msat=Msat.from_sat(sat),
            fee_msat=Msat.from_sat(fee_sat),
        )
        while True:
            try:
                return await ActivityEnvironment().run(
                    self._activities.tell, TellBudget(budget=self._name, order=order)
                )
            except ApplicationError as error:
                if error.type != BudgetUnreachableError.__name__ or error.non_retryable:
                    raise
                self.unanswered += 1
                await asyncio.sleep(0.1)


@pytest.fixture
async def working(home: House, temporal: Client) -> AsyncIterator[None]:
    """A worker in this process."""
    nodes, webhooks = Nodes(home.settings.nodes), Webhooks(home.settings.webhooks)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(nodes.close)
        stack.push_async_callback(webhooks.close)
        for each in worker.workers(temporal, home.settings, nodes, webhooks):
            await stack.enter_async_context(each)
        yield


async def test_a_thousand_at_once_are_granted_no_more_than_there_is_whatever_dies(
    home: House, temporal: Client, client: FulguriteClient
) -> None:
    """Incidents F and M: kill -9 of the worker that keeps the book, and of Temporal under it."""
    name = f"b{uuid.uuid4().hex[:8]}"
    counter, chance = Counter(temporal, name), random.Random(6)

    async def spends(number: int) -> tuple[bool, int]:
        await asyncio.sleep(chance.uniform(0, 6))
        holder = f"payment/{number}"
        answer = await counter.tell(K.RESERVE, holder, 9, 1)
        if answer.refusal:
            return False, 0
        await asyncio.sleep(chance.uniform(0, 6))
        # Each tells it twice: the first answer may have been lost.
        for _ in range(2):
            await counter.tell(K.COMMIT, holder, 9, number % 2)
        return True, 9 + number % 2

    async with home.worker() as keeper:
        budget = client.budget(name)
        await budget.set(BudgetPolicy(amount_sat=1_000, rolling_seconds=LONG), by="ada")
        spending = [asyncio.create_task(spends(number)) for number in range(1_000)]
        await asyncio.sleep(0)
        await stands(client, name, lambda seen: seen.spent_msat > 0)
        await keeper.kill()
        await keeper.start()
        await stands(client, name)
        await home.temporal.kill()
        await home.temporal.start()
        granted = [sat for was_granted, sat in await asyncio.gather(*spending) if was_granted]
        view = await stands(client, name)

    assert counter.unanswered  # they did die while somebody waited
    assert (view.holders, view.spent_msat) == (0, 1_000 * sum(granted))
    assert 900 <= sum(granted) <= 1_000


@pytest.mark.usefixtures("working")
async def test_runs_follow_each_other_and_no_order_is_lost_between_them(
    monkeypatch: pytest.MonkeyPatch, temporal: Client, client: FulguriteClient
) -> None:
    monkeypatch.setattr(budgets, "_ORDERS_A_RUN", 3)
    name = f"b{uuid.uuid4().hex[:8]}"
    budget = client.budget(name)
    await budget.set(BudgetPolicy(amount_sat=1_000, rolling_seconds=LONG), by="ada")
    # As many workers, each with a counter of its own, so that updates meet.
    counters = [Counter(temporal, name) for _ in range(6)]

    async def reserves(counter: Counter, number: int) -> bool:
        for part in range(5):
            answer = await counter.tell(K.RESERVE, f"payment/{number}-{part}", 10)
            if answer.refusal:
                return False
        return True

    await asyncio.gather(*(reserves(each, number) for number, each in enumerate(counters)))
    view = await budget.view()
    assert (view.holders, view.reserved_msat) == (30, 300_000)
    runs = [w async for w in temporal.list_workflows(f"WorkflowId = '{ids.budget_id(name)}'")]
    assert len(runs) > 3
    assert {w.status for w in runs} == {
        WorkflowExecutionStatus.RUNNING,
        WorkflowExecutionStatus.CONTINUED_AS_NEW,
    }


@pytest.mark.usefixtures("working")
async def test_the_configuration_is_told_at_every_start_and_leaves_a_persons_word(
    temporal: Client, client: FulguriteClient
) -> None:
    name = f"b{uuid.uuid4().hex[:8]}"
    configured = BudgetPolicy(amount_sat=1_000)
    await configure_budgets(temporal, {name: configured})
    budget = client.budget(name)
    assert (await budget.view()).policy == configured
    await budget.set(BudgetPolicy(amount_sat=0), by="ada")
    await configure_budgets(temporal, {name: configured})
    view = await budget.view()
    assert (view.policy, view.set_by) == (BudgetPolicy(amount_sat=0), "ada")
    await configure_budgets(temporal, {name: BudgetPolicy(amount_sat=2_000)})
    assert (await budget.view()).set_by == "the configuration"
    assert name in {each.name for each in await client.budgets()}


@pytest.mark.usefixtures("working")
@pytest.mark.parametrize("name", ["Not A Name", 7, None, {"name": "daily"}, "another"])
async def test_what_is_no_budgets_name_is_refused_and_wedges_nothing(
    temporal: Client, name: object
) -> None:
    handle = await temporal.start_workflow(
        "BudgetWorkflow",
        name,
        id=ids.budget_id(f"b{uuid.uuid4().hex[:8]}"),
        task_queue=ids.TASK_QUEUE,
    )
    with pytest.raises(WorkflowFailureError) as raised:
        await handle.result()
    assert isinstance(raised.value.cause, ApplicationError)
    assert raised.value.cause.type == InvalidRequestError.__name__


@pytest.mark.usefixtures("working")
async def test_what_one_ended_by_force_has_left_can_be_released_and_still_debits(
    temporal: Client, client: FulguriteClient
) -> None:
    name = f"b{uuid.uuid4().hex[:8]}"
    budget, counter = client.budget(name), Counter(temporal, name)
    await budget.set(BudgetPolicy(amount_sat=100, rolling_seconds=LONG), by="ada")
    await counter.tell(K.RESERVE, "rebalance/a", 90)
    assert (await budget.release("rebalance/a")).holders == 0
    await counter.tell(K.COMMIT, "rebalance/a", 90)
    assert (await budget.view()).spent_msat == 90_000
    await counter.tell(K.RESERVE, "swap/a", 10)
    view = await budget.release("swap/a", spent_msat=Msat.from_sat(3), fee_msat=Msat.from_sat(1))
    assert (view.holders, view.spent_msat, view.spent_fee_msat) == (0, 94_000, 1_000)
    with pytest.raises(InvalidRequestError, match="swap/a holds nothing"):
        await budget.release("swap/a")


@pytest.mark.usefixtures("working")
async def test_neither_a_cancel_nor_a_moment_beyond_the_calendar_ends_or_wedges_it(
    temporal: Client, client: FulguriteClient
) -> None:
    name = f"b{uuid.uuid4().hex[:8]}"
    budget, counter = client.budget(name), Counter(temporal, name)
    await budget.set(BudgetPolicy(amount_sat=100, rolling_seconds=LONG), by="ada")
    await counter.tell(K.COMMIT, "payment/a", 60)
    handle = temporal.get_workflow_handle(ids.budget_id(name))
    await handle.cancel()
    claim = {"holder": "payment/b", "since": "9999-12-31T23:59:59-12:00"}
    with pytest.raises(WorkflowUpdateFailedError):
        await handle.execute_update("tell", {"orders": [{"kind": K.RESERVE, "claim": claim}]})
    assert (await counter.tell(K.RESERVE, "payment/c", 41)).refusal is not None
    assert (await counter.tell(K.RESERVE, "payment/c", 40)).refusal is None
    assert (await handle.describe()).status is WorkflowExecutionStatus.RUNNING
    assert (await budget.view()).spent_msat == 60_000
