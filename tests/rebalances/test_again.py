"""Asked for again, or called off: what was sent counts, and nothing is sent beside it."""

from __future__ import annotations

import pytest
from temporalio.client import Client

from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import Delay, Refuse
from devnet.simulated.requests import PaymentIntent
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.budgets.policy import BudgetPolicy, Window
from fulgurite.money import Msat
from fulgurite.rebalances.requests import RebalanceRequest
from fulgurite.rebalances.states import RebalanceState, StopReason
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient
from starter.rebalance import Rebalance
from tests.rebalances.ring import Ring
from tests.rebalances.test_trouble import PART, assert_true, moved_by

pytestmark = [
    pytest.mark.timeout(300),
    pytest.mark.parametrize("home", ["simulated"], indirect=True),
    pytest.mark.usefixtures("working"),
]


async def in_flight(ring: Ring) -> int:
    return sum(len(each.pending_htlcs) for each in await ring.alice.channels())


async def invoices_of(ring: Ring, key: str) -> list[lightning_pb2.Invoice]:
    return [each for each in await ring.alice.list_invoices() if f" {key} #" in each.memo]


async def ended_by_force(
    client: FulguriteClient, temporal: Client, ring: Ring, request: RebalanceRequest
) -> None:
    """One whose attempt is in flight, and that nobody follows any more."""
    await client.rebalance(request)
    await eventually(lambda: in_flight(ring), what="an attempt in flight")
    await temporal.get_workflow_handle(ids.rebalance_id(request.key)).terminate()


def noted(invoice: lightning_pb2.Invoice) -> PaymentIntent:
    return PaymentIntent(
        destination="alice",
        payment_hash=invoice.r_hash,
        payment_addr=invoice.payment_addr,
        keysend_preimage=None,
        amount_msat=invoice.value_msat,
        fee_limit_msat=0,
        timeout_seconds=60,
        max_parts=1,
        final_cltv_delta_blocks=80,
        cltv_limit_blocks=1_000,
        outgoing_channel_ids=frozenset(),
        last_hop=None,
        payment_request=invoice.payment_request,
    )


async def followed(rebalance: Rebalance) -> None:
    await eventually(
        rebalance.view, lambda view: view.attempt is not None, what="the attempt, found again"
    )


@pytest.mark.parametrize("forgets", [False, True], ids=["all-is-kept", "canceled-are-forgotten"])
async def test_no_gap_hides_what_an_earlier_run_has_sent(
    simulated: SimulatedNetwork,
    client: FulguriteClient,
    temporal: Client,
    ring: Ring,
    *,
    forgets: bool,
) -> None:
    """Its first attempt failed, for the next there was no route; and the third is in flight."""
    if forgets:
        simulated.faults.forget_canceled_invoices("alice")
    hold = simulated.faults.hold_htlcs("dave")
    request = await ring.request(amount_msat=Msat.from_sat(400_000))
    async with ring.drained(700_000):
        await ended_by_force(client, temporal, ring, request)
        again = await client.rebalance(request)
        await followed(again)
        assert await in_flight(ring) == 1
        hold.release()
        receipt = await again.receipt()
        await assert_true(ring, receipt)
    assert 0 < receipt.moved_msat <= receipt.goal_msat


async def test_what_an_earlier_run_has_paid_is_counted_though_this_one_is_called_off(
    simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client, ring: Ring
) -> None:
    name = f"fees-{ring.new_key()}"
    budget = client.budget(name)
    await budget.set(BudgetPolicy(fee_sat=10_000, window=Window.MONTH), by="a test")
    request = await ring.request(amount_msat=Msat(2 * PART), largest_part_msat=PART, budgets=[name])
    hold = simulated.faults.hold_htlcs("carol")
    await ended_by_force(client, temporal, ring, request)
    again = await client.rebalance(request)
    await again.cancel("never mind")
    await followed(again)
    assert (await budget.view()).reserved_fee_msat == request.cap.sat * 1_000
    hold.release()
    receipt = await again.receipt()

    assert (receipt.status, receipt.reason) == (RebalanceState.PARTLY_MOVED, StopReason.CANCELED)
    assert (receipt.moved_msat, receipt.parts) == (PART, 1)
    await assert_true(ring, receipt)
    view = await budget.view()
    assert (view.spent_fee_msat, view.reserved_fee_msat) == (receipt.fee_msat, 0)


