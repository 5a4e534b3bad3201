"""Swaps on both networks, from the quote to the last satoshi."""

from __future__ import annotations

import pytest

from devnet.house import House
from fulgurite.errors import InvalidRequestError
from fulgurite.payments.requests import Approval, Cancellation, Rejection
from fulgurite.swaps.limits import Cap, Direction, Limit, SwapLimits
from fulgurite.swaps.reasons import SwapReason
from fulgurite.swaps.requests import Abandonment, Word
from fulgurite.swaps.states import SwapState
from starter.client import FulguriteClient
from tests.scenarios.telling import SIMULATED_ONLY
from tests.swaps.swapping import (
    AMOUNT_SAT,
    balances,
    check_cost,
    ended,
    loopd_has,
    swap_request,
    until,
)

pytestmark = pytest.mark.usefixtures("working")


@pytest.mark.parametrize("direction", Direction)
async def test_a_swap_costs_what_loopd_reports_to_the_satoshi(
    home: House, client: FulguriteClient, direction: Direction
) -> None:
    before = await balances(home.network)
    swap = await client.swap(swap_request(direction))

    view = await ended(home.network, swap)
    receipt = await swap.receipt()

    assert view.state is receipt.status is SwapState.SUCCEEDED
    assert receipt.warnings == ()
    assert receipt.attempts == 1
    assert receipt.bounds
    assert 0 < receipt.cost.total_sat <= receipt.bounds.worst_case_sat <= 20_000
    await home.network.mine(1)
    check_cost(receipt, before, await balances(home.network))


@SIMULATED_ONLY
async def test_many_callers_of_one_key_make_one_swap(home: House, client: FulguriteClient) -> None:
    request = swap_request()
    swaps = [await client.swap(request) for _ in range(10)]
    await ended(home.network, swaps[0])

    assert [swap.attached for swap in swaps] == [False] + [True] * 9
    assert len(await loopd_has(home, request)) == 1


def _limits(**sat: int) -> SwapLimits:
    caps = {name: Cap(sat=each) for name, each in sat.items()}
    return SwapLimits.model_validate({"total": Cap(sat=20_000)} | caps)


@pytest.mark.parametrize(
    ("limits", "reason"),
    [
        (_limits(swap_fee=10), SwapReason.SWAP_FEE_LIMIT),
        (_limits(prepay=10), SwapReason.PREPAY_LIMIT),
        (_limits(miner_fee=10), SwapReason.MINER_FEE_LIMIT),
        (_limits(miner_fee=19_000), SwapReason.TOTAL_LIMIT),
        (SwapLimits(total=Cap(sat=20_000, ppm=1)), SwapReason.MINER_FEE_LIMIT),
    ],
)
async def test_what_is_above_a_limit_is_not_begun(
    home: House, client: FulguriteClient, limits: SwapLimits, reason: SwapReason
) -> None:
    request = swap_request(limits=limits)
    plan = await client.quote_swap(request)
    receipt = await (await client.swap(request)).receipt()

    assert receipt.status is SwapState.REFUSED
    assert receipt.reason is plan.reason is reason
    assert receipt.advice
    assert receipt.attempts == 0
    assert await loopd_has(home, request) == []


@pytest.mark.parametrize(
    ("amount_sat", "reason"),
    [(2_000, SwapReason.AMOUNT_TOO_LOW), (90_000_000, SwapReason.AMOUNT_TOO_HIGH)],
)
async def test_what_the_server_does_not_take_is_not_begun(
    home: House, client: FulguriteClient, amount_sat: int, reason: SwapReason
) -> None:
    request = swap_request(amount_sat=amount_sat, limits=SwapLimits(total=Cap(ppm=1_000_000)))
    receipt = await (await client.swap(request)).receipt()

    assert (receipt.status, receipt.reason) == (SwapState.REFUSED, reason)
    assert await loopd_has(home, request) == []


async def test_a_routing_limit_that_no_route_keeps_ends_it_without_a_loss(
    home: House, client: FulguriteClient
) -> None:
    before = await balances(home.network)
    request = swap_request(limits=_limits(routing=0, prepay_routing=0))
    swap = await client.swap(request)
    receipt = await swap.receipt()

    assert (receipt.status, receipt.reason) == (SwapState.FAILED, SwapReason.OFFCHAIN)
    assert receipt.cost.total_sat == 0
    after = await balances(home.network)
    assert (after.paid_msat, after.wallet_sat) == (before.paid_msat, before.wallet_sat)


