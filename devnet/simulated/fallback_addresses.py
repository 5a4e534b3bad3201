"""Segwit addresses as BOLT 11's field `f` carries them: a version, then the program.

Addresses from before segwit are not known here; nothing of ours makes any.
"""

from __future__ import annotations

from bech32 import CHARSET, bech32_hrp_expand, bech32_polymod

from devnet.simulated.errors import RpcError

# The human-readable parts of the networks that lnd could run on.
_NETWORKS = ("bc", "tb", "bcrt", "sb")

# What the checksum of an address leaves over: BIP 173 for version 0, BIP 350 for the rest.
_BECH32, _BECH32M = 1, 0x2BC830A3
_CHECKSUM_WORDS = 6


def to_words(address: str, network: str) -> list[int]:
    """The five-bit words of an address of `network`; raises RpcError for any other text."""
    hrp, _, data = address.lower().rpartition("1")
    words = [CHARSET.find(character) for character in data]
    if (
        hrp not in _NETWORKS
        or len(words) <= _CHECKSUM_WORDS
        or -1 in words
        or bech32_polymod([*bech32_hrp_expand(hrp), *words]) != _checksum_of(words[0])
    ):
        raise RpcError("invalid fallback address: decoded address is of unknown format")
    if hrp != network:
        raise RpcError("fallback address is not for regtest")
    return words[:-_CHECKSUM_WORDS]


def from_words(words: list[int], network: str) -> str:
    """The address whose words these are."""
    padded = [*bech32_hrp_expand(network), *words, *[0] * _CHECKSUM_WORDS]
    remainder = bech32_polymod(padded) ^ _checksum_of(words[0])
    checksum = [remainder >> 5 * place & 31 for place in reversed(range(_CHECKSUM_WORDS))]
    return f"{network}1" + "".join(CHARSET[word] for word in (*words, *checksum))


def _checksum_of(version: int) -> int:
    return _BECH32M if version else _BECH32
