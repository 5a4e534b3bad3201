"""Reading invoices, by BOLT 11 of https://github.com/lightning/bolts.

Only what paying needs is read; LND reads the rest itself when it pays. Checksum and signature
are libraries' work (bech32, coincurve), and the tests hold this reader to another one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache

from bech32 import CHARSET, bech32_decode, convertbits
from coincurve import PublicKey
from coincurve.ecdsa import cdata_to_der, deserialize_recoverable, recoverable_convert

from fulgurite.errors import MalformedInvoiceError
from fulgurite.identity import NodePubkey, PaymentHash
from fulgurite.money import Msat


class ChainNetwork(StrEnum):
    """Bitcoin networks by LND's names."""

    MAINNET = "mainnet"
    TESTNET = "testnet"
    SIGNET = "signet"
    REGTEST = "regtest"


# The currency after "ln" in the human-readable part (BOLT 11).
_CURRENCIES = {
    "bc": ChainNetwork.MAINNET,
    "tb": ChainNetwork.TESTNET,
    "tbs": ChainNetwork.SIGNET,
    "bcrt": ChainNetwork.REGTEST,
}

# Msat a unit of each multiplier, as a fraction; a pico-bitcoin is a tenth of a msat.
_MSAT_PER = {
    "": (100_000_000_000, 1),
    "m": (100_000_000, 1),
    "u": (100_000, 1),
    "n": (100, 1),
    "p": (1, 10),
}

_SIGNATURE_WORDS = 104  # 64 bytes and the recovery id
_TIMESTAMP_WORDS = 7
_DEFAULT_EXPIRY_SECONDS = 3_600
_DEFAULT_FINAL_CLTV_DELTA_BLOCKS = 18

# Lengths of the fields that have one; a field of another length is to be skipped.
_HASH_WORDS, _PUBKEY_WORDS = 52, 53


@dataclass(frozen=True)
class Invoice:
    """What an invoice says. `amount` None: the payer chooses."""

    payment_request: str
    network: ChainNetwork
    payment_hash: PaymentHash
    destination: NodePubkey
    amount: Msat | None
    description: str
    created_at: datetime
    expires_at: datetime
    final_cltv_delta_blocks: int


# A process reads the same invoice several times over: client, workflow, activity.
@lru_cache(maxsize=4096)
def read_invoice(text: str) -> Invoice:
    """Reads an invoice, with or without the `lightning:` scheme in front.

    Raises MalformedInvoiceError. The signature is checked; expiry and network are for
    those who know the time and the node.
    """
    as_given = re.sub("^lightning:", "", text.strip(), flags=re.IGNORECASE)
    try:
        return _read(as_given)
    except (ValueError, KeyError, OverflowError) as error:
        # Checksum, lengths, point and signature arithmetic: to the reader all the same.
        raise MalformedInvoiceError(
            "this is no BOLT11 invoice: check that it was copied whole, from lnbc/lntb/lnbcrt "
            "to its last character"
        ) from error


def _read(as_given: str) -> Invoice:
    payment_request = as_given.lower()
    if as_given not in {payment_request, payment_request.upper()}:
        raise ValueError("in two cases at once, which bech32 forbids")
    prefix, words = bech32_decode(payment_request)
    if prefix is None or words is None:
        raise ValueError("wrong checksum")
    network, amount = _prefix(prefix)
    signed, signature = words[:-_SIGNATURE_WORDS], words[-_SIGNATURE_WORDS:]
    fields = _fields(signed[_TIMESTAMP_WORDS:])
    created_at = datetime.fromtimestamp(_number(signed[:_TIMESTAMP_WORDS]), tz=UTC)
    expiry = _number(fields["x"]) if "x" in fields else _DEFAULT_EXPIRY_SECONDS
    return Invoice(
        payment_request=payment_request,
        network=network,
        payment_hash=PaymentHash.of_bytes(_bytes(fields["p"])),
        destination=_signer(prefix, signed, _bytes(signature, pad=True)[:65], fields.get("n")),
        amount=amount,
        description=_bytes(fields.get("d", [])).decode(),
        created_at=created_at,
        expires_at=created_at + timedelta(seconds=expiry),
        final_cltv_delta_blocks=(
            _number(fields["c"]) if "c" in fields else _DEFAULT_FINAL_CLTV_DELTA_BLOCKS
        ),
    )


def _prefix(prefix: str) -> tuple[ChainNetwork, Msat | None]:
    """`ln`, the currency, and the amount if there is one."""
    parts = re.fullmatch(r"ln(bcrt|bc|tbs|tb)(?:([1-9][0-9]*)([munp]?))?", prefix)
    if not parts:
        raise ValueError("unknown prefix")
    currency, digits, multiplier = parts.groups()
    if digits is None:
        return _CURRENCIES[currency], None
    times, divided_by = _MSAT_PER[multiplier]
    msat, rest = divmod(int(digits) * times, divided_by)
    if rest:
        raise ValueError("an amount in fractions of a msat")
    return _CURRENCIES[currency], Msat(msat)


def _fields(words: list[int]) -> dict[str, list[int]]:
    """The tagged fields by their letter; of repeated ones the first counts."""
    lengths = {"p": _HASH_WORDS, "n": _PUBKEY_WORDS}
    fields: dict[str, list[int]] = {}
    at = 0
    while at < len(words):
        tag, length = CHARSET[words[at]], _number(words[at + 1 : at + 3])
        field = words[at + 3 : at + 3 + length]
        if len(field) != length:
            raise ValueError("a field is cut off")
        if length == lengths.get(tag, length):
            fields.setdefault(tag, field)
        at += 3 + length
    return fields


def _signer(
    prefix: str, signed: list[int], signature: bytes, named: list[int] | None
) -> NodePubkey:
    """Who signed. Where the invoice names its payee, that key must have."""
    message = prefix.encode() + _bytes(signed, pad=True)
    if named is None:
        key = PublicKey.from_signature_and_message(signature, message)
        return NodePubkey.of_bytes(key.format())
    payee = _bytes(named)
    der = cdata_to_der(recoverable_convert(deserialize_recoverable(signature)))
    if not PublicKey(payee).verify(der, message):
        raise ValueError("signed by another key than the one it names")
    return NodePubkey.of_bytes(payee)


def _number(words: list[int]) -> int:
    number = 0
    for word in words:
        number = number << 5 | word
    return number


def _bytes(words: list[int], *, pad: bool = False) -> bytes:
    """Whole bytes; the bits that fill no byte are dropped, or padded to one."""
    padded = bytes(convertbits(words, 5, 8) or [])
    return padded if pad else padded[: len(words) * 5 // 8]
