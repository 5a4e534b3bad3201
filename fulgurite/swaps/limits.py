"""What a swap may cost: limits, what a quote makes of them, and what was paid in the end.

All in satoshi, because loopd counts in satoshi. Every limit fails closed: what is not known to
be within it is not begun.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Final, Self

from pydantic import Field, model_validator

from fulgurite.model import Model
from fulgurite.money import MAX_MSAT, MSAT_PER_SAT

MAX_SAT: Final = MAX_MSAT // MSAT_PER_SAT


class Direction(StrEnum):
    """Which way the coins go."""

    OUT = "OUT"  # out of channels, onto the chain: afterwards the node can receive more
    IN = "IN"  # from the chain into a channel: afterwards it can send more


class Limit(StrEnum):
    """A part of what a swap costs."""

    SWAP_FEE = "SWAP_FEE"  # the server's, the prepayment included
    PREPAY = "PREPAY"  # what the server keeps if we never take what it offers on chain
    MINER_FEE = "MINER_FEE"
    ROUTING = "ROUTING"  # of the swap's own payment
    PREPAY_ROUTING = "PREPAY_ROUTING"
    TOTAL = "TOTAL"


class Cap(Model):
    """At most so much: in sat, in ppm of the amount, or both, and then the lower one holds."""

    sat: int | None = Field(default=None, strict=True, ge=0, le=MAX_SAT)
    ppm: int | None = Field(
        default=None, strict=True, ge=0, le=1_000_000, description="of the amount, rounded down"
    )

    @model_validator(mode="after")
    def _says_something(self) -> Self:
        if self.sat is None and self.ppm is None:
            raise ValueError('give a limit as "sat", as "ppm", or as both')
        return self

    def of(self, amount_sat: int) -> int:
        """The cap in satoshi for a swap of that amount."""
        by_ppm = None if self.ppm is None else amount_sat * self.ppm // 1_000_000
        return min(each for each in (self.sat, by_ppm) if each is not None)


class SwapLimits(Model):
    """What a swap may cost at the worst. Only `total` must be given: there is no "any".

    A part without a limit of its own is bounded by what the total leaves for it.
    """

    total: Cap
    swap_fee: Cap | None = None
    prepay: Cap | None = Field(default=None, description="of a Loop Out; part of the swap fee")
    miner_fee: Cap | None = None
    routing: Cap | None = Field(default=None, description="of a Loop Out's own payment")
    prepay_routing: Cap | None = Field(default=None, description="of a Loop Out's prepayment")


class Terms(Model):
    """What the server swaps at all."""

    min_sat: int
    max_sat: int


class Quote(Model):
    """What the server asks for one swap, and what the chain is believed to cost."""

    swap_fee_sat: int
    prepay_sat: int = Field(default=0, description="part of the swap fee; a Loop In has none")
    miner_fee_sat: int = Field(description="an estimate: the sweep's fee follows the chain's")
    cltv_delta_blocks: int = 0


class Bounds(Model):
    """What loopd is told that it may spend. The sum is within the request's total."""

    max_swap_fee_sat: int
    max_prepay_sat: int = 0
    max_miner_fee_sat: int
    max_routing_sat: int = 0
    max_prepay_routing_sat: int = 0
    max_refund_sat: int = Field(
        default=0, description="in: for the chain once more, to take back what nobody paid for"
    )

    @property
    def worst_case_sat(self) -> int:
        """What all of it comes to, however it ends.

        A swap that succeeds pays the server's fee, the prepayment included. One that fails pays
        none, but can lose the prepayment, or pay the chain a second time.
        """
        return (
            max(self.max_swap_fee_sat, self.max_prepay_sat, self.max_refund_sat)
            + self.max_miner_fee_sat
            + self.max_routing_sat
            + self.max_prepay_routing_sat
        )


