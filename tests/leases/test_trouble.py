"""Lost answers and kills, on both networks where they can be had: one bid, one account."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from temporalio.client import Client

from devnet.house import House, WorkerProcess
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import Delay, DropAnswer, RestartNode
from devnet.waiting import eventually
from fulgurite.leases.states import LeaseState
from protos.poolrpc import shared_pb2
from starter.client import FulguriteClient
from tests.scenarios.telling import SIMULATED_ONLY

from .market import (
    AMOUNT_SAT,
    RATE_PPB,
    Pooling,
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

pytestmark = pytest.mark.timeout(600)


@SIMULATED_ONLY
@pytest.mark.usefixtures("working")
@pytest.mark.parametrize("fault", [DropAnswer(), RestartNode()], ids=["lost", "restart"])
async def test_an_answer_that_is_lost_makes_no_second_account_and_no_second_bid(
    simulated: SimulatedNetwork,
    client: FulguriteClient,
    venue: Venue,
    fault: DropAnswer | RestartNode,
) -> None:
    pool = simulated.pools["alice"]
    accounts_before = await pool.accounts()
    simulated.faults.add("alice.pool", "InitAccount", fault)
    simulated.faults.add("alice.pool", "SubmitOrder", fault)
    request = terms(account=opening())
    lease = await client.lease(request)
    await venue.offer(AMOUNT_SAT, RATE_PPB)
    await mines_to(simulated, lease, LeaseState.BIDDING)
    await wins(venue, lease)
    receipt = await ends_term(venue, lease)

    assert receipt.status is LeaseState.TERM_ENDED
    assert receipt.account_opened
    assert len(await pool.accounts()) == len(accounts_before) + 1
    assert len(await orders_of(pool, request)) == 1


@SIMULATED_ONLY
@pytest.mark.usefixtures("working")
async def test_a_second_bid_with_the_mark_is_taken_back(
    simulated: SimulatedNetwork, client: FulguriteClient, venue: Venue
) -> None:
    """As a call leaves it that was given up, and reached poold late all the same."""
    await open_account(simulated)
    await venue.offer(AMOUNT_SAT, RATE_PPB)
    request = terms()
    lease = await client.lease(request)
    await listed(lease)
    pool = simulated.pools["alice"]
    [first] = await orders_of(pool, request)
    trader = simulated.trader("alice")
    [own] = [order for order in trader.orders if order.nonce == first.details.order_nonce]
    late = trader.submit(own.message)
    await simulated.mine(1)
    await eventually(
        partial(orders_of, pool, request),
        lambda bids: any(bid.details.state == shared_pb2.ORDER_CANCELED for bid in bids),
        what="the second bid taken back",
    )
    await wins(venue, lease)

    states = {bid.details.order_nonce: bid.details.state for bid in await orders_of(pool, request)}
    assert states[late if isinstance(late, bytes) else b""] == shared_pb2.ORDER_CANCELED
    assert states[first.details.order_nonce] == shared_pb2.ORDER_EXECUTED


@pytest.mark.usefixtures("working")
async def test_a_key_that_was_ended_by_force_finds_its_bid_again(
    home: House, client: FulguriteClient, temporal: Client, venue: Venue
) -> None:
    await open_account(home.network)
    await venue.offer(AMOUNT_SAT, RATE_PPB)
    request = terms()
    lease = await client.lease(request)
    await listed(lease)
    await temporal.get_workflow_handle(f"lease/{request.key}").terminate("by a test")
    again = await client.lease(request)
    assert not again.attached
    await wins(venue, again)
    receipt = await ends_term(venue, again)

    assert receipt.leased_sat == AMOUNT_SAT
    assert len(await orders_of(home.network.pools["alice"], request)) == 1


async def test_whatever_dies_at_whichever_state_there_is_one_bid_and_one_channel(
    home: House, client: FulguriteClient, venue: Venue
) -> None:
    pool = home.network.pools["alice"]
    accounts_before, leases_before = await pool.accounts(), len(await pool.leases())
    async with home.worker() as worker:
        request = terms(account=opening())
        await venue.offer(AMOUNT_SAT, RATE_PPB)
        lease = await client.lease(request)
        await reaches(lease, LeaseState.ACCOUNT_OPENING)
        await strike(home, worker, "worker")
        await mines_to(home.network, lease, LeaseState.BIDDING)
        await strike(home, worker, "poold")
        await listed(lease)
        await strike(home, worker, "temporal")
        await venue.batch()
        await strike(home, worker, "poold")
        await mines_to(home.network, lease, LeaseState.CHANNEL_OPENING, LeaseState.LEASED)
        await strike(home, worker, "worker")
        await mines_to(home.network, lease, LeaseState.LEASED)
        receipt = await ends_term(venue, lease)

    assert receipt.status is LeaseState.TERM_ENDED
    assert receipt.account_opened
    assert len(await pool.accounts()) == len(accounts_before) + 1
    assert len(await pool.leases()) == leases_before + 1
    assert len(await orders_of(pool, request)) == 1


@SIMULATED_ONLY
@pytest.mark.parametrize("call", ["InitAccount", "SubmitOrder"])
async def test_a_worker_that_dies_between_call_and_answer_leaves_one_of_each(
    home: House, simulated: SimulatedNetwork, client: FulguriteClient, venue: Venue, call: str
) -> None:
    """The call of a caller who is gone takes effect all the same, and later."""
    pool = simulated.pools["alice"]
    accounts_before = await pool.accounts()
    asked_before = simulated.calls.count("alice.pool", call)
    async with home.worker() as worker:
        simulated.faults.add("alice.pool", call, Delay(2))
        request = terms(account=opening())
        await venue.offer(AMOUNT_SAT, RATE_PPB)
        lease = await client.lease(request)
        if call == "SubmitOrder":
            await mines_to(simulated, lease, LeaseState.BIDDING)
        await eventually(
            lambda: asyncio.sleep(0, simulated.calls.count("alice.pool", call)),
            lambda asked: asked > asked_before,
            what=f"a call of {call}",
        )
        await strike(home, worker, "worker")
        await mines_to(simulated, lease, LeaseState.BIDDING)
        await wins(venue, lease)

    assert len(await pool.accounts()) == len(accounts_before) + 1
    assert len(await orders_of(pool, request)) == 1


async def strike(home: House, worker: WorkerProcess, victim: str) -> None:
    """Kills it as a crash does, and starts it again."""
    match victim:
        case "worker":
            await worker.kill()
            await worker.start()
        case "temporal":
            await home.temporal.kill()
            await home.temporal.start()
        case "poold":
            network = home.network
            assert isinstance(network, Pooling)
            await network.stop_pool("alice")
            await network.start_pool("alice")
