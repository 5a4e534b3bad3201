"""Reading BOLT11 invoices, by the `bolt11` library, into our own words."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import StrEnum

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
    SIMNET = "simnet"


# The currency after "ln" in the human-readable part (BOLT 11; lnd adds simnet's).
_CURRENCIES = {
    "bc": ChainNetwork.MAINNET,
    "tb": ChainNetwork.TESTNET,
    "tbs": ChainNetwork.SIGNET,
    "bcrt": ChainNetwork.REGTEST,
    "sb": ChainNetwork.SIMNET,
}


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


def read_invoice(text: str) -> Invoice:
    """Reads an invoice, with or without the `lightning:` scheme in front.

    Raises MalformedInvoiceError. The signature is checked; expiry and network are for
    those who know the time and the node.
    """
    payment_request = text.strip().lower().removeprefix("lightning:")
    try:
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
