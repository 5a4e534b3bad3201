"""Whatever breaks or dies: what was asked for moves once, and the caps hold."""

from __future__ import annotations

from itertools import pairwise

import pytest
from temporalio.client import Client

from devnet.house import House
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import Delay, DropAnswer, Fault, Refuse, RestartNode, Stall
from devnet.simulated.openings import CONFIRMATIONS
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.channels.requests import CloseKind, CloseRequest
from fulgurite.channels.states import CloseState
from fulgurite.identity import ChannelPoint
from fulgurite.money import Msat
from fulgurite.rebalances.receipts import RebalanceReceipt
from fulgurite.rebalances.requests import RebalanceRequest
from fulgurite.rebalances.states import RebalanceState, StopReason
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient
from tests.rebalances.ring import Ring
from tests.scenarios.telling import SIMULATED_ONLY

pytestmark = pytest.mark.timeout(600)

PART = Msat.from_sat(40_000)
PARTS = 6


async def moved_by(ring: Ring, key: str) -> list[lightning_pb2.Payment]:
    """What the node's own list says of a rebalance's attempts: those that succeeded."""
    invoices = {
        invoice.r_hash.hex()
        for invoice in await ring.alice.list_invoices()
        if f" {key} #" in invoice.memo
    }
    return [
        payment
        for payment in await ring.alice.payments()
        if payment.payment_hash in invoices and payment.status == lightning_pb2.Payment.SUCCEEDED
    ]


async def assert_true(ring: Ring, receipt: RebalanceReceipt) -> None:
    """The receipt says what LND says, to the msat."""
    await ring.settled()
    payments = await moved_by(ring, receipt.key)
    assert sum(payment.value_msat for payment in payments) == receipt.moved_msat
    assert sum(payment.fee_msat for payment in payments) == receipt.fee_msat
    assert len(payments) == receipt.parts
    assert receipt.fee_msat <= receipt.cap.of(receipt.moved_msat, Msat(0))


@pytest.mark.parametrize("victim", ["worker", "temporal"])
async def test_every_part_moves_once_whatever_dies(
    home: House, client: FulguriteClient, ring: Ring, victim: str
) -> None:
    """Killed twice, at moments that nobody chose: before, in or after a send."""
    request = await _in_parts(ring)
    async with home.worker() as worker:
        rebalance = await client.rebalance(request)
        for parts in (1, 3):
            await _moved(ring, request, parts)
            if victim == "worker":
                await worker.kill()
                await worker.start()
            else:
                await home.temporal.kill()
                await home.temporal.start()
        receipt = await rebalance.receipt()

    assert receipt.status is RebalanceState.MOVED
    assert receipt.moved_msat == request.amount_msat
    await assert_true(ring, receipt)


async def test_every_part_moves_once_though_its_node_dies(
    home: House, client: FulguriteClient, ring: Ring
) -> None:
    """The node's channels can be away for longer than is tried: then less moves, and it says so."""
    request = await _in_parts(ring)
    async with home.worker():
        rebalance = await client.rebalance(request)
        await _moved(ring, request, parts=1)
        await home.network.stop_node("alice")
        await home.network.start_node("alice")
        receipt = await rebalance.receipt()

    assert receipt.status in {RebalanceState.MOVED, RebalanceState.PARTLY_MOVED}
    assert PART <= receipt.moved_msat <= PARTS * PART
    assert (receipt.status is RebalanceState.MOVED) == (receipt.moved_msat == PARTS * PART)
    await assert_true(ring, receipt)


async def _in_parts(ring: Ring) -> RebalanceRequest:
    return await ring.request(
        amount_msat=Msat(PARTS * PART), largest_part_msat=PART, deadline_seconds=600
    )


async def _moved(ring: Ring, request: RebalanceRequest, parts: int) -> None:
    await eventually(
        lambda: moved_by(ring, request.key),
        lambda seen: len(seen) >= parts,
        what=f"{parts} parts",
        timeout_seconds=120,
        every_seconds=0.02,
    )


