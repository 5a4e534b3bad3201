"""What poold has and our leases do not say, and money that nobody looks after, is told."""

from __future__ import annotations

import grpc
import pytest
from temporalio.client import Client

from devnet.house import House
from devnet.network import Network
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import Refuse
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.leases.requests import LeaseCancellation, LeaseRequest
from fulgurite.leases.states import LeaseState
from fulgurite.reconciliation.differences import Book, DifferenceKind
from fulgurite.reconciliation.leases import SOON_BLOCKS
from starter.client import FulguriteClient
from starter.lease import Lease
from tests.reconciliation.telling import comes_to_tell, reconciled, told
from tests.scenarios.telling import SIMULATED_ONLY

from .market import (
    AMOUNT_SAT,
    RATE_PPB,
    Venue,
    ends_term,
    listed,
    mines_to,
    open_account,
    orders_of,
    terms,
    wins,
)

pytestmark = [pytest.mark.timeout(600), pytest.mark.usefixtures("working")]


async def bidding(
    network: Network, client: FulguriteClient, venue: Venue
) -> tuple[LeaseRequest, Lease]:
    await open_account(network)
    await venue.offer(AMOUNT_SAT, RATE_PPB)
    request = terms()
    lease = await client.lease(request)
    await listed(lease)
    return request, lease


async def test_a_lease_agrees_from_its_bid_to_the_end_of_its_term(
    home: House, client: FulguriteClient, temporal: Client, venue: Venue
) -> None:
    request, lease = await bidding(home.network, client, venue)
    resource = ids.lease_id(request.key)
    assert await told(temporal, resource) == []
    await wins(venue, lease)
    assert await told(temporal, resource) == []
    await ends_term(venue, lease)

    async def compared() -> bool:
        report = await reconciled(temporal)
        assert Book.LEASES not in report.not_compared
        assert not [each for each in report.differences if each.resource == resource]
        return report.leases is not None and report.leases.agreeing > 0

    await eventually(compared, what="a lease that is compared", timeout_seconds=60)


@SIMULATED_ONLY
async def test_a_live_bid_that_nobody_follows_is_told_until_it_is_asked_for_again(
    simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client, venue: Venue
) -> None:
    request, _ = await bidding(simulated, client, venue)
    resource = ids.lease_id(request.key)
    await temporal.get_workflow_handle(resource).terminate("a mistake")

    difference = await comes_to_tell(temporal, resource, DifferenceKind.UNFOLLOWED_LEASE)

    assert difference.ours == "BIDDING, workflow TERMINATED"
    assert difference.theirs.startswith("SUBMITTED, ")
    # As the advice says.
    again = await client.lease(request)
    await listed(again)
    assert await told(temporal, resource) == []
    await again.cancel(LeaseCancellation())
    await again.receipt()
    assert len(await orders_of(simulated.pools["alice"], request)) == 1


@SIMULATED_ONLY
async def test_a_bid_that_poold_has_lost_is_told(
    simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client, venue: Venue
) -> None:
    request, lease = await bidding(simulated, client, venue)
    await wins(venue, lease)
    trader = simulated.trader("alice")
    orders, trader.orders = trader.orders, []

    difference = await comes_to_tell(
        temporal, ids.lease_id(request.key), DifferenceKind.UNKNOWN_TO_NODE
    )

    assert (difference.ours, difference.theirs) == ("LEASED", "unknown")
    trader.orders = orders
    assert await told(temporal, ids.lease_id(request.key)) == []
    await ends_term(venue, lease)


@SIMULATED_ONLY
async def test_another_cost_and_a_bid_that_is_live_after_all_are_told(
    simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client, venue: Venue
) -> None:
    request, lease = await bidding(simulated, client, venue)
    await wins(venue, lease)
    receipt = await ends_term(venue, lease)
    trader = simulated.trader("alice")
    [won] = receipt.channels
    [own] = [each for each in trader.leases if each.bid.nonce.hex() == won.nonce]
    resource, cost = ids.lease_id(request.key), receipt.cost.total_sat

    own.chain_fee_sat += 9
    difference = await comes_to_tell(temporal, resource, DifferenceKind.COST_DIFFERS)
    assert difference.ours.endswith(f" for {cost:,} sat")
    assert difference.theirs.endswith(f" for {cost + 9:,} sat")
    own.chain_fee_sat -= 9

    late = trader.submit(own.bid.message)  # by somebody who repeats our call
    assert isinstance(late, bytes)
    difference = await comes_to_tell(temporal, resource, DifferenceKind.STATE_DIFFERS)
    assert difference.ours.startswith("TERM_ENDED")
    assert "SUBMITTED" in difference.theirs
    await simulated.pools["alice"].cancel_order(late)


@SIMULATED_ONLY
async def test_an_account_that_ends_soon_is_told_unless_a_lease_looks_after_it(
    simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client
) -> None:
    key = await open_account(simulated, expires_in_blocks=SOON_BLOCKS)
    resource = f"account/{key.hex()}"

    difference = await comes_to_tell(temporal, resource, DifferenceKind.ACCOUNT_EXPIRING)

    assert "ends in " in difference.theirs
    idle = await client.lease(terms(duration_blocks=144))
    await mines_to(simulated, idle, LeaseState.BIDDING)
    # It has a bid that depends on the account, and may pay for no renewal.
    assert [each.kind for each in await told(temporal, resource)] == [difference.kind]
    renewing = {"key": key.hex(), "fee_sat_per_vbyte": 2}
    lease = await client.lease(terms(duration_blocks=144, account=renewing))
    await mines_to(simulated, lease, LeaseState.BIDDING)

    async def quiet() -> bool:
        return await told(temporal, resource) == []

    await eventually(quiet, what="a lease that looks after it", timeout_seconds=60)
    for each in (idle, lease):
        await each.cancel(LeaseCancellation())
        await each.receipt()


@SIMULATED_ONLY
async def test_a_poold_that_is_away_is_no_agreement(
    simulated: SimulatedNetwork, temporal: Client
) -> None:
    refused = Refuse(grpc.StatusCode.UNAVAILABLE)
    simulated.faults.add("alice.pool", "ListOrders", refused, times=1_000)

    report = await reconciled(temporal)

    assert report.leases is None
    assert "poold" in report.not_compared[Book.LEASES]
    assert report.payments is not None
    simulated.faults.clear()
    assert (await reconciled(temporal)).not_compared == {}
