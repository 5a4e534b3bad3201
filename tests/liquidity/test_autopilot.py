"""The autopilot on a network: it explains, asks, acts, and remembers what it has done."""

from __future__ import annotations

import asyncio
from typing import Any
from uuid import uuid4

import pytest

from devnet.house import House
from devnet.simulated import SimulatedNetwork
from devnet.simulated.onchain.transactions import Draw, Output, OutputKind, Transaction
from devnet.waiting import eventually
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.errors import InvalidRequestError
from fulgurite.identity import ChannelId
from fulgurite.liquidity.deeds import DeedState
from fulgurite.liquidity.plans import ChannelLine, LiquidityPlan, PlanState
from fulgurite.liquidity.policy import LiquidityPolicy, Mode, Remedy
from fulgurite.liquidity.pricing import NoPrice
from fulgurite.liquidity.reasons import Reason
from fulgurite.liquidity.requests import LiquidityRequest, PlanApproval
from fulgurite.payments.requests import Rejection
from starter.client import FulguriteClient
from starter.liquidity import LiquidityRun
from tests.rebalances.ring import CAPACITY_SAT, TOLERANCE_SAT, Ring
from tests.scenarios.telling import SIMULATED_ONLY

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("working")]

# The ring's own terms: three forwarders, 450,000 sat, 100 ppm each and a base fee.
_POLICY = {"remedies": [Remedy.REBALANCE], "backoff_hours": 0}


async def _plan(client: FulguriteClient, mode: Mode | None = None, **policy: Any) -> LiquidityRun:
    wanted = LiquidityPolicy.model_validate(_POLICY | policy)
    return await client.liquidity(LiquidityRequest(node="alice", mode=mode, policy=wanted))


async def _lines(plan: LiquidityPlan, ring: Ring) -> tuple[ChannelLine, ChannelLine]:
    """bob's, which has all, and dave's, which has nothing."""
    by_id = {line.channel_id: line for line in plan.lines}
    bob, dave = await ring.channel_to("bob"), await ring.channel_to("dave")
    return by_id[ChannelId(str(bob.chan_id))], by_id[ChannelId(str(dave.chan_id))]


async def test_it_explains_and_moves_nothing(client: FulguriteClient, ring: Ring) -> None:
    plan = await (await _plan(client)).receipt()
    bob, dave = await _lines(plan, ring)
    assert (plan.state, plan.mode) == (PlanState.PLANNED, Mode.EXPLAIN)
    assert (bob.reason, dave.reason) == (Reason.IS_PARTNER, Reason.LOCAL_LOW)
    assert dave.move
    assert (dave.move.remedy, dave.move.partner) == (Remedy.REBALANCE, bob.channel_point)
    assert dave.local_after_sat == dave.local_sat + dave.move.amount_sat
    assert bob.local_after_sat == bob.local_sat - dave.move.amount_sat
    assert dave.move.workflow_id is None
    assert 300 * dave.move.amount_sat // 1_000 <= dave.move.cost_msat <= dave.move.limit_msat
    assert await ring.local_sat("dave") == dave.local_sat


async def test_a_price_above_the_cap_is_a_reason_and_not_a_move(
    client: FulguriteClient, ring: Ring
) -> None:
    plan = await (await _plan(client, max_fee_ppm=100)).receipt()
    _, dave = await _lines(plan, ring)
    assert (dave.reason, dave.move) == (Reason.TOO_EXPENSIVE, None)
    assert "the caps are 100 ppm" in dave.words
    [price] = dave.prices
    assert price.ppm is not None
    assert price.ppm >= 300


async def test_swaps_and_leases_are_priced_by_their_daemons_or_are_not_configured(
    client: FulguriteClient, home: House, ring: Ring
) -> None:
    config = home.settings.nodes["alice"]
    bob_id = ChannelId(str((await ring.channel_to("bob")).chan_id))
    emptied = {bob_id: {"local_below": 0, "remote_below": 0.2}}
    remedies = [Remedy.LOOP_IN, Remedy.LOOP_OUT, Remedy.LEASE]
    begun = await _plan(
        client, rules=emptied, remedies=remedies, max_fee_ppm=100_000, max_fee_sat=100_000
    )
    plan = await begun.receipt()
    bob, dave = await _lines(plan, ring)
    priced = {price.remedy: price for price in (*bob.prices, *dave.prices)}
    assert set(priced) == set(remedies)
    if config.loop is None:
        assert (bob.reason, dave.reason) == (Reason.NOT_CONFIGURED, Reason.NOT_CONFIGURED)
        return
    # The server's fee, and the chain's; Pool's account is not there yet.
    assert (bob.reason, dave.reason) == (Reason.REMOTE_LOW, Reason.LOCAL_LOW)
    assert dave.move
    assert (dave.move.remedy, dave.move.cost_msat) == (
        Remedy.LOOP_IN,
        priced[Remedy.LOOP_IN].cost_msat,
    )
    assert priced[Remedy.LOOP_OUT].cost_msat
    assert priced[Remedy.LEASE].missing is NoPrice.NO_COINS


@SIMULATED_ONLY  # there alone can all coins of a wallet be on their way
async def test_a_wallet_without_coins_takes_the_price_of_no_other_swap(
    client: FulguriteClient, home: House, ring: Ring
) -> None:
    network = home.network
    assert isinstance(network, SimulatedNetwork)
    bob_id = ChannelId(str((await ring.channel_to("bob")).chan_id))
    coins_sat = (await ring.alice.balance()).confirmed_balance
    network.chain.publish(_to_herself(coins_sat))
    begun = await _plan(
        client,
        rules={bob_id: {"local_below": 0, "remote_below": 0.2}},
        remedies=[Remedy.LOOP_IN, Remedy.LOOP_OUT],
    )
    bob, dave = await _lines(await begun.receipt(), ring)
    await network.mine(1)
    assert (await ring.alice.balance()).confirmed_balance == coins_sat
    [loop_out], [loop_in] = bob.prices, dave.prices
    assert (loop_out.remedy, loop_out.missing) == (Remedy.LOOP_OUT, None)
    assert (loop_in.remedy, loop_in.missing) == (Remedy.LOOP_IN, NoPrice.NO_COINS)
    assert "coins" in dave.words


