"""Telling a budget that does not answer: never a yes, always to be asked again (invariant 12)."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime

import grpc
import pytest
from temporalio.client import Client
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.budgets import BudgetActivities
from fulgurite.budgets.orders import BudgetOrder, Claim, OrderKind, TellBudget
from fulgurite.errors import BudgetUnreachableError
from fulgurite.money import Msat
from workflows.plugin import plugin


@pytest.fixture
async def mute() -> AsyncIterator[str]:
    """The address of a Temporal that lets anybody connect, and answers nothing."""
    server = grpc.aio.server()
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(grace=None)


async def test_a_budget_that_cannot_be_reached_is_no_answer(mute: str) -> None:
    telling = BudgetActivities(await Client.connect(mute, plugins=[plugin()]))
    order = BudgetOrder(
        kind=OrderKind.RESERVE,
        claim=Claim(holder="payment/a", since=datetime(2026, 1, 1, tzinfo=UTC)),
        amount_msat=Msat(1),
    )
    for _ in range(2):  # the next one in the queue is not left waiting either
        with pytest.raises(ApplicationError) as raised:
            await ActivityEnvironment().run(telling.tell, TellBudget(budget="daily", order=order))
        assert raised.value.type == BudgetUnreachableError.__name__
        assert not raised.value.non_retryable
        assert "nothing is sent without it" in raised.value.message
