"""The scripts that an account and a leased channel are locked with, as poold makes them too."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from coincurve import PrivateKey, PublicKey

from devnet.auctioneer.musig2 import CombinedKey, tagged_hash

_PUSH_32 = b"\x20"
_PUSH_33 = b"\x21"
_OP_0 = b"\x00"
_OP_1 = b"\x51"
_OP_2 = b"\x52"
_OP_CHECKSIGVERIFY = b"\xad"
_OP_CHECKMULTISIG = b"\xae"
_OP_CHECKLOCKTIMEVERIFY = b"\xb1"
_TAPSCRIPT = b"\xc0"


def batch_key(first: PublicKey, spends: int) -> bytes:
    """An account's present batch key: G is added for each time that it was spent."""
    return (first.add(spends.to_bytes(32, "big")) if spends else first).format()


@dataclass(frozen=True)
class AccountLock:
    """What an account's output is locked with, in one of its lives.

    Trader and auctioneer together may spend it at any time; from `expiry` on the trader
    alone may. The batch key makes every life's script another, and the secret that both
    share hides the trader's key from everybody else.
    """

    trader_key: bytes
    auctioneer_key: bytes
    batch_key: bytes
    secret: bytes
    expiry: int

    @classmethod
    def between(
        cls, trader_key: bytes, auctioneer: PrivateKey, batch_key: bytes, expiry: int
    ) -> AccountLock:
        # coincurve's ECDH is the SHA-256 of the compressed point, which is lnd's, too.
        secret = auctioneer.ecdh(trader_key)
        return cls(trader_key, auctioneer.public_key.format(), batch_key, secret, expiry)

    @property
    def key(self) -> CombinedKey:
        """The base keys of both, untweaked, with the trader's way out as the only leaf."""
        return CombinedKey.of([self.trader_key, self.auctioneer_key], self._leaf())

    @property
    def script(self) -> bytes:
        return _OP_1 + _PUSH_32 + self.key.x_only

    def _leaf(self) -> bytes:
        tweak = hashlib.sha256(self.batch_key + self.secret + self.trader_key).digest()
        tweaked = PublicKey(self.trader_key).add(tweak).format()
        script = (
            *(_PUSH_32, tweaked[1:], _OP_CHECKSIGVERIFY),
            *(_pushed_number(self.expiry), _OP_CHECKLOCKTIMEVERIFY),
        )
        joined = b"".join(script)
        return tagged_hash("TapLeaf", _TAPSCRIPT + bytes([len(joined)]) + joined)


def funding_script(one: bytes, other: bytes) -> bytes:
    """A channel's output, of its ends' two keys (BOLT 3)."""
    first, second = sorted((one, other))
    both = _PUSH_33 + first + _PUSH_33 + second
    script = _OP_2 + both + _OP_2 + _OP_CHECKMULTISIG
    return _OP_0 + _PUSH_32 + hashlib.sha256(script).digest()


def _pushed_number(number: int) -> bytes:
    """A height as a script has it: as few bytes as its sign leaves room for."""
    pushed = number.to_bytes(number.bit_length() // 8 + 1, "little")
    return bytes([len(pushed)]) + pushed
