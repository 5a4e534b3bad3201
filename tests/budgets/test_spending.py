"""Payments against a budget, in virtual time: what LND was told never exceeds it (invariant 4).

See `model`: the account that is asked is the model LND's own.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TypeVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fulgurite.budgets.policy import BudgetPolicy, Window
from fulgurite.payments.states import PaymentState, PaymentStatus
from tests.relays.model_temporal import run

from .model import Fate, Treasury, now, on_stage, request

S = PaymentState
Result = TypeVar("Result")
pytestmark = pytest.mark.timeout(300)

MONTH = BudgetPolicy(amount_sat=1_000, window=Window.MONTH)
SETTLES = Fate(1.0, PaymentStatus.SUCCEEDED, 0.5)
FAILS = Fate(1.0, PaymentStatus.FAILED)


def played(
    story: Callable[[Treasury], Awaitable[Result]],
    policy: BudgetPolicy | None = MONTH,
    *,
    seed: int = 1,
    trouble: float = 0.0,
) -> Result:
    async def all_of_it() -> Result:
        treasury = Treasury(policy, random.Random(seed), trouble)
        with on_stage(treasury):
            return await story(treasury)

    return run(all_of_it())


def test_a_thousand_at_once_never_exceed_the_budget() -> None:
    """Incidents F and M: with kills, lost answers, orders told twice and late settlements."""

    async def story(treasury: Treasury) -> list[PaymentState]:
        chance = random.Random(4)

        def one(number: int) -> Awaitable[PaymentState]:
            # Some hang for days, some are ended by force up to three times.
            seconds = chance.choice([0.5, 3.0, 60.0, 3 * 86_400.0])
            status = PaymentStatus.FAILED if number % 5 == 0 else PaymentStatus.SUCCEEDED
            kills = [chance.uniform(0.1, 20) for _ in range(chance.choice([0, 0, 0, 1, 3]))]
            paying = treasury.pay(
                request(9, 1), [Fate(seconds, status, chance.random())], killed_after=kills
            )
            return _state(paying)

        states = await asyncio.gather(*(one(number) for number in range(1_000)))
        assert treasury.book.reserved.total == 0
        assert treasury.book.settled(now()).total == treasury.settled()
        assert treasury.most > 900_000  # and not by refusing what fits
        return list(states)

    states = played(story, trouble=0.1)
    assert states.count(S.OVER_BUDGET) > 800
    assert states.count(S.SUCCEEDED) > 80


fates = st.builds(
    Fate,
    st.sampled_from([0.2, 3.0, 50.0, 4_000.0, 90_000.0]),
    st.sampled_from([PaymentStatus.SUCCEEDED, PaymentStatus.SUCCEEDED, PaymentStatus.FAILED]),
    st.floats(0, 1),
)
payments = st.tuples(
    st.integers(1, 600),  # sat
    st.integers(0, 60),  # fee limit, sat
    st.lists(fates, min_size=1, max_size=3),
    st.lists(st.sampled_from([0.1, 0.4, 1.0, 5.0, 300.0]), max_size=3),  # kills
    st.sampled_from([0.0, 1.0, 3_000.0, 100_000.0]),  # begins after, seconds
    st.booleans(),  # waits for room
)
policies = st.sampled_from(
    [
        MONTH,
        BudgetPolicy(amount_sat=1_000, window=Window.HOUR),
        BudgetPolicy(amount_sat=1_000),
        BudgetPolicy(amount_sat=1_000, rolling_seconds=7_200),
        BudgetPolicy(amount_sat=1_000, rolling_seconds=60),
    ]
)


@settings(max_examples=30)
@given(st.lists(payments, min_size=1, max_size=8), policies, st.integers(0, 99), st.booleans())
def test_whatever_happens_the_budget_holds_and_ends_with_what_was_spent(
    asked: list[tuple[int, int, list[Fate], list[float], float, bool]],
    policy: BudgetPolicy,
    seed: int,
    troubled: bool,
) -> None:
    async def story(treasury: Treasury) -> None:
        async def one(each: tuple[int, int, list[Fate], list[float], float, bool]) -> None:
            sat, fee, course, kills, after, waits = each
            await asyncio.sleep(after)
            paying = request(sat, fee, wait_for_budget=waits, deadline_seconds=90_000)
            receipt = await treasury.pay(paying, course, killed_after=kills)
            if receipt.status in {S.OVER_BUDGET, S.EXPIRED, S.CANCELED} and not kills:
                assert ("alice", receipt.payment_hash) not in treasury.attempts, receipt

        await asyncio.gather(*(one(each) for each in asked))
        assert treasury.book.reserved.total == 0
        if policy is MONTH:
            assert treasury.book.settled(now()).total == treasury.settled()

    played(story, policy, seed=seed, trouble=0.25 if troubled else 0.0)


def test_a_payment_in_flight_frees_nothing_whatever_time_it_takes() -> None:
    """Incident G: it is beyond its deadline and its window, and counts until LND's verdict."""

    async def story(treasury: Treasury) -> None:
        day = BudgetPolicy(amount_sat=1_000)
        assert day.window is None
        slow = asyncio.create_task(
            treasury.pay(
                request(900, 0, deadline_seconds=60, stuck_after_seconds=600),
                [Fate(200_000.0, PaymentStatus.SUCCEEDED)],
            )
        )
        for _ in range(2):
            await asyncio.sleep(86_400)
            refused = await treasury.pay(request(101, 0), [SETTLES])
            assert refused.status is S.OVER_BUDGET
            assert "100 sat is free" in refused.advice
        assert (await slow).status is S.SUCCEEDED
        assert (await treasury.pay(request(101, 0), [SETTLES])).status is S.OVER_BUDGET
        await asyncio.sleep(86_400)
        assert (await treasury.pay(request(101, 0), [SETTLES])).status is S.SUCCEEDED

    played(story, BudgetPolicy(amount_sat=1_000))


