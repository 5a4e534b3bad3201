"""Reading BOLT11 invoices, by the `bolt11` library, into our own words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache

import bolt11

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

_IN_ONE_CASE = re.compile(r"((?i:lightning:))?([^A-Z]+|[^a-z]+)")
# Pico-bitcoin that are no whole number of msat: BOLT 11 refuses them, the library rounds.
_FRACTION_OF_MSAT = re.compile(r"ln[a-z]+\d*[1-9]p1")


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


# A process reads the same invoice several times over (client, workflow, activity), and one
# reading costs the library some milliseconds.
@lru_cache(maxsize=4096)
def read_invoice(text: str) -> Invoice:
    """Reads an invoice, with or without the `lightning:` scheme in front.

    Raises MalformedInvoiceError. The signature is checked; expiry and network are for
    those who know the time and the node.
    """
    payment_request = text.strip().lower().removeprefix("lightning:")
    try:
        if not _IN_ONE_CASE.fullmatch(text.strip()):
            raise ValueError("bech32 is of one case")
        if _FRACTION_OF_MSAT.match(payment_request):
            raise ValueError("the amount is not a whole number of msat")
        # The library's own validation wants a description; lnd may write an empty one.
        decoded = bolt11.decode(payment_request, ignore_exceptions=True)
        created_at = datetime.fromtimestamp(decoded.date, tz=UTC)
        return Invoice(
            payment_request=payment_request,
            network=_CURRENCIES[decoded.currency],
            payment_hash=PaymentHash(decoded.payment_hash),
            destination=NodePubkey(decoded.payee or ""),
            amount=Msat(int(decoded.amount_msat)) if decoded.amount_msat else None,
            description=decoded.description or "",
            created_at=created_at,
            expires_at=created_at + timedelta(seconds=decoded.expiry),
        )
    except Exception as error:
        # The library raises whatever its parts raise (bitstring, coincurve, KeyError …):
        # at this border every one of them means the same.
        raise MalformedInvoiceError(
            "this is no BOLT11 invoice: check that it was copied whole, from lnbc/lntb/lnbcrt "
            "to its last character"
        ) from error
