"""What a channel wants, by its balance, its peer, its flows and its past: case by case."""

from __future__ import annotations

import pytest
from pydantic import ValidationError

from fulgurite.liquidity.deeds import Deed, DeedState
from fulgurite.liquidity.flows import PARTS, Flow, forecast
from fulgurite.liquidity.policy import LiquidityPolicy, Mode, Remedy, Rule
from fulgurite.liquidity.pricing import Need
from fulgurite.liquidity.reasons import Reason
from fulgurite.liquidity.requests import LiquidityRequest
from tests.liquidity.worlds import (
    channel_id,
    deed,
    holding,
    judged,
    peer,
    planned,
    point,
    purse,
    steady,
    waiting,
)

REBALANCE = {Remedy.REBALANCE: 100}


def test_an_empty_channel_is_filled_to_its_target_from_one_above_its_own() -> None:
    plan = planned(judged(holding(1, 0.05), holding(2, 0.9), holding(3, 0.5)), REBALANCE)
    assert [plan[number].reason for number in (1, 2, 3)] == [
        Reason.LOCAL_LOW,
        Reason.IS_PARTNER,
        Reason.BALANCED,
    ]
    assert plan[1].move
    # What the other has above its target, which is less than what is wanted.
    assert (plan[1].move.partner, plan[1].move.amount_sat) == (point(2), 400_000)
    assert (plan[1].local_after_sat, plan[2].local_after_sat) == (450_000, 500_000)


def test_two_channels_with_one_peer_are_never_a_circle() -> None:
    plan = planned(judged(holding(1, 0.05, peer_number=9), holding(2, 0.9, peer_number=9)), {})
    assert plan[1].reason is Reason.NO_PARTNER


def test_a_peers_channels_are_judged_together_where_the_peer_has_a_rule() -> None:
    policy = LiquidityPolicy(rules={peer(9): Rule(local_below=0.3)})
    channels = (holding(1, 0.05, peer_number=9), holding(2, 0.9, peer_number=9), holding(3, 0.9))
    fine = planned(judged(*channels, policy=policy), REBALANCE)
    assert (fine[1].reason, fine[2].reason) == (Reason.PEER_BALANCED, Reason.BALANCED)

    channels = (holding(1, 0.05, peer_number=9), holding(2, 0.3, peer_number=9), holding(3, 0.9))
    short = planned(judged(*channels, policy=policy), REBALANCE)
    # The one with the most room gets it, for both.
    assert (short[1].reason, short[2].reason) == (Reason.LOCAL_LOW, Reason.OTHER_CHOSEN)


def test_a_channels_own_rule_goes_before_its_peers() -> None:
    rules = {peer(1): Rule(ignore=True), str(channel_id(1)): Rule()}
    plan = planned(judged(holding(1, 0.05), policy=LiquidityPolicy(rules=rules)), {})
    assert plan[1].reason is not Reason.IGNORED


def test_easy_mode_fills_or_empties_the_node_and_leaves_the_rest() -> None:
    channels = (holding(1, 0.05), holding(2, 0.4), holding(3, 0.5))
    poor = planned(
        judged(*channels, policy=LiquidityPolicy(easy_local_sat=1_500_000)), {Remedy.LOOP_IN: 100}
    )
    assert [poor[number].reason for number in (1, 2, 3)] == [
        Reason.NODE_BELOW_TARGET,
        Reason.OTHER_CHOSEN,
        Reason.OTHER_CHOSEN,
    ]
    assert poor[1].move
    assert poor[1].move.amount_sat == 550_000
    near = planned(judged(*channels, policy=LiquidityPolicy(easy_local_sat=1_000_000)), {})
    assert {line.reason for line in near.values()} == {Reason.NODE_AT_TARGET}
    rich = planned(
        judged(*channels, policy=LiquidityPolicy(easy_local_sat=500_000)), {Remedy.LOOP_OUT: 100}
    )
    assert rich[3].reason is Reason.NODE_ABOVE_TARGET


def test_what_is_under_way_counts_in_easy_mode() -> None:
    coming = deed(1, remedy=Remedy.LOOP_IN, state=DeedState.UNDER_WAY, amount_sat=450_000)
    policy = LiquidityPolicy(easy_local_sat=1_000_000)
    plan = planned(judged(holding(1, 0.05), holding(2, 0.5), policy=policy, deeds=[coming]), {})
    assert (plan[1].reason, plan[2].reason) == (Reason.IN_FLIGHT, Reason.NODE_AT_TARGET)


