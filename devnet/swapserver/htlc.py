"""The output that a swap hangs on: Loop's third kind of HTLC, a taproot output.

By its key path both sides spend it together; by one leaf the receiver with the preimage; by
the other the sender, once it has expired.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from coincurve import PublicKey

_LEAF_VERSION = 0xC0
_EVEN = b"\x02"

_OP_1 = b"\x51"
_OP_SIZE = b"\x82"
_OP_EQUALVERIFY = b"\x88"
_OP_HASH160 = b"\xa9"
_OP_CHECKSIGVERIFY = b"\xad"
_OP_CHECKLOCKTIMEVERIFY = b"\xb1"
_OP_CHECKSEQUENCEVERIFY = b"\xb2"

# The receiver's leaf asks for one confirmation more, by BIP 68.
SUCCESS_SEQUENCE = 1


def tagged_hash(tag: str, data: bytes) -> bytes:
    """BIP 340's hash, of which every use has a name of its own."""
    prefix = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(prefix + prefix + data).digest()


@dataclass(frozen=True)
class Leaves:
    """The two scripts of an HTLC, which with the two keys of its key path are all of it."""

    success: bytes
    timeout: bytes

    @classmethod
    def of(cls, *, sender: bytes, receiver: bytes, swap_hash: bytes, expiry: int) -> Leaves:
        """Keys are 33 bytes; `expiry` is the height from which the sender has it back."""
        # Hash 160 is RIPEMD-160 over SHA-256, and the swap's hash is that SHA-256 already.
        lock = hashlib.new("ripemd160", swap_hash).digest()
        success = b"".join(
            (
                *(_pushed(receiver[1:]), _OP_CHECKSIGVERIFY),
                *(_OP_SIZE, _pushed(_number(32)), _OP_EQUALVERIFY),
                *(_OP_HASH160, _pushed(lock), _OP_EQUALVERIFY),
                *(_OP_1, _OP_CHECKSEQUENCEVERIFY),
            )
        )
        timeout = b"".join(
            (
                *(_pushed(sender[1:]), _OP_CHECKSIGVERIFY),
                *(_pushed(_number(expiry)), _OP_CHECKLOCKTIMEVERIFY),
            )
        )
        return cls(success, timeout)

    @property
    def root(self) -> bytes:
        """What the output's key is tweaked by."""
        return tagged_hash("TapBranch", b"".join(sorted(map(_leaf_hash, self._both))))

    def control_block(self, leaf: bytes, internal_key: bytes) -> bytes:
        """Proves that `leaf` is one of the two; the last element of its witness.

        `internal_key` is the sum of both sides' keys, x only.
        """
        (other,) = (script for script in self._both if script != leaf)
        tweak = tagged_hash("TapTweak", internal_key + self.root)
        is_odd = PublicKey(_EVEN + internal_key).add(tweak).format()[:1] != _EVEN
        return bytes([_LEAF_VERSION | is_odd]) + internal_key + _leaf_hash(other)

    @property
    def _both(self) -> tuple[bytes, bytes]:
        return self.success, self.timeout


def pay_to(output_key: bytes) -> bytes:
    """The script of a taproot output with that key, x only."""
    return _OP_1 + _pushed(output_key)


def _leaf_hash(script: bytes) -> bytes:
    return tagged_hash("TapLeaf", bytes([_LEAF_VERSION]) + _pushed(script))


def _pushed(data: bytes) -> bytes:
    """Short data, as a script pushes it; also a short string with its length before it."""
    if len(data) > 75:
        raise ValueError(f"{len(data)} bytes need a longer push, which no HTLC has")
    return bytes([len(data)]) + data


def _number(number: int) -> bytes:
    """Above 16, as a script's minimal number: little endian, with room for a sign."""
    if number <= 16:
        raise ValueError(f"{number} has an opcode of its own")
    return number.to_bytes(number.bit_length() // 8 + 1, "little")
