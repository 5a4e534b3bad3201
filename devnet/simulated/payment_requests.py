"""Reading and writing BOLT 11 payment requests, with lnd's words where one is refused."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import dataclass

from bech32 import CHARSET, bech32_encode, convertbits
from bolt11 import Bolt11, Feature, MilliSatoshi, decode
from bolt11.bit_utils import scid_to_int
from bolt11.exceptions import Bolt11Exception
from bolt11.utils import msat_to_amount
from coincurve import PrivateKey

from devnet.simulated import fallback_addresses
from devnet.simulated.errors import RpcError

NETWORK = "regtest"
CURRENCY = "bcrt"

# What lnd puts into an invoice of its own (BOLT 9): the onion is TLV and the payment
# address is required, the amount may come in parts.
FEATURE_BITS = 1 << 8 | 1 << 14 | 1 << 17

# Enough for every invoice of a long bench; a parse costs milliseconds, a look-up nothing.
_REMEMBERED = 50_000


@dataclass(frozen=True)
class HopHint:
    """A channel that the graph does not show, and what its far end asks for using it."""

    public_key: str
    channel_id: int
    base_fee_msat: int
    fee_rate_ppm: int
    cltv_expiry_delta_blocks: int


# The last hops of a route, the one into the payee at the end.
RouteHint = tuple[HopHint, ...]


@dataclass(frozen=True)
class PaymentRequest:
    """What a payer needs to know. `amount_msat` 0 leaves it to the payer.

    `payment_addr` is empty in an invoice too old to have one. A `description_hash` is
    written instead of the description.
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
    description_hash: bytes = b""
    fallback_addr: str = ""
    route_hints: tuple[RouteHint, ...] = ()


class PaymentRequestCodec:
    """Writes and reads payment requests of regtest, and remembers what it has seen."""

    def __init__(self) -> None:
        self._known: OrderedDict[str, PaymentRequest] = OrderedDict()

    def write(self, request: PaymentRequest, key: PrivateKey) -> str:
        """A signed invoice. The description tag is written even when empty, as lnd does."""
        text = _encode(request, key)
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
            description_hash=bytes.fromhex(invoice.description_hash or ""),
            fallback_addr=_fallback_of(invoice),
            route_hints=_hints_of(invoice),
        )


def _fallback_of(invoice: Bolt11) -> str:
    if invoice.fallback is None:
        return ""
    words = [group.uint for group in invoice.fallback.data.cut(5)]
    return fallback_addresses.from_words(words, CURRENCY) if words[0] <= 16 else ""


def _hints_of(invoice: Bolt11) -> tuple[RouteHint, ...]:
    return tuple(
        tuple(
            HopHint(
                route.public_key,
                scid_to_int(route.short_channel_id),
                route.base_fee,
                route.ppm_fee,
                route.cltv_expiry_delta,
            )
            for route in hint.routes
        )
        for hint in invoice.route_hints or ()
    )


def _encode(request: PaymentRequest, key: PrivateKey) -> str:
    """BOLT 11 by hand: the library's encoder takes the time of a whole payment."""
    prefix = f"ln{CURRENCY}"
    if request.amount_msat:
        prefix += msat_to_amount(MilliSatoshi(request.amount_msat))
    if request.description_hash:
        description = _tagged("h", _words_of(request.description_hash))
    else:
        description = _tagged("d", _words_of(request.description.encode()))
    fallback = []
    if request.fallback_addr:
        fallback = _tagged("f", fallback_addresses.to_words(request.fallback_addr, CURRENCY))
    hints = [word for hint in request.route_hints for word in _tagged("r", _hint_words(hint))]
    words = [
        *_as_words(request.timestamp, length=7),
        *_tagged("p", _words_of(request.payment_hash)),
        *description,
        *_tagged("c", _as_words(request.final_cltv_delta_blocks)),
        *_tagged("x", _as_words(request.expiry_seconds)),
        *fallback,
        *hints,
        *_tagged("s", _words_of(request.payment_addr)),
        *_tagged("9", _as_words(FEATURE_BITS)),
    ]
    signed = prefix.encode() + bytes(_regrouped(words, 5, 8))
    return bech32_encode(prefix, [*words, *_words_of(key.sign_recoverable(signed))])


def _tagged(tag: str, words: list[int]) -> list[int]:
    return [CHARSET.index(tag), *_as_words(len(words), length=2), *words]


def _hint_words(hint: RouteHint) -> list[int]:
    return _words_of(
        b"".join(
            bytes.fromhex(hop.public_key)
            + hop.channel_id.to_bytes(8)
            + hop.base_fee_msat.to_bytes(4)
            + hop.fee_rate_ppm.to_bytes(4)
            + hop.cltv_expiry_delta_blocks.to_bytes(2)
            for hop in hint
        )
    )


def _words_of(data: bytes) -> list[int]:
    """Bytes as the five-bit words of bech32."""
    return _regrouped(data, 8, 5)


def _regrouped(data: Iterable[int], from_bits: int, to_bits: int) -> list[int]:
    """The same bits in groups of another size, with zeros to fill the last."""
    groups: list[int] | None = convertbits(data, from_bits, to_bits, pad=True)
    assert groups is not None, "every group was within its size"
    return groups


def _as_words(number: int, length: int = 0) -> list[int]:
    """A number as five-bit words, most significant first; no fewer than `length`."""
    words: list[int] = []
    while number or len(words) < length:
        words.append(number & 31)
        number >>= 5
    return words[::-1]
