"""Circular rebalancing: money of one node's goes around, out by one channel and in by another."""
