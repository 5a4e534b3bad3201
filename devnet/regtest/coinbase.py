"""A block whose coinbase pays whom we like, which btcd's own miner cannot do.

btcd mines to one address, fixed when it starts. lnd needs coins in its own wallet, which
has addresses only once btcd runs. So the one block that pays the wallets is ours.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass

# regtest's only difficulty: every second header or so is good enough.
_REGTEST_BITS = 0x207FFFFF
_REGTEST_TARGET = 0x7FFFFF << 8 * (0x20 - 3)

_BLOCK_VERSION = 0x20000000  # BIP 9, no deployment signalled
_FINAL = 0xFFFFFFFF
_OP_0 = b"\x00"


@dataclass(frozen=True)
class Output:
    """So many satoshis to a version 0 witness program (20 bytes: a public key's hash)."""

    amount_sat: int
    witness_program: bytes

    def serialize(self) -> bytes:
        script = _OP_0 + _with_length(self.witness_program)
        return struct.pack("<q", self.amount_sat) + _with_length(script)


def mined_block(
    previous_hash: str, height: int, unix_time: int, outputs: Sequence[Output]
) -> bytes:
    """A serialized regtest block of only a coinbase, with its work done.

    `previous_hash` is hex as people write it; `unix_time` must exceed the median time
    past; the outputs together must not exceed the subsidy. Without a witness in the block
    BIP 141 asks for no commitment, so none is made.
    """
    transaction = _coinbase(height, outputs)
    merkle_root = _hash256(transaction)  # of one transaction: its own id
    previous = bytes.fromhex(previous_hash)[::-1]
    for nonce in range(1 << 32):
        header = struct.pack(
            *("<i32s32sIII", _BLOCK_VERSION, previous, merkle_root),
            *(unix_time, _REGTEST_BITS, nonce),
        )
        if int.from_bytes(_hash256(header), "little") <= _REGTEST_TARGET:
            return header + _compact_size(1) + transaction
    raise AssertionError("2**32 headers, none below a target that half of them meet")


def _coinbase(height: int, outputs: Sequence[Output]) -> bytes:
    # BIP 34: the height comes first, as a minimal signed number.
    pushed_height = _with_length(height.to_bytes(height.bit_length() // 8 + 1, "little"))
    nothing_spent = bytes(32) + struct.pack("<I", _FINAL)
    return b"".join(
        (
            struct.pack("<i", 2),
            _compact_size(1) + nothing_spent + _with_length(pushed_height),
            struct.pack("<I", _FINAL),
            _compact_size(len(outputs)) + b"".join(output.serialize() for output in outputs),
            struct.pack("<I", 0),
        )
    )


def _with_length(data: bytes) -> bytes:
    return _compact_size(len(data)) + data


def _compact_size(number: int) -> bytes:
    """Bitcoin's variable-length integer; ours are all short."""
    if number >= 0xFD:
        raise ValueError(f"{number} needs the longer forms, which nothing here uses")
    return bytes([number])


def _hash256(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()
