"""Whatever dies, and when: one swap, followed to its end, at the cost that is reported."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest

from devnet.house import House
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import Delay
from devnet.waiting import eventually
from fulgurite.swaps.limits import Direction
from fulgurite.swaps.receipts import SwapReceipt
from fulgurite.swaps.states import SwapState
from starter.client import FulguriteClient
from starter.swap import Swap
from tests.scenarios.telling import SIMULATED_ONLY
from tests.swaps.swapping import (
    balances,
    check_cost,
    ended,
    loopd_has,
    swap_request,
    unconfirmed,
    until,
)

# Each time that a worker dies Temporal first waits for its heartbeats.
pytestmark = pytest.mark.timeout(300)

# The states that a swap waits in for blocks, each with the direction that has it.
MOMENTS = (
    (Direction.OUT, SwapState.INITIATED),
    (Direction.OUT, SwapState.PREIMAGE_REVEALED),
    (Direction.IN, SwapState.HTLC_PUBLISHED),
)


async def test_a_worker_that_is_killed_at_any_moment_leaves_one_swap_at_its_cost(
    home: House, client: FulguriteClient
) -> None:
    async with home.worker() as worker:

        async def kill(_: SwapState) -> None:
            await worker.kill()
            await worker.start()

        await _survives(home, client, kill)


@pytest.mark.usefixtures("working")
@pytest.mark.parametrize("victim", ["loopd", "lnd", "temporal"])
async def test_whatever_else_is_killed_at_any_moment_there_is_one_swap_at_its_cost(
    home: House, client: FulguriteClient, victim: str
) -> None:
    network = home.network

    async def kill(moment: SwapState) -> None:
        if victim == "temporal":
            await home.temporal.kill()
            await home.temporal.start()
            return
        paying = moment is SwapState.INITIATED and network.kind == "regtest"
        if victim == "lnd" and paying:
            # An lnd that dies within milliseconds of beginning loopd's payments leaves them
            # IN_FLIGHT for ever, as it does anybody's: not before their HTLC is published.
            await eventually(lambda: unconfirmed(network), what="a transaction of the swap")
        # loopd does not live without its lnd.
        await network.stop_loop("alice")
        if victim == "lnd":
            await network.stop_node("alice")
            await network.start_node("alice")
        await network.start_loop("alice")

    await _survives(home, client, kill)


async def _survives(
    home: House, client: FulguriteClient, kill: Callable[[SwapState], Awaitable[None]]
) -> None:
    for direction, moment in MOMENTS:
        before = await balances(home.network)
        request = swap_request(direction, amount_sat=100_000)
        swap = await client.swap(request)
        await until(swap, moment, mining=home.network)
        await kill(moment)
        receipt = await _end(home, swap)

        assert receipt.status is SwapState.SUCCEEDED
        assert receipt.attempts == 1
        assert len(await loopd_has(home, request)) == 1
        check_cost(receipt, before, await balances(home.network))


@SIMULATED_ONLY
async def test_a_worker_that_dies_between_the_question_and_the_answer_begins_one_swap(
    home: House, client: FulguriteClient, simulated: SimulatedNetwork
) -> None:
    """The call goes on without its caller, as loopd's does once it has been written down."""
    before, asked = await balances(home.network), simulated.calls.count("alice.loop", "LoopOut")

    async def was_asked() -> bool:
        return simulated.calls.count("alice.loop", "LoopOut") > asked

    # Longer than a dead worker's heartbeats are waited for: the first looks find nothing stored.
    simulated.faults.add("alice.loop", "LoopOut", Delay(seconds=35))
    request = swap_request(orphan_watch_seconds=60)
    async with home.worker() as worker:
        swap = await client.swap(request)
        await eventually(was_asked, what="loopd asked", every_seconds=0.01)
        await worker.kill()
        await worker.start()
        receipt = await _end(home, swap)

    assert receipt.status is SwapState.SUCCEEDED
    assert simulated.calls.count("alice.loop", "LoopOut") == asked + 1
    assert len(await loopd_has(home, request)) == 1
    assert receipt.warnings == ()
    check_cost(receipt, before, await balances(home.network))


async def _end(home: House, swap: Swap) -> SwapReceipt:
    await ended(home.network, swap)
    return await swap.receipt()