def test_retries_keep_the_reservation_and_a_verdict_of_failure_gives_it_back() -> None:
    async def story(treasury: Treasury) -> None:
        asked = request(900, 50, deadline_seconds=120)
        paying = asyncio.create_task(treasury.pay(asked, [FAILS]))
        await asyncio.sleep(30)
        assert treasury.book.reserved.total == 950_000
        assert (await treasury.pay(request(51, 0), [SETTLES])).status is S.OVER_BUDGET
        receipt = await paying
        assert receipt.status is S.FAILED
        assert len(treasury.attempts["alice", receipt.payment_hash]) > 1
        assert treasury.book.reserved.total == 0
        assert (await treasury.pay(request(51, 0), [SETTLES])).status is S.SUCCEEDED

    played(story)


def test_what_was_paid_counts_with_its_fee_and_the_rest_is_free_again() -> None:
    async def story(treasury: Treasury) -> None:
        receipt = await treasury.pay(request(900, 100), [SETTLES])
        assert (receipt.fee_msat, receipt.budgets) == (50_000, ("daily",))
        assert treasury.book.settled(now()).total == 950_000
        assert treasury.book.reserved.total == 0

    played(story)


@pytest.mark.parametrize("waits", [True, False])
def test_a_budget_that_nobody_has_set_lets_nothing_leave(waits: bool) -> None:
    """Invariant 12."""

    async def story(treasury: Treasury) -> None:
        receipt = await treasury.pay(request(1, 0, wait_for_budget=waits), [SETTLES])
        assert receipt.status is S.OVER_BUDGET
        assert "nobody has said how much" in receipt.advice
        assert not treasury.attempts

    played(story, None)


def test_a_budget_that_cannot_be_reached_lets_nothing_leave() -> None:
    """Invariant 12: nothing is sent meanwhile, and at the deadline nothing was."""

    async def story(treasury: Treasury) -> None:
        treasury.reachable.clear()
        asked = asyncio.create_task(treasury.pay(request(1, 0, deadline_seconds=600), [SETTLES]))
        await asyncio.sleep(3_600)
        assert not treasury.attempts
        # Perhaps it was granted: that must be known to be given back before it ends.
        assert not asked.done()
        treasury.reachable.set()
        assert (await asked).status is S.EXPIRED
        assert treasury.book.reserved.total == 0
        assert not treasury.attempts

    played(story)


