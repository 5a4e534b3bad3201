"""The market behind poold: asks of other nodes, bids of ours and of strangers, and batches.

Where asks and bids meet, the bid with the highest rate comes first and takes from the cheapest
asks; all of a batch clear at the rate of the last bid that was taken. Makers have their accounts
elsewhere: what a bidder pays leaves the network, and a maker's channel is funded by its wallet.
A batch's channels have a transaction each here, in the block of the batch.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from devnet.simulated.pool import sums
from protos.poolrpc import shared_pb2


@dataclass(eq=False)
class Ask:
    """A node that opens channels for a price. `tier`: as the auctioneer rates it."""

    maker: str
    units: int
    rate_ppb: int
    blocks: int
    smallest_units: int = 1
    tier: shared_pb2.NodeTier.ValueType = shared_pb2.TIER_1


class Bid(Protocol):
    """What takes from asks; a poold's own, or a stranger's."""

    @property
    def units_unfulfilled(self) -> int: ...
    @property
    def smallest_units(self) -> int: ...
    @property
    def rate_ppb(self) -> int: ...
    @property
    def blocks(self) -> int: ...
    @property
    def min_tier(self) -> shared_pb2.NodeTier.ValueType: ...
    @property
    def max_sat_per_kw(self) -> int: ...
    @property
    def can_be_matched(self) -> bool: ...


@dataclass(eq=False)
class Stranger:
    """Another trader's bid, which takes asks away and pays as others do."""

    units_unfulfilled: int
    rate_ppb: int
    blocks: int
    smallest_units: int = 1
    min_tier: shared_pb2.NodeTier.ValueType = shared_pb2.TIER_0
    max_sat_per_kw: int = 1_000_000
    can_be_matched: bool = True


@dataclass(frozen=True)
class Match:
    """So many units of an ask for a bid, at the rate of its batch."""

    ask: Ask
    bid: Bid
    units: int
    rate_ppb: int

    @property
    def amount_sat(self) -> int:
        return self.units * sums.UNIT_SAT


@dataclass(eq=False)
class Market:
    """The auctioneer's book. `words`: how it refuses the next orders; `away`: it does not answer.

    `closed`: durations whose bids are taken and not matched.
    """

    sat_per_kw: int = sums.FLOOR_SAT_PER_KW
    away: bool = False
    words: deque[str] = field(default_factory=deque)
    closed: set[int] = field(default_factory=set)
    asks: list[Ask] = field(default_factory=list)
    bids: list[Bid] = field(default_factory=list)

    def ask(
        self,
        maker: str,
        amount_sat: int,
        *,
        rate_ppb: int,
        blocks: int = 2_016,
        smallest_sat: int = sums.UNIT_SAT,
        tier: shared_pb2.NodeTier.ValueType = shared_pb2.TIER_1,
    ) -> Ask:
        """Another node offers channels."""
        units, smallest = amount_sat // sums.UNIT_SAT, smallest_sat // sums.UNIT_SAT
        self.asks.append(Ask(maker, units, rate_ppb, blocks, smallest, tier))
        return self.asks[-1]

    def compete(self, amount_sat: int, *, rate_ppb: int, blocks: int = 2_016) -> Stranger:
        """A stranger bids."""
        stranger = Stranger(amount_sat // sums.UNIT_SAT, rate_ppb, blocks)
        self.bids.append(stranger)
        return stranger

    def match(self) -> list[Match]:
        """The next batch: who gets what, at which rate. Nothing has changed yet."""
        matches: list[Match] = []
        for blocks in {bid.blocks for bid in self.bids} - self.closed:
            matches += self._of_duration(blocks)
        return matches

    def _of_duration(self, blocks: int) -> list[Match]:
        left = {ask: ask.units for ask in self._cheapest_first(blocks)}
        taken: list[tuple[Bid, Ask, int]] = []
        for bid in self._dearest_first(blocks):
            found = _filled(bid, left)
            for ask, units in found:
                left[ask] -= units
                taken.append((bid, ask, units))
        rate = min((bid.rate_ppb for bid, _, _ in taken), default=0)
        return [Match(ask, bid, units, rate) for bid, ask, units in taken]

    def _cheapest_first(self, blocks: int) -> list[Ask]:
        fitting = [ask for ask in self.asks if ask.blocks >= blocks and ask.units]
        return sorted(fitting, key=lambda ask: ask.rate_ppb)

    def _dearest_first(self, blocks: int) -> list[Bid]:
        fitting = [
            bid
            for bid in self.bids
            if bid.blocks == blocks
            and bid.can_be_matched
            and bid.units_unfulfilled
            and bid.max_sat_per_kw >= self.sat_per_kw
        ]
        return sorted(fitting, key=lambda bid: -bid.rate_ppb)


def _filled(bid: Bid, left: dict[Ask, int]) -> list[tuple[Ask, int]]:
    """What a bid takes of asks that are cheap, good and large enough."""
    found, wanted = [], bid.units_unfulfilled
    for ask, units in left.items():
        takes = min(units, wanted)
        smallest = max(min(bid.smallest_units, bid.units_unfulfilled), ask.smallest_units)
        if ask.rate_ppb > bid.rate_ppb or ask.tier < bid.min_tier or takes < smallest:
            continue
        found.append((ask, takes))
        wanted -= takes
        if not wanted:
            break
    return found