async def test_asked_a_person_says_yes_and_it_moves(client: FulguriteClient, ring: Ring) -> None:
    begun = await _plan(client, Mode.ASK)
    plan = await eventually(
        begun.view, lambda view: view.state is PlanState.AWAITING_APPROVAL, what="the question"
    )
    bob, _ = await _lines(plan, ring)
    with pytest.raises(InvalidRequestError, match="moves nothing on"):
        await begun.approve(PlanApproval(approver="olga", only=(bob.channel_id,)))
    await begun.approve(PlanApproval(approver="olga"))
    plan = await begun.receipt()
    await _moved(client, plan, ring)


async def test_of_two_plans_that_are_approved_at_once_one_moves(
    client: FulguriteClient, ring: Ring
) -> None:
    begun = [await _plan(client, Mode.ASK) for _ in range(2)]
    for each in begun:
        await eventually(
            each.view, lambda view: view.state is PlanState.AWAITING_APPROVAL, what="the question"
        )
    yes = PlanApproval(approver="olga")
    await asyncio.gather(*(each.approve(yes) for each in begun))
    plans = [await each.receipt() for each in begun]
    [late, first] = sorted(plans, key=lambda plan: len(plan.moves))
    assert late.state is PlanState.PLANNED
    # It sees the other's rebalance under way, or what that has done already.
    _, dave = await _lines(late, ring)
    assert (dave.move, dave.reason in {Reason.IN_FLIGHT, Reason.BALANCED}) == (None, True)
    await _moved(client, first, ring)


async def test_asked_a_person_says_no_and_nothing_moves(
    client: FulguriteClient, ring: Ring
) -> None:
    before = await ring.local_sat("dave")
    begun = await _plan(client, Mode.ASK)
    await eventually(
        begun.view, lambda view: view.state is PlanState.AWAITING_APPROVAL, what="the question"
    )
    await begun.reject(Rejection(approver="olga", reason="not today"))
    plan = await begun.receipt()
    assert plan.state is PlanState.REJECTED
    assert not any(line.move.workflow_id for line in plan.moves if line.move)
    assert await ring.local_sat("dave") == before


async def test_it_acts_within_its_budget_and_remembers(client: FulguriteClient, ring: Ring) -> None:
    budget = f"liquidity-{uuid4().hex[:8]}"
    limits: dict[str, Any] = {"budget": budget, "backoff_hours": 24}
    dark = await (await _plan(client, Mode.ACT, **limits)).receipt()
    _, dave = await _lines(dark, ring)
    assert (dave.reason, dark.state) == (Reason.BUDGET_UNKNOWN, PlanState.PLANNED)

    await client.budget(budget).set(BudgetPolicy(fee_sat=1), by="olga")
    poor = await (await _plan(client, Mode.ACT, **limits)).receipt()
    _, dave = await _lines(poor, ring)
    assert (dave.reason, poor.state) == (Reason.OVER_BUDGET, PlanState.PLANNED)

    await client.budget(budget).set(BudgetPolicy(fee_sat=1_000), by="olga")
    acted = await (await _plan(client, Mode.ACT, **limits)).receipt()
    await _moved(client, acted, ring)
    spent = await client.budget(budget).view()
    assert 0 < spent.spent_fee_msat <= 1_000_000
    assert spent.reserved_msat == 0

    # What it has moved it does not move back, though a rule wants it emptied now.
    rules = {acted.moves[0].channel_id: {"local_below": 0, "remote_below": 0.9, "target": 0.1}}
    again = await (await _plan(client, Mode.ACT, **limits, rules=rules)).receipt()
    _, dave = await _lines(again, ring)
    assert (dave.reason, dave.move) == (Reason.JUST_MOVED, None)
    [deed] = [each for each in again.deeds if each.workflow_id == acted.deeds[-1].workflow_id]
    assert (deed.state, deed.cost_msat) == (DeedState.DONE, int(spent.spent_fee_msat))


async def test_malformed_requests_are_refused(client: FulguriteClient) -> None:
    with pytest.raises(InvalidRequestError, match="needs a budget"):
        await (await _plan(client, Mode.ACT)).receipt()


async def _moved(client: FulguriteClient, plan: LiquidityPlan, ring: Ring) -> None:
    """The plan's one move was begun, and the channel is half full in the end."""
    assert plan.state is PlanState.BEGUN
    [line] = plan.moves
    assert line.move
    assert line.move.workflow_id
    assert line.move.workflow_id == plan.deeds[-1].workflow_id
    receipt = await client.rebalancing(line.move.workflow_id.partition("/")[2]).receipt()
    await ring.settled()
    assert receipt.fee_msat <= line.move.limit_msat
    assert receipt.moved_msat == line.move.amount_sat * 1_000
    assert abs(await ring.local_sat("dave") - CAPACITY_SAT // 2) <= TOLERANCE_SAT


def _to_herself(sat: int) -> Transaction:
    """Until it is mined alice has so much less to spend."""
    return Transaction(
        publisher="alice",
        label="to herself",
        spends=(),
        draws=(Draw("alice", sat),),
        outputs=(Output(OutputKind.WALLET, "alice", sat),),
        fee_sat=0,
        weight=600,
    )