def test_who_waits_is_paid_when_there_is_room() -> None:
    async def story(treasury: Treasury) -> None:
        first = asyncio.create_task(
            treasury.pay(request(1_000, 0), [Fate(5_000.0, PaymentStatus.FAILED)])
        )
        await asyncio.sleep(5)
        began = now()
        waiting = await treasury.pay(
            request(1_000, 0, wait_for_budget=True, deadline_seconds=86_400), [SETTLES]
        )
        assert (await first).status is S.FAILED
        assert waiting.status is S.SUCCEEDED
        assert now() - began < timedelta(seconds=5_000 + 3_600 + 400)

    played(story)


def test_who_waits_for_two_budgets_is_paid_when_both_have_room() -> None:
    """What the first has granted before the second refused is granted again at the next try."""

    async def story(treasury: Treasury) -> None:
        treasury.keeps("weekly", MONTH)
        first = asyncio.create_task(
            treasury.pay(
                request(1_000, 0, budgets=["weekly"]), [Fate(5_000.0, PaymentStatus.FAILED)]
            )
        )
        await asyncio.sleep(5)
        asked = request(900, 0, budgets=["weekly"], wait_for_budget=True, deadline_seconds=86_400)
        receipt = await treasury.pay(asked, [SETTLES])
        assert (await first).status is S.FAILED
        assert (receipt.status, receipt.budgets) == (S.SUCCEEDED, ("daily", "weekly"))
        for book in treasury.books.values():
            assert (book.reserved.total, book.settled(now()).total) == (0, 900_000)

    played(story, BudgetPolicy(amount_sat=10_000, window=Window.MONTH), trouble=0.2)


def test_who_waits_for_days_does_so_in_many_runs() -> None:
    """No history grows without bound, and the deadline is one over all runs."""

    async def story(treasury: Treasury) -> None:
        await treasury.pay(request(1_000, 0), [SETTLES])
        treasury.longest_run, treasury.runs = timedelta(hours=1), 0
        asked = request(100, 0, wait_for_budget=True, deadline_seconds=2 * 86_400)
        assert (await treasury.pay(asked, [SETTLES])).status is S.SUCCEEDED
        assert treasury.runs > 10
        in_vain = request(901, 0, wait_for_budget=True, deadline_seconds=7_200)
        assert (await treasury.pay(in_vain, [SETTLES])).status is S.OVER_BUDGET
        assert treasury.book.reserved.total == 0

    played(story, BudgetPolicy(amount_sat=1_000))


def test_the_same_hash_from_another_node_has_a_reservation_of_its_own() -> None:
    """Whoever was ended by force at one node has it in flight there: that counts, and stays."""

    async def story(treasury: Treasury) -> None:
        asked, slow = request(600, 0), [Fate(86_400.0, PaymentStatus.SUCCEEDED)]
        killed = asyncio.create_task(treasury.pay(asked, slow, killed_after=[60.0]))
        await asyncio.sleep(61)
        assert treasury.book.reserved.total == 600_000
        elsewhere = asked.model_copy(update={"node": "bob"})
        assert (await treasury.pay(elsewhere, slow)).status is S.OVER_BUDGET
        assert treasury.book.reserved.total == 600_000
        assert (await killed).status is S.SUCCEEDED
        assert treasury.book.reserved.total == 0
        assert treasury.book.settled(now()).total == 600_000

    played(story)


def test_who_waits_in_vain_is_over_budget_at_his_deadline() -> None:
    async def story(treasury: Treasury) -> None:
        await treasury.pay(request(1_000, 0), [SETTLES])
        began = now()
        receipt = await treasury.pay(
            request(1, 0, wait_for_budget=True, deadline_seconds=7_200), [SETTLES]
        )
        assert receipt.status is S.OVER_BUDGET
        assert receipt.refusal is not None
        assert now() - began >= timedelta(seconds=7_199)
        never = await treasury.pay(request(1_001, 0, wait_for_budget=True), [SETTLES])
        assert never.status is S.OVER_BUDGET  # more than the whole: at once

    played(story)


async def _state(paying: Awaitable[object]) -> PaymentState:
    receipt = await paying
    return receipt.status  # type: ignore[attr-defined,no-any-return]
