"""What goes wrong between us and loopd: lost answers, orphans, and two who would be one."""

from __future__ import annotations

import grpc
import pytest
from temporalio.api.common.v1 import WorkflowExecution
from temporalio.api.workflowservice.v1 import DeleteWorkflowExecutionRequest
from temporalio.client import Client
from temporalio.common import WorkflowIDConflictPolicy
from temporalio.service import RPCError

from devnet.house import House
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import DropAnswer, Refuse, RestartNode
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.errors import InvalidRequestError
from fulgurite.identity import ChannelPoint, PaymentHash
from fulgurite.swaps.limits import Direction
from fulgurite.swaps.reasons import SwapReason
from fulgurite.swaps.requests import Adoption, SwapRequest, Word
from fulgurite.swaps.states import SwapState
from fulgurite.turns.requests import Ask
from protos.looprpc import client_pb2
from starter.client import FulguriteClient
from tests.scenarios.telling import SIMULATED_ONLY
from tests.swaps.swapping import (
    at_rest,
    balances,
    check_cost,
    ended,
    loopd_has,
    swap_request,
    until,
)

pytestmark = [SIMULATED_ONLY, pytest.mark.usefixtures("working")]

LOOP = "alice.loop"


def _begun(network: SimulatedNetwork, request: SwapRequest) -> int:
    """How many swaps loopd has stored under the key, listed or not."""
    prefix = f"swap/{request.key}#"
    return sum(swap.label.startswith(prefix) for swap in network.loopd("alice").stored.values())


@pytest.mark.parametrize("direction", Direction)
@pytest.mark.parametrize("fault", [DropAnswer(), RestartNode(after_effect=True)])
async def test_a_swap_whose_answer_is_lost_is_found_and_not_begun_again(
    simulated: SimulatedNetwork,
    client: FulguriteClient,
    direction: Direction,
    fault: DropAnswer | RestartNode,
) -> None:
    before = await balances(simulated)
    method = "LoopOut" if direction is Direction.OUT else "LoopIn"
    simulated.faults.add(LOOP, method, fault)
    request = swap_request(direction, orphan_watch_seconds=60)
    swap = await client.swap(request)
    await ended(simulated, swap)
    receipt = await swap.receipt()

    assert receipt.status is SwapState.SUCCEEDED
    assert _begun(simulated, request) == 1
    check_cost(receipt, before, await balances(simulated))


