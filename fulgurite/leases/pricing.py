"""What a lease costs: rates in the market's unit, and what they mean in satoshis.

The sums are poold's own, in its own order of rounding, so that a quote agrees to the sat.
"""

from __future__ import annotations

from typing import Final

from pydantic import Field

from fulgurite.leases.requests import LeaseRequest
from fulgurite.model import Model

PARTS: Final = 1_000_000_000
BLOCKS_A_YEAR: Final = 52_560
# lnd and poold take no transaction below this, and 1 sat/vB is a little less.
FLOOR_SAT_PER_KW: Final = 253
_KW_PER_VBYTE: Final = 250


class ExecutionFee(Model):
    """What the auctioneer takes from either side of a match."""

    base_sat: int = Field(ge=0)
    rate_ppm: int = Field(ge=0)

    def of(self, channel_sat: int) -> int:
        """For one channel."""
        return self.base_sat + channel_sat * self.rate_ppm // 1_000_000


class Quote(Model):
    """The most that a lease can cost on its terms, before the bid is made."""

    premium_sat: int = Field(description="to those who open the channels, at the bid's own rate")
    execution_fee_sat: int = Field(description="to the auctioneer, for as many channels as can be")
    chain_fee_sat: int = Field(description="our share of the batches, at the highest rate allowed")
    next_batch_sat_per_vbyte: int = Field(
        default=0, description="what the next batch is expected to pay; 0: not told"
    )
    market_open: bool = Field(
        default=True, description="false: bids of this duration are taken, and not matched yet"
    )

    @property
    def cost_sat(self) -> int:
        """All of it."""
        return self.premium_sat + self.execution_fee_sat + self.chain_fee_sat


def premium_sat(amount_sat: int, rate_ppb: int, blocks: int) -> int:
    """What `amount_sat` costs over the whole term. Floating point, because poold's is."""
    return int(float(amount_sat) * float(rate_ppb) / PARTS * float(blocks))


def percent_a_year(rate_ppb: int) -> float:
    """A rate in the words of lenders, without compound interest."""
    return rate_ppb * BLOCKS_A_YEAR / PARTS * 100


def sat_per_kw(sat_per_vbyte: int) -> int:
    """A fee rate in the unit of lnd and poold, never below what they take."""
    return max(FLOOR_SAT_PER_KW, sat_per_vbyte * _KW_PER_VBYTE)


def sat_per_vbyte(sat_per_kw: int) -> int:
    """The way back, rounded up; the floor is told as the 1 that it stands for."""
    return 1 if sat_per_kw <= FLOOR_SAT_PER_KW else -(-sat_per_kw // _KW_PER_VBYTE)


def channels_at_most(request: LeaseRequest) -> tuple[int, int]:
    """Into how many smallest channels a bid can fall, and how large one more, the rest, is.

    As poold reckons what a bid may take from its account.
    """
    count = request.amount_sat // request.smallest_sat
    if count * request.smallest_sat == request.amount_sat:
        return count, 0
    count -= 1
    return count, request.amount_sat - count * request.smallest_sat


def worst_case(request: LeaseRequest, fee: ExecutionFee, chain_fee_sat: int) -> Quote:
    """The quote where everything comes as dear as the terms allow.

    `chain_fee_sat`: of one channel that is alone in its batch, at the highest rate allowed.
    """
    count, rest_sat = channels_at_most(request)
    sizes = [request.smallest_sat] * count + [rest_sat] * bool(rest_sat)
    rate, blocks = request.max_rate_ppb, request.duration_blocks
    return Quote(
        premium_sat=sum(premium_sat(size, rate, blocks) for size in sizes),
        execution_fee_sat=sum(fee.of(size) for size in sizes),
        chain_fee_sat=chain_fee_sat * len(sizes),
    )
