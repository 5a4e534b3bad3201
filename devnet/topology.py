"""The one small network that both kinds of devnet build: alice — bob — carol.

Every pair is joined by two channels with coins on both sides, so that payments go both
ways, over one hop and over two, and an amount above one channel's balance must be split.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class ChannelPlan:
    """A channel to open: `opener` funds it and pushes part of it to `peer`. Satoshis."""

    opener: str
    peer: str
    capacity_sat: int = 2_000_000
    push_sat: int = 800_000


NODES = ("alice", "bob", "carol")

CHANNELS = (
    ChannelPlan("alice", "bob"),
    ChannelPlan("alice", "bob"),
    ChannelPlan("bob", "carol"),
    ChannelPlan("bob", "carol"),
)

# What every node asks for forwarding, in the terms of BOLT 7.
BASE_FEE_MSAT = 1_000
FEE_RATE_PPM = 100
CLTV_EXPIRY_DELTA_BLOCKS = 80
