"""kill -9 between the moves that a plan begins: each is begun once, within the budget."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final
from uuid import uuid4

import pytest
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from devnet.house import House, house
from devnet.proxy import proxying
from devnet.simulated import SimulatedNetwork
from devnet.topology import FEE_RATE_PPM, RING, Topology
from devnet.waiting import eventually
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.identity import ChannelId
from fulgurite.leases.states import LeaseState
from fulgurite.liquidity.orders import order
from fulgurite.liquidity.plans import LiquidityPlan, PlanState
from fulgurite.liquidity.policy import LiquidityPolicy, Mode, Remedy
from fulgurite.liquidity.requests import LiquidityRequest, PlanApproval
from fulgurite.rebalances.states import RebalanceState
from fulgurite.swaps.states import SwapState
from starter.budget import Budget
from starter.client import FulguriteClient
from starter.connect import connect
from starter.liquidity import LiquidityRun
from tests.leases.market import listed, mines_to, open_account
from tests.swaps.swapping import ended

pytestmark = pytest.mark.timeout(600)

# A roundtrip to Temporal a begin: none is over before the one before it was seen.
LINE_SECONDS: Final = 0.15
# Of a larger amount the fixed part of a lease's price is less: here dearer than a swap, there
# cheaper. And nothing goes around over erin, whom nobody else knows.
BESIDE_THE_RING: Final = {"bob": 700_000, "erin": 1_520_000}
LEASE: Final = {"max_rate_ppb": 1_900, "max_batch_fee_sat_per_vbyte": 1}
# A way around costs so much at least: the more it moves, the cheaper it is.
CAROLS_BASE_FEE_MSAT: Final = 300_000


@pytest.fixture(scope="session")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """A house of its own: its plans have more channels to look after."""
    state_dir = tmp_path_factory.mktemp("liquidity-killed")
    with_erin = Topology((*RING.nodes, "erin"), RING.channels)
    async with house("simulated", state_dir, ours=["alice"], topology=with_erin) as built:
        yield built


@pytest.fixture(scope="session")
async def temporal(home: House) -> Client:
    return await connect(home.settings)


@pytest.fixture
async def network(home: House) -> SimulatedNetwork:
    """Beside the ring two channels that nobody can send over any more."""
    assert isinstance(home.network, SimulatedNetwork)
    for peer, capacity_sat in BESIDE_THE_RING.items():
        push_sat = capacity_sat // 10
        home.network.open_channel("alice", peer, capacity_sat=capacity_sat, push_sat=push_sat)
    await home.network.nodes["carol"].charge(
        base_fee_msat=CAROLS_BASE_FEE_MSAT, fee_rate_ppm=FEE_RATE_PPM
    )
    await open_account(home.network)
    return home.network


async def test_each_move_is_begun_once_whenever_the_worker_dies(
    home: House, network: SimulatedNetwork, client: FulguriteClient, temporal: Client
) -> None:
    budget = client.budget(f"autopilot-{uuid4().hex[:8]}")
    async with home.worker("planner"):
        await budget.set(BudgetPolicy(fee_sat=100_000), by="olga")
        run = await client.liquidity(await _request(home, budget))
        plan = await run.asks()
        # Room for each move once, and for none twice.
        limit_sat = sum(-(-line.move.limit_msat // 1_000) for line in plan.moves if line.move)
        await budget.set(BudgetPolicy(fee_sat=limit_sat), by="olga")
    wanted = _wanted(run, plan)
    assert set(wanted) == {Remedy.REBALANCE, Remedy.LOOP_OUT, Remedy.LEASE}

    async with proxying(home.temporal.address) as line:
        line.to_server.delay_seconds = line.to_client.delay_seconds = LINE_SECONDS
        async with home.worker("doomed", FULGURITE_TEMPORAL_ADDRESS=line.address) as worker:
            await run.approve(PlanApproval(approver="olga"))
            for count in range(1, len(wanted) + 1):
                await _begun(temporal, wanted, count)
                line.to_server.pause()
                await worker.kill()
                await line.cut()
                assert len(await _found(temporal, wanted)) == count
                line.to_server.resume()
                await worker.start()
    async with home.worker("heir"):
        plan = await run.receipt()
        assert plan.state is PlanState.BEGUN
        assert {line.move.workflow_id for line in plan.moves if line.move} == set(wanted.values())
        await _all_end(home, client, wanted, budget)
    await _once_each(network, temporal, wanted)


def _wanted(run: LiquidityRun, plan: LiquidityPlan) -> dict[Remedy, str]:
    """The workflow of each move of the plan."""
    assert plan.policy
    orders = [order(run.id, "alice", line, plan.policy, plan.began_at) for line in plan.moves]
    return {each.deed.remedy: each.workflow_id for each in orders}


async def _found(temporal: Client, wanted: dict[Remedy, str]) -> list[str]:
    """Those that have been begun, by Temporal's word."""
    found = []
    for workflow_id in wanted.values():
        try:
            await temporal.get_workflow_handle(workflow_id).describe()
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
        else:
            found.append(workflow_id)
    return found


