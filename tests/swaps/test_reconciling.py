"""Swaps that loopd has and we do not know, or know otherwise: each is told, and none is begun."""

from __future__ import annotations

import asyncio
import uuid

import grpc
import pytest
from temporalio.client import Client

from activities import comparing_swaps
from activities.swaps import SwapActivities
from devnet.house import House
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import Refuse
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.payments.requests import Rejection
from fulgurite.reconciliation.differences import Book, DifferenceKind
from fulgurite.swaps.calls import Followed
from fulgurite.swaps.receipts import SwapReceipt
from fulgurite.swaps.requests import SwapRequest
from fulgurite.swaps.states import SwapState
from protos.looprpc import client_pb2
from starter.client import FulguriteClient
from tests.reconciliation.telling import comes_to_tell, reconciled, told
from tests.scenarios.telling import SIMULATED_ONLY
from tests.swaps.swapping import AMOUNT_SAT, at_rest, ended, loopd_has, swap_request, until

pytestmark = pytest.mark.usefixtures("working")


async def began_at_loopd(home: House, label: str) -> bytes:
    """As a person at loopd's keyboard would, or another program."""
    async with home.network.loops["alice"].client() as client:
        answer = await client.LoopOut(
            client_pb2.LoopOutRequest(
                amt=AMOUNT_SAT,
                max_swap_fee=10_000,
                max_prepay_amt=10_000,
                max_miner_fee=10_000,
                max_swap_routing_fee=10_000,
                max_prepay_routing_fee=10_000,
                sweep_conf_target=9,
                label=label,
            )
        )
    return answer.id_bytes


async def receipt_of(home: House, client: FulguriteClient, request: SwapRequest) -> SwapReceipt:
    swap = await client.swap(request)
    await ended(home.network, swap)
    return await swap.receipt()


