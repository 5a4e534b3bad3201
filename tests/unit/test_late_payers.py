"""A late payer is told of once the invoice can be found, and holds up nobody meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from temporalio.service import RPCError, RPCStatusCode
from temporalio.testing import ActivityEnvironment

from activities import late_payers
from activities.late_payers import LatePayers
from fulgurite.invoices.receipts import LateAttempt
from fulgurite.money import Msat
from tests.properties import clock

A_MOMENT = 0.1
A_WHILE = 60.0


@dataclass
class Found:
    """One line of Temporal's list."""

    id: str


@dataclass
class House:
    """`Nodes`, of which there is one; the HTLCs that it turns away; Temporal, and its index."""

    found: list[Found] = field(default_factory=list)
    index_is_away: bool = False
    # The one under test, as a worker has it.
    late: LatePayers = field(init=False)
    asked: int = 0
    told: list[tuple[str, Msat]] = field(default_factory=list)
    connections: int = 0
    attempts: asyncio.Queue[LateAttempt] = field(default_factory=asyncio.Queue)

    async def come(self, amount_msat: int = 1_000) -> None:
        at = datetime(2026, 1, 1, tzinfo=UTC)
        self.attempts.put_nowait(LateAttempt(at=at, amount_msat=Msat(amount_msat)))
        await asyncio.sleep(A_MOMENT)

    # As Nodes, and LndHtlcs.

    def connection(self, name: str) -> House:
        assert name == "alice"
        return self

    @asynccontextmanager
    async def turned_away(self) -> AsyncIterator[AsyncIterator[LateAttempt]]:
        self.connections += 1

        async def as_they_come() -> AsyncIterator[LateAttempt]:
            while True:
                yield await self.attempts.get()

        yield as_they_come()

    # As a Temporal client.

    async def list_workflows(self, query: str, *, limit: int) -> AsyncIterator[Found]:
        assert "FulguriteNode = 'alice'" in query
        self.asked += 1
        if self.index_is_away:
            raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
        for each in self.found[:limit]:
            yield each

    def get_workflow_handle(self, workflow_id: str) -> Any:
        house = self

        class Handle:
            async def signal(self, name: str, attempt: LateAttempt) -> None:
                assert name == late_payers.LATE_ATTEMPT
                house.told.append((workflow_id, attempt.amount_msat))

        return Handle()


@pytest.fixture(autouse=True)
def at_the_house(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(late_payers, "LndHtlcs", lambda connection: connection)


@asynccontextmanager
async def looking_out(again: House | None = None) -> AsyncIterator[House]:
    house: Any = again or House()
    if not again:
        house.late = LatePayers(house, house)
    async with house.late.looking_out("alice"):
        await asyncio.sleep(A_MOMENT)
        yield house


def in_virtual_time(story: Coroutine[Any, Any, None]) -> None:
    async def as_an_activity() -> None:
        await story

    async def run() -> None:
        await ActivityEnvironment().run(as_an_activity)

    clock.run(run())


def test_who_comes_late_is_told_of_at_once() -> None:
    async def story() -> None:
        async with looking_out() as house:
            house.found = [Found("a")]
            await house.come()
            assert house.told == [("a", 1_000)]
            await asyncio.sleep(A_WHILE)
            assert (house.asked, house.told) == (1, [("a", 1_000)])

    in_virtual_time(story())


def test_who_finds_no_invoice_yet_is_told_of_a_little_later() -> None:
    """LND has closed it, and its workflow is a little behind."""

    async def story() -> None:
        async with looking_out() as house:
            await house.come(1_000)
            house.found = [Found("a")]
            await house.come(2_000)
            # The stream does not wait for it.
            assert house.told == [("a", 2_000)]
            await asyncio.sleep(A_WHILE)
            assert house.told == [("a", 2_000), ("a", 1_000)]

    in_virtual_time(story())


def test_who_finds_no_invoice_then_either_is_let_go() -> None:
    async def story() -> None:
        async with looking_out() as house:
            await house.come()
            await asyncio.sleep(A_WHILE)
            assert (house.asked, house.told) == (2, [])

    in_virtual_time(story())


def test_who_may_have_meant_one_of_several_is_not_guessed_at() -> None:
    async def story() -> None:
        async with looking_out() as house:
            house.found = [Found("a"), Found("b")]
            await house.come()
            await asyncio.sleep(A_WHILE)
            assert (house.asked, house.told) == (1, [])

    in_virtual_time(story())


def test_however_many_come_few_are_waited_for() -> None:
    async def story() -> None:
        async with looking_out() as house:
            many = 10 * late_payers._WAITING_AT_MOST
            for at in range(many):
                house.attempts.put_nowait(
                    LateAttempt(at=datetime.now(UTC), amount_msat=Msat(1 + at))
                )
            await asyncio.sleep(A_WHILE)
            assert house.asked == many + late_payers._WAITING_AT_MOST
            # There is room again.
            await house.come()
            await asyncio.sleep(A_WHILE)
            assert house.asked == many + late_payers._WAITING_AT_MOST + 2

    in_virtual_time(story())


def test_an_index_that_is_away_then_ends_no_listening() -> None:
    async def story() -> None:
        async with looking_out() as house:
            await house.come()
            house.index_is_away = True
            await asyncio.sleep(A_WHILE)
            assert (house.asked, house.connections) == (2, 1)

    in_virtual_time(story())


def test_who_listens_next_goes_on_with_those_who_wait() -> None:
    async def story() -> None:
        async with looking_out() as house:
            await house.come()
        await asyncio.sleep(1)
        house.found = [Found("a")]
        assert house.asked == 1
        async with looking_out(house):
            await asyncio.sleep(A_WHILE)
            assert (house.asked, house.told) == (2, [("a", 1_000)])

    in_virtual_time(story())


def test_who_waited_too_long_is_not_taken_for_a_payer_of_another_invoice() -> None:
    async def story() -> None:
        async with looking_out() as house:
            await house.come()
        await asyncio.sleep(A_WHILE)
        house.found = [Found("another")]
        async with looking_out(house):
            await asyncio.sleep(A_WHILE)
            assert (house.asked, house.told) == (1, [])

    in_virtual_time(story())


def test_nothing_goes_on_when_nobody_listens_any_more() -> None:
    async def story() -> None:
        before = asyncio.all_tasks()
        async with looking_out() as house:
            await house.come()
        await asyncio.sleep(A_WHILE)

        assert asyncio.all_tasks() == before
        assert house.asked == 1

    in_virtual_time(story())