async def _begun(temporal: Client, wanted: dict[Remedy, str], count: int) -> None:
    await eventually(
        lambda: _found(temporal, wanted),
        lambda found: len(found) >= count,
        what=f"{count} moves begun",
        timeout_seconds=60,
        every_seconds=0.01,
    )


async def _all_end(
    home: House, client: FulguriteClient, wanted: dict[Remedy, str], budget: Budget
) -> None:
    """Each to its end; what they have cost the budget has spent, and nothing was refused."""
    keys = {remedy: workflow_id.partition("/")[2] for remedy, workflow_id in wanted.items()}
    moved = await client.rebalancing(keys[Remedy.REBALANCE]).receipt()
    assert (moved.status, moved.parts) == (RebalanceState.MOVED, 1)
    lease = client.lease_of(keys[Remedy.LEASE])
    await listed(lease)
    await lease.cancel()
    await mines_to(home.network, lease, LeaseState.CANCELED)
    await lease.receipt()
    swap = client.swap_of(keys[Remedy.LOOP_OUT])
    await ended(home.network, swap)
    swapped = await swap.receipt()
    assert (swapped.status, swapped.attempts) == (SwapState.SUCCEEDED, 1), swapped

    view = await budget.view()
    assert view.spent_fee_msat == moved.fee_msat + 1_000 * swapped.cost.total_sat
    assert (view.reserved_msat, view.refused) == (0, 0)


async def _once_each(
    network: SimulatedNetwork, temporal: Client, wanted: dict[Remedy, str]
) -> None:
    """One run of each, and one of each with LND, loopd and poold."""
    kinds = "'RebalanceWorkflow', 'SwapWorkflow', 'LeaseWorkflow'"
    runs = [each.id async for each in temporal.list_workflows(f"WorkflowType IN ({kinds})")]
    assert sorted(runs) == sorted(wanted.values())
    key = wanted[Remedy.REBALANCE].partition("/")[2]
    invoices = await network.nodes["alice"].list_invoices()
    assert sum(f" {key} #" in each.memo for each in invoices) == 1
    assert len(network.loopd("alice").stored) == 1
    assert len(network.trader("alice").orders) == 1


async def _request(home: House, budget: Budget) -> LiquidityRequest:
    channels = await home.network.nodes["alice"].channels()
    roomy = {"local_below": 0, "remote_below": 0.3}
    return LiquidityRequest(
        node="alice",
        mode=Mode.ASK,
        policy=LiquidityPolicy.model_validate(
            {
                "budget": budget.name,
                "backoff_hours": 0,
                "max_in_flight": 10,
                "lease": LEASE,
                "max_fee_ppm": 100_000,
                "max_fee_sat": 20_000,
                "rules": {
                    ChannelId(str(each.chan_id)): roomy
                    for each in channels
                    if each.capacity in BESIDE_THE_RING.values()
                },
            }
        ),
    )