@SIMULATED_ONLY
async def test_above_its_threshold_it_waits_for_a_person(
    home: House, client: FulguriteClient
) -> None:
    request = swap_request(approval_above_sat=AMOUNT_SAT - 1)
    swap = await client.swap(request)
    view = await until(swap, SwapState.AWAITING_APPROVAL)

    assert view.at_risk.in_flight_sat == 0
    assert view.bounds
    assert await loopd_has(home, request) == []
    await client.approve(f"swap/{request.key}", Approval(approver="ada"))
    assert (await ended(home.network, swap)).state is SwapState.SUCCEEDED


@SIMULATED_ONLY
async def test_a_person_can_say_no(home: House, client: FulguriteClient) -> None:
    request = swap_request(approval_above_sat=0)
    swap = await client.swap(request)
    await until(swap, SwapState.AWAITING_APPROVAL)
    await client.reject(f"swap/{request.key}", Rejection(approver="ada", reason="not today"))

    assert (await swap.receipt()).status is SwapState.REJECTED
    assert await loopd_has(home, request) == []


@SIMULATED_ONLY
async def test_what_is_paused_begins_when_it_is_resumed_and_not_before(
    home: House, client: FulguriteClient
) -> None:
    request = swap_request(approval_above_sat=0)
    swap = await client.swap(request)
    await until(swap, SwapState.AWAITING_APPROVAL)
    await swap.pause(Word(by="ada"))
    await until(swap, SwapState.PAUSED)
    assert await loopd_has(home, request) == []

    await swap.resume(Word(by="ada"))
    await until(swap, SwapState.AWAITING_APPROVAL)
    await swap.approve(Approval(approver="ada"))
    assert (await ended(home.network, swap)).state is SwapState.SUCCEEDED


@SIMULATED_ONLY
async def test_what_is_called_off_in_time_never_begins(
    home: House, client: FulguriteClient
) -> None:
    request = swap_request(approval_above_sat=0)
    swap = await client.swap(request)
    await until(swap, SwapState.AWAITING_APPROVAL)
    await swap.cancel(Cancellation(reason="too dear"))

    assert (await swap.receipt()).status is SwapState.CANCELED
    assert await loopd_has(home, request) == []


async def test_a_swap_in_that_nobody_pays_for_can_be_abandoned(client: FulguriteClient) -> None:
    """loopd calls an external HTLC published from the beginning, and knows nothing of it."""
    swap = await client.swap(swap_request(Direction.IN, external_htlc=True))
    view = await until(swap, SwapState.HTLC_PUBLISHED)
    assert view.htlc_address
    with pytest.raises(InvalidRequestError, match="even_if_published"):
        await swap.abandon(Abandonment(by="ada"))
    await swap.abandon(Abandonment(by="ada", even_if_published=True))
    receipt = await swap.receipt()

    assert (receipt.status, receipt.reason) == (SwapState.ABANDONED, SwapReason.ABANDONED)
    assert receipt.cost.total_sat == 0


@SIMULATED_ONLY
async def test_what_it_cost_above_a_limit_that_loopd_was_handed_is_told(
    home: House, client: FulguriteClient
) -> None:
    """loopd stores max_miner_fee, and sweeps at whatever the blocks to the expiry want."""
    swap = await client.swap(swap_request(limits=_limits(miner_fee=1_000)))
    await ended(home.network, swap)
    receipt = await swap.receipt()

    assert receipt.status is SwapState.SUCCEEDED
    assert receipt.cost.on_chain_sat > 1_000
    assert receipt.warnings == ("LIMIT_EXCEEDED",)
    assert [each.limit for each in receipt.exceeded] == [Limit.MINER_FEE]


@SIMULATED_ONLY
async def test_it_says_what_is_at_risk_at_each_moment(home: House, client: FulguriteClient) -> None:
    swap = await client.swap(swap_request())
    begun = await until(swap, SwapState.INITIATED)
    assert begun.at_risk.in_flight_sat > AMOUNT_SAT
    assert begun.bounds
    assert begun.at_risk.could_lose_sat < begun.bounds.worst_case_sat

    revealed = await ended(home.network, swap, among=frozenset({SwapState.PREIMAGE_REVEALED}))
    assert revealed.at_risk.could_lose_sat > AMOUNT_SAT

    assert (await ended(home.network, swap)).at_risk.could_lose_sat == 0
