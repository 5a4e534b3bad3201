"""The private channels that an invoice tells its payer of, chosen as lnd chooses them."""

from __future__ import annotations

from devnet.simulated.channels import Channel
from devnet.simulated.graph import Graph
from devnet.simulated.payment_requests import HopHint, RouteHint

MAX_HINTS = 20

# Hints stop where those given can carry so many times the amount.
_ENOUGH = 2


def private_hints(
    graph: Graph, node: str, *, amount_msat: int, given: tuple[RouteHint, ...]
) -> tuple[RouteHint, ...]:
    """A hint for each private channel into `node` that can be of use, the fullest first.

    A node without private channels gets none. `given` hints count, and are not repeated.
    """
    named = {hop.channel_id for hint in given for hop in hint}
    usable = [
        channel
        for channel in graph.channels_of(node)
        if channel.channel_id not in named and _is_usable(channel, node, graph)
    ]
    usable.sort(key=lambda channel: -channel.balances_msat[channel.other(node)])

    hints: list[RouteHint] = []
    carried_msat = 0
    for channel in usable[: MAX_HINTS - len(given)]:
        if amount_msat and carried_msat >= _ENOUGH * amount_msat:
            break
        peer = channel.other(node)
        carried_msat += channel.balances_msat[peer]
        policy = channel.policies[peer]
        hints.append(
            (
                HopHint(
                    graph.public_key_of(peer),
                    channel.channel_id,
                    policy.base_fee_msat,
                    policy.fee_rate_ppm,
                    policy.cltv_expiry_delta_blocks,
                ),
            )
        )
    return tuple(hints)


def _is_usable(channel: Channel, node: str, graph: Graph) -> bool:
    """A payer can go on from a public peer only, and over a link that is up."""
    peer_is_public = any(not other.private for other in graph.channels_of(channel.other(node)))
    return channel.private and channel.active and peer_is_public
