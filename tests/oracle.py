"""The last word on every sat and every send, which the independent ledger has."""

from __future__ import annotations

from devnet.network import Network
from devnet.simulated import SimulatedNetwork


async def accounted_for(network: Network) -> None:
    """Ends what a scenario has ordered of a simulation, and asks its ledger.

    No hash was settled twice, none was sent again while LND still had it, and all money, in
    channels and on the chain, is where the journal says. Real daemons have no such witness.
    """
    if isinstance(network, SimulatedNetwork):
        await network.restarted()
        network.faults.clear()
        network.swap_quirks.clear()
        network.ledger.assert_settled_at_most_once()
        network.ledger.assert_no_overlapping_sends()
        network.ledger.assert_balanced()
