"""Somewhere to run: a simulated network in process, and the real daemons on loopback."""
