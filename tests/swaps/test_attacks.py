"""What an ended workflow, a failed swap or a late order leaves behind, and must not hide."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.snapshots import Snapshots
from activities.swaps import SwapActivities
from devnet.house import House
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import Refuse
from devnet.waiting import eventually
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.errors import InvalidRequestError
from fulgurite.payments.requests import Cancellation
from fulgurite.swaps.calls import AbandonSwap, Initiate, Outcome
from fulgurite.swaps.limits import Bounds, Cap, Direction, SwapLimits
from fulgurite.swaps.reasons import SwapReason
from fulgurite.swaps.requests import SwapRequest
from fulgurite.swaps.sequence import SequenceState
from fulgurite.swaps.sequence_requests import (
    OnFailure,
    SequenceChange,
    SequenceOrder,
    SwapSequenceRequest,
)
from fulgurite.swaps.states import SwapState
from nodes.registry import Nodes
from starter.client import FulguriteClient
from tests.scenarios.telling import SIMULATED_ONLY
from tests.swaps.swapping import (
    LIMITS,
    at_rest,
    balances,
    ended,
    standing,
    swap_request,
    until,
)

pytestmark = [SIMULATED_ONLY, pytest.mark.usefixtures("working")]

LOOP = "alice.loop"
TOTAL_SAT = 20_000


@pytest.fixture
async def activities(home: House) -> AsyncIterator[SwapActivities]:
    """What a worker asks loopd by, without a workflow that asks for it."""
    nodes = Nodes(home.settings.nodes)
    yield SwapActivities(nodes.loop, Snapshots(nodes.channels))
    await nodes.close()


def _stored(network: SimulatedNetwork, request: SwapRequest) -> int:
    """How many swaps loopd has stored under the key, listed or not."""
    prefix = f"swap/{request.key}#"
    return sum(swap.label.startswith(prefix) for swap in network.loopd("alice").stored.values())


async def test_a_key_is_not_begun_again_while_loopd_has_stored_what_it_does_not_list(
    simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client
) -> None:
    """Its first workflow was ended by force: the second knows nothing but what loopd tells."""
    simulated.swap_quirks.orphans = 1
    request = swap_request(orphan_watch_seconds=1)
    first = await client.swap(request)
    await until(first, SwapState.UNCERTAIN)
    await temporal.get_workflow_handle(f"swap/{request.key}").terminate()

    second = await client.swap(request)
    view = await eventually(
        lambda: standing(second),
        lambda view: view is not None and view.reason is SwapReason.UNLISTED,
        what="the orphan seen",
    )
    assert view
    assert "restart loopd" in view.advice
    assert _stored(simulated, request) == 1

    await simulated.stop_loop("alice")
    await simulated.start_loop("alice")
    assert (await ended(simulated, second)).state is SwapState.SUCCEEDED
    assert _stored(simulated, request) == 1


@pytest.mark.parametrize("ends", [SwapState.REFUSED, SwapState.CANCELED])
async def test_a_run_that_has_not_heard_that_nothing_was_begun_frees_no_budget(
    simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client, ends: SwapState
) -> None:
    name = f"swaps-{uuid.uuid4().hex[:6]}"
    budget = client.budget(name)
    await budget.set(BudgetPolicy(fee_sat=50_000), by="ada")
    request = swap_request(budgets=(name,))
    await until(await client.swap(request), SwapState.INITIATED)
    await temporal.get_workflow_handle(f"swap/{request.key}").terminate()

    if ends is SwapState.REFUSED:
        again = await client.swap(request.model_copy(update={"amount_sat": 60_000}))
    else:
        simulated.faults.add(LOOP, "ListSwaps", Refuse(), times=1_000)
        again = await client.swap(request)
        await again.cancel(Cancellation(reason="not now"))
    receipt = await again.receipt()
    simulated.faults.clear()

    assert receipt.status is ends
    assert (await budget.view()).reserved_fee_msat == TOTAL_SAT * 1_000
    await at_rest(simulated)


async def test_a_prepayment_that_may_be_lost_counts_in_the_budget_and_in_the_sequence(
    simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    name = f"swaps-{uuid.uuid4().hex[:6]}"
    budget = client.budget(name)
    await budget.set(BudgetPolicy(fee_sat=50_000), by="ada")
    before = await balances(simulated)
    simulated.swap_quirks.withholds_htlc = True
    sequence = await client.swap_sequence(
        _sequence(Direction.OUT, budgets=(name,), on_failure=OnFailure.CARRY_ON, spacing_blocks=500)
    )
    view = await eventually(
        sequence.view, lambda view: view.under_way is not None, what="a swap under way"
    )
    assert view.under_way
    await until(client.swap_of(view.under_way), SwapState.INITIATED)
    await simulated.mine(120)
    view = await eventually(sequence.view, lambda view: bool(view.ended), what="the end of it")
    await sequence.cancel(Cancellation(reason="enough"))
    receipt = await sequence.receipt()

    lost_sat = ((await balances(simulated)).paid_msat - before.paid_msat) // 1_000
    assert lost_sat >= 1_337
    assert receipt.swaps[0].cost.server_sat == 0, "as the real one tells it"
    assert receipt.spent_sat >= lost_sat
    spent_msat = (await budget.view()).spent_fee_msat
    assert spent_msat is not None
    assert spent_msat >= lost_sat * 1_000


async def test_what_was_published_meanwhile_is_not_abandoned_without_consent(
    simulated: SimulatedNetwork, client: FulguriteClient, activities: SwapActivities
) -> None:
    """The order was given while loopd's word was INITIATED; it is carried out later."""
    swap = await client.swap(swap_request(Direction.IN))
    view = await until(swap, SwapState.HTLC_PUBLISHED)
    assert view.swap_hash
    order = AbandonSwap(node="alice", swap_hash=view.swap_hash)
    answer = await ActivityEnvironment().run(activities.abandon, order)

    assert not answer.taken
    assert "HTLC_PUBLISHED" in answer.because
    assert (await ended(simulated, swap)).state is SwapState.SUCCEEDED


