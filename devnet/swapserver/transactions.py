"""Raw transactions: as much of them as a swap reads and makes."""

from __future__ import annotations

import hashlib
import struct
from dataclasses import dataclass, field, replace
from io import BytesIO

from devnet.swapserver.htlc import tagged_hash

_VERSION = 2  # from which on a sequence can mean a delay
_SEGWIT = b"\x00\x01"
_SIGHASH_DEFAULT = 0
_PSBT_MAGIC = b"psbt\xff"
_PSBT_UNSIGNED = b"\x00"


@dataclass(frozen=True)
class Output:
    amount_sat: int
    script: bytes

    def serialize(self) -> bytes:
        return struct.pack("<q", self.amount_sat) + _sized(self.script)


@dataclass(frozen=True)
class Input:
    """Spends an output: `txid` is in the order of the wire, the reverse of what people write."""

    txid: bytes
    index: int
    sequence: int
    witness: tuple[bytes, ...] = ()

    @property
    def outpoint(self) -> bytes:
        return self.txid + struct.pack("<I", self.index)


@dataclass(frozen=True)
class Transaction:
    inputs: tuple[Input, ...]
    outputs: tuple[Output, ...]
    lock_time: int = 0
    version: int = field(default=_VERSION)

    @classmethod
    def parse(cls, raw: bytes) -> Transaction:
        """With or without witnesses. Raises struct.error when it is cut off."""
        stream = BytesIO(raw)
        (version,) = struct.unpack("<i", stream.read(4))
        segwit = stream.read(2) == _SEGWIT
        if not segwit:
            stream.seek(4)
        inputs = [_read_input(stream) for _ in range(_read_size(stream))]
        outputs = tuple(_read_output(stream) for _ in range(_read_size(stream)))
        if segwit:
            inputs = [replace(each, witness=_read_witness(stream)) for each in inputs]
        (lock_time,) = struct.unpack("<I", stream.read(4))
        return cls(tuple(inputs), outputs, lock_time, version)

    @classmethod
    def of_psbt(cls, psbt: bytes) -> Transaction:
        """What a partially signed transaction (BIP 174) is about."""
        stream = BytesIO(psbt)
        if stream.read(len(_PSBT_MAGIC)) != _PSBT_MAGIC:
            raise ValueError("no PSBT")
        while key := _read_sized(stream):
            value = _read_sized(stream)
            if key == _PSBT_UNSIGNED:
                return cls.parse(value)
        raise ValueError("a PSBT without its transaction")

    def serialize(self) -> bytes:
        """With its witnesses, when it has any."""
        if not any(each.witness for each in self.inputs):
            return self._serialized()
        witnesses = b"".join(
            _size(len(each.witness)) + b"".join(map(_sized, each.witness)) for each in self.inputs
        )
        bare = self._serialized()
        return bare[:4] + _SEGWIT + bare[4:-4] + witnesses + bare[-4:]

    @property
    def txid(self) -> bytes:
        """In the order of the wire."""
        return _double_sha256(self._serialized())

    def output_to(self, script: bytes) -> int | None:
        """The index of the first output to `script`."""
        return next((i for i, each in enumerate(self.outputs) if each.script == script), None)

    def with_witness(self, *witness: bytes) -> Transaction:
        """The same with its only input signed."""
        (only,) = self.inputs
        return replace(self, inputs=(replace(only, witness=witness),))

    def taproot_digest(self, index: int, spent: list[Output]) -> bytes:
        """What a signature by the key path of input `index` signs (BIP 341, SIGHASH_DEFAULT).

        `spent` are the outputs that the inputs spend, in their order.
        """
        return tagged_hash(
            "TapSighash",
            b"".join(
                (
                    bytes([0, _SIGHASH_DEFAULT]),  # an epoch comes first
                    struct.pack("<iI", self.version, self.lock_time),
                    _sha256(b"".join(each.outpoint for each in self.inputs)),
                    _sha256(b"".join(struct.pack("<q", each.amount_sat) for each in spent)),
                    _sha256(b"".join(_sized(each.script) for each in spent)),
                    _sha256(b"".join(struct.pack("<I", each.sequence) for each in self.inputs)),
                    _sha256(b"".join(each.serialize() for each in self.outputs)),
                    bytes([0]),  # by the key path, and without an annex
                    struct.pack("<I", index),
                )
            ),
        )

    def _serialized(self) -> bytes:
        return b"".join(
            (
                struct.pack("<i", self.version),
                _size(len(self.inputs)),
                *(
                    each.outpoint + _sized(b"") + struct.pack("<I", each.sequence)
                    for each in self.inputs
                ),
                _size(len(self.outputs)),
                *(each.serialize() for each in self.outputs),
                struct.pack("<I", self.lock_time),
            )
        )


def _read_input(stream: BytesIO) -> Input:
    txid = stream.read(32)
    (index,) = struct.unpack("<I", stream.read(4))
    _read_sized(stream)  # a script of before segwit
    (sequence,) = struct.unpack("<I", stream.read(4))
    return Input(txid, index, sequence)


def _read_output(stream: BytesIO) -> Output:
    (amount_sat,) = struct.unpack("<q", stream.read(8))
    return Output(amount_sat, _read_sized(stream))


def _read_witness(stream: BytesIO) -> tuple[bytes, ...]:
    return tuple(_read_sized(stream) for _ in range(_read_size(stream)))


def _read_sized(stream: BytesIO) -> bytes:
    return stream.read(_read_size(stream))


def _read_size(stream: BytesIO) -> int:
    """Bitcoin's variable-length integer."""
    (first,) = stream.read(1)
    length = {0xFD: 2, 0xFE: 4, 0xFF: 8}.get(first)
    return first if length is None else int.from_bytes(stream.read(length), "little")


def _sized(data: bytes) -> bytes:
    return _size(len(data)) + data


def _size(number: int) -> bytes:
    if number < 0xFD:
        return bytes([number])
    return b"\xfd" + struct.pack("<H", number)


def _sha256(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


def _double_sha256(data: bytes) -> bytes:
    return _sha256(_sha256(data))
