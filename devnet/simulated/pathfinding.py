"""Finding a route: Dijkstra from the payee back to the payer, by fee.

Backwards, because fees are charged on what is forwarded: only from the payee's end is it
known what each hop must carry. Remote balances are unknown, so capacities stand for them,
as in lnd; the payer's own channels are judged by what they can spend now.
"""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

from devnet.simulated.channels import Channel
from devnet.simulated.graph import Graph
from devnet.simulated.routes import Hop, Route

# lnd adds blocks to the final delta, so that a block found meanwhile fails no HTLC.
BLOCK_PADDING = 3


class NoRouteError(Exception):
    """No route carries the amount within the restrictions."""


class InsufficientBalanceError(Exception):
    """All the payer's allowed channels together cannot carry the amount."""


@dataclass(frozen=True)
class Restrictions:
    """What a route must respect.

    `hinted_channel_ids` are private channels that the invoice told of. `avoided_msat` names
    directed pairs of nodes, and the amount from which on they are known not to work: what
    lnd's mission control would have learned in this payment.
    """

    fee_limit_msat: int
    final_cltv_delta_blocks: int
    cltv_limit_blocks: int
    outgoing_channel_ids: frozenset[int] = frozenset()
    last_hop: str | None = None
    hinted_channel_ids: frozenset[int] = frozenset()
    avoided_msat: Mapping[tuple[str, str], int] = field(default_factory=dict)


@dataclass(frozen=True)
class _Leg:
    """A step towards the payee, as the search leaves it behind at each node."""

    channel: Channel
    sender: str
    receiver: str
    amount_msat: int
    next: _Leg | None


def find_route(
    graph: Graph,
    limits: Restrictions,
    *,
    payer: str,
    payee: str | None,
    amount_msat: int,
    height: int,
    padding_blocks: int = BLOCK_PADDING,
) -> Route:
    """The cheapest route for `amount_msat`; raises NoRouteError or InsufficientBalanceError.

    `payee` None is a key that the graph does not know. A payer that is its own payee
    gets a circular route.
    """
    outgoing = [channel for channel in graph.channels_of(payer) if _may_leave_by(channel, limits)]
    if sum(channel.spendable_msat(payer) for channel in outgoing) < amount_msat:
        raise InsufficientBalanceError
    if payee is None:
        raise NoRouteError

    leg = _search(graph, payer, payee, amount_msat, limits)
    if leg is None or leg.amount_msat - amount_msat > limits.fee_limit_msat:
        raise NoRouteError
    final_expiry_height = height + limits.final_cltv_delta_blocks + padding_blocks
    route = _as_route(leg, amount_msat, final_expiry_height)
    # lnd prunes while it searches; here no route has a rival with other deltas.
    if route.hops[0].expiry_height > height + limits.cltv_limit_blocks:
        raise NoRouteError
    return route


def _search(
    graph: Graph, payer: str, payee: str, amount_msat: int, limits: Restrictions
) -> _Leg | None:
    # By what must arrive at the node, then by hops, then as `order` says; the count settles
    # the rest, so that legs themselves are never compared.
    frontier: list[tuple[int, int, int, int, str, _Leg | None]]
    frontier = [(amount_msat, 0, 0, 0, payee, None)]
    visited: set[str] = set()
    pushed = 0

    while frontier:
        needed_msat, hops, _, _, node, leg = heapq.heappop(frontier)
        if node == payer and leg is not None:
            return leg
        if node in visited:
            continue
        # A payer that pays itself is met twice: as the payee, and at the end.
        if node != payer:
            visited.add(node)

        for channel in graph.channels_of(node):
            step = _Leg(channel, channel.other(node), node, needed_msat, leg)
            if not _can_carry(step, payer, limits):
                continue
            fee_msat = order = 0
            if step.sender == payer:
                # Of parallel channels the fullest, which leaves the most room for later shards.
                order = -channel.spendable_msat(payer)
            else:
                fee_msat = channel.policies[step.sender].fee_msat(needed_msat)
            pushed += 1
            heapq.heappush(
                frontier, (needed_msat + fee_msat, hops + 1, order, pushed, step.sender, step)
            )
    return None


def _can_carry(step: _Leg, payer: str, limits: Restrictions) -> bool:
    if not _is_known(step.channel, payer, limits):
        return False
    pair = (step.sender, step.receiver)
    if step.next is None and limits.last_hop not in (None, step.sender):
        return False
    if step.next is not None and step.next.channel is step.channel:
        return False
    if pair in limits.avoided_msat and step.amount_msat >= limits.avoided_msat[pair]:
        return False
    if step.sender == payer:
        enough = step.channel.spendable_msat(payer) >= step.amount_msat
        return enough and _may_leave_by(step.channel, limits)
    return not step.channel.is_spent and step.channel.capacity_msat >= step.amount_msat


def _is_known(channel: Channel, payer: str, limits: Restrictions) -> bool:
    """Private channels are known to their ends, and to whom an invoice names them."""
    return (
        not channel.private
        or payer in (channel.opener, channel.peer)
        or channel.channel_id in limits.hinted_channel_ids
    )


def _may_leave_by(channel: Channel, limits: Restrictions) -> bool:
    return not limits.outgoing_channel_ids or channel.channel_id in limits.outgoing_channel_ids


def _as_route(first: _Leg, amount_msat: int, final_expiry_height: int) -> Route:
    legs = [first]
    while (following := legs[-1].next) is not None:
        legs.append(following)

    # Every forwarder gets its delta between the HTLC it takes and the one it gives.
    hops: list[Hop] = []
    forward_msat, expiry_height = amount_msat, final_expiry_height
    for leg in reversed(legs):
        hops.append(
            Hop(leg.channel, leg.sender, leg.receiver, leg.amount_msat, forward_msat, expiry_height)
        )
        forward_msat = leg.amount_msat
        expiry_height += leg.channel.policies[leg.sender].cltv_expiry_delta_blocks
    return Route(tuple(reversed(hops)))
