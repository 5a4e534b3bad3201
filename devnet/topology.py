"""The small networks that both kinds of devnet build.

The usual one is a line, alice — bob — carol: every pair is joined by two channels with coins
on both sides, so that payments go both ways, over one hop and over two, and an amount above
one channel's balance must be split. The other is a ring, for what goes around.
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


@dataclass(frozen=True)
class Topology:
    """Who there is, and which channels join them."""

    nodes: tuple[str, ...]
    channels: tuple[ChannelPlan, ...]

    def between(self, one: str, other: str) -> list[ChannelPlan]:
        return [plan for plan in self.channels if {plan.opener, plan.peer} == {one, other}]


NODES = ("alice", "bob", "carol")

CHANNELS = (
    ChannelPlan("alice", "bob"),
    ChannelPlan("alice", "bob"),
    ChannelPlan("bob", "carol"),
    ChannelPlan("bob", "carol"),
)

LINE = Topology(NODES, CHANNELS)

# alice can send nearly everything to bob, and nearly nothing to dave.
RING = Topology(
    (*NODES, "dave"),
    (
        ChannelPlan("alice", "bob", capacity_sat=1_000_000, push_sat=50_000),
        ChannelPlan("bob", "carol", capacity_sat=2_000_000, push_sat=1_000_000),
        ChannelPlan("carol", "dave", capacity_sat=2_000_000, push_sat=1_000_000),
        ChannelPlan("dave", "alice", capacity_sat=1_000_000, push_sat=50_000),
    ),
)

# What every node asks for forwarding, in the terms of BOLT 7.
BASE_FEE_MSAT = 1_000
FEE_RATE_PPM = 100
CLTV_EXPIRY_DELTA_BLOCKS = 80
