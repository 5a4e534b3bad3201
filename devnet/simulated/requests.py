"""What a SendPaymentV2 asks for, checked in lnd's order and refused in lnd's words.

All of this comes before lnd looks whether it knows the hash. So a retry of a payment that
is in flight or settled can be refused as "invoice expired": that says nothing about money.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

from devnet.simulated.errors import RpcError
from devnet.simulated.pathfinding import BLOCK_PADDING
from devnet.simulated.payment_requests import PaymentRequestCodec
from protos.routerrpc import router_pb2

KEYSEND_RECORD = 5482373484
DEFAULT_TIMEOUT_SECONDS = 60
DEFAULT_MAX_PARTS = 16
DEFAULT_FINAL_CLTV_DELTA_BLOCKS = 80
MAX_CLTV_BLOCKS = 2_016
FIRST_CUSTOM_RECORD = 65_536
PUBLIC_KEY_BYTES = 33
HASH_BYTES = 32


@dataclass(frozen=True)
class PaymentIntent:
    """A payment that lnd would accept, with its defaults filled in."""

    destination: str
    payment_hash: bytes
    payment_addr: bytes
    keysend_preimage: bytes | None = field(repr=False)
    amount_msat: int
    fee_limit_msat: int
    timeout_seconds: int
    max_parts: int
    final_cltv_delta_blocks: int
    cltv_limit_blocks: int
    outgoing_channel_ids: frozenset[int]
    last_hop: str | None
    payment_request: str
    hinted_channel_ids: frozenset[int] = frozenset()


def read_intent(
    request: router_pb2.SendPaymentRequest, codec: PaymentRequestCodec, own_key: str
) -> PaymentIntent:
    """Checks a request of the node `own_key`; raises RpcError as lnd would."""
    if not -1 <= request.time_pref <= 1:
        raise RpcError("time preference out of range")
    if request.last_hop_pubkey:
        _check_public_key(request.last_hop_pubkey)
    if request.fee_limit_msat < 0 or request.amt_msat < 0:
        raise RpcError("amount cannot be negative")
    for record in request.dest_custom_records:
        if record < FIRST_CUSTOM_RECORD:
            raise RpcError(f"no custom records allowed below TLV type {FIRST_CUSTOM_RECORD}")
    if request.cltv_limit > MAX_CLTV_BLOCKS:
        raise RpcError(
            f"total time lock of {request.cltv_limit} exceeds max allowed {MAX_CLTV_BLOCKS}"
        )

    intent = _from_invoice(request, codec) if request.payment_request else _from_fields(request)
    last_hop_blocks = intent.final_cltv_delta_blocks + BLOCK_PADDING
    if intent.cltv_limit_blocks <= last_hop_blocks:
        raise RpcError(
            f"cltv limit {intent.cltv_limit_blocks} should be greater than {last_hop_blocks}"
        )
    if intent.destination == own_key and not request.allow_self_payment:
        raise RpcError("self-payments not allowed")
    return intent


def _from_invoice(
    request: router_pb2.SendPaymentRequest, codec: PaymentRequestCodec
) -> PaymentIntent:
    for name in ("dest", "payment_hash", "final_cltv_delta"):
        if getattr(request, name):
            raise RpcError(f"{name} and payment_request cannot appear together")
    invoice = codec.read(request.payment_request)

    valid_until = invoice.timestamp + invoice.expiry_seconds
    if time.time() > valid_until:
        until = datetime.fromtimestamp(valid_until, UTC).strftime("%Y-%m-%d %H:%M:%S +0000 UTC")
        raise RpcError(f"invoice expired. Valid until {until}")
    if not invoice.payment_addr:
        raise RpcError("payment request must contain either a payment address or blinded paths")
    if invoice.amount_msat and request.amt_msat:
        raise RpcError("amount must not be specified when paying a non-zero amount invoice")
    if not invoice.amount_msat and not request.amt_msat:
        raise RpcError("amount must be specified when paying a zero amount invoice")

    max_parts = request.max_parts or DEFAULT_MAX_PARTS
    return PaymentIntent(
        destination=invoice.destination,
        payment_hash=invoice.payment_hash,
        payment_addr=invoice.payment_addr,
        keysend_preimage=None,
        amount_msat=invoice.amount_msat or request.amt_msat,
        fee_limit_msat=request.fee_limit_msat,
        timeout_seconds=request.timeout_seconds or DEFAULT_TIMEOUT_SECONDS,
        max_parts=max_parts if invoice.takes_parts else 1,
        final_cltv_delta_blocks=invoice.final_cltv_delta_blocks,
        cltv_limit_blocks=request.cltv_limit or MAX_CLTV_BLOCKS,
        outgoing_channel_ids=frozenset(request.outgoing_chan_ids),
        last_hop=request.last_hop_pubkey.hex() or None,
        payment_request=request.payment_request,
        hinted_channel_ids=frozenset(
            hop.channel_id for hint in invoice.route_hints for hop in hint
        ),
    )


def _from_fields(request: router_pb2.SendPaymentRequest) -> PaymentIntent:
    _check_public_key(request.dest)
    if not request.amt_msat:
        raise RpcError("amount must be specified")
    if len(request.payment_hash) != HASH_BYTES:
        raise RpcError(f"invalid hash length of {len(request.payment_hash)}, want {HASH_BYTES}")
    return PaymentIntent(
        destination=request.dest.hex(),
        payment_hash=request.payment_hash,
        payment_addr=request.payment_addr,
        keysend_preimage=request.dest_custom_records.get(KEYSEND_RECORD),
        amount_msat=request.amt_msat,
        fee_limit_msat=request.fee_limit_msat,
        timeout_seconds=request.timeout_seconds or DEFAULT_TIMEOUT_SECONDS,
        # Without a payment address the payee cannot tell parts from payments.
        max_parts=request.max_parts or DEFAULT_MAX_PARTS if request.payment_addr else 1,
        final_cltv_delta_blocks=request.final_cltv_delta or DEFAULT_FINAL_CLTV_DELTA_BLOCKS,
        cltv_limit_blocks=request.cltv_limit or MAX_CLTV_BLOCKS,
        outgoing_channel_ids=frozenset(request.outgoing_chan_ids),
        last_hop=request.last_hop_pubkey.hex() or None,
        payment_request="",
    )


def _check_public_key(key: bytes) -> None:
    if len(key) != PUBLIC_KEY_BYTES:
        raise RpcError(f"invalid vertex length of {len(key)}, want {PUBLIC_KEY_BYTES}")
