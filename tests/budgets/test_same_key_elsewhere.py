"""One key, ended by force at one node and asked for at another: two intents, each its own.

What never happens twice is told apart by node as well: by loopd's label, which that node's loopd
alone lists, by the mark of a bid, and by the invoices of a rebalance. So the second is neither
mistaken for the first nor takes over what the first has reserved.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from uuid import uuid4

import pytest
from temporalio.client import Client

from devnet.house import House, furnished
from devnet.simulated import SimulatedNetwork
from devnet.temporal import TemporalServer
from devnet.topology import RING
from devnet.waiting import eventually
from fulgurite import attributes, ids
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.budgets.receipts import BudgetView
from fulgurite.leases.states import LeaseState
from fulgurite.rebalances.states import RebalanceState
from fulgurite.reconciliation.differences import DifferenceKind
from fulgurite.swaps.states import SwapState
from starter.budget import Budget
from starter.client import FulguriteClient
from starter.connect import connect
from tests.leases.market import listed, mines_to, open_account, orders_of, terms
from tests.rebalances.ring import Ring
from tests.reconciliation.telling import comes_to_tell, reconciled
from tests.swaps.swapping import ended, swap_request, until

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("working", "oracle")]

# bob is the swap server's neighbour: carol swaps as alice does, over others.
FIRST, OTHER = "alice", "carol"


@pytest.fixture(scope="session")
async def home(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[House]:
    """Two nodes that are ours, each with a loopd and a poold."""
    state_dir = tmp_path_factory.mktemp("two-nodes")
    temporal = TemporalServer(state_dir / "temporal", search_attributes=attributes.REGISTRY)
    network = SimulatedNetwork(state_dir / "network", topology=RING, traders=(FIRST, OTHER))
    async with temporal, network:
        yield furnished(state_dir, network, temporal, ours=[FIRST, OTHER])


@pytest.fixture(scope="session")
async def temporal(home: House) -> Client:
    return await connect(home.settings)


@pytest.fixture
async def budget(client: FulguriteClient) -> Budget:
    """With room for both."""
    budget = client.budget(f"both-{uuid4().hex[:8]}")
    await budget.set(BudgetPolicy(fee_sat=100_000), by="ada")
    return budget


async def test_a_swap_begins_at_each_nodes_own_loopd_and_each_is_reserved(
    simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client, budget: Budget
) -> None:
    asked = swap_request(budgets=[budget.name])
    elsewhere = asked.model_copy(update={"node": OTHER})
    worst_msat = 1_000 * asked.limits.total.of(asked.amount_sat)
    swap_id = ids.swap_id(asked.key)

    await until(await client.swap(asked), SwapState.INITIATED)
    await _killed(temporal, swap_id)
    await until(await client.swap(elsewhere), SwapState.INITIATED)
    await _both_hold(budget, swap_id, worst_msat)
    await _killed(temporal, swap_id)

    # Asked for at the first once more, it is the first one's swap that goes on.
    again = await client.swap(asked)
    await ended(simulated, again)
    receipt = await again.receipt()

    assert (receipt.status, receipt.attempts) == (SwapState.SUCCEEDED, 0)
    for node in (FIRST, OTHER):
        under_key = f"{swap_id}#"
        labels = [each.label for each in await simulated.loops[node].swaps()]
        assert sum(label.startswith(under_key) for label in labels) == 1, node
    view = await budget.view()
    assert [each.holder for each in view.oldest] == [f"{swap_id}@{OTHER}"]
    assert view.reserved_fee_msat == worst_msat
    assert view.spent_fee_msat == 1_000 * receipt.cost.total_sat


async def test_a_lease_bids_at_each_nodes_own_poold_and_each_is_reserved(
    simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client, budget: Budget
) -> None:
    for node in (FIRST, OTHER):
        await open_account(simulated, node=node)
    asked = terms(budgets=[budget.name], deadline_seconds=86_400)
    elsewhere = asked.model_copy(update={"node": OTHER})
    lease_id = ids.lease_id(asked.key)

    await listed(await client.lease(asked))
    [held] = (await budget.view()).oldest
    await _killed(temporal, lease_id)
    other = await client.lease(elsewhere)
    await listed(other)
    await _both_hold(budget, lease_id, held.fee_msat)

    # Called off there, nothing of the first one's is freed, nor is its bid taken back.
    await other.cancel()
    await mines_to(simulated, other, LeaseState.CANCELED)
    await other.receipt()
    bids = [await orders_of(simulated.pools[each.node], each) for each in (asked, elsewhere)]
    assert [len(each) for each in bids] == [1, 1]
    view = await budget.view()
    assert [each.holder for each in view.oldest] == [f"{lease_id}@{FIRST}"]
    assert view.reserved_fee_msat == held.fee_msat


async def test_a_rebalance_pays_each_nodes_own_invoices_and_each_is_reserved(
    home: House,
    simulated: SimulatedNetwork,
    client: FulguriteClient,
    temporal: Client,
    budget: Budget,
) -> None:
    amount = {"amount_msat": 40_000_000, "budgets": [budget.name]}
    asked = await Ring(home).request(**amount)
    nodes = simulated.nodes
    channels = {(await nodes[peer].info()).identity_pubkey: peer for peer in ("bob", "dave")}
    ours = {channels[each.remote_pubkey]: each for each in await nodes[OTHER].channels()}
    elsewhere = asked.model_copy(
        update={
            "node": OTHER,
            "from_channels": (ours["dave"].channel_point,),
            "to_channels": (ours["bob"].channel_point,),
        }
    )
    rebalance_id = ids.rebalance_id(asked.key)
    cap_msat = 1_000 * asked.cap.sat

    # Each passes the other's node, and both pass bob.
    hold = simulated.faults.hold_htlcs("bob")
    first = await client.rebalance(asked)
    await eventually(first.view, lambda view: view.attempt is not None, what="the first's attempt")
    await _killed(temporal, rebalance_id)
    other = await client.rebalance(elsewhere)
    await eventually(other.view, lambda view: view.attempt is not None, what="the other's attempt")
    await _both_hold(budget, rebalance_id, cap_msat)

    hold.release()
    receipt = await other.receipt()
    assert (receipt.status, receipt.parts) == (RebalanceState.MOVED, 1)
    for node in (FIRST, OTHER):
        memos = [each.memo for each in await nodes[node].list_invoices()]
        assert sum(f" {asked.key} #" in memo for memo in memos) == 1, node
    view = await budget.view()
    assert [each.holder for each in view.oldest] == [f"{rebalance_id}@{FIRST}"]
    assert (view.reserved_fee_msat, view.spent_fee_msat) == (cap_msat, receipt.fee_msat)


async def test_a_swap_that_nobody_follows_is_told_though_its_key_is_under_way_elsewhere(
    simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client
) -> None:
    asked = swap_request()
    elsewhere = asked.model_copy(update={"node": OTHER})
    swap_id = ids.swap_id(asked.key)

    await until(await client.swap(asked), SwapState.INITIATED)
    await _killed(temporal, swap_id)
    other = await client.swap(elsewhere)
    await until(other, SwapState.INITIATED)

    difference = await comes_to_tell(temporal, swap_id, DifferenceKind.UNFOLLOWED_SWAP)
    assert (difference.node, difference.ours) == (FIRST, "INITIATED, workflow TERMINATED")
    there = await reconciled(temporal, OTHER)
    assert swap_id not in {each.resource for each in there.differences}
    await ended(simulated, other)


async def test_a_bid_that_nobody_follows_is_told_though_its_key_is_under_way_elsewhere(
    simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client
) -> None:
    for node in (FIRST, OTHER):
        await open_account(simulated, node=node)
    asked = terms(deadline_seconds=86_400)
    elsewhere = asked.model_copy(update={"node": OTHER})
    lease_id = ids.lease_id(asked.key)

    await listed(await client.lease(asked))
    await _killed(temporal, lease_id)
    other = await client.lease(elsewhere)
    await listed(other)

    difference = await comes_to_tell(temporal, lease_id, DifferenceKind.UNFOLLOWED_LEASE)
    assert (difference.node, difference.ours) == (FIRST, "BIDDING, workflow TERMINATED")
    there = await reconciled(temporal, OTHER)
    assert lease_id not in {each.resource for each in there.differences}


async def _killed(temporal: Client, workflow_id: str) -> None:
    await temporal.get_workflow_handle(workflow_id).terminate()


async def _both_hold(budget: Budget, workflow_id: str, each_msat: int) -> BudgetView:
    """Each under its own node's name, and each at its worst."""
    view = await budget.view()
    assert {each.holder for each in view.oldest} == {
        f"{workflow_id}@{FIRST}",
        f"{workflow_id}@{OTHER}",
    }
    assert view.reserved_fee_msat == 2 * each_msat
    return view
