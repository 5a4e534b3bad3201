"""The courses of rebalances, and of the turns that they take."""

from __future__ import annotations

from typing import Any

from devnet.simulated.openings import CONFIRMATIONS
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.money import Msat
from fulgurite.rebalances.requests import RebalanceRequest
from fulgurite.rebalances.states import RebalanceState
from starter.rebalance import Rebalance
from tests.replay.recording import Recording, Shape

AMOUNT = Msat.from_sat(30_000)


async def _channel_to(on: Recording, name: str) -> str:
    """The first; opened, where the network has none."""
    key = (await on.network.nodes[name].info()).identity_pubkey
    for each in await on.alice.channels():
        if each.remote_pubkey == key:
            return each.channel_point
    point = on.network.open_channel(name, "alice")
    await on.network.mine(CONFIRMATIONS)
    return point


async def _begun(on: Recording, key: str, **fields: Any) -> Rebalance:
    """Out over bob, and back over carol."""
    out, back = await _channel_to(on, "bob"), await _channel_to(on, "carol")
    request = RebalanceRequest.model_validate(
        {
            "key": key,
            "node": "alice",
            "from_channels": [out],
            "to_channels": [back],
            "amount_msat": AMOUNT,
            "cap": {"sat": 100, "ppm": 1_000},
        }
        | fields
    )
    on.keep(ids.rebalance_id(key))
    return await on.client.rebalance(request)


async def _ends(rebalance: Rebalance, expected: RebalanceState) -> None:
    receipt = await rebalance.receipt()
    assert receipt.status is expected, receipt


async def _moved(on: Recording) -> None:
    async with on.worker():
        await _ends(await _begun(on, "moved"), RebalanceState.MOVED)


async def _too_dear(on: Recording) -> None:
    async with on.worker():
        dear = await _begun(on, "dear", cap={"sat": 0, "ppm": 0})
        await _ends(dear, RebalanceState.NOT_MOVED)


async def _counted(on: Recording) -> None:
    async with on.worker():
        await on.client.budget("fees").set(BudgetPolicy(fee_sat=1_000), by="ada")
        await _ends(await _begun(on, "counted", budgets=["fees"]), RebalanceState.MOVED)


async def _over_budget(on: Recording) -> None:
    async with on.worker():
        over = await _begun(on, "over-budget", budgets=["nobody-has-set-it"])
        await _ends(over, RebalanceState.OVER_BUDGET)


async def _stuck(on: Recording) -> None:
    """And called off meanwhile, which ends no attempt."""
    hold = on.network.faults.hold_htlcs("bob")
    async with on.worker():
        stuck = await _begun(
            on, "stuck", stuck_after_seconds=1, amount_msat=2 * AMOUNT, largest_part_msat=AMOUNT
        )
        await eventually(
            stuck.view, lambda view: view.state is RebalanceState.STUCK, what="a stuck attempt"
        )
        await stuck.cancel("enough")
        hold.release()
        await _ends(stuck, RebalanceState.PARTLY_MOVED)


async def _called_off_while_it_waits(on: Recording) -> None:
    hold = on.network.faults.hold_htlcs("bob")
    async with on.worker():
        first = await _begun(on, "has-the-turn")
        await eventually(
            first.view, lambda view: view.attempt is not None, what="an attempt of the first"
        )
        waits = await _begun(on, "waits")
        await eventually(
            waits.view, lambda view: view.state is RebalanceState.WAITING, what="one that waits"
        )
        await waits.cancel()
        await _ends(waits, RebalanceState.CANCELED)
        hold.release()
        await _ends(first, RebalanceState.MOVED)


async def _turns_taken(on: Recording) -> None:
    """Granted, waited for, told, given back; where others came before, theirs as well."""
    async with on.worker():
        both = [await _begun(on, key) for key in ("turn-one", "turn-two")]
        for each in both:
            await _ends(each, RebalanceState.MOVED)
    on.keep(ids.turns_id("alice"))


async def _in_many_runs(on: Recording) -> None:
    async with on.worker():
        moved = await _begun(on, "many-runs", amount_msat=3 * AMOUNT, largest_part_msat=AMOUNT)
        await _ends(moved, RebalanceState.MOVED)


SHAPES = (
    Shape("rebalanced", _moved),
    Shape("rebalance-too-dear", _too_dear),
    Shape("rebalance-counted", _counted),
    Shape("rebalance-counted-and-over-budget", _over_budget),
    Shape("rebalance-stuck-and-called-off", _stuck),
    Shape("rebalance-called-off-while-it-waits", _called_off_while_it_waits),
    Shape("turns-taken", _turns_taken),
    Shape("rebalanced-in-many-runs", _in_many_runs, impatient=True),
)
