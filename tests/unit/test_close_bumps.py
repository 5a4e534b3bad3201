"""What is slow is bumped near its deadline, within the budget and what it is worth."""

from __future__ import annotations

import asyncio

from fulgurite.channels.requests import FeeBudget
from fulgurite.channels.states import CloseState
from tests.unit.closing_world import BLOCK_SECONDS, START, Lnd, order
from workflows.close import ChannelCloseWorkflow


def test_without_a_budget_lnd_is_left_alone() -> None:
    lnd = Lnd()
    lnd.confirms_at = START + 60
    lnd.run(order())
    assert lnd.bumps == []


def test_a_closing_transaction_that_nobody_confirms_is_bumped_near_the_htlcs_expiry() -> None:
    lnd = Lnd()
    lnd.htlcs_expire_at = START + 20
    lnd.confirms_at = START + 19
    lnd.run(order(fees=FeeBudget(budget_sat=5_000, blocks_before_deadline=6)))

    # At every block the same: lnd forgets it when it restarts.
    assert [height for height, _ in lnd.bumps] == [START + number for number in range(14, 19)]
    [bump] = {bump.model_dump_json(): bump for _, bump in lnd.bumps}.values()
    assert (bump.outpoint, bump.budget_sat, bump.deadline_height) == (None, 5_000, START + 20)


def test_a_closing_transaction_that_is_in_a_block_is_not_bumped() -> None:
    """lnd lists it as waiting until its confirmation is final."""
    lnd = Lnd()
    lnd.htlcs_expire_at, lnd.confirms_at, lnd.final_at = START + 20, START + 2, START + 60
    lnd.run(order(fees=FeeBudget(budget_sat=5_000)))

    assert lnd.bumps == []


def test_a_bump_never_costs_more_than_what_it_rescues() -> None:
    """Incident T: 100k sat to sweep 50k."""
    lnd = Lnd()
    lnd.htlcs_expire_at, lnd.confirms_at = START + 20, START + 200
    receipt = lnd.run(order(fees=FeeBudget(budget_sat=1_000_000)))

    assert receipt.status is CloseState.CLOSED
    assert {bump.budget_sat for _, bump in lnd.bumps} == {50_000}


def test_bumping_stops_at_the_budget_and_says_so_once() -> None:
    lnd = Lnd()
    lnd.htlcs_expire_at, lnd.confirms_at = START + 20, START + 60
    told: list[str] = []

    async def story() -> None:
        await asyncio.sleep(50 * BLOCK_SECONDS)
        told.extend(ChannelCloseWorkflow.view(lnd.workflow).timeline)

    lnd.run(order(fees=FeeBudget(budget_sat=3_000)), story)
    assert {bump.budget_sat for _, bump in lnd.bumps} == {3_000}
    assert sum("is given out" in line for line in told) == 1
    assert sum("3,000 sat for" in line for line in told) == 1


def test_past_its_deadline_it_is_asked_for_less_often() -> None:
    lnd = Lnd()
    lnd.htlcs_expire_at, lnd.confirms_at = START + 20, START + 60
    lnd.run(order(fees=FeeBudget(budget_sat=3_000, blocks_before_deadline=1)))

    assert [height - START for height, _ in lnd.bumps][:3] == [19, 20, 26]
    assert len(lnd.bumps) <= 15


def test_a_bump_that_lnd_did_not_take_costs_none_of_the_budget_and_is_tried_again() -> None:
    lnd = Lnd()
    lnd.htlcs_expire_at, lnd.confirms_at = START + 20, START + 17
    lnd.bump_taken = False

    async def story() -> None:
        await asyncio.sleep(12 * BLOCK_SECONDS)
        lnd.bump_taken = True

    lnd.run(order(fees=FeeBudget(budget_sat=3_000)), story)
    assert [height - START for height, _ in lnd.bumps] == [8, 14, 15, 16]
    assert {bump.budget_sat for _, bump in lnd.bumps} == {3_000}


def test_a_sweep_that_is_not_confirmed_for_long_is_bumped() -> None:
    lnd = Lnd()
    lnd.sweeps_at = START + 19
    lnd.run(order(fees=FeeBudget(budget_sat=2_000)))

    assert [height - START for height, _ in lnd.bumps] == [17, 18]
    assert all(bump.outpoint and bump.budget_sat == 2_000 for _, bump in lnd.bumps)


def test_a_larger_budget_that_comes_later_is_used() -> None:
    lnd = Lnd()
    lnd.htlcs_expire_at, lnd.confirms_at = START + 20, START + 60

    async def story() -> None:
        await asyncio.sleep(30 * BLOCK_SECONDS)
        lnd.join(order(fees=FeeBudget(budget_sat=9_000)))

    lnd.run(order(fees=FeeBudget(budget_sat=3_000)), story)
    budgets = [bump.budget_sat for _, bump in lnd.bumps]
    assert budgets == sorted(budgets)
    assert set(budgets) == {3_000, 9_000}
