"""The node itself: balances, forwards, what is earned and what is spent."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from functools import cache
from typing import Final

from bench.month.market import Month, Wish
from fulgurite.identity import ChannelId
from fulgurite.liquidity.flows import Forward
from fulgurite.money import MSAT_PER_SAT

_RESERVE_DIVISOR: Final = 100
_BASE_FEE_SAT: Final = 1
LOW: Final = 0.1
_COINS_SAT: Final = 10_000_000


@dataclass
class Tally:
    """How a contestant stands after so many hours."""

    routed_sat: int = 0
    earned_sat: float = 0.0
    spent_sat: int = 0
    moved_sat: int = 0
    moves: int = 0
    failures: int = 0
    refused: int = 0
    low_hours: int = 0
    hours: int = 0

    @property
    def net_sat(self) -> float:
        return self.earned_sat - self.spent_sat

    @property
    def low_share(self) -> float:
        return self.low_hours / self.hours if self.hours else 0.0


@dataclass
class Node:
    """Twenty channels and a wallet, at one moment of a month."""

    month: Month
    local_sat: list[int] = field(init=False)
    coins_sat: int = _COINS_SAT
    tally: Tally = field(default_factory=Tally)
    history: deque[tuple[float, Forward]] = field(default_factory=deque)  # with its hour
    by_day: list[Tally] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.local_sat = [round(p.capacity_sat * p.local_ratio) for p in self.month.peers]

    def capacity(self, channel: int) -> int:
        return self.month.peers[channel].capacity_sat

    def sendable(self, channel: int) -> int:
        return max(0, self.local_sat[channel] - self.capacity(channel) // _RESERVE_DIVISOR)

    def receivable(self, channel: int) -> int:
        remote_sat = self.capacity(channel) - self.local_sat[channel]
        return max(0, remote_sat - self.capacity(channel) // _RESERVE_DIVISOR)

    def ratio(self, channel: int) -> float:
        return self.local_sat[channel] / self.capacity(channel)

    def forward(self, wish: Wish) -> bool:
        """As BOLT 4 has it: where either side is short, the payment looks for another way."""
        fee_sat = _BASE_FEE_SAT + wish.amount_sat * self.month.peers[wish.go].fee_ppm / 1_000_000
        come_sat = wish.amount_sat + round(fee_sat)
        if self.sendable(wish.go) < wish.amount_sat or self.receivable(wish.come) < come_sat:
            self.tally.refused += 1
            return False
        self.local_sat[wish.go] -= wish.amount_sat
        self.local_sat[wish.come] += come_sat
        self.tally.routed_sat += wish.amount_sat
        self.tally.earned_sat += fee_sat
        self.history.append((wish.hour, self._forward(wish, fee_sat)))
        return True

    def _forward(self, wish: Wish, fee_sat: float) -> Forward:
        """As the node's own history would list it."""
        return Forward(
            at=self.month.at(wish.hour),
            incoming=channel_id(wish.come),
            outgoing=channel_id(wish.go),
            amount_in_msat=round((wish.amount_sat + fee_sat) * MSAT_PER_SAT),
            amount_out_msat=wish.amount_sat * MSAT_PER_SAT,
        )

    def pay(self, cost_sat: int, moved_sat: int) -> None:
        self.tally.spent_sat += cost_sat
        self.tally.moved_sat += moved_sat
        self.tally.moves += 1

    def end_of_hour(self) -> None:
        """Who is low, by the trigger that all contestants know, on either side."""
        for channel in range(len(self.local_sat)):
            self.tally.low_hours += not LOW <= self.ratio(channel) <= 1 - LOW
            self.tally.hours += 1


@cache
def channel_id(channel: int) -> ChannelId:
    return ChannelId(f"800000x{channel}x0")
