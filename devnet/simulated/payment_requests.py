"""Reading and writing BOLT 11 payment requests, with lnd's words where one is refused."""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from bolt11 import (
    Bolt11,
    Feature,
    Features,
    FeatureState,
    MilliSatoshi,
    TagChar,
    Tags,
    decode,
    encode,
)
from bolt11.exceptions import Bolt11Exception

from devnet.simulated.errors import RpcError

NETWORK = "regtest"
CURRENCY = "bcrt"

# What lnd puts into an invoice of its own: the onion is TLV, the payment address is
# required, and the amount may come in parts.
FEATURES = Features.from_feature_list(
    {
        Feature.var_onion_optin: FeatureState.required,
        Feature.payment_secret: FeatureState.required,
        Feature.basic_mpp: FeatureState.supported,
    }
)


# Enough for every invoice of a long bench; a parse costs milliseconds, a look-up nothing.
_REMEMBERED = 50_000


@dataclass(frozen=True)
class PaymentRequest:
    """What a payer needs to know. `amount_msat` 0 leaves it to the payer.

    `payment_addr` is empty in an invoice too old to have one.
    """

    destination: str
    payment_hash: bytes
    payment_addr: bytes
    amount_msat: int
    timestamp: int
    expiry_seconds: int
    description: str
    final_cltv_delta_blocks: int
    takes_parts: bool


class PaymentRequestCodec:
    """Writes and reads payment requests of regtest, and remembers what it has seen."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, PaymentRequest] = OrderedDict()

    def write(self, request: PaymentRequest, private_key: str) -> str:
        """A signed invoice. The description tag is written even when empty, as lnd does."""
        tags = Tags()
        tags.add(TagChar.payment_hash, request.payment_hash.hex())
        tags.add(TagChar.description, request.description)
        tags.add(TagChar.min_final_cltv_expiry, request.final_cltv_delta_blocks)
        tags.add(TagChar.expire_time, request.expiry_seconds)
        tags.add(TagChar.payment_secret, request.payment_addr.hex())
        tags.add(TagChar.features, FEATURES)
        text = encode(
            Bolt11(
                currency=CURRENCY,
                amount_msat=MilliSatoshi(request.amount_msat) if request.amount_msat else None,
                date=request.timestamp,
                tags=tags,
            ),
            private_key,
            ignore_exceptions=True,
        )
        self._remember(text, request)
        return text

    def read(self, text: str) -> PaymentRequest:
        """Parses an invoice; raises RpcError when it is malformed or of another network."""
        text = text.lower()
        known = self._known.get(text)
        if known is None:
            known = self._parse(text)
            self._remember(text, known)
        return known

    def _remember(self, text: str, request: PaymentRequest) -> None:
        self._known[text] = request
        if len(self._known) > _REMEMBERED:
            self._known.popitem(last=False)

    def _parse(self, text: str) -> PaymentRequest:
        if not text.startswith("ln"):
            raise RpcError("decoding bech32 failed: invalid payment request")
        if not text.startswith(f"ln{CURRENCY}"):
            raise RpcError(f"invoice not for current active network '{NETWORK}'")
        try:
            # lnd itself writes an empty description, which the library would refuse.
            invoice = decode(text, ignore_exceptions=True)
            payment_hash = bytes.fromhex(invoice.payment_hash)
        except (Bolt11Exception, ValueError, IndexError) as error:
            raise RpcError(f"decoding bech32 failed: {error}") from error
        assert invoice.payee is not None, "the library recovers it from the signature"

        features = invoice.features.feature_list if invoice.features else {}
        return PaymentRequest(
            destination=invoice.payee,
            payment_hash=payment_hash,
            payment_addr=bytes.fromhex(invoice.payment_secret or ""),
            amount_msat=int(invoice.amount_msat or 0),
            timestamp=invoice.date,
            expiry_seconds=invoice.expiry,
            description=invoice.description or "",
            final_cltv_delta_blocks=invoice.min_final_cltv_expiry,
            takes_parts=Feature.basic_mpp in features,
        )
