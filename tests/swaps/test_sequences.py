"""Several swaps, one after another: split, spaced, within one total, and changeable."""

from __future__ import annotations

import uuid
from typing import Any

import pytest

from devnet.house import House
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite.identity import ChannelId
from fulgurite.payments.requests import Cancellation
from fulgurite.swaps.limits import Direction
from fulgurite.swaps.reasons import SwapReason
from fulgurite.swaps.requests import Word
from fulgurite.swaps.sequence import SEQUENCE, SequenceReceipt, SequenceState, SequenceView
from fulgurite.swaps.sequence_requests import (
    OnFailure,
    SequenceChange,
    SequenceOrder,
    SwapSequenceRequest,
)
from fulgurite.swaps.states import SwapState
from starter.client import FulguriteClient
from starter.swap_sequence import SwapSequence
from tests.scenarios.telling import SIMULATED_ONLY
from tests.swaps.swapping import LIMITS, Blocks, balances, standing

pytestmark = pytest.mark.usefixtures("working")


def _request(
    *, channels: tuple[ChannelId, ...] = (), direction: Direction = Direction.OUT, **order: Any
) -> SwapSequenceRequest:
    fields: dict[str, Any] = {
        "amount_sat": 120_000,
        "max_swap_sat": 60_000,
        "limits": LIMITS,
        "total_cost_sat": 40_000,
    }
    return SwapSequenceRequest(
        key=f"test-{uuid.uuid4().hex[:12]}",
        node="alice",
        direction=direction,
        channels=channels,
        order=SequenceOrder.model_validate(fields | order),
    )


async def _to_the_end(
    home: House,
    client: FulguriteClient,
    sequence: SwapSequence,
    *,
    until: frozenset[SequenceState] = SEQUENCE.terminal,
) -> SequenceView:
    """Mines for each of its swaps, and between them."""
    blocks = Blocks(home.network)

    async def look() -> SequenceView:
        view = await sequence.view()
        if view.state in until:
            return view
        if view.state is SequenceState.SPACING:
            await home.network.mine(1)
        elif view.under_way and (swap := await standing(client.swap_of(view.under_way))):
            await blocks.mine_for(swap)
        return view

    return await eventually(
        look,
        lambda view: view.state in until,
        what=f"{sequence} in {until}",
        timeout_seconds=120,
        every_seconds=0.2,
    )


async def test_an_amount_is_swapped_over_its_channels_within_one_total(
    home: House, client: FulguriteClient
) -> None:
    before = await balances(home.network)
    channels = await home.network.nodes["alice"].channels()
    ids = tuple(ChannelId.of_number(each.chan_id) for each in channels[:2])
    sequence = await client.swap_sequence(_request(channels=ids))
    await _to_the_end(home, client, sequence)
    receipt = await sequence.receipt()

    assert receipt.status is SequenceState.COMPLETED
    assert receipt.swapped_sat == 120_000
    assert [each.status for each in receipt.swaps] == [SwapState.SUCCEEDED] * 2
    assert receipt.spent_sat == sum(each.cost.total_sat for each in receipt.swaps) <= 40_000
    after = await balances(home.network)
    on_chain_sat = sum(each.cost.on_chain_sat for each in receipt.swaps)
    assert after.wallet_sat - before.wallet_sat == 120_000 - on_chain_sat
    now = {each.chan_id: each for each in await home.network.nodes["alice"].channels()}
    for each in channels[:2]:
        assert each.local_balance - now[each.chan_id].local_balance >= 60_000


@SIMULATED_ONLY
async def test_the_next_swap_waits_for_its_blocks(home: House, client: FulguriteClient) -> None:
    sequence = await client.swap_sequence(_request(spacing_blocks=5))
    spacing = await _to_the_end(home, client, sequence, until=frozenset({SequenceState.SPACING}))
    assert len(spacing.ended) == 1
    await home.network.mine(4)
    assert (await sequence.view()).state is SequenceState.SPACING
    await _to_the_end(home, client, sequence)

    assert (await sequence.receipt()).status is SequenceState.COMPLETED


