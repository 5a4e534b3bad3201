"""The courses of bids for inbound liquidity, and of the channels that they win."""

from __future__ import annotations

from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.leases.requests import LeaseRequest
from fulgurite.leases.states import LEASE, LeaseState
from fulgurite.payments.requests import Approval
from starter.lease import Lease
from tests.replay.recording import Recording, Shape

_MOST_BLOCKS = 200


async def _begun(on: Recording, **changes: object) -> Lease:
    """A lease under a key that no other shape has."""
    usual = {
        "key": f"replayed-{on.network.chain.height}",
        "node": "alice",
        "amount_sat": 300_000,
        "min_channel_sat": 100_000,
        "duration_blocks": 144,
        "max_rate_ppb": 1_000,
        "max_batch_fee_sat_per_vbyte": 2,
        "account": {"open_with_sat": 1_000_000, "fee_sat_per_vbyte": 2},
    }
    lease = await on.client.lease(LeaseRequest.model_validate(usual | changes))
    on.keep(ids.lease_id(lease.key))
    return lease


async def _mine_to(on: Recording, lease: Lease, *states: LeaseState) -> None:
    mined = 0

    async def mine_and_ask() -> LeaseState:
        nonlocal mined
        state = (await lease.view()).state
        if state not in {*states, *LEASE.terminal}:
            assert mined < _MOST_BLOCKS
            await on.network.mine(1)
            mined += 1
        return state

    what = f"a lease in {states}"
    await eventually(mine_and_ask, lambda state: state in states, what=what, every_seconds=0.2)


async def _listed(lease: Lease) -> None:
    await eventually(lease.view, lambda view: view.bid is not None, what="a bid")


async def _won(on: Recording, lease: Lease) -> None:
    """In two channels, and to the end of their term."""
    await _mine_to(on, lease, LeaseState.BIDDING)
    await _listed(lease)
    for _ in range(2):
        on.network.market.ask("carol", 200_000, rate_ppb=500, blocks=144)
        await on.network.run_batch()
    await _mine_to(on, lease, LeaseState.LEASED)
    await on.network.mine(144)
    await _mine_to(on, lease, LeaseState.TERM_ENDED)
    await lease.receipt()


async def _to_the_end(on: Recording) -> None:
    async with on.worker():
        await on.client.budget("leases").set(BudgetPolicy(fee_sat=50_000), by="ada")
        lease = await _begun(on, approval_above_sat=0, budgets=("leases",))
        await _mine_to(on, lease, LeaseState.AWAITING_APPROVAL)
        await lease.approve(Approval(approver="ada"))
        await _won(on, lease)


async def _canceled(on: Recording) -> None:
    async with on.worker():
        lease = await _begun(on)
        await _mine_to(on, lease, LeaseState.BIDDING)
        await _listed(lease)
        await lease.cancel()
        await lease.receipt()


async def _refused(on: Recording) -> None:
    async with on.worker():
        lease = await _begun(on, max_cost_sat=0)
        await lease.receipt()


async def _continued(on: Recording) -> None:
    async with on.worker():
        await _won(on, await _begun(on))


SHAPES = (
    Shape("lease-counted", _to_the_end),
    Shape("lease-canceled", _canceled),
    Shape("lease-refused", _refused),
    Shape("lease-continued-as-new", _continued, impatient=True),
)