def test_a_channel_that_runs_dry_soon_is_filled_before_it_is_empty() -> None:
    ahead = LiquidityPolicy(ahead_hours=24)
    draining = holding(1, 0.3, flow=steady(out_sat=400_000))
    judgement = judged(draining, holding(2, 0.9), policy=ahead)
    plan = planned(judgement, REBALANCE)
    # 400,000 sat a day, of 300,000.
    assert (plan[1].reason, plan[1].forecast.dry_in_hours) == (Reason.DRY_SOON, 18.0)
    later = planned(judged(draining, holding(2, 0.9)), REBALANCE)
    assert later[1].reason is Reason.BALANCED


@pytest.mark.parametrize(
    "flow",
    [
        pytest.param(
            Flow(hours=168, forwards=100, out_sat=(0,) * 6 + (900_000,), in_sat=(0,) * PARTS),
            id="one large forward is no trend",
        ),
        pytest.param(
            Flow(hours=168, forwards=3, out_sat=(90_000,) * PARTS, in_sat=(0,) * PARTS),
            id="too few forwards",
        ),
        pytest.param(
            Flow(hours=168, forwards=90, out_sat=(50_000,) * PARTS, in_sat=(50_000,) * PARTS),
            id="as much comes as goes",
        ),
        pytest.param(None, id="no history"),
    ],
)
def test_without_a_trend_nothing_is_forecast(flow: Flow | None) -> None:
    assert forecast(flow, local_sat=100_000, remote_sat=900_000).dry_in_hours is None


def test_doing_nothing_is_chosen_where_the_income_is_below_the_price() -> None:
    """Worth what it is forecast to earn: 100 ppm where much passes, nothing where nothing does."""
    policy = LiquidityPolicy(worth_ppm=0)
    busy = holding(1, 0.05, flow=steady(out_sat=400_000, fee_ppm=400))
    idle = holding(2, 0.05, flow=steady())
    channels = (busy, idle, holding(3, 1.0), holding(4, 1.0))
    plan = planned(judged(*channels, policy=policy), {Remedy.REBALANCE: 300})
    assert (plan[1].reason, plan[2].reason) == (Reason.LOCAL_LOW, Reason.NOT_WORTH_IT)
    assert (plan[1].idle_ppm, plan[2].idle_ppm) == (400, 0)
    dear = planned(judged(*channels, policy=policy), {Remedy.REBALANCE: 500})
    assert dear[1].reason is Reason.NOT_WORTH_IT


def test_the_cheapest_by_the_sat_is_taken_whatever_it_moves() -> None:
    judgement = judged(holding(1, 0.05), holding(2, 0.6))
    plan = planned(judgement, {Remedy.REBALANCE: 300, Remedy.LOOP_IN: 301})
    assert plan[1].move
    assert (plan[1].move.remedy, plan[1].move.amount_sat) == (Remedy.REBALANCE, 100_000)
    swapped = planned(judgement, {Remedy.REBALANCE: 300, Remedy.LOOP_IN: 299})
    assert swapped[1].move
    assert (swapped[1].move.remedy, swapped[1].move.amount_sat) == (Remedy.LOOP_IN, 450_000)


def test_the_most_pressing_channel_comes_first_where_not_all_can_be_served() -> None:
    policy = LiquidityPolicy(max_in_flight=1)
    channels = (holding(1, 0.09), holding(2, 0.01), holding(3, 1.0), holding(4, 1.0))
    plan = planned(judged(*channels, policy=policy), REBALANCE)
    assert (plan[1].reason, plan[2].reason) == (Reason.TOO_MANY_IN_FLIGHT, Reason.LOCAL_LOW)


def test_the_budget_is_for_the_worst_case_and_for_all_moves_together() -> None:
    channels = (holding(1, 0.05), holding(2, 0.05), holding(3, 1.0), holding(4, 1.0))
    # 450,000 sat at 100 ppm are 45 sat, and 68 at the worst.
    plan = planned(judged(*channels), REBALANCE, purse(100, named=True))
    assert {plan[1].reason, plan[2].reason} == {Reason.LOCAL_LOW, Reason.OVER_BUDGET}


