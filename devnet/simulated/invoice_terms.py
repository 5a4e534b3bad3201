"""What a new invoice shall say, checked in lnd's order and refused in lnd's words."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from devnet.simulated import fallback_addresses
from devnet.simulated.errors import RpcError
from devnet.simulated.payment_requests import CURRENCY, HopHint, RouteHint
from protos.invoicesrpc import invoices_pb2
from protos.lnrpc import lightning_pb2

# lnd's defaults and limits.
EXPIRY_SECONDS = 86_400
MAX_EXPIRY_SECONDS = 365 * 86_400
FINAL_CLTV_DELTA_BLOCKS = 80
MIN_FINAL_CLTV_DELTA_BLOCKS = 18
MAX_FINAL_CLTV_DELTA_BLOCKS = 65_535
MAX_MEMO_BYTES = 1024
MAX_ROUTE_HINTS = 20

DESCRIPTION_HASH_BYTES = 32
PUBLIC_KEY_BYTES = 33


@dataclass(frozen=True)
class InvoiceTerms:
    """An invoice that lnd would write, with its defaults filled in.

    `private` asks for hints to the node's private channels, beside the `route_hints` that
    the caller has given.
    """

    memo: str
    value_msat: int
    description_hash: bytes
    expiry_seconds: int
    fallback_addr: str
    final_cltv_delta_blocks: int
    private: bool
    route_hints: tuple[RouteHint, ...]


def read_terms(
    request: lightning_pb2.Invoice | invoices_pb2.AddHoldInvoiceRequest,
) -> InvoiceTerms:
    """Checks a request for an invoice of either kind; raises RpcError as lnd would."""
    terms = InvoiceTerms(
        memo=request.memo,
        value_msat=_amount_msat(request.value, request.value_msat),
        description_hash=request.description_hash,
        expiry_seconds=request.expiry or EXPIRY_SECONDS,
        fallback_addr=request.fallback_addr,
        final_cltv_delta_blocks=request.cltv_expiry or FINAL_CLTV_DELTA_BLOCKS,
        private=request.private,
        route_hints=tuple(_route_hint(hint.hop_hints) for hint in request.route_hints),
    )
    _check_texts(terms)
    _check_times(terms)
    if len(terms.route_hints) > MAX_ROUTE_HINTS:
        raise RpcError(f"number of routing hints must not exceed maximum of {MAX_ROUTE_HINTS}")
    if () in terms.route_hints:
        raise RpcError("number of hop hint within a route must be positive")
    return terms


def _amount_msat(value_sat: int, value_msat: int) -> int:
    if value_sat and value_msat:
        raise RpcError("sat and msat arguments are mutually exclusive")
    if value_sat < 0 or value_msat < 0:
        raise RpcError("amount cannot be negative")
    return value_msat or value_sat * 1_000


def _route_hint(hops: Iterable[lightning_pb2.HopHint]) -> RouteHint:
    return tuple(
        HopHint(
            _public_key(hop.node_id),
            hop.chan_id,
            hop.fee_base_msat,
            hop.fee_proportional_millionths,
            hop.cltv_expiry_delta,
        )
        for hop in hops
    )


def _public_key(text: str) -> str:
    try:
        key = bytes.fromhex(text)
    except ValueError as error:
        raise RpcError(f"encoding/hex: invalid byte: {text!r}") from error
    if len(key) != PUBLIC_KEY_BYTES:
        raise RpcError(f"malformed public key: invalid length: {len(key)}")
    return key.hex()


def _check_texts(terms: InvoiceTerms) -> None:
    memo_bytes = len(terms.memo.encode())
    if memo_bytes > MAX_MEMO_BYTES:
        raise RpcError(f"memo too large: {memo_bytes} bytes (maxsize={MAX_MEMO_BYTES})")
    hash_bytes = len(terms.description_hash)
    if hash_bytes not in (0, DESCRIPTION_HASH_BYTES):
        raise RpcError(f"description hash is {hash_bytes} bytes, must be {DESCRIPTION_HASH_BYTES}")
    if terms.fallback_addr:
        fallback_addresses.to_words(terms.fallback_addr, CURRENCY)


def _check_times(terms: InvoiceTerms) -> None:
    if terms.expiry_seconds > MAX_EXPIRY_SECONDS:
        raise RpcError(
            f"expiry of {terms.expiry_seconds} seconds greater than max expiry of "
            f"{MAX_EXPIRY_SECONDS} seconds"
        )
    delta_blocks = terms.final_cltv_delta_blocks
    if delta_blocks > MAX_FINAL_CLTV_DELTA_BLOCKS:
        raise RpcError(
            f"CLTV delta of {delta_blocks} is too large, "
            f"max accepted is: {MAX_FINAL_CLTV_DELTA_BLOCKS}"
        )
    if delta_blocks < MIN_FINAL_CLTV_DELTA_BLOCKS:
        raise RpcError(
            f"CLTV delta of {delta_blocks} must be greater than minimum of "
            f"{MIN_FINAL_CLTV_DELTA_BLOCKS}"
        )