async def test_an_orphan_is_adopted_when_loopd_restarts_and_never_doubled(
    simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    before = await balances(simulated)
    simulated.swap_quirks.orphans = 1
    request = swap_request(orphan_watch_seconds=1)
    swap = await client.swap(request)
    await until(swap, SwapState.UNCERTAIN)
    view = await eventually(
        swap.view, lambda view: view.unlisted == 1, what="the orphan counted as stored"
    )
    assert view.at_risk.in_flight_sat > request.amount_sat

    # To begin it again would make two: that is refused for as long as loopd counts more than
    # it lists, whoever asks.
    with pytest.raises(InvalidRequestError, match="restart"):
        await swap.initiate_again(Word(by="ada"))

    await simulated.stop_loop("alice")
    await simulated.start_loop("alice")
    await ended(simulated, swap)
    receipt = await swap.receipt()

    assert receipt.status is SwapState.SUCCEEDED
    assert _begun(simulated, request) == 1
    assert receipt.warnings == ()
    check_cost(receipt, before, await balances(simulated))


async def test_a_swap_that_was_never_stored_begins_again_by_a_persons_word_only(
    simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    simulated.faults.add(LOOP, "LoopOut", RestartNode(after_effect=False))
    request = swap_request(orphan_watch_seconds=1)
    swap = await client.swap(request)
    await until(swap, SwapState.UNCERTAIN)
    assert _begun(simulated, request) == 0

    async def again() -> bool:
        try:
            await swap.initiate_again(Word(by="ada", note="loopd has nothing"))
        except InvalidRequestError:
            return False
        return True

    await eventually(again, what="evidence that loopd has nothing")
    view = await ended(simulated, swap)

    assert view.state is SwapState.SUCCEEDED
    assert view.attempt == 2
    assert _begun(simulated, request) == 1


async def test_an_uncertain_swap_can_be_given_up_and_counts_at_its_worst(
    simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    simulated.swap_quirks.orphans = 1
    swap = await client.swap(swap_request(orphan_watch_seconds=1))
    await until(swap, SwapState.UNCERTAIN)
    await swap.give_up(Word(by="ada"))
    receipt = await swap.receipt()

    assert receipt.status is SwapState.GIVEN_UP
    assert receipt.warnings == ("NOT_RESOLVED",)
    assert receipt.unseen_sat == 20_000
    assert (await swap.view()).at_risk.in_flight_sat > receipt.amount_sat

    # Until loopd lists it, nothing else is begun.
    await simulated.stop_loop("alice")
    await simulated.start_loop("alice")
    await at_rest(simulated)


async def test_a_person_can_say_which_of_loopds_swaps_an_uncertain_one_is(
    simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    simulated.faults.add(LOOP, "LoopOut", RestartNode(after_effect=False))
    request = swap_request(orphan_watch_seconds=1)
    swap = await client.swap(request)
    await until(swap, SwapState.UNCERTAIN)
    async with simulated.loops["alice"].client() as loop:
        by_hand = await loop.LoopOut(
            client_pb2.LoopOutRequest(
                amt=request.amount_sat,
                max_swap_fee=5_000,
                max_prepay_amt=5_000,
                max_miner_fee=5_000,
                max_swap_routing_fee=1_000,
                max_prepay_routing_fee=100,
                label="by hand",
            )
        )
    swap_hash = PaymentHash.of_bytes(by_hand.id_bytes)
    await swap.adopt(Adoption(by="ada", swap_hash=swap_hash))
    view = await ended(simulated, swap)

    assert (view.state, view.swap_hash) == (SwapState.SUCCEEDED, swap_hash)


async def test_what_loopd_lists_late_is_waited_for(
    simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    simulated.swap_quirks.hidden_lists = 8
    request = swap_request()
    swap = await client.swap(request)

    assert (await ended(simulated, swap)).state is SwapState.SUCCEEDED
    assert _begun(simulated, request) == 1


async def test_a_label_that_contains_another_is_another_swap(
    simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    """loopd's filter finds parts of labels, which is no equality."""
    first = swap_request(amount_sat=60_000)
    longer = swap_request(key=f"x{first.key}1", amount_sat=60_000)
    shorter = swap_request(key=first.key[:-1], amount_sat=60_000)
    for request in (longer, first, shorter):
        swap = await client.swap(request)
        assert (await ended(simulated, swap)).state is SwapState.SUCCEEDED
        assert _begun(simulated, request) == 1


async def test_a_key_that_temporal_has_forgotten_is_found_at_loopd(
    simulated: SimulatedNetwork, client: FulguriteClient, home: House, temporal: Client
) -> None:
    request = swap_request()
    swap = await client.swap(request)
    await ended(simulated, swap)
    await swap.receipt()
    await _forget(temporal, f"swap/{request.key}")

    once_more = await client.swap(request)
    receipt = await once_more.receipt()
    assert receipt.status is SwapState.SUCCEEDED
    assert receipt.attempts == 0
    assert len(await loopd_has(home, request)) == 1


async def _forget(temporal: Client, workflow_id: str) -> None:
    """What retention does in the end."""
    await temporal.workflow_service.delete_workflow_execution(
        DeleteWorkflowExecutionRequest(
            namespace=temporal.namespace,
            workflow_execution=WorkflowExecution(workflow_id=workflow_id),
        )
    )

    async def is_gone() -> bool:
        try:
            await temporal.get_workflow_handle(workflow_id).describe()
        except RPCError:
            return True
        return False

    await eventually(is_gone, what=f"{workflow_id} forgotten")


async def test_a_loopd_that_does_not_answer_is_asked_again_and_was_not_asked_to_begin(
    simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    simulated.faults.add(LOOP, "ListSwaps", Refuse(), times=2)
    request = swap_request()
    swap = await client.swap(request)

    assert (await ended(simulated, swap)).state is SwapState.SUCCEEDED
    assert _begun(simulated, request) == 1


async def test_what_the_server_refuses_is_refused_with_its_words(
    simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    simulated.swap_quirks.server_words.append("too many swaps in flight")
    swap = await client.swap(swap_request())
    receipt = await swap.receipt()

    assert (receipt.status, receipt.reason) == (SwapState.REFUSED, SwapReason.SERVER_REFUSED)
    assert any("too many swaps in flight" in line for line in (await swap.view()).timeline)


async def test_a_loopd_error_nobody_knows_is_no_refusal(
    simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    simulated.faults.add(LOOP, "LoopOut", Refuse(grpc.StatusCode.UNKNOWN, "a new kind of error"))
    swap = await client.swap(swap_request(orphan_watch_seconds=1))

    await until(swap, SwapState.UNCERTAIN)
    await swap.give_up(Word(by="ada"))


async def test_a_server_that_is_paid_and_publishes_nothing_costs_a_prepayment_at_most(
    simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    before = await balances(simulated)
    simulated.swap_quirks.withholds_htlc = True
    swap = await client.swap(swap_request())
    view = await until(swap, SwapState.INITIATED)
    assert view.bounds
    await simulated.mine(120)
    receipt = await swap.receipt()

    assert (receipt.status, receipt.reason) == (SwapState.FAILED, SwapReason.TIMEOUT)
    after = await balances(simulated)
    lost_msat = after.paid_msat - before.paid_msat
    assert lost_msat == view.bounds.max_prepay_sat * 1_000
    # As the real one: what was paid in advance is not in its figures.
    assert receipt.cost.server_sat == 0


async def test_a_swap_in_that_the_server_does_not_pay_for_comes_back_after_its_expiry(
    simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    before = await balances(simulated)
    simulated.swap_quirks.withholds_payment = True
    swap = await client.swap(swap_request(Direction.IN))
    await until(swap, SwapState.HTLC_PUBLISHED)
    await simulated.mine(310)
    receipt = await swap.receipt()

    assert (receipt.status, receipt.reason) == (SwapState.FAILED, SwapReason.TIMEOUT)
    after = await balances(simulated)
    assert after.wallet_sat - before.wallet_sat == -receipt.cost.on_chain_sat
    assert after.channels_sat == before.channels_sat


async def test_what_loopd_gives_up_for_now_is_followed_until_it_goes_on(
    simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    swap = await client.swap(swap_request())
    view = await until(swap, SwapState.INITIATED)
    assert view.swap_hash
    simulated.loopd("alice").fail_for_now(view.swap_hash.raw())
    stalled = await until(swap, SwapState.STALLED)
    assert stalled.reason is SwapReason.TEMPORARY
    assert "restart" in stalled.advice

    await simulated.stop_loop("alice")
    await simulated.start_loop("alice")
    assert (await ended(simulated, swap)).state is SwapState.SUCCEEDED


async def test_a_budget_without_room_keeps_a_swap_from_beginning_and_counts_what_one_costs(
    simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    budget = client.budget("swaps")
    await budget.set(BudgetPolicy(fee_sat=25_000), by="ada")
    first = await client.swap(swap_request(budgets=("swaps",)))
    await ended(simulated, first)
    cost_sat = (await first.receipt()).cost.total_sat
    spent = await budget.view()

    # The worst case of the second does not fit beside what the first has cost.
    await budget.set(BudgetPolicy(fee_sat=cost_sat + 19_999), by="ada")
    second = await (await client.swap(swap_request(budgets=("swaps",)))).receipt()

    assert spent.spent_fee_msat == cost_sat * 1_000
    assert (second.status, second.reason) == (SwapState.REFUSED, SwapReason.OVER_BUDGET)
    assert second.attempts == 0


async def test_a_swap_waits_for_its_turn_on_the_channels_that_it_names(
    simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client
) -> None:
    [channel, *_] = await simulated.nodes["alice"].channels()
    turns = temporal.get_workflow_handle(ids.turns_id("alice"))
    ask = Ask(
        holder=ids.channel_watch_id("alice"),
        ask_id="1",
        channels=(ChannelPoint(channel.channel_point),),
        seconds=600,
    )
    await temporal.start_workflow(
        "TurnsWorkflow",
        "alice",
        id=turns.id,
        task_queue=ids.TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        start_signal="ask",
        start_signal_args=[ask],
    )
    request = swap_request(channels=(str(channel.chan_id),))
    swap = await client.swap(request)
    await until(swap, SwapState.READY)
    await swap.pause(Word(by="ada"))
    await until(swap, SwapState.PAUSED)
    assert _begun(simulated, request) == 0

    await turns.signal("give_back", ids.channel_watch_id("alice"))
    await swap.resume(Word(by="ada"))
    assert (await ended(simulated, swap)).state is SwapState.SUCCEEDED