@pytest.mark.parametrize(
    ("done", "reason"),
    [
        (deed(1, state=DeedState.UNDER_WAY, ago_hours=100), Reason.IN_FLIGHT),
        (deed(1, state=DeedState.UNKNOWN, ago_hours=1), Reason.IN_FLIGHT),
        (deed(1, state=DeedState.FAILED, ago_hours=23), Reason.BACKING_OFF),
        (deed(1, state=DeedState.FAILED, ago_hours=25), Reason.LOCAL_LOW),
        (deed(2, fills=True, partner=1, ago_hours=23), Reason.JUST_MOVED),
        (deed(2, fills=True, partner=1, ago_hours=25), Reason.LOCAL_LOW),
        (deed(1, remedy=Remedy.LOOP_OUT, fills=False), Reason.JUST_MOVED),
        (deed(1, remedy=Remedy.LEASE, fills=False), Reason.LOCAL_LOW),
        (deed(2, remedy=Remedy.LEASE, fills=False, brought=[1]), Reason.LEASED),
        (deed(2, remedy=Remedy.LEASE, fills=False, brought=[1], ago_hours=300), Reason.LEASED),
    ],
)
def test_the_past_of_a_channel_counts_for_as_long_as_the_backoff(
    done: Deed, reason: Reason
) -> None:
    judgement = judged(holding(1, 0.05), holding(3, 1.0), deeds=[done])
    assert planned(judgement, REBALANCE)[1].reason is reason


def test_the_other_side_of_the_threshold_calls_for_room_to_receive() -> None:
    policy = LiquidityPolicy(rule=Rule(remote_below=0.2))
    judgement = judged(holding(1, 0.95), policy=policy)
    assert [ask.need for ask in judgement.asks()] == [Need.REMOTE, Need.REMOTE]
    plan = planned(judgement, {Remedy.LOOP_OUT: 900, Remedy.LEASE: 800})
    assert plan[1].move
    assert plan[1].move.remedy is Remedy.LEASE
    # A lease is a channel of its own: this one stays as it is.
    assert plan[1].local_after_sat == plan[1].local_sat


@pytest.mark.parametrize(("ago_hours", "reason"), [(23, Reason.LEASED), (25, Reason.REMOTE_LOW)])
def test_room_is_not_leased_again_as_soon_as_it_is_leased(ago_hours: int, reason: Reason) -> None:
    """The channel that wanted it looks as before: the room is in another one."""
    policy = LiquidityPolicy(rule=Rule(remote_below=0.2))
    won = deed(1, remedy=Remedy.LEASE, fills=False, brought=[2], ago_hours=ago_hours)
    judgement = judged(holding(1, 0.95), holding(2, 0.0), policy=policy, deeds=[won])
    plan = planned(judgement, {Remedy.LEASE: 800, Remedy.LOOP_IN: 1})
    assert (plan[1].reason, plan[2].reason) == (reason, Reason.LEASED)


def test_leased_room_is_not_filled_as_anybodys_partner_either() -> None:
    policy = LiquidityPolicy(rule=Rule(local_below=0, remote_below=0.2))
    won = deed(9, remedy=Remedy.LEASE, fills=False, brought=[2])
    judgement = judged(holding(1, 0.95), holding(2, 0.0), policy=policy, deeds=[won])
    assert planned(judgement, REBALANCE)[1].reason is Reason.NO_PARTNER


def test_of_a_peers_channels_the_one_that_is_not_leased_is_filled() -> None:
    rules = {peer(9): Rule(local_below=0.3)}
    channels = (holding(1, 0.2, peer_number=9), holding(2, 0.0, peer_number=9), holding(3, 0.95))
    won = deed(8, remedy=Remedy.LEASE, fills=False, brought=[2])
    judgement = judged(*channels, policy=LiquidityPolicy(rules=rules), deeds=[won])
    plan = planned(judgement, REBALANCE)
    assert (plan[1].reason, plan[2].reason) == (Reason.LOCAL_LOW, Reason.OTHER_CHOSEN)


@pytest.mark.parametrize(
    "fields",
    [
        {"mode": Mode.ACT},
        {"min_move_sat": 10, "max_move_sat": 9},
        {"rules": {"dave": {}}},
        {"rule": {"local_below": 0.6}},
        {"rule": {"remote_below": 0.6}},
    ],
)
def test_policies_that_contradict_themselves_are_refused(fields: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"\w"):
        LiquidityPolicy.model_validate(fields)


def test_rules_are_found_however_a_channel_is_written() -> None:
    number = str(channel_id(1).number)
    policy = LiquidityPolicy(rules={number: Rule(ignore=True)})
    assert planned(judged(holding(1, 0.05), policy=policy), {})[1].reason is Reason.IGNORED


LOOP_IN = {Remedy.LOOP_IN: 100}