@SIMULATED_ONLY
@pytest.mark.parametrize(
    ("method", "fault"),
    [
        ("ListChannels", Refuse()),
        ("QueryRoutes", Refuse()),
        ("AddInvoice", DropAnswer()),
        ("AddInvoice", RestartNode(after_effect=True)),
        ("TrackPaymentV2", Refuse()),
        ("TrackPaymentV2", Stall()),
        ("SendToRouteV2", Refuse()),
        ("SendToRouteV2", DropAnswer()),
        ("SendToRouteV2", Delay(1)),
        ("SendToRouteV2", RestartNode(after_effect=False)),
        ("SendToRouteV2", RestartNode(after_effect=True)),
        ("CancelInvoice", Refuse()),
    ],
    ids=lambda given: given if isinstance(given, str) else type(given).__name__,
)
@pytest.mark.usefixtures("working")
async def test_a_call_that_goes_wrong_once_does_no_harm(
    home: House, client: FulguriteClient, ring: Ring, method: str, fault: Fault
) -> None:
    assert isinstance(home.network, SimulatedNetwork)
    request = await ring.request(amount_msat=PART)
    home.network.faults.add("alice", method, fault)
    receipt = await (await client.rebalance(request)).receipt()

    assert receipt.status is RebalanceState.MOVED
    await assert_true(ring, receipt)


@SIMULATED_ONLY
@pytest.mark.usefixtures("working")
async def test_a_send_that_arrives_when_its_attempt_is_over_moves_nothing(
    home: House, client: FulguriteClient, ring: Ring
) -> None:
    """Its invoice is the fence: canceled before the next attempt began."""
    assert isinstance(home.network, SimulatedNetwork)
    request = await ring.request(amount_msat=PART, stuck_after_seconds=1)
    home.network.faults.add("alice", "SendToRouteV2", Delay(7))
    receipt = await (await client.rebalance(request)).receipt()
    assert (receipt.status, receipt.parts, receipt.attempts) == (RebalanceState.MOVED, 1, 2)

    async def late() -> int:
        hashes = [invoice.r_hash for invoice in await ring.alice.list_invoices()]
        return sum(
            payment is not None and payment.status == lightning_pb2.Payment.FAILED
            for payment in [await ring.alice.payment(each) for each in hashes[-2:]]
        )

    await eventually(late, what="the late send, which fails")
    await assert_true(ring, receipt)


@SIMULATED_ONLY
@pytest.mark.usefixtures("working")
async def test_what_hangs_is_waited_for_and_nothing_else_is_begun(
    home: House, client: FulguriteClient, ring: Ring
) -> None:
    assert isinstance(home.network, SimulatedNetwork)
    hold = home.network.faults.hold_htlcs("carol")
    request = await ring.request(amount_msat=PART, stuck_after_seconds=1, max_attempts=1)
    rebalance = await client.rebalance(request)
    stuck = await eventually(
        rebalance.view, lambda view: view.state is RebalanceState.STUCK, what="a stuck attempt"
    )
    assert stuck.attempt is not None
    invoice = (await ring.alice.list_invoices())[-1]
    ladder = client.stuck(invoice.r_hash.hex())
    await eventually(ladder.view, lambda view: bool(view.stakes), what="its ladder")
    called_off = await rebalance.cancel("no more")
    assert called_off.state is RebalanceState.STUCK
    hold.release()
    receipt = await rebalance.receipt()
    # It was with LND, and LND says that it settled: that counts, called off or not.
    assert (receipt.status, receipt.parts) == (RebalanceState.MOVED, 1)
    await ladder.receipt()
    await assert_true(ring, receipt)


@SIMULATED_ONLY
@pytest.mark.usefixtures("working")
async def test_one_that_was_ended_by_force_finds_its_attempts_again(
    home: House, client: FulguriteClient, temporal: Client, ring: Ring
) -> None:
    assert isinstance(home.network, SimulatedNetwork)
    request = await ring.request(amount_msat=Msat(2 * PART), largest_part_msat=PART)
    hold = home.network.faults.hold_htlcs("carol")
    await client.rebalance(request)

    async def in_flight() -> int:
        return sum(len(each.pending_htlcs) for each in await ring.alice.channels())

    await eventually(in_flight, what="an attempt in flight")
    await temporal.get_workflow_handle(ids.rebalance_id(request.key)).terminate()
    again = await client.rebalance(request)
    await eventually(
        again.view, lambda view: view.attempt is not None, what="the attempt, found again"
    )
    hold.release()
    receipt = await again.receipt()
    assert (receipt.status, receipt.parts, receipt.attempts) == (RebalanceState.MOVED, 2, 2)
    await assert_true(ring, receipt)


