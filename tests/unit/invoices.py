"""Invoices of any network, as their payees would write them."""

from __future__ import annotations

import time

import bolt11
from bolt11.models.tags import Tag
from coincurve import PrivateKey

from fulgurite.identity import PaymentHash, Preimage

PAYEE = PrivateKey(bytes(range(1, 33)))
PAYEE_PUBKEY = PAYEE.public_key.format().hex()


def written(
    currency: str = "bcrt",
    *,
    amount_msat: int | None = 50_000,
    payment_hash: PaymentHash | None = None,
    created_at: int | None = None,
    expiry_seconds: int | None = 3_600,
    description: str = "glass",
) -> str:
    """A signed invoice. `currency` is BOLT 11's, such as bc; times in seconds."""
    tags = bolt11.Tags(
        [
            Tag(bolt11.TagChar.payment_hash, payment_hash or Preimage.generate().hash()),
            Tag(bolt11.TagChar.payment_secret, "11" * 32),
            Tag(bolt11.TagChar.description, description),
        ]
    )
    if expiry_seconds is not None:
        tags.add(bolt11.TagChar.expire_time, expiry_seconds)
    invoice = bolt11.Bolt11(
        currency=currency,
        date=int(time.time()) if created_at is None else created_at,
        tags=tags,
        amount_msat=None if amount_msat is None else bolt11.MilliSatoshi(amount_msat),
    )
    return bolt11.encode(invoice, PAYEE.secret.hex())
