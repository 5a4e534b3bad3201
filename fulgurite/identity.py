"""What things are called on the network: hashes, keys and channels. Outside: lower-case hex."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from typing import Annotated, Any, ClassVar, NoReturn, Self

from pydantic import GetCoreSchemaHandler, StringConstraints
from pydantic_core import CoreSchema, core_schema

# What a node is called in the configuration, and in every request.
NodeName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]


class _Hex(str):
    """A fixed number of bytes as lower-case hex; upper case is accepted and lowered."""

    __slots__ = ()
    _PATTERN: ClassVar[str]
    _WHAT: ClassVar[str]

    def __new__(cls, value: str) -> Self:
        lowered = value.lower()
        if not re.fullmatch(cls._PATTERN, lowered):
            raise ValueError(f"{cls._WHAT}, not {len(value)} characters of something else")
        return super().__new__(cls, lowered)

    @classmethod
    def of_bytes(cls, raw: bytes) -> Self:
        return cls(raw.hex())

    def raw(self) -> bytes:
        return bytes.fromhex(self)

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(strict=True),
            serialization=core_schema.to_string_ser_schema(),
            metadata={"pydantic_js_updates": {"pattern": f"^{cls._PATTERN}$"}},
        )


class PaymentHash(_Hex):
    """SHA-256 of a preimage. LND's idempotency key, and therefore ours."""

    __slots__ = ()
    _PATTERN = "[0-9a-f]{64}"
    _WHAT = "a payment hash is 64 hex characters"


class Digest(_Hex):
    """A SHA-256 of something that is kept elsewhere."""

    __slots__ = ()
    _PATTERN = "[0-9a-f]{64}"
    _WHAT = "a SHA-256 is 64 hex characters"


class Txid(_Hex):
    """A transaction, or a block, as people write it: the bytes of the hash in reverse."""

    __slots__ = ()
    _PATTERN = "[0-9a-f]{64}"
    _WHAT = "a transaction id is 64 hex characters"


class NodePubkey(_Hex):
    """A node's identity: a compressed secp256k1 public key."""

    __slots__ = ()
    _PATTERN = "0[23][0-9a-f]{64}"
    _WHAT = "a node's public key is 66 hex characters that begin with 02 or 03"


class Preimage:
    """The secret that settles a payment. It cannot be printed, compared by sight or stored.

    It has no JSON form on purpose: only `fulgurite.sealing` turns it into something that
    may leave the process.
    """

    __slots__ = ("_secret",)

    def __init__(self, secret: bytes) -> None:
        if len(secret) != 32:
            raise ValueError("a preimage is 32 bytes")
        self._secret = secret

    @classmethod
    def generate(cls) -> Self:
        return cls(secrets.token_bytes(32))

    def hash(self) -> PaymentHash:
        return PaymentHash.of_bytes(hashlib.sha256(self._secret).digest())

    def settles(self, payment_hash: PaymentHash) -> bool:
        return hmac.compare_digest(self.hash(), payment_hash)

    def reveal(self) -> bytes:
        """The bytes themselves; every call of this is worth a reviewer's question."""
        return self._secret

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Preimage):
            return NotImplemented
        return hmac.compare_digest(self._secret, other._secret)

    def __hash__(self) -> int:
        return hash(self.hash())

    def __repr__(self) -> str:
        return "Preimage(secret)"

    def __reduce__(self) -> NoReturn:
        raise TypeError("a preimage is not to be pickled; seal it")


class ChannelId(str):
    """A short channel id, kept as BOLT 7 writes it: block x transaction x output.

    Accepts LND's number (`123`) and both written forms (`1x2x3`, `1:2:3`). A string at
    every border, because JSON's numbers end at 2^53.
    """

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        if re.fullmatch(r"\d{1,20}", value):
            return cls.of_number(int(value))
        parts = re.fullmatch(r"(\d{1,8})([x:])(\d{1,8})\2(\d{1,5})", value)
        if not parts:
            raise ValueError("a channel id looks like 800000x12x1, 800000:12:1 or LND's number")
        block, transaction, output = (int(parts[group]) for group in (1, 3, 4))
        if block >= 1 << 24 or transaction >= 1 << 24 or output >= 1 << 16:
            raise ValueError("a channel id has 24 bits of block, 24 of transaction, 16 of output")
        return super().__new__(cls, f"{block}x{transaction}x{output}")

    @classmethod
    def of_number(cls, number: int) -> Self:
        """From the unsigned 64-bit number that LND's API uses."""
        if not 0 <= number < 1 << 64:
            raise ValueError("a channel id fits in 64 bits")
        block, transaction, output = number >> 40, number >> 16 & 0xFFFFFF, number & 0xFFFF
        return super().__new__(cls, f"{block}x{transaction}x{output}")

    @property
    def number(self) -> int:
        block, transaction, output = map(int, self.split("x"))
        return block << 40 | transaction << 16 | output

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(strict=True),
            serialization=core_schema.to_string_ser_schema(),
        )


class Outpoint(str):
    """An output of a transaction, `<txid>:<index>`. A channel's funding output is its name."""

    __slots__ = ()

    def __new__(cls, value: str) -> Self:
        parts = re.fullmatch(r"([0-9a-fA-F]{64}):(\d{1,5})", value)
        if not parts:
            raise ValueError("an outpoint looks like <transaction id, 64 hex characters>:<index>")
        return super().__new__(cls, f"{parts[1].lower()}:{int(parts[2])}")

    @property
    def txid(self) -> Txid:
        return Txid(self.rpartition(":")[0])

    @property
    def output_index(self) -> int:
        return int(self.rpartition(":")[2])

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls,
            core_schema.str_schema(strict=True),
            serialization=core_schema.to_string_ser_schema(),
            metadata={"pydantic_js_updates": {"pattern": "^[0-9a-f]{64}:[0-9]{1,5}$"}},
        )


# A channel by its funding output: known before the channel is confirmed, and after it is gone.
ChannelPoint = Outpoint
