"""What holds of every plan, whatever the node, the policy, the past and the prices."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from random import Random

import pytest

from fulgurite.identity import ChannelPoint
from fulgurite.liquidity.deeds import DeedState
from fulgurite.liquidity.needs import rule_of
from fulgurite.liquidity.planning import decide
from fulgurite.liquidity.plans import ChannelLine, Move
from fulgurite.liquidity.policy import Remedy
from fulgurite.liquidity.pricing import Need, Purse
from fulgurite.liquidity.reasons import MEANS, WANTED, Reason
from tests.liquidity.worlds import case

CASES = [case(seed) for seed in range(1_000)]


def test_every_channel_has_exactly_one_line_and_a_reason_in_words() -> None:
    for each in CASES:
        lines = each.plan()
        points = [holding.channel_point for holding in each.judgement.snapshot.channels]
        assert [line.channel_point for line in lines] == points
        for line in lines:
            assert line.words
            assert (line.reason in WANTED) == (line.move is not None), each.seed


def test_every_reason_occurs_and_is_documented() -> None:
    seen = Counter(line.reason for each in CASES for line in each.plan())
    # What a person leaves out is left out after the plan.
    assert set(seen) | {Reason.NOT_APPROVED} == set(Reason) == set(MEANS)


def test_no_channel_is_touched_twice() -> None:
    for each in CASES:
        touched = Counter(point for line, move in each.moves() for point in _points(line, move))
        assert set(touched.values()) <= {1}, each.seed


def test_nothing_that_is_in_flight_or_ignored_or_away_is_touched() -> None:
    for each in CASES:
        judgement = each.judgement
        for line, move in each.moves():
            for point in _points(line, move):
                holding = judgement.snapshot.holding(point)
                assert holding.active, each.seed
                assert judgement.memory.on(point) is None, each.seed
                assert not rule_of(judgement.policy, holding).ignore, each.seed


def test_what_was_moved_is_not_moved_back_within_the_backoff() -> None:
    for each in CASES:
        memory = each.judgement.memory
        recent = [
            deed
            for deed in memory.deeds
            if deed.state is DeedState.UNDER_WAY
            or (
                deed.state is not DeedState.FAILED
                and memory.now - (deed.ended_at or deed.began_at) < memory.backoff
            )
        ]
        filled = {deed.filled() for deed in recent} - {None}
        emptied = {deed.emptied() for deed in recent} - {None}
        for line, move in each.moves():
            ends = line.channel_point, move.partner
            fills, empties = ends if move.need is Need.LOCAL else reversed(ends)
            assert fills not in emptied, each.seed
            assert empties not in filled, each.seed


def test_leased_room_is_never_filled() -> None:
    for each in CASES:
        leased = {point for deed in each.judgement.memory.deeds for point in deed.brought}
        for line, move in each.moves():
            fills = line.channel_point if move.need is Need.LOCAL else move.partner
            assert fills not in leased, each.seed


def test_no_move_leaves_a_channel_that_wants_another() -> None:
    for each in CASES:
        for line, move in each.moves():
            if not move.partner:
                continue
            partner = each.judgement.snapshot.holding(move.partner)
            rule = rule_of(each.judgement.policy, partner)
            sign = -1 if move.need is Need.LOCAL else 1
            local_sat = partner.local_sat + sign * move.amount_sat
            assert partner.peer != line.peer, each.seed
            assert local_sat >= (move.need is Need.LOCAL) * rule.local_below * partner.capacity_sat
            remote_sat = partner.capacity_sat - local_sat
            assert remote_sat >= (move.need is Need.REMOTE) * rule.remote_below * (
                partner.capacity_sat
            ), each.seed


def test_every_move_is_the_cheapest_of_its_channel_that_was_to_be_had() -> None:
    for each in CASES:
        lines = each.plan()
        taken = {point for line in lines if line.move for point in _points(line, line.move)}
        policy = each.judgement.policy
        for line in lines:
            if not line.move or each.purse.named:
                continue  # what a budget refuses has a higher worst case, not a higher price
            offers = [
                price.cost_msat / price.amount_sat
                for price in each.prices
                if price.channel == line.channel_point
                and price.cost_msat is not None
                and price.cost_msat <= policy.limit_msat(price.amount_sat)
                and (price.partner == line.move.partner or price.partner not in taken)
            ]
            assert line.move.cost_msat / line.move.amount_sat <= min(offers) + 1e-3, each.seed


def test_the_picture_of_afterwards_is_what_the_moves_make_of_the_one_before() -> None:
    for each in CASES:
        after = {line.channel_point: line.local_sat for line in each.plan()}
        for line, move in each.moves():
            if move.remedy is Remedy.LEASE:
                continue
            sign = 1 if move.need is Need.LOCAL else -1
            after[line.channel_point] += sign * move.amount_sat
            if move.partner:
                after[move.partner] -= sign * move.amount_sat
        assert {line.channel_point: line.local_after_sat for line in each.plan()} == after


def test_no_limit_is_passed() -> None:
    for each in CASES:
        policy, moves = each.judgement.policy, each.moves()
        free = policy.max_in_flight - len(each.judgement.memory.under_way())
        assert len(moves) <= max(0, free), each.seed
        for line, move in moves:
            assert move.remedy in policy.remedies
            assert move.cost_msat <= move.limit_msat <= policy.limit_msat(move.amount_sat)
            assert policy.min_move_sat <= move.amount_sat <= policy.max_move_sat
            side_sat = line.remote_sat if move.need is Need.LOCAL else line.local_sat
            assert move.amount_sat <= side_sat, each.seed
            if line.idle_ppm is not None:
                assert move.cost_msat * 1_000 <= line.idle_ppm * move.amount_sat, each.seed
        if each.purse.named:
            assert sum(move.limit_msat for _, move in moves) <= (each.purse.left_msat or 0)


def test_without_prices_nothing_is_done() -> None:
    assert not any(replace(each, prices=()).moves() for each in CASES)


def test_a_budget_that_cannot_be_read_moves_nothing() -> None:
    dark = Purse(node="alice", named=True, because="no answer")
    assert not any(replace(each, purse=dark).moves() for each in CASES)


def test_the_order_of_the_answers_decides_nothing() -> None:
    dice = Random(1)
    for each in CASES:
        shuffled = dice.sample(each.prices, len(each.prices))
        assert decide(each.judgement, shuffled, each.purse) == each.plan(), each.seed


@pytest.mark.parametrize("remedy", list(Remedy))
def test_the_worlds_are_such_that_each_remedy_is_used(remedy: Remedy) -> None:
    assert any(move.remedy is remedy for each in CASES for _, move in each.moves())


def _points(line: ChannelLine, move: Move) -> list[ChannelPoint]:
    return [line.channel_point, *([move.partner] if move.partner else [])]
