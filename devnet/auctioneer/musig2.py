"""MuSig2 for two signers, as BIP 327 has it: one signature under two keys, and no script.

Only what an account needs: the keys sorted, the result tweaked once for Taproot, and our
half of a signature. The arithmetic of the curve is libsecp256k1's; the sums modulo the
group's order are Python's, which leaks their timing to whoever can measure it. On a test
network nobody is there to do so.
"""

from __future__ import annotations

import hashlib
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Self

from coincurve import PrivateKey, PublicKey, PublicKeyXOnly

ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141

NONCES_BYTES = 66  # two compressed points

_EVEN = b"\x02"


class MuSig2Error(ValueError):
    """What the other signer sent does not make a signature."""


def tagged_hash(tag: str, message: bytes) -> bytes:
    """SHA-256 under a tag, as BIP 340 defines it."""
    prefix = hashlib.sha256(tag.encode()).digest()
    return hashlib.sha256(prefix + prefix + message).digest()


@dataclass(frozen=True)
class CombinedKey:
    """The key of both signers together, tweaked by the root of a tree of scripts.

    `internal` is what it was before the tweak, `tweak` and `sign` what partial signatures
    must make up for: the tweak's scalar, and 1 or -1 for a turned internal key.
    """

    keys: tuple[bytes, ...]
    internal: PublicKey
    point: PublicKey
    tweak: int
    sign: int

    @classmethod
    def of(cls, keys: Sequence[bytes], script_root: bytes) -> Self:
        """Of compressed keys, in any order: two different ones."""
        ordered = tuple(sorted(keys))
        shares = [_times(PublicKey(key), _coefficient(ordered, key)) for key in ordered]
        internal = PublicKey.combine_keys(shares)
        # Taproot knows keys by their x alone, so an odd one is turned first.
        sign = 1 if _even(internal) else -1
        tweak = _number(tagged_hash("TapTweak", _x(internal) + script_root))
        turned = _times(internal, sign)
        return cls(ordered, internal, turned.add(_bytes(tweak)), tweak, sign)

    @property
    def x_only(self) -> bytes:
        """What a Taproot output has of it."""
        return _x(self.point)


@dataclass
class Nonces:
    """A signer's two secret numbers. They sign once: a second time would give the key away."""

    secret: tuple[int, int] | None = field(repr=False)
    public: bytes

    @classmethod
    def fresh(cls) -> Self:
        secret = secrets.randbelow(ORDER - 1) + 1, secrets.randbelow(ORDER - 1) + 1
        points = [PublicKey.from_valid_secret(_bytes(number)) for number in secret]
        return cls(secret, b"".join(point.format() for point in points))

    def spend(self) -> tuple[int, int]:
        if self.secret is None:
            raise MuSig2Error("these nonces have signed before")
        secret, self.secret = self.secret, None
        return secret


class Session:
    """One message, under one combined key, with the nonces of both signers."""

    def __init__(self, key: CombinedKey, nonces: Sequence[bytes], message: bytes) -> None:
        """`nonces` are the public ones, 66 bytes each; `message` is what a sighash is."""
        self._key = key
        self._message = message
        first, second = (_sum_of_nonces(nonces, at) for at in (0, 33))
        summed = first.format() + second.format()
        self._blinding = _number(
            tagged_hash("MuSig/noncecoef", summed + key.x_only + message),
        )
        self._nonce = PublicKey.combine_keys([first, _times(second, self._blinding)])
        self._challenge = _number(
            tagged_hash("BIP0340/challenge", _x(self._nonce) + key.x_only + message)
        )

    def sign(self, private_key: PrivateKey, nonces: Nonces) -> bytes:
        """Our partial signature; `nonces` are spent by it."""
        turned = 1 if _even(self._nonce) else -1
        first, second = (turned * number for number in nonces.spend())
        secret = self._turn * self._key.sign * private_key.to_int()
        share = _coefficient(self._key.keys, private_key.public_key.format())
        summed = first + self._blinding * second + self._challenge * share * secret
        return _bytes(summed)

    def combine(self, partial_signatures: Sequence[bytes]) -> bytes:
        """The whole signature; raises MuSig2Error when it is none."""
        summed = sum(int.from_bytes(partial, "big") for partial in partial_signatures)
        summed += self._challenge * self._turn * self._key.tweak
        signature = _x(self._nonce) + _bytes(summed)
        if not PublicKeyXOnly(self._key.x_only).verify(signature, self._message):
            raise MuSig2Error("the partial signatures do not fit together")
        return signature

    @property
    def _turn(self) -> int:
        return 1 if _even(self._key.point) else -1


def _coefficient(keys: tuple[bytes, ...], key: bytes) -> int:
    """What a key is multiplied with, so that nobody can choose one that cancels the other."""
    # BIP 327 leaves the second distinct key as it is: one multiplication fewer.
    if key == next((other for other in keys if other != keys[0]), None):
        return 1
    hashed = tagged_hash("KeyAgg list", b"".join(keys))
    return _number(tagged_hash("KeyAgg coefficient", hashed + key))


def _sum_of_nonces(nonces: Sequence[bytes], at: int) -> PublicKey:
    if any(len(pair) != NONCES_BYTES for pair in nonces):
        raise MuSig2Error("a pair of nonces is 66 bytes long")
    try:
        return PublicKey.combine_keys([PublicKey(pair[at : at + 33]) for pair in nonces])
    except ValueError as error:
        raise MuSig2Error("a nonce is no point of the curve") from error


def _times(point: PublicKey, number: int) -> PublicKey:
    return point.multiply(_bytes(number))


def _number(data: bytes) -> int:
    return int.from_bytes(data, "big") % ORDER


def _bytes(number: int) -> bytes:
    return (number % ORDER).to_bytes(32, "big")


def _x(point: PublicKey) -> bytes:
    return point.format()[1:]


def _even(point: PublicKey) -> bool:
    return point.format()[:1] == _EVEN
