"""A plan's moves as the requests that carry them out, each under a key of its own.

The key follows from the plan and the channel: a run that is repeated asks for the same again,
and gets what is there.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from fulgurite import ids
from fulgurite.identity import NodeName
from fulgurite.leases.requests import UNIT_SAT, LeaseRequest
from fulgurite.liquidity.deeds import Deed
from fulgurite.liquidity.plans import ChannelLine, Move
from fulgurite.liquidity.policy import LiquidityPolicy, Remedy
from fulgurite.liquidity.pricing import Need
from fulgurite.money import MSAT_PER_SAT, Msat
from fulgurite.rebalances.requests import FeeCap, RebalanceRequest
from fulgurite.swaps.limits import Cap, Direction, SwapLimits
from fulgurite.swaps.requests import SwapRequest

WORKFLOWS: Final[dict[Remedy, str]] = {
    Remedy.REBALANCE: "RebalanceWorkflow",
    Remedy.LOOP_OUT: "SwapWorkflow",
    Remedy.LOOP_IN: "SwapWorkflow",
    Remedy.LEASE: "LeaseWorkflow",
}

# What was right when it was priced is not right for ever.
_BEGIN_WITHIN_SECONDS: Final = 3_600


@dataclass(frozen=True)
class MoveOrder:
    """The workflow that carries a move out."""

    workflow: str
    workflow_id: str
    request: RebalanceRequest | SwapRequest | LeaseRequest
    deed: Deed


def order(
    plan: str, node: NodeName, line: ChannelLine, policy: LiquidityPolicy, at: datetime
) -> MoveOrder:
    """The move of a line that has one. `plan` is the id of the workflow that has made it."""
    assert line.move is not None
    move, key = line.move, key_of(plan, line)
    request: RebalanceRequest | SwapRequest | LeaseRequest
    match move.remedy:
        case Remedy.REBALANCE:
            workflow_id, request = ids.rebalance_id(key), _rebalance(key, node, line, policy)
        case Remedy.LOOP_OUT | Remedy.LOOP_IN:
            workflow_id, request = ids.swap_id(key), _swap(key, node, line, policy)
        case Remedy.LEASE:
            workflow_id, request = ids.lease_id(key), _lease(key, node, move, policy)
    deed = Deed(
        workflow_id=workflow_id,
        remedy=move.remedy,
        channel=line.channel_point,
        fills=move.need is Need.LOCAL,
        partner=move.partner,
        amount_sat=move.amount_sat,
        limit_msat=move.limit_msat,
        began_at=at,
    )
    return MoveOrder(WORKFLOWS[move.remedy], workflow_id, request, deed)


def key_of(plan: str, line: ChannelLine) -> str:
    """For people the channel, and for uniqueness the plan."""
    return f"auto-{line.channel_id}-{hashlib.sha256(plan.encode()).hexdigest()[:16]}"


def _rebalance(
    key: str, node: NodeName, line: ChannelLine, policy: LiquidityPolicy
) -> RebalanceRequest:
    move = line.move
    assert move is not None
    assert move.partner is not None
    fills = move.need is Need.LOCAL
    gives, takes = (move.partner, line.channel_point)[:: 1 if fills else -1]
    return RebalanceRequest(
        key=key,
        node=node,
        from_channels=(gives,),
        to_channels=(takes,),
        amount_msat=Msat.from_sat(move.amount_sat),
        cap=FeeCap(sat=_limit_sat(move), ppm=_limit_ppm(move)),
        earns_ppm=line.idle_ppm,
        deadline_seconds=_BEGIN_WITHIN_SECONDS,
        budgets=_budgets(policy),
    )


def _swap(key: str, node: NodeName, line: ChannelLine, policy: LiquidityPolicy) -> SwapRequest:
    move = line.move
    assert move is not None
    out = move.remedy is Remedy.LOOP_OUT
    return SwapRequest(
        key=key,
        node=node,
        direction=Direction.OUT if out else Direction.IN,
        amount_sat=move.amount_sat,
        channels=(line.channel_id,) if out else (),
        last_hop=None if out else line.peer,
        limits=SwapLimits(total=Cap(sat=_limit_sat(move)), miner_fee=_chain_cap(move)),
        deadline_seconds=_BEGIN_WITHIN_SECONDS,
        budgets=_budgets(policy),
    )


def _chain_cap(move: Move) -> Cap | None:
    """The chain's part with half of what the limit leaves above the quote.

    Without a cap of its own it would be a share of the limit, which a small swap on a dear day
    is above from the beginning. The other half is for the routes of a Loop Out.
    """
    if move.chain_msat is None:
        return None
    above_msat = max(0, move.limit_msat - move.cost_msat)
    return Cap(sat=(move.chain_msat + above_msat // 2) // MSAT_PER_SAT)


def _lease(key: str, node: NodeName, move: Move, policy: LiquidityPolicy) -> LeaseRequest:
    return LeaseRequest(
        key=key,
        node=node,
        amount_sat=lease_sat(move.amount_sat),
        duration_blocks=policy.lease.duration_blocks,
        max_rate_ppb=policy.lease.max_rate_ppb,
        max_batch_fee_sat_per_vbyte=policy.lease.max_batch_fee_sat_per_vbyte,
        max_cost_sat=_limit_sat(move),
        budgets=_budgets(policy),
    )


def lease_sat(amount_sat: int) -> int:
    """In Pool's units, rounded down; 0: less than one."""
    return amount_sat // UNIT_SAT * UNIT_SAT


def _budgets(policy: LiquidityPolicy) -> tuple[str, ...]:
    return (policy.budget,) if policy.budget else ()


def _limit_sat(move: Move) -> int:
    return move.limit_msat // MSAT_PER_SAT


def _limit_ppm(move: Move) -> int:
    """Of what is moved: the same limit, for each part of it."""
    return min(1_000_000, -(-move.limit_msat * 1_000_000 // (move.amount_sat * MSAT_PER_SAT)))