async def test_a_payment_that_somebody_has_deleted_has_moved_all_the_same(
    simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client, ring: Ring
) -> None:
    request = await ring.request(amount_msat=Msat(2 * PART), largest_part_msat=PART)
    hold = simulated.faults.hold_htlcs("carol")
    await ended_by_force(client, temporal, ring, request)
    hold.release()
    await ring.settled()
    [settled] = await invoices_of(ring, request.key)
    simulated.faults.delete_payment("alice", settled.r_hash)
    receipt = await (await client.rebalance(request)).receipt()

    assert (receipt.status, receipt.moved_msat) == (RebalanceState.MOVED, 2 * PART)
    [second] = await moved_by(ring, request.key)
    # What the first has cost nobody knows: the most that it may have.
    assert receipt.fee_msat == second.fee_msat + request.cap.of(PART, Msat(0))


async def test_what_lnd_has_noted_and_never_sent_is_not_waited_for(
    simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client, ring: Ring
) -> None:
    request = await ring.request(amount_msat=PART)
    simulated.faults.add("alice", "SendToRouteV2", Refuse(), times=1_000)
    await client.rebalance(request)
    [invoice] = await eventually(
        lambda: invoices_of(ring, request.key), what="the invoice of its attempt"
    )
    await temporal.get_workflow_handle(ids.rebalance_id(request.key)).terminate()
    simulated.faults.clear()
    simulated.faults.note_payment("alice", noted(invoice))
    receipt = await (await client.rebalance(request)).receipt()

    assert (receipt.status, receipt.parts, receipt.attempts) == (RebalanceState.MOVED, 1, 2)
    await assert_true(ring, receipt)
    await simulated.stop_node("alice")  # a start fails what it finds noted
    await simulated.start_node("alice")


@pytest.mark.parametrize("called_off", [True, False], ids=["called-off", "too-late"])
async def test_nothing_is_sent_once_it_is_called_off_or_its_time_is_over(
    simulated: SimulatedNetwork, client: FulguriteClient, ring: Ring, *, called_off: bool
) -> None:
    """It was about to: its route was found, and its invoice was being written."""
    simulated.faults.add("alice", "AddInvoice", Delay(4))
    simulated.calls.forget()
    request = await ring.request(amount_msat=PART, deadline_seconds=3_600 if called_off else 3)
    rebalance = await client.rebalance(request)

    async def writing() -> int:
        return simulated.calls.count("alice", "AddInvoice")

    await eventually(writing, what="an invoice that is being written")
    if called_off:
        await rebalance.cancel()
    receipt = await rebalance.receipt()

    expected = (
        (RebalanceState.CANCELED, StopReason.CANCELED)
        if called_off
        else (RebalanceState.NOT_MOVED, StopReason.DEADLINE)
    )
    assert (receipt.status, receipt.reason) == expected
    assert simulated.calls.count("alice", "SendToRouteV2") == 0


async def test_nothing_is_sent_once_cancel_has_returned(
    simulated: SimulatedNetwork, client: FulguriteClient, ring: Ring
) -> None:
    """Its send was under way already, and asked LND first: by the third such question."""
    simulated.faults.add("alice", "TrackPaymentV2", Delay(0), times=2)
    simulated.faults.add("alice", "TrackPaymentV2", Delay(1))
    simulated.calls.forget()
    rebalance = await client.rebalance(await ring.request(amount_msat=PART, max_attempts=1))

    async def asking() -> int:
        return simulated.calls.count("alice", "TrackPaymentV2")

    await eventually(asking, lambda count: count == 3, what="a send that asks first")
    await rebalance.cancel()
    sent = simulated.calls.count("alice", "SendToRouteV2")
    receipt = await rebalance.receipt()
    assert simulated.calls.count("alice", "SendToRouteV2") == sent
    assert receipt.parts == sent
    await assert_true(ring, receipt)


async def test_it_can_be_called_off_while_a_budget_gives_no_answer(
    client: FulguriteClient, temporal: Client, ring: Ring
) -> None:
    name = f"mute-{ring.new_key()}"
    mute = await temporal.start_workflow("Nobody", id=ids.budget_id(name), task_queue="nobody")
    rebalance = await client.rebalance(await ring.request(budgets=[name]))
    await eventually(
        rebalance.view, lambda view: view.state is RebalanceState.RESERVING, what="its asking"
    )
    await rebalance.cancel()
    await eventually(
        rebalance.view, lambda view: view.state is RebalanceState.CANCELED, what="its end"
    )
    await mute.terminate()  # and what may have been granted is released
    receipt = await rebalance.receipt()
    assert (receipt.status, receipt.attempts) == (RebalanceState.CANCELED, 0)