@SIMULATED_ONLY
@pytest.mark.usefixtures("working")
async def test_a_node_that_pays_more_than_it_may_is_stopped_at_once(
    home: House, client: FulguriteClient, ring: Ring
) -> None:
    """Handed to LND, held against the route, and once more against what was paid."""
    assert isinstance(home.network, SimulatedNetwork)
    home.network.faults.overcharge_next_payment("alice", 500_000)
    request = await ring.request(amount_msat=Msat(3 * PART), largest_part_msat=PART)
    receipt = await (await client.rebalance(request)).receipt()
    assert (receipt.status, receipt.reason) == (
        RebalanceState.PARTLY_MOVED,
        StopReason.FEE_ABOVE_CAP,
    )
    assert (receipt.parts, receipt.attempts) == (1, 1)


@pytest.mark.usefixtures("working")
async def test_two_that_want_the_same_channel_take_turns(
    client: FulguriteClient, ring: Ring
) -> None:
    requests = [
        await ring.request(amount_msat=Msat(2 * PART), largest_part_msat=PART) for _ in range(3)
    ]
    rebalances = [await client.rebalance(each) for each in requests]
    receipts = [await each.receipt() for each in rebalances]
    spans = []
    for each in requests:
        htlcs = [htlc for payment in await moved_by(ring, each.key) for htlc in payment.htlcs]
        begun = min(htlc.attempt_time_ns for htlc in htlcs)
        spans.append((begun, max(htlc.resolve_time_ns for htlc in htlcs)))
    assert [receipt.status for receipt in receipts] == [RebalanceState.MOVED] * 3
    assert all(earlier[1] <= later[0] for earlier, later in pairwise(sorted(spans)))


@SIMULATED_ONLY
@pytest.mark.usefixtures("working")
async def test_lnd_is_given_the_limit_itself(
    home: House, client: FulguriteClient, ring: Ring
) -> None:
    """It would find dearer ways around, and must not even look for them."""
    assert isinstance(home.network, SimulatedNetwork)
    home.network.calls.forget()
    dear = await ring.request(amount_msat=PART, cap={"sat": 1_000, "ppm": 50})
    receipt = await (await client.rebalance(dear)).receipt()
    assert receipt.reason is StopReason.OVER_CAP
    # Once within the limit, and once to tell what it would have cost.
    assert home.network.calls.count("alice", "QueryRoutes") == 2
    assert home.network.calls.count("alice", "AddInvoice") == 0


@SIMULATED_ONLY
@pytest.mark.usefixtures("working")
async def test_a_channel_that_is_to_be_closed_is_given_up_between_two_parts(
    home: House, client: FulguriteClient, ring: Ring
) -> None:
    """In agreement it closes only at rest, which somebody who goes around would not give it."""
    assert isinstance(home.network, SimulatedNetwork)
    part = Msat.from_sat(10_000)
    request = await ring.request(
        amount_msat=Msat(40 * part), largest_part_msat=part, max_attempts=500
    )
    point = ChannelPoint(home.network.open_channel("alice", "bob"))
    await home.network.mine(CONFIRMATIONS)
    request = request.model_copy(update={"from_channels": (point,)})
    rebalance = await client.rebalance(request)
    await eventually(
        rebalance.view, lambda view: view.moved_msat >= 2 * part, what="parts that have moved"
    )
    closing = await client.close_channel(
        CloseRequest(node="alice", channel_point=point, kind=CloseKind.COOPERATIVE)
    )
    receipt = await rebalance.receipt()

    async def closed() -> CloseState:
        await home.network.mine(1)
        return (await closing.view()).state

    await eventually(closed, lambda state: state is CloseState.CLOSED, what="the closed channel")
    assert (receipt.status, receipt.reason) == (RebalanceState.PARTLY_MOVED, StopReason.GAVE_WAY)
    assert receipt.because == f"to close/{point}"
    await assert_true(ring, receipt)
