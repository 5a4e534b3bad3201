"""What the auctioneer offers and charges, and the sums that poold works out again."""

from __future__ import annotations

import time

from protos.auctioneerrpc import auctioneer_pb2
from protos.poolrpc import shared_pb2

MAX_ACCOUNT_SAT = 1_000_000_000
DURATIONS_BLOCKS = (144, 1_008, 2_016, 4_032, 8_064)

EXECUTION_BASE_SAT = 1
EXECUTION_PPM = 1_000

# LND's floor: test chains have no fees to go by.
FEE_RATE_SAT_PER_KW = 253

# poold waits for so many on accounts up to half of MAX_ACCOUNT_SAT.
ACCOUNT_CONFIRMATIONS = 3

_BATCH_INTERVAL_SECONDS = 600

# In poold's estimate of a trader's part: an output and an input, half of the channel's
# output, each byte of them four units of weight, and the witness of a Taproot key.
_TRADER_WEIGHT = 4 * (43 + 41 + (43 + 1) // 2) + 66


def execution_fee() -> shared_pb2.ExecutionFee:
    return shared_pb2.ExecutionFee(base_fee=EXECUTION_BASE_SAT, fee_rate=EXECUTION_PPM)


def execution_fee_sat(amount_sat: int) -> int:
    return EXECUTION_BASE_SAT + amount_sat * EXECUTION_PPM // 1_000_000


def premium_sat(amount_sat: int, rate_ppb: int, duration_blocks: int) -> int:
    """What a lease costs over its whole term. In floats, since poold compares to the satoshi."""
    per_block = float(amount_sat) * float(rate_ppb) / 1e9
    return int(per_block * float(duration_blocks))


def trader_fee_sat() -> int:
    """A trader's part of a batch's fee, for one channel."""
    return FEE_RATE_SAT_PER_KW * _TRADER_WEIGHT // 1_000


def terms() -> auctioneer_pb2.TermsResponse:
    return auctioneer_pb2.TermsResponse(
        max_account_value=MAX_ACCOUNT_SAT,
        execution_fee=execution_fee(),
        next_batch_conf_target=6,
        next_batch_fee_rate_sat_per_kw=FEE_RATE_SAT_PER_KW,
        next_batch_clear_timestamp=int(time.time()) + _BATCH_INTERVAL_SECONDS,
        lease_duration_buckets=dict.fromkeys(DURATIONS_BLOCKS, shared_pb2.MARKET_OPEN),
    )
