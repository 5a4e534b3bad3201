"""A ring of four: rebalanced from 5 % to 50 % under the fee cap; and stopped where it is dear."""

from __future__ import annotations

import pytest

from devnet.waiting import eventually
from fulgurite.errors import ChannelNotFoundError, InvalidRequestError, KeyReusedError
from fulgurite.money import Msat
from fulgurite.rebalances.requests import RebalanceMethod
from fulgurite.rebalances.states import RebalanceState, StopReason
from starter.client import FulguriteClient
from tests.rebalances.ring import (
    CAPACITY_SAT,
    TOLERANCE_SAT,
    Ring,
)

pytestmark = pytest.mark.timeout(300)


@pytest.mark.parametrize("method", RebalanceMethod)
@pytest.mark.usefixtures("working")
async def test_five_percent_become_fifty_under_the_cap(
    client: FulguriteClient, ring: Ring, method: RebalanceMethod
) -> None:
    request = await ring.request(method=method)
    before = await ring.local_sat("bob"), await ring.local_sat("dave")
    rebalance = await client.rebalance(request)
    again = await client.rebalance(request)
    receipt = await rebalance.receipt()
    await ring.settled()
    after = await ring.local_sat("bob"), await ring.local_sat("dave")

    assert (receipt.status, receipt.reason) == (RebalanceState.MOVED, StopReason.REACHED)
    assert (rebalance.attached, again.attached) == (False, True)
    assert abs(after[1] - CAPACITY_SAT // 2) <= TOLERANCE_SAT
    assert after[1] - before[1] == receipt.moved_msat // 1_000
    # What left by one channel is what came by the other, and the fee: to the sat.
    assert 0 <= before[0] - after[0] - (after[1] - before[1]) - receipt.fee_msat // 1_000 <= 1
    assert 0 < receipt.fee_msat <= request.cap.of(receipt.moved_msat, Msat(0))
    assert receipt.fee_ppm <= request.cap.ppm
    with pytest.raises(KeyReusedError):
        await client.rebalance(request.model_copy(update={"max_attempts": 3}))


@pytest.mark.usefixtures("working")
async def test_a_fee_spike_in_the_middle_stops_it(client: FulguriteClient, ring: Ring) -> None:
    """It goes around in small parts; then the way costs more than the cap."""
    small, cap = Msat.from_sat(10_000), {"sat": 1_000, "ppm": 1_000}
    request = await ring.request(cap=cap, largest_part_msat=small, max_attempts=500)
    before = await ring.local_sat("dave")
    rebalance = await client.rebalance(request)
    await eventually(
        rebalance.view, lambda view: view.moved_msat >= 2 * small, what="a part that has moved"
    )
    await ring.everybody_charges(base_fee_msat=1_000, fee_rate_ppm=5_000)
    receipt = await rebalance.receipt()
    await ring.settled()

    assert (receipt.status, receipt.reason) == (RebalanceState.PARTLY_MOVED, StopReason.OVER_CAP)
    assert "would cost" in receipt.because
    assert 2 * small <= receipt.moved_msat < receipt.goal_msat
    assert await ring.local_sat("dave") - before == receipt.moved_msat // 1_000
    assert receipt.fee_ppm <= cap["ppm"]


@pytest.mark.usefixtures("working")
async def test_where_so_much_does_not_pass_less_is_tried(
    client: FulguriteClient, ring: Ring
) -> None:
    """bob has too little towards carol for all of it, and nobody can know before."""
    async with ring.drained(700_000):
        receipt = await (await client.rebalance(await ring.request())).receipt()
        await ring.settled()

    assert (receipt.status, receipt.reason) == (RebalanceState.PARTLY_MOVED, StopReason.NO_ROUTE)
    assert receipt.moved_msat >= receipt.goal_msat // 2
    assert receipt.parts < receipt.attempts
    assert receipt.fee_ppm <= receipt.cap.ppm


@pytest.mark.usefixtures("working")
async def test_what_costs_as_much_as_it_earns_is_left(client: FulguriteClient, ring: Ring) -> None:
    request = await ring.request(earns_ppm=250, cap={"sat": 100_000, "ppm": 10_000})
    receipt = await (await client.rebalance(request)).receipt()
    assert (receipt.status, receipt.reason) == (RebalanceState.NOT_MOVED, StopReason.NO_GAIN)
    worth_it = await ring.request(
        earns_ppm=400, cap={"sat": 100_000, "ppm": 10_000}, amount_msat=100_000_000
    )
    receipt = await (await client.rebalance(worth_it)).receipt()
    assert receipt.status is RebalanceState.MOVED
    assert receipt.fee_ppm < 400


@pytest.mark.usefixtures("working")
async def test_what_makes_no_sense_is_refused_before_anything_moves(
    client: FulguriteClient, ring: Ring
) -> None:
    unknown = await ring.request(from_channels=["ab" * 32 + ":0"])
    with pytest.raises(ChannelNotFoundError):
        await (await client.rebalance(unknown)).receipt()
    enough = await ring.request(target_local_ppm=1)
    receipt = await (await client.rebalance(enough)).receipt()
    assert (receipt.status, receipt.attempts) == (RebalanceState.MOVED, 0)
    with pytest.raises(InvalidRequestError):
        await client.rebalancing(enough.key).cancel()
