"""How heavy transactions are, and what that costs: the sizes of lnd's own estimates."""

from __future__ import annotations

from collections.abc import Iterable

# What each input and output adds, in bytes of which a witness counts a quarter.
INPUT_BYTES = 41
P2WSH_OUTPUT_BYTES = 43
P2TR_OUTPUT_BYTES = 43
_FRAME_BYTES = 10
_WITNESS_HEADER = 2
_SCALE = 4

# Witnesses, by what they spend.
TO_LOCAL_WITNESS = 156
TO_REMOTE_WITNESS = 113
ANCHOR_WITNESS = 116
SECOND_LEVEL_WITNESS = 156
HTLC_TIMEOUT_WITNESS = 288
HTLC_SUCCESS_WITNESS = 327
REMOTE_HTLC_TIMEOUT_WITNESS = 217
REMOTE_HTLC_SUCCESS_WITNESS = 242
WALLET_WITNESS = 66

# What lnd reckons with for a commitment, and what it then weighs.
COMMITMENT_WEIGHT = 1_124
COMMITMENT_SHOWN_WEIGHT = 1_116
COMMITMENT_HTLC_WEIGHT = 172
COOPERATIVE_WEIGHT = 768

# A coin of the wallet as an input, for a sweep that cannot pay for itself.
WALLET_INPUT_WEIGHT = INPUT_BYTES * _SCALE + WALLET_WITNESS

# One satoshi a virtual byte is 250 a kiloweight; below this no node relays.
SAT_PER_KW = 250
RELAY_SAT_PER_KW = 253


def sweep_weight(witnesses: Iterable[int], outputs: Iterable[int]) -> int:
    """The weight of a transaction with inputs of these witnesses and outputs of these bytes."""
    witness_bytes = list(witnesses)
    size = _FRAME_BYTES + INPUT_BYTES * len(witness_bytes) + sum(outputs)
    return size * _SCALE + _WITNESS_HEADER + sum(witness_bytes)


def commitment_weight(htlcs: int) -> int:
    return COMMITMENT_WEIGHT + COMMITMENT_HTLC_WEIGHT * htlcs


def fee_sat(sat_per_kw: int, weight: int) -> int:
    """The fee for a weight, rounded down as lnd does."""
    return sat_per_kw * weight // 1_000