def test_what_a_payment_lacks_is_brought_to_the_channel_with_the_most_room() -> None:
    channels = (holding(1, 0.4), holding(2, 0.6))
    assert not judged(*channels).wants
    # Of 1,000,000 sat, 20,000 are reserves.
    plan = planned(judged(*channels, outbound=waiting(1_100_000)), LOOP_IN)
    assert (plan[1].reason, plan[2].reason) == (Reason.PAYMENT_WAITS, Reason.BALANCED)
    assert plan[1].move
    assert (plan[1].move.remedy, plan[1].move.amount_sat) == (Remedy.LOOP_IN, 120_000)
    assert "1,100,000 sat waits" in plan[1].words


def test_between_the_nodes_own_channels_nothing_is_moved_for_a_payment_that_takes_any() -> None:
    channels = (holding(1, 0.4), holding(2, 0.6))
    for outbound, remedies in (
        (waiting(1_100_000), {Remedy.LOOP_IN}),
        (waiting(500_000, 1), {Remedy.REBALANCE, Remedy.LOOP_IN}),
    ):
        [want] = judged(*channels, outbound=outbound).wants
        assert (want.holding.channel_point, set(want.remedies)) == (point(1), remedies)


def test_a_payment_that_the_channels_could_send_is_no_reason_to_move() -> None:
    assert not judged(holding(1, 0.5), holding(2, 0.5), outbound=waiting(980_000)).wants
    assert not judged(holding(1, 0.5), outbound=waiting(5_000_000, minutes=0)).wants


def test_a_payment_moves_nothing_that_the_policy_forbids() -> None:
    outbound = waiting(900_000)
    ignored = judged(
        holding(1, 0.5), policy=LiquidityPolicy(rule=Rule(ignore=True)), outbound=outbound
    )
    assert not ignored.wants
    only_around = LiquidityPolicy(remedies=(Remedy.REBALANCE,))
    assert not judged(holding(1, 0.5), policy=only_around, outbound=outbound).wants
    failed = judged(holding(1, 0.5), deeds=[deed(1, state=DeedState.FAILED)], outbound=outbound)
    assert failed.settled[point(1)][0] is Reason.BACKING_OFF
    thrifty = LiquidityPolicy(max_fee_ppm=50)
    dear = planned(judged(holding(1, 0.5), policy=thrifty, outbound=outbound), LOOP_IN)
    assert dear[1].reason is Reason.TOO_EXPENSIVE
    poor = planned(judged(holding(1, 0.5), outbound=outbound), LOOP_IN, purse(1, named=True))
    assert poor[1].reason is Reason.OVER_BUDGET


def test_what_a_rule_wants_too_is_brought_once_and_is_enough_for_both() -> None:
    [want] = judged(holding(1, 0.05), outbound=waiting(600_000)).wants
    assert (want.reason, want.amount_sat) == (Reason.LOCAL_LOW, 560_000)
    assert "a payment of 600,000 sat waits" in want.words


def test_a_payment_takes_nothing_from_what_the_rules_want() -> None:
    """A Loop In that is too dear for it keeps nobody from the rebalance that there was without."""
    channels = (holding(1, 0.05), holding(2, 0.9), holding(3, 0.6))
    prices = {Remedy.REBALANCE: 100, Remedy.LOOP_IN: 50_000}
    alone = planned(judged(*channels), prices)
    plan = planned(judged(*channels, outbound=waiting(1_800_000)), prices)
    assert alone[1].move == plan[1].move
    assert [plan[number].reason for number in (1, 2, 3)] == [
        Reason.LOCAL_LOW,
        Reason.IS_PARTNER,
        Reason.TOO_EXPENSIVE,
    ]


def test_what_is_on_its_way_to_a_payment_is_not_sent_for_again() -> None:
    coming = deed(1, remedy=Remedy.LOOP_IN, state=DeedState.UNDER_WAY, amount_sat=120_000)
    channels = (holding(1, 0.4), holding(2, 0.6))
    assert not judged(*channels, deeds=[coming], outbound=waiting(1_100_000)).wants
    assert judged(*channels, deeds=[coming], outbound=waiting(1_200_000)).wants


def test_a_payment_that_says_no_time_zone_is_refused_and_wedges_no_plan() -> None:
    told = waiting(1_000).model_dump(mode="json") | {"until": "2026-12-01T00:00:00"}
    with pytest.raises(ValidationError, match="timezone"):
        LiquidityRequest.model_validate({"node": "alice", "outbound": told})
