"""Transactions as far as accounts and batches need them: built, hashed, and serialized."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

from devnet.auctioneer.musig2 import tagged_hash

VERSION = 2

# poold spends every input so, its wallet's included: the wire has no field for it.
_SEQUENCE = 0

_SIGHASH_DEFAULT = b"\x00"
_NO_ANNEX_KEY_PATH = b"\x00"


@dataclass(frozen=True, order=True)
class OutPoint:
    """`txid` as people write it: reversed against the wire."""

    txid: str
    index: int

    @classmethod
    def from_wire(cls, txid: bytes, index: int) -> Self:
        return cls(txid[::-1].hex(), index)

    def serialize(self) -> bytes:
        return bytes.fromhex(self.txid)[::-1] + struct.pack("<I", self.index)


@dataclass(frozen=True, order=True)
class Output:
    value_sat: int
    script: bytes

    def serialize(self) -> bytes:
        return struct.pack("<q", self.value_sat) + _with_length(self.script)


@dataclass(frozen=True)
class Input:
    """What it spends is known, because a Taproot signature covers it."""

    outpoint: OutPoint
    spent: Output
    signature_script: bytes = b""
    witness: tuple[bytes, ...] = ()

    def serialize(self) -> bytes:
        return (
            self.outpoint.serialize()
            + _with_length(self.signature_script)
            + struct.pack("<I", _SEQUENCE)
        )


@dataclass(frozen=True)
class Transaction:
    """Of version 2, without a lock time, in the order of BIP 69."""

    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]

    @classmethod
    def of(cls, inputs: Sequence[Input], outputs: Sequence[Output]) -> Self:
        by_outpoint = sorted(inputs, key=lambda each: each.outpoint)
        return cls(tuple(by_outpoint), tuple(sorted(outputs)))

    @property
    def txid(self) -> str:
        return hash256(self._serialized(witness=False))[::-1].hex()

    @property
    def fee_sat(self) -> int:
        spent = sum(each.spent.value_sat for each in self.inputs)
        return spent - sum(each.value_sat for each in self.outputs)

    def position_of(self, outpoint: OutPoint) -> int:
        return [each.outpoint for each in self.inputs].index(outpoint)

    def index_of(self, script: bytes) -> int:
        """Of the first output with `script`."""
        return [each.script for each in self.outputs].index(script)

    def witnessed(self, signatures: Sequence[bytes]) -> Transaction:
        """With one Taproot signature for each input, in their order."""
        inputs = [
            replace(each, witness=(signature,))
            for each, signature in zip(self.inputs, signatures, strict=True)
        ]
        return replace(self, inputs=tuple(inputs))

    def serialize(self) -> bytes:
        return self._serialized(witness=any(each.witness for each in self.inputs))

    def sighash(self, at: int) -> bytes:
        """What input `at` signs to be spent by its Taproot key, all of it covered (BIP 341)."""
        parts = (
            b"".join(each.outpoint.serialize() for each in self.inputs),
            b"".join(struct.pack("<q", each.spent.value_sat) for each in self.inputs),
            b"".join(_with_length(each.spent.script) for each in self.inputs),
            struct.pack("<I", _SEQUENCE) * len(self.inputs),
            b"".join(output.serialize() for output in self.outputs),
        )
        covered = b"".join(hashlib.sha256(part).digest() for part in parts)
        return tagged_hash(
            "TapSighash",
            b"\x00"  # the epoch
            + _SIGHASH_DEFAULT
            + struct.pack("<iI", VERSION, 0)
            + covered
            + _NO_ANNEX_KEY_PATH
            + struct.pack("<I", at),
        )

    def _serialized(self, *, witness: bool) -> bytes:
        parts = [struct.pack("<i", VERSION)]
        if witness:
            parts.append(b"\x00\x01")
        parts.append(_compact_size(len(self.inputs)))
        parts += [each.serialize() for each in self.inputs]
        parts.append(_compact_size(len(self.outputs)))
        parts += [each.serialize() for each in self.outputs]
        if witness:
            for each in self.inputs:
                parts.append(_compact_size(len(each.witness)))
                parts += [_with_length(element) for element in each.witness]
        parts.append(struct.pack("<I", 0))
        return b"".join(parts)


def hash256(data: bytes) -> bytes:
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def _with_length(data: bytes) -> bytes:
    return _compact_size(len(data)) + data


def _compact_size(number: int) -> bytes:
    """Bitcoin's variable-length integer; ours are all short."""
    if number >= 0xFD:
        raise ValueError(f"{number} needs the longer forms, which nothing here uses")
    return bytes([number])
