"""A plan at the moment of its beginning: what no longer holds is left out, and says why."""

from __future__ import annotations

from typing import Any

import pytest

from fulgurite.liquidity.confirming import confirmed
from fulgurite.liquidity.deeds import DeedState
from fulgurite.liquidity.needs import Judgement
from fulgurite.liquidity.plans import ChannelLine
from fulgurite.liquidity.policy import LiquidityPolicy, Remedy, Rule
from fulgurite.liquidity.pricing import Purse
from fulgurite.liquidity.reasons import Reason
from tests.liquidity.worlds import channel_id, deed, holding, judged, peer, planned, purse

EMPTY, FULL = holding(1, 0.05), holding(2, 0.95)
PRICES = {Remedy.REBALANCE: 1_000}
# Two that want something, and two that can give it: 450 sat each, and 676 at the most.
FOUR = (EMPTY, FULL, holding(3, 0.02), holding(4, 0.95))


def _lines(*channels: Any, **policy: Any) -> list[ChannelLine]:
    judgement = judged(*channels, policy=LiquidityPolicy(**policy))
    return list(planned(judgement, PRICES).values())


def _again(
    judgement: Judgement, *, plan: list[ChannelLine] | None = None, money: Purse | None = None
) -> list[ChannelLine]:
    return list(confirmed(plan or _lines(EMPTY, FULL), judgement, money or purse()))


def test_what_still_holds_is_begun_as_it_was_planned() -> None:
    plan = _lines(EMPTY, FULL)
    assert plan[0].move
    assert _again(judged(EMPTY, FULL)) == plan
    # Forwards went on: the one wants a little more, the other has a little less.
    assert _again(judged(holding(1, 0.04), holding(2, 0.93))) == plan


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        pytest.param((holding(1, 0.5), FULL), Reason.BALANCED, id="it was filled meanwhile"),
        pytest.param((holding(1, 0.05, active=False), FULL), Reason.INACTIVE, id="peer away"),
        pytest.param((FULL,), Reason.INACTIVE, id="closed"),
        pytest.param((EMPTY, holding(2, 0.4)), Reason.NO_PARTNER, id="the partner has less"),
        pytest.param((EMPTY, holding(2, 0.95, active=False)), Reason.NO_PARTNER, id="it is away"),
        pytest.param((EMPTY,), Reason.NO_PARTNER, id="it is closed"),
    ],
)
def test_what_the_balances_no_longer_ask_for_is_left_out(now: Any, reason: Reason) -> None:
    first, other = _again(judged(*now))
    assert (first.move, first.reason) == (None, reason)
    assert [each.local_after_sat for each in (first, other)] == [first.local_sat, other.local_sat]


@pytest.mark.parametrize(
    ("begun", "reason"),
    [
        (deed(1, state=DeedState.UNDER_WAY), Reason.IN_FLIGHT),
        (deed(1, state=DeedState.FAILED), Reason.BACKING_OFF),
        (deed(3, fills=True, partner=1), Reason.JUST_MOVED),
        (deed(2, state=DeedState.UNDER_WAY), Reason.NO_PARTNER),
        (deed(2, fills=True), Reason.NO_PARTNER),
    ],
)
def test_what_others_have_begun_or_failed_meanwhile_counts(begun: Any, reason: Reason) -> None:
    first, _ = _again(judged(EMPTY, FULL, deeds=[begun]))
    assert (first.move, first.reason) == (None, reason)


def test_an_old_plan_does_not_go_beyond_what_may_be_under_way_at_once() -> None:
    elsewhere = [deed(9, state=DeedState.UNDER_WAY)]
    kept = _again(judged(*FOUR, deeds=elsewhere), plan=_lines(*FOUR))
    # The most lopsided one has the slot that is left.
    assert (kept[0].reason, kept[2].reason) == (Reason.TOO_MANY_IN_FLIGHT, Reason.LOCAL_LOW)
    assert [line.channel_id for line in kept if line.move] == [channel_id(3)]


def test_an_old_plan_does_not_go_beyond_what_the_budget_has_now() -> None:
    plan = _lines(*FOUR)
    assert len([line for line in plan if line.move]) == 2
    kept = _again(judged(*FOUR), plan=plan, money=purse(1_000, named=True))
    assert (kept[0].reason, kept[2].reason) == (Reason.OVER_BUDGET, Reason.LOCAL_LOW)
    dark = _again(judged(*FOUR), plan=plan, money=purse(named=True))
    assert {dark[0].reason, dark[2].reason} == {Reason.BUDGET_UNKNOWN}


def test_the_side_that_was_short_may_be_the_other_one_by_now() -> None:
    both = {str(peer(1)): Rule(remote_below=0.2)}
    policy = LiquidityPolicy(rules=both)
    kept = _again(
        judged(holding(1, 0.95), FULL, policy=policy), plan=_lines(EMPTY, FULL, rules=both)
    )
    assert (kept[0].move, kept[0].reason) == (None, Reason.JUST_MOVED)


def test_a_person_can_approve_some_of_the_moves() -> None:
    plan = _lines(*FOUR)
    kept = confirmed(plan, judged(*FOUR), purse(), only=(channel_id(1),))
    assert kept[0] == plan[0]
    assert (kept[2].move, kept[2].reason) == (None, Reason.NOT_APPROVED)