async def test_a_worker_that_was_held_up_for_too_long_asks_loopd_for_nothing(
    simulated: SimulatedNetwork, activities: SwapActivities
) -> None:
    request = swap_request()
    ask = Initiate(
        request=request,
        label=f"swap/{request.key}#1",
        label_prefix=f"swap/{request.key}#",
        bounds=Bounds(
            max_swap_fee_sat=5_000,
            max_prepay_sat=5_000,
            max_miner_fee_sat=5_000,
            max_routing_sat=1_000,
        ),
        not_after=datetime.now(UTC) - timedelta(seconds=1),
    )
    told = await ActivityEnvironment().run(activities.initiate, ask)

    assert told.outcome is Outcome.NOT_ASKED
    assert _stored(simulated, request) == 0


async def test_a_change_that_makes_no_swaps_is_refused_and_the_sequence_goes_on(
    simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    """A Loop In has no routing to limit."""
    sequence = await client.swap_sequence(_sequence(Direction.IN, spacing_blocks=500))
    view = await eventually(
        sequence.view, lambda view: view.under_way is not None, what="a swap under way"
    )
    assert view.under_way
    limits = SwapLimits(total=Cap(sat=6_000), routing=Cap(sat=1))
    with pytest.raises(InvalidRequestError, match="no routing"):
        await sequence.change(SequenceChange(by="ada", limits=limits))
    await ended(simulated, client.swap_of(view.under_way))
    await sequence.cancel(Cancellation(reason="enough"))

    assert (await sequence.receipt()).status is SequenceState.CANCELED


async def test_a_sequence_of_countless_swaps_is_refused(client: FulguriteClient) -> None:
    request = _sequence(Direction.OUT, amount_sat=100_000_000, max_swap_sat=1)
    receipt = await (await client.swap_sequence(request)).receipt()

    assert (receipt.status, receipt.swaps) == (SequenceState.REFUSED, ())


def _sequence(
    direction: Direction, *, budgets: tuple[str, ...] = (), **order: object
) -> SwapSequenceRequest:
    fields = {
        "amount_sat": 120_000,
        "max_swap_sat": 60_000,
        "limits": LIMITS,
        "total_cost_sat": 40_000,
    }
    return SwapSequenceRequest(
        key=f"test-{uuid.uuid4().hex[:12]}",
        node="alice",
        direction=direction,
        budgets=budgets,
        order=SequenceOrder.model_validate(fields | order),
    )
