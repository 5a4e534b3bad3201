"""Markets, accounts and limits of every kind, as only a simulation can have them at will."""

from __future__ import annotations

import pytest

from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.leases.market import BidState
from fulgurite.leases.receipts import LeaseReceipt
from fulgurite.leases.requests import LeaseRequest
from fulgurite.leases.states import LeaseState, Refusal
from protos.poolrpc import shared_pb2
from starter.client import FulguriteClient
from tests.scenarios.telling import SIMULATED_ONLY

from .market import (
    AMOUNT_SAT,
    BLOCKS,
    RATE_PPB,
    Venue,
    ends_term,
    listed,
    mines_to,
    open_account,
    opening,
    orders_of,
    reaches,
    terms,
    wins,
)

pytestmark = [SIMULATED_ONLY, pytest.mark.usefixtures("working"), pytest.mark.timeout(300)]


async def refused(client: FulguriteClient, request: LeaseRequest) -> LeaseReceipt:
    receipt = await (await client.lease(request)).receipt()
    assert receipt.status is LeaseState.REFUSED, receipt
    assert receipt.because
    assert receipt.advice
    return receipt


async def test_several_asks_fill_a_bid_and_a_stranger_makes_the_price(
    simulated: SimulatedNetwork, client: FulguriteClient, venue: Venue
) -> None:
    pool, market = simulated.pools["alice"], simulated.market
    key = await open_account(simulated)
    market.ask("bob", 300_000, rate_ppb=100, blocks=BLOCKS)
    market.ask("carol", 400_000, rate_ppb=200, blocks=BLOCKS)
    market.ask("carol", 400_000, rate_ppb=5 * RATE_PPB, blocks=BLOCKS)
    market.ask("bob", 9_000_000, rate_ppb=1, blocks=BLOCKS, tier=shared_pb2.TIER_0)
    market.compete(100_000, rate_ppb=RATE_PPB // 2, blocks=BLOCKS)
    before = (await pool.accounts())[key].value
    lease = await client.lease(terms(min_channel_sat=100_000))
    won = await wins(venue, lease)
    after = (await pool.accounts())[key].value
    receipt = await ends_term(venue, lease)

    assert sorted(channel.amount_sat for channel in won.channels) == [200_000, 300_000]
    assert {channel.rate_ppb for channel in won.channels} == {RATE_PPB // 2}
    assert receipt.leased_sat == AMOUNT_SAT
    # To the satoshi, but for what a Taproot account pays less for two channels in a batch.
    cheaper_sat = sum(channel.chain_fee_sat for channel in won.channels) - (
        253 * (4 * (43 + 41 + 43) + 66) // 1_000
    )
    assert before - after == receipt.cost.total_sat - cheaper_sat


async def test_what_is_won_of_a_bid_stays_when_the_rest_is_taken_back(
    simulated: SimulatedNetwork, client: FulguriteClient, venue: Venue
) -> None:
    await open_account(simulated)
    await venue.offer(300_000, RATE_PPB)
    request = terms(min_channel_sat=100_000)
    lease = await client.lease(request)
    await listed(lease)
    await venue.batch()
    partly = await mines_to(simulated, lease, LeaseState.CHANNEL_OPENING)
    assert partly.bid is not None
    assert (partly.bid.state, partly.leased_sat) == (BidState.PARTIALLY_FILLED, 300_000)
    await lease.cancel()
    await mines_to(simulated, lease, LeaseState.LEASED)
    receipt = await ends_term(venue, lease)

    assert (receipt.status, receipt.leased_sat) == (LeaseState.TERM_ENDED, 300_000)
    [order] = await orders_of(simulated.pools["alice"], request)
    assert order.details.state == shared_pb2.ORDER_CANCELED


async def test_a_batch_that_comes_to_nothing_puts_the_bid_back(
    simulated: SimulatedNetwork, client: FulguriteClient, venue: Venue
) -> None:
    await open_account(simulated)
    await venue.offer(AMOUNT_SAT, RATE_PPB)
    lease = await client.lease(terms())
    await listed(lease)
    trader = simulated.trader("alice")
    assert trader.prepare() == 1
    await simulated.mine(1)
    await reaches(lease, LeaseState.MATCHED)
    # In a batch that is being signed, a bid cannot be taken back.
    await lease.cancel()
    await eventually(
        lease.view,
        lambda view: any("not taken back" in line for line in view.timeline),
        what="a bid that the auctioneer does not let go",
    )
    trader.drop()
    await simulated.mine(1)
    receipt = await lease.receipt()
    assert receipt.status is LeaseState.CANCELED


async def test_an_account_is_renewed_before_and_while_a_bid_depends_on_it(
    simulated: SimulatedNetwork, client: FulguriteClient, venue: Venue
) -> None:
    pool = simulated.pools["alice"]
    key = await open_account(simulated, expires_in_blocks=200)
    account = {"fee_sat_per_vbyte": 1, "expiry_blocks": 500, "renew_below_blocks": 432}
    lease = await client.lease(terms(account=account))
    await listed(lease)
    first = (await pool.accounts())[key].expiration_height
    assert first == simulated.chain.height + 500
    await simulated.mine(100)
    renewed = await eventually(
        pool.accounts,
        lambda accounts: accounts[key].expiration_height > first,
        what="a renewal while the bid is out",
    )
    assert renewed[key].expiration_height == simulated.chain.height + 500
    await simulated.mine(3)
    await venue.offer(AMOUNT_SAT, RATE_PPB)
    await wins(venue, lease)
    receipt = await ends_term(venue, lease)
    assert receipt.account_renewed
    assert len(await pool.accounts()) >= 1


async def test_what_cannot_be_is_refused_before_a_bid_is_out(
    simulated: SimulatedNetwork, client: FulguriteClient, venue: Venue
) -> None:
    del venue
    pool = simulated.pools["alice"]
    nothing = await refused(client, terms())
    assert nothing.refusal is Refusal.NO_ACCOUNT
    poor = await refused(client, terms(account=opening(100_000_000)))
    assert poor.refusal is Refusal.INSUFFICIENT_FUNDS
    await open_account(simulated, 200_000)
    orders_before = await pool.orders()
    no_market = await refused(client, terms(duration_blocks=999))
    assert no_market.refusal is Refusal.NO_MARKET
    dear = await refused(client, terms(max_cost_sat=500))
    assert dear.refusal is Refusal.ABOVE_COST_LIMIT
    short = await refused(client, terms(max_rate_ppb=10_000_000))
    assert short.refusal is Refusal.INSUFFICIENT_FUNDS
    assert await pool.orders() == orders_before

    simulated.market.words.append("the node is on a list")
    words = await refused(client, terms())
    assert words.refusal is Refusal.NOT_TAKEN
    assert "the node is on a list" in words.because
    assert all(
        order.state == shared_pb2.ORDER_FAILED
        for nonce, order in (await pool.orders()).items()
        if nonce not in orders_before
    )


async def test_a_budget_counts_what_a_lease_costs_and_stops_the_next_one(
    simulated: SimulatedNetwork, client: FulguriteClient, venue: Venue
) -> None:
    await open_account(simulated)
    await venue.offer(AMOUNT_SAT, RATE_PPB)
    budget = client.budget("leases")
    await budget.set(BudgetPolicy(fee_sat=1_500), by="ada")
    lease = await client.lease(terms(budgets=("leases",)))
    await listed(lease)
    reserved = await budget.view()
    second = await refused(client, terms(budgets=("leases",)))
    won = await wins(venue, lease)
    spent = await eventually(
        budget.view, lambda view: view.spent_fee_msat > 0, what="a cost that is counted"
    )

    assert won.quote is not None
    assert reserved.reserved_fee_msat == won.quote.cost_sat * 1_000
    assert second.refusal is Refusal.OVER_BUDGET
    assert (spent.spent_fee_msat, spent.reserved_fee_msat) == (won.cost.total_sat * 1_000, 0)
    # Nothing was ordered of poold for the second: what is called off before its bid frees all.
    third = await client.lease(terms(budgets=("leases",), approval_above_sat=0))
    await reaches(third, LeaseState.AWAITING_APPROVAL)
    await third.cancel()
    assert (await third.receipt()).status is LeaseState.CANCELED
    assert (await budget.view()).reserved_fee_msat == 0
    await ends_term(venue, lease)


async def test_a_channel_that_is_closed_before_its_term_is_told(
    simulated: SimulatedNetwork, client: FulguriteClient, venue: Venue
) -> None:
    await open_account(simulated)
    await venue.offer(AMOUNT_SAT, RATE_PPB)
    lease = await client.lease(terms())
    won = await wins(venue, lease)
    await simulated.nodes["carol"].close_channel(won.channels[0].channel_point, force=True)
    await simulated.mine(6)
    await mines_to(simulated, lease, LeaseState.CLOSED_EARLY)
    receipt = await lease.receipt()
    assert receipt.leased_sat == AMOUNT_SAT
    assert receipt.completed_at


async def test_a_term_ends_though_nobody_of_pool_answers_any_more(
    simulated: SimulatedNetwork, client: FulguriteClient, venue: Venue
) -> None:
    await open_account(simulated)
    await venue.offer(AMOUNT_SAT, RATE_PPB)
    lease = await client.lease(terms())
    await wins(venue, lease)
    simulated.market.away = True
    await simulated.stop_pool("alice")
    try:
        receipt = await ends_term(venue, lease)
    finally:
        await simulated.start_pool("alice")
        simulated.market.away = False
    assert receipt.status is LeaseState.TERM_ENDED


async def test_a_bid_that_poold_gives_up_is_failed_only_after_some_blocks(
    simulated: SimulatedNetwork, client: FulguriteClient, venue: Venue
) -> None:
    """Its auctioneer's answer may have been lost: then a batch can still have it."""
    await open_account(simulated)
    await venue.offer(AMOUNT_SAT, RATE_PPB)
    lease = await client.lease(terms())
    await listed(lease)
    [order] = [o for o in simulated.trader("alice").orders if o in simulated.market.bids]
    order.state = shared_pb2.ORDER_FAILED
    await simulated.mine(1)
    await eventually(
        lease.view,
        lambda view: view.bid is not None and view.bid.state is BidState.FAILED,
        what="a bid that poold has given up",
    )
    assert (await lease.view()).state is LeaseState.BIDDING
    receipt_state = await mines_to(simulated, lease, LeaseState.FAILED)
    assert receipt_state.leased_sat == 0
    simulated.market.bids.remove(order)
