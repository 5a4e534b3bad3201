"""Swaps: coins that move between channels and the chain, by loopd and its server."""
