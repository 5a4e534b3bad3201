"""A plan's moves as requests: the right way round, within the plan's limits, one key for ever."""

from __future__ import annotations

import pytest

from fulgurite import ids
from fulgurite.leases.requests import LeaseRequest
from fulgurite.liquidity.orders import order
from fulgurite.liquidity.planning import decide
from fulgurite.liquidity.plans import ChannelLine
from fulgurite.liquidity.policy import LiquidityPolicy, Remedy, Rule
from fulgurite.liquidity.pricing import NoPrice, of_swap, unpriced
from fulgurite.money import Msat
from fulgurite.rebalances.requests import RebalanceRequest
from fulgurite.swaps.limits import Direction, Quote, bound
from fulgurite.swaps.requests import SwapRequest
from tests.liquidity.worlds import (
    NOW,
    channel_id,
    holding,
    judged,
    peer,
    planned,
    point,
    purse,
)

POLICY = LiquidityPolicy(budget="liquidity", max_fee_ppm=100_000, max_fee_sat=100_000)
ROOMY = POLICY.model_copy(update={"rule": Rule(remote_below=0.2)})


def _line(local: float, remedy: Remedy, ppm: int = 1_000) -> ChannelLine:
    policy = POLICY if local < 0.5 else ROOMY
    other = holding(2, 1 - local)
    line = planned(judged(holding(1, local), other, policy=policy), {remedy: ppm})[1]
    assert line.move
    assert line.move.remedy is remedy
    return line


def test_a_rebalance_goes_from_where_it_is_too_much_to_where_it_is_too_little() -> None:
    for local, gives, takes in ((0.05, 2, 1), (0.95, 1, 2)):
        line = _line(local, Remedy.REBALANCE)
        made = order("liquidity/alice-1", "alice", line, POLICY, NOW)
        assert isinstance(made.request, RebalanceRequest)
        assert made.request.from_channels == (point(gives),)
        assert made.request.to_channels == (point(takes),)
        assert made.request.budgets == ("liquidity",)
        assert line.move
        whole = Msat.from_sat(line.move.amount_sat)
        assert line.move.cost_msat <= made.request.cap.of(whole, Msat(0)) <= line.move.limit_msat
        assert (made.deed.filled(), made.deed.emptied()) == (point(takes), point(gives))
        assert made.workflow_id == ids.rebalance_id(made.request.key)


def test_the_key_follows_from_the_plan_and_the_channel() -> None:
    line = _line(0.05, Remedy.REBALANCE)
    once = order("liquidity/alice-1", "alice", line, POLICY, NOW)
    again = order("liquidity/alice-1", "alice", line, POLICY, NOW)
    other = order("liquidity/alice-2", "alice", line, POLICY, NOW)
    assert once.request == again.request
    assert once.workflow_id != other.workflow_id


@pytest.mark.parametrize(
    "quote",
    [
        Quote(swap_fee_sat=500, miner_fee_sat=3_000),
        Quote(swap_fee_sat=3_000, miner_fee_sat=500),
        Quote(swap_fee_sat=1, miner_fee_sat=1),
        Quote(swap_fee_sat=0, miner_fee_sat=900),
        Quote(swap_fee_sat=500, prepay_sat=1_337, miner_fee_sat=150),
    ],
)
@pytest.mark.parametrize("direction", list(Direction))
def test_a_swap_that_costs_what_was_quoted_is_within_its_limits(
    direction: Direction, quote: Quote
) -> None:
    """Also where the chain takes more than the server: a share of the total would not do. And
    where more is prepaid than the fee is."""
    out = direction is Direction.OUT
    policy = ROOMY if out else POLICY
    judgement = judged(holding(1, 0.95 if out else 0.05), policy=policy)
    wanted = Remedy.LOOP_OUT if out else Remedy.LOOP_IN
    prices = [
        of_swap(ask, quote) if ask.remedy is wanted else unpriced(ask, NoPrice.NOT_CONFIGURED)
        for ask in judgement.asks()
    ]
    [line] = decide(judgement, prices, purse())
    request = order("liquidity/alice-1", "alice", line, policy, NOW).request
    assert isinstance(request, SwapRequest)
    assert request.channels == ((channel_id(1),) if out else ())
    assert request.last_hop == (None if out else peer(1))
    bounds, exceeded = bound(direction, request.amount_sat, request.limits, quote)
    assert exceeded == ()
    assert line.move
    assert bounds.worst_case_sat * 1_000 <= line.move.limit_msat


def test_a_lease_is_bid_for_in_pools_units_and_within_the_limit() -> None:
    line = _line(0.95, Remedy.LEASE)
    made = order("liquidity/alice-1", "alice", line, ROOMY, NOW)
    assert isinstance(made.request, LeaseRequest)
    assert made.request.amount_sat == 400_000
    assert made.request.max_cost_sat is not None
    assert line.move
    assert made.request.max_cost_sat * 1_000 <= line.move.limit_msat
    assert (made.deed.filled(), made.deed.emptied()) == (None, None)
