"""The topology on the real daemons: btcd, and an lnd for each node, on loopback."""

from devnet.regtest.network import RegtestNetwork

__all__ = ["RegtestNetwork"]
