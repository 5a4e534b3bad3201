"""A Lightning network in one process, which its clients cannot tell from lnd."""

from devnet.simulated.network import SimulatedNetwork

__all__ = ["SimulatedNetwork"]