async def test_a_swap_that_went_well_agrees(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    receipt = await receipt_of(home, client, swap_request())
    resource = ids.swap_id(receipt.key)

    async def compared() -> bool:
        report = await reconciled(temporal)
        assert Book.SWAPS not in report.not_compared
        assert not [each for each in report.differences if each.resource == resource]
        return report.swaps is not None and report.swaps.agreeing > 0

    await eventually(compared, what="a swap that is compared", timeout_seconds=60)


async def test_a_swap_whose_workflow_was_terminated_is_told_until_it_is_asked_for_again(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    request = swap_request()
    swap = await client.swap(request)
    await until(swap, SwapState.INITIATED)
    resource = ids.swap_id(request.key)
    assert await told(temporal, resource) == []
    await temporal.get_workflow_handle(resource).terminate("a mistake")

    difference = await comes_to_tell(temporal, resource, DifferenceKind.UNFOLLOWED_SWAP)

    assert difference.payment_hash is not None
    assert difference.ours == "INITIATED, workflow TERMINATED"
    assert difference.theirs.startswith("INITIATED, 250,000 sat for ")
    # As the advice says.
    receipt = await receipt_of(home, client, request)
    assert receipt.status is SwapState.SUCCEEDED
    assert receipt.swap_hash == difference.payment_hash
    assert len(await loopd_has(home, request)) == 1
    assert await told(temporal, resource) == []


@SIMULATED_ONLY
async def test_swaps_are_compared_page_by_page(
    home: House,
    client: FulguriteClient,
    temporal: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for _ in range(2):
        await receipt_of(home, client, swap_request())
    at_once = (await reconciled(temporal)).swaps
    monkeypatch.setattr(comparing_swaps, "PAGE", 1)

    assert (await reconciled(temporal)).swaps == at_once
    assert at_once is not None
    assert at_once.all >= 2


@SIMULATED_ONLY
async def test_a_swap_begun_beside_us_is_told_by_our_label_alone(
    home: House, simulated: SimulatedNetwork, temporal: Client
) -> None:
    before = (await reconciled(temporal)).swaps
    key = f"nobodys-{uuid.uuid4().hex[:12]}"
    theirs = await began_at_loopd(home, "")
    ours = await began_at_loopd(home, f"{ids.swap_id(key)}#1")

    difference = await comes_to_tell(temporal, ids.swap_id(key), DifferenceKind.UNFOLLOWED_SWAP)

    assert difference.ours == "no workflow"
    assert difference.payment_hash == ours.hex()
    report = await reconciled(temporal)
    assert before is not None
    assert report.swaps is not None
    assert report.swaps.not_ours == before.not_ours + 1
    assert theirs.hex() not in {each.payment_hash for each in report.differences}
    await at_rest(simulated)
    # It has ended, a moment ago: a workflow would have to say so.
    difference = await comes_to_tell(temporal, ids.swap_id(key), DifferenceKind.UNFOLLOWED_SWAP)
    assert difference.theirs.startswith("SUCCESS")


@SIMULATED_ONLY
async def test_who_is_asked_while_loopd_has_it_already_is_told(
    home: House, simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client
) -> None:
    request = swap_request(approval_above_sat=0)
    swap = await client.swap(request)
    await until(swap, SwapState.AWAITING_APPROVAL)
    await began_at_loopd(home, f"{ids.swap_id(request.key)}#1")

    difference = await comes_to_tell(
        temporal, ids.swap_id(request.key), DifferenceKind.STATE_DIFFERS
    )

    assert difference.ours == "AWAITING_APPROVAL"
    await swap.reject(Rejection(approver="ada", reason="it is there"))
    await at_rest(simulated)
    # And it has ended as if there were none.
    difference = await comes_to_tell(
        temporal, ids.swap_id(request.key), DifferenceKind.STATE_DIFFERS
    )
    assert difference.ours.startswith("REJECTED")


@SIMULATED_ONLY
async def test_an_end_that_loopd_contradicts_and_another_cost_are_told(
    home: House, simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client
) -> None:
    receipt = await receipt_of(home, client, swap_request())
    assert receipt.swap_hash is not None
    stored = simulated.loopd("alice").stored[receipt.swap_hash.raw()]
    resource = ids.swap_id(receipt.key)

    stored.server_sat += 7
    difference = await comes_to_tell(temporal, resource, DifferenceKind.COST_DIFFERS)
    cost = receipt.cost.total_sat
    assert f"for {cost:,} sat" in difference.ours
    assert f"for {cost + 7:,} sat" in difference.theirs

    stored.server_sat -= 7
    stored.state = client_pb2.FAILED
    stored.reason = client_pb2.FailureReason.FAILURE_REASON_TIMEOUT
    difference = await comes_to_tell(temporal, resource, DifferenceKind.STATE_DIFFERS)
    assert difference.ours.startswith("SUCCEEDED")
    assert difference.theirs.startswith("FAILED")

    stored.state = client_pb2.SUCCESS
    stored.reason = client_pb2.FailureReason.FAILURE_REASON_NONE
    assert await told(temporal, resource) == []


@SIMULATED_ONLY
async def test_a_swap_that_loopd_lists_no_more_is_told(
    home: House, simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client
) -> None:
    """As with another database under the same loopd."""
    request = swap_request()
    swap = await client.swap(request)
    view = await until(swap, SwapState.INITIATED)
    assert view.swap_hash is not None
    resource, loopd = ids.swap_id(request.key), simulated.loopd("alice")
    lost = loopd.stored.pop(view.swap_hash.raw())

    difference = await comes_to_tell(temporal, resource, DifferenceKind.UNKNOWN_TO_NODE)

    assert (difference.ours, difference.theirs) == ("INITIATED", "unknown")
    assert difference.payment_hash == view.swap_hash
    loopd.stored[view.swap_hash.raw()] = lost
    await ended(home.network, swap)
    assert (await swap.receipt()).status is SwapState.SUCCEEDED
    assert await told(temporal, resource) == []


@SIMULATED_ONLY
async def test_a_swap_that_nobody_follows_to_its_end_is_told(
    simulated: SimulatedNetwork,
    client: FulguriteClient,
    temporal: Client,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    follow = SwapActivities._follow

    async def deaf(*_: object) -> Followed:
        await asyncio.Event().wait()
        raise AssertionError("nobody sets it")

    monkeypatch.setattr(SwapActivities, "_follow", deaf)
    request = swap_request()
    swap = await client.swap(request)
    await until(swap, SwapState.INITIATED)
    await at_rest(simulated)
    resource = ids.swap_id(request.key)

    difference = await comes_to_tell(temporal, resource, DifferenceKind.STALE_SWAP)

    assert difference.ours == "INITIATED"
    assert difference.theirs.startswith("SUCCESS")
    monkeypatch.setattr(SwapActivities, "_follow", follow)
    await temporal.get_workflow_handle(resource).terminate("its activity is deaf for good")
    assert (await (await client.swap(request)).receipt()).status is SwapState.SUCCEEDED


@SIMULATED_ONLY
async def test_a_loopd_that_is_away_is_no_agreement(
    simulated: SimulatedNetwork, temporal: Client
) -> None:
    refused = Refuse(grpc.StatusCode.UNAVAILABLE)
    simulated.faults.add("alice.loop", "ListSwaps", refused, times=1_000)

    report = await reconciled(temporal)

    assert report.swaps is None
    assert "loopd" in report.not_compared[Book.SWAPS]
    assert report.state.name in {"INCOMPLETE", "DIFFERS"}
    assert report.payments is not None
    assert "| swaps | not all compared: " in report.details()
    simulated.faults.clear()
    assert (await reconciled(temporal)).not_compared == {}