class Cost(Model):
    """What a swap has cost, in loopd's own figures. It drops parts of a satoshi off chain."""

    server_sat: int = 0
    on_chain_sat: int = 0
    off_chain_sat: int = 0

    @property
    def total_sat(self) -> int:
        return self.server_sat + self.on_chain_sat + self.off_chain_sat


class Excess(Model):
    """A limit that something is above."""

    limit: Limit
    sat: int = Field(description="what is asked for, or was paid")
    limit_sat: int

    def __str__(self) -> str:
        name = self.limit.lower().replace("_", " ")
        return f"{name} {self.sat:,} sat, the limit is {self.limit_sat:,} sat"


# How what the total leaves is shared among the parts that have no limit of their own. loopd
# sweeps at the rate of that day, and not at the quoted one.
_SHARES: Final = {Limit.ROUTING: 4, Limit.MINER_FEE: 5, Limit.PREPAY_ROUTING: 1}


def bound(
    direction: Direction, amount_sat: int, limits: SwapLimits, quote: Quote
) -> tuple[Bounds, tuple[Excess, ...]]:
    """What loopd may spend on this quote; and the limits that the quote does not keep."""
    out = direction is Direction.OUT
    total_sat = limits.total.of(amount_sat)
    caps = {
        Limit.ROUTING: limits.routing if out else Cap(sat=0),
        Limit.MINER_FEE: limits.miner_fee,
        Limit.PREPAY_ROUTING: limits.prepay_routing if out else Cap(sat=0),
    }
    parts = {part: cap.of(amount_sat) for part, cap in caps.items() if cap is not None}
    server_sat = max(quote.swap_fee_sat, quote.prepay_sat)
    left_sat = max(0, total_sat - server_sat - sum(parts.values()))
    open_parts = [part for part in caps if part not in parts]
    shares = sum(_SHARES[part] for part in open_parts)
    parts |= {part: left_sat * _SHARES[part] // shares for part in open_parts}
    if not out:  # a refund pays the chain as much again
        parts[Limit.MINER_FEE] = min(parts[Limit.MINER_FEE], total_sat // 2)
    bounds = Bounds(
        max_swap_fee_sat=quote.swap_fee_sat,
        max_prepay_sat=quote.prepay_sat,
        max_miner_fee_sat=parts[Limit.MINER_FEE],
        max_routing_sat=parts[Limit.ROUTING],
        max_prepay_routing_sat=parts[Limit.PREPAY_ROUTING],
        max_refund_sat=0 if out else parts[Limit.MINER_FEE],
    )
    asked = (
        (Limit.SWAP_FEE, quote.swap_fee_sat, limits.swap_fee),
        (Limit.PREPAY, quote.prepay_sat, limits.prepay),
        (Limit.MINER_FEE, quote.miner_fee_sat, Cap(sat=bounds.max_miner_fee_sat)),
        (Limit.TOTAL, bounds.worst_case_sat, limits.total),
    )
    return bounds, tuple(
        Excess(limit=limit, sat=sat, limit_sat=cap.of(amount_sat))
        for limit, sat, cap in asked
        if cap is not None and sat > cap.of(amount_sat)
    )


def exceeded(bounds: Bounds, cost: Cost) -> tuple[Excess, ...]:
    """The limits that loopd has not kept, though they were handed to it."""
    routing_sat = bounds.max_routing_sat + bounds.max_prepay_routing_sat
    paid = (
        (Limit.SWAP_FEE, cost.server_sat, bounds.max_swap_fee_sat),
        (Limit.MINER_FEE, cost.on_chain_sat, bounds.max_miner_fee_sat),
        (Limit.ROUTING, cost.off_chain_sat, routing_sat),
        (Limit.TOTAL, cost.total_sat, bounds.worst_case_sat),
    )
    return tuple(
        Excess(limit=limit, sat=sat, limit_sat=limit_sat)
        for limit, sat, limit_sat in paid
        if sat > limit_sat
    )
