"""The node's surroundings: what others want to send, and what moving liquidity costs.

Everything is drawn before anybody plays, so that all contestants see the same month.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from math import exp
from random import Random
from typing import Final

CHANNELS: Final = 20
DAYS: Final = 30
HOURS: Final = 24 * DAYS
BEGINS: Final = datetime(2026, 11, 1, tzinfo=UTC)

_FORWARDS_A_DAY: Final = 400
_MEDIAN_SAT: Final = 40_000
_SPREAD: Final = 1.1
_LARGEST_SAT: Final = 1_000_000

# Loop's order of size: a share for the server, and the chain's fees for two transactions.
SWAP_PPM: Final = 1_500
_SWAP_VBYTES: Final = 300
SWAP_MIN_SAT: Final = 250_000
SWAP_HOURS: Final = 2
# What of a priced route fails when it is tried, because nobody knows others' balances.
_ROUTE_FAILS: Final = 0.25


@dataclass(frozen=True)
class Peer:
    """The other end of a channel. Much is wanted towards some, and little from them."""

    capacity_sat: int
    local_ratio: float
    pulls: float  # how much goes out to it
    pushes: float  # how much comes in from it
    fee_ppm: int  # what the node asks for going out to it
    # What others ask for the way to it, beside the node; and what passes there in a day before
    # the price doubles.
    way_ppm: int
    depth_sat: int


@dataclass(frozen=True)
class Wish:
    """Somebody wants to send through the node."""

    hour: float
    come: int
    go: int
    amount_sat: int


@dataclass(frozen=True)
class Month:
    """One month's surroundings."""

    seed: int
    peers: tuple[Peer, ...]
    wishes: tuple[Wish, ...]
    chain_sat_per_vbyte: tuple[float, ...]  # by day
    way_moves: tuple[tuple[float, ...], ...]  # by peer and day, around 1
    luck: tuple[float, ...]  # by hour: whether a route that was priced carries

    def at(self, hour: float) -> datetime:
        return BEGINS + timedelta(hours=hour)

    def swap_cost_sat(self, amount_sat: int, hour: int) -> int:
        chain = self.chain_sat_per_vbyte[hour // 24] * _SWAP_VBYTES
        return round(amount_sat * SWAP_PPM / 1_000_000 + chain)

    def way_cost_sat(self, amount_sat: int, to: int, passed_sat: int, hour: int) -> int:
        """Around to a peer, where so much has been moved to it today already."""
        peer = self.peers[to]
        crowd = 1 + (passed_sat + amount_sat / 2) / peer.depth_sat
        ppm = peer.way_ppm * self.way_moves[to][hour // 24] * crowd
        return round(amount_sat * ppm / 1_000_000) + 3

    def way_carries(self, hour: int, channel: int) -> bool:
        return (self.luck[hour] * 997 + channel * 0.37) % 1 >= _ROUTE_FAILS


def month(seed: int) -> Month:
    dice = Random(seed)  # noqa: S311 - a month, not a key
    peers = tuple(_peer(dice, number) for number in range(CHANNELS))
    return Month(
        seed=seed,
        peers=peers,
        wishes=tuple(_wishes(dice, peers)),
        chain_sat_per_vbyte=tuple(_walk(dice, 6.0, 0.3, DAYS, lowest=1.0)),
        way_moves=tuple(tuple(_walk(dice, 1.0, 0.15, DAYS, lowest=0.4)) for _ in peers),
        luck=tuple(dice.random() for _ in range(HOURS)),
    )


def _peer(dice: Random, number: int) -> Peer:
    """A third draws, a third gives, a third does both: and who draws pays more."""
    kind = number % 3
    pulls, pushes = ((3.0, 0.5), (0.5, 3.0), (1.2, 1.2))[kind]
    fee_ppm = dice.randint(*((350, 900), (20, 120), (120, 350))[kind])
    size = exp(dice.gauss(0, 0.5))
    return Peer(
        capacity_sat=dice.choice([2_000_000, 4_000_000, 6_000_000, 10_000_000]),
        local_ratio=dice.uniform(0.3, 0.7),
        pulls=pulls * size * exp(dice.gauss(0, 0.4)),
        pushes=pushes * size * exp(dice.gauss(0, 0.4)),
        fee_ppm=fee_ppm,
        # Others sell the same way, for about the same: sometimes for less, often for more.
        way_ppm=round(fee_ppm * dice.uniform(0.4, 1.4)) + 50,
        depth_sat=dice.choice([500_000, 1_000_000, 2_000_000, 4_000_000]),
    )


def _wishes(dice: Random, peers: Sequence[Peer]) -> list[Wish]:
    wishes: list[Wish] = []
    hour = 0.0
    numbers = range(len(peers))
    pushes, pulls = [peer.pushes for peer in peers], [peer.pulls for peer in peers]
    while True:
        # Nights are quieter than days.
        busy = 1.4 if 8 <= hour % 24 < 22 else 0.45
        hour += dice.expovariate(_FORWARDS_A_DAY / 24 * busy)
        if hour >= HOURS:
            return wishes
        [come], [go] = dice.choices(numbers, pushes), dice.choices(numbers, pulls)
        amount_sat = min(_LARGEST_SAT, round(_MEDIAN_SAT * exp(dice.gauss(0, _SPREAD))))
        if come != go and amount_sat >= 1:
            wishes.append(Wish(hour, come, go, amount_sat))


def _walk(dice: Random, start: float, step: float, days: int, *, lowest: float) -> list[float]:
    """From day to day a little up or down, and drawn back to where it began."""
    values, value = [], start
    for _ in range(days):
        values.append(max(lowest, value))
        value *= exp(dice.gauss(0, step)) * (start / value) ** 0.15
    return values
