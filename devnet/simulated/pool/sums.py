"""The auctioneer's terms, and poold's sums in poold's order of rounding.

Kept apart from the product's own: where the two differ, a test has something to say.
"""

from __future__ import annotations

from typing import Final

MAX_ACCOUNT_SAT: Final = 1_000_000_000
MIN_ACCOUNT_SAT: Final = 100_000
MIN_ACCOUNT_BLOCKS, MAX_ACCOUNT_BLOCKS = 144, 52_560
ACCOUNT_CONFIRMATIONS: Final = 3

DURATIONS_BLOCKS: Final = (144, 1_008, 2_016, 4_032, 8_064)
UNIT_SAT: Final = 100_000
FLOOR_SAT_PER_KW: Final = 253

EXECUTION_BASE_SAT, EXECUTION_PPM = 1, 1_000

# Output and input of the account, and half of each channel's output; then its witness.
_OUTPUT_VBYTES, _INPUT_VBYTES = 43, 41
_LEGACY_WITNESS, _TAPROOT_WITNESS = 229, 66


def premium_sat(amount_sat: int, rate_ppb: int, blocks: int) -> int:
    return int(amount_sat * rate_ppb / 1e9 * blocks)


def execution_sat(amount_sat: int) -> int:
    return EXECUTION_BASE_SAT + amount_sat * EXECUTION_PPM // 1_000_000


def trader_weight(channels: int, *, is_taproot: bool) -> int:
    """A trader's part of a batch's transaction."""
    vbytes = _OUTPUT_VBYTES + _INPUT_VBYTES + (_OUTPUT_VBYTES * channels + 1) // 2
    return 4 * vbytes + (_TAPROOT_WITNESS if is_taproot else _LEGACY_WITNESS)


def trader_fee_sat(channels: int, sat_per_kw: int, *, is_taproot: bool) -> int:
    return sat_per_kw * trader_weight(channels, is_taproot=is_taproot) // 1_000


def reserved_sat(
    unfilled_sat: int, smallest_sat: int, rate_ppb: int, blocks: int, sat_per_kw: int
) -> int:
    """The most that a bid can take from its account: all of it in smallest channels."""
    count = unfilled_sat // smallest_sat
    sizes = [smallest_sat] * count
    if count * smallest_sat < unfilled_sat:
        sizes = [smallest_sat] * (count - 1) + [unfilled_sat - (count - 1) * smallest_sat]
    chain_sat = trader_fee_sat(1, sat_per_kw, is_taproot=True)
    return sum(premium_sat(x, rate_ppb, blocks) + execution_sat(x) + chain_sat for x in sizes)