@SIMULATED_ONLY
@pytest.mark.parametrize(
    ("on_failure", "status"),
    [
        (OnFailure.STOP, SequenceState.STOPPED),
        (OnFailure.CARRY_ON, SequenceState.COMPLETED),
    ],
)
async def test_what_a_failure_means_for_those_after_it_is_the_orders(
    home: House,
    simulated: SimulatedNetwork,
    client: FulguriteClient,
    on_failure: OnFailure,
    status: SequenceState,
) -> None:
    simulated.swap_quirks.server_words.append("not now")
    sequence = await client.swap_sequence(_request(on_failure=on_failure))
    await _to_the_end(home, client, sequence)
    receipt: SequenceReceipt = await sequence.receipt()

    assert receipt.status is status
    assert receipt.swaps[0].reason is SwapReason.SERVER_REFUSED
    begun = [each for each in receipt.swaps if each.status is SwapState.SUCCEEDED]
    assert len(begun) == (on_failure is OnFailure.CARRY_ON)


@SIMULATED_ONLY
async def test_no_swap_begins_whose_worst_case_is_above_what_is_left(
    home: House, client: FulguriteClient
) -> None:
    sequence = await client.swap_sequence(_request(total_cost_sat=4_700))
    await _to_the_end(home, client, sequence)
    receipt = await sequence.receipt()

    assert receipt.status is SequenceState.STOPPED
    first, second = receipt.swaps
    assert first.status is SwapState.SUCCEEDED
    assert (second.status, second.cost.total_sat) == (SwapState.REFUSED, 0)
    assert receipt.spent_sat <= 4_700


@SIMULATED_ONLY
async def test_what_has_not_begun_can_be_changed_and_called_off(
    home: House, client: FulguriteClient
) -> None:
    sequence = await client.swap_sequence(_request(amount_sat=300_000, spacing_blocks=500))
    await _to_the_end(home, client, sequence, until=frozenset({SequenceState.SPACING}))
    # Split anew at once; the next one still waits for the blocks that were ordered.
    await sequence.change(SequenceChange(by="ada", max_swap_sat=120_000))
    await eventually(
        sequence.view,
        lambda view: len(view.to_come) == 2 and view.state is SequenceState.SPACING,
        what="two to come, of 120,000",
    )
    await sequence.change(SequenceChange(by="ada", spacing_blocks=1))
    await home.network.mine(1)

    async def second() -> SequenceView:
        return await _to_the_end(home, client, sequence, until=frozenset({SequenceState.SPACING}))

    await eventually(second, lambda view: len(view.ended) == 2, what="the second swap")
    await sequence.change(SequenceChange(by="ada", spacing_blocks=500))
    await sequence.cancel(Cancellation(reason="enough"))
    receipt = await sequence.receipt()

    assert receipt.status is SequenceState.CANCELED
    assert [each.amount_sat for each in receipt.swaps] == [60_000, 120_000]
    assert receipt.order.max_swap_sat == 120_000


@SIMULATED_ONLY
async def test_a_sequence_that_is_paused_begins_no_further_swap(
    home: House, client: FulguriteClient
) -> None:
    sequence = await client.swap_sequence(_request())
    await sequence.pause(Word(by="ada"))
    await _to_the_end(home, client, sequence, until=frozenset({SequenceState.PAUSED}))
    before = await sequence.view()
    await home.network.mine(3)
    assert (await sequence.view()).ended == before.ended
    await sequence.resume(Word(by="ada"))
    await _to_the_end(home, client, sequence)

    assert (await sequence.receipt()).swapped_sat == 120_000


@SIMULATED_ONLY
async def test_an_amount_that_makes_no_swaps_is_refused(client: FulguriteClient) -> None:
    sequence = await client.swap_sequence(_request(amount_sat=70_000, max_swap_sat=60_000))
    receipt = await sequence.receipt()

    assert receipt.status is SequenceState.REFUSED
    assert "35,000" in receipt.because
