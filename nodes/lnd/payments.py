"""Sending and following payments: `routerrpc.Router` in domain terms."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime

from fulgurite.bolt11 import read_invoice
from fulgurite.errors import UnexpectedAnswerError
from fulgurite.identity import PaymentHash, Preimage
from fulgurite.money import Msat
from fulgurite.payments.requests import Order, PaymentRequest
from fulgurite.payments.states import FailureReason, PaymentStatus
from nodes.lnd.connection import UNARY_TIMEOUT_SECONDS, LndConnection
from nodes.lnd.errors import domain_errors
from nodes.roles import Role
from protos.lnrpc import lightning_pb2, lightning_pb2_grpc
from protos.routerrpc import router_pb2, router_pb2_grpc

# The record in which a keysend carries its preimage to the payee.
KEYSEND_RECORD = 5482373484

# What lnd itself uses for a keysend's last hop, in blocks.
_KEYSEND_FINAL_CLTV_DELTA_BLOCKS = 40

# A stream may be silent for long and is dropped by us, never by this deadline, which only
# bounds what a wedged connection could hold.
STREAM_TIMEOUT_SECONDS = 3_600.0

_STATUS = {
    lightning_pb2.Payment.INITIATED: PaymentStatus.IN_FLIGHT,
    lightning_pb2.Payment.IN_FLIGHT: PaymentStatus.IN_FLIGHT,
    lightning_pb2.Payment.SUCCEEDED: PaymentStatus.SUCCEEDED,
    lightning_pb2.Payment.FAILED: PaymentStatus.FAILED,
}


@dataclass(frozen=True)
class NodePayment:
    """What LND says of a payment at one moment. The preimage is bare here, and only here."""

    status: PaymentStatus
    failure_reason: FailureReason
    payment_index: int
    amount: Msat
    fee: Msat
    parts: int
    attempts: int
    created_at: datetime | None
    resolved_at: datetime | None
    expiry_height: int | None
    preimage: Preimage | None = field(repr=False)


@dataclass(frozen=True)
class PaymentPage:
    """Some payments by their hash, oldest first. `last_index`: where the next page goes on."""

    payments: tuple[tuple[PaymentHash, NodePayment], ...]
    last_index: int


class LndPayments:
    """Payments of one node, with its pay macaroon."""

    def __init__(self, connection: LndConnection) -> None:
        self._node = connection.name
        self._credential = connection.credential(Role.PAY)
        self._router = router_pb2_grpc.RouterStub(connection.channel())
        self._lightning = lightning_pb2_grpc.LightningStub(connection.channel())

    @asynccontextmanager
    async def track(self, payment_hash: PaymentHash) -> AsyncIterator[AsyncIterator[NodePayment]]:
        """LND's word on a payment, the present one first, until it is terminal.

        Raises PaymentNotFoundError and NodeErrors while iterating. The stream may never
        end and may go silent: whoever listens sets the time. Leaving drops the stream.
        """
        call = self._router.TrackPaymentV2(
            router_pb2.TrackPaymentRequest(payment_hash=payment_hash.raw()),
            metadata=self._credential,
            timeout=STREAM_TIMEOUT_SECONDS,
        )
        try:
            yield self._updates(call)
        finally:
            call.cancel()

    @asynccontextmanager
    async def send(
        self, request: PaymentRequest, order: Order, preimage: Preimage | None
    ) -> AsyncIterator[AsyncIterator[NodePayment]]:
        """Sends, and yields the verdict; nothing in between, to spare both sides.

        Raises AlreadyExistsError when LND has the hash, InvalidRequestErrors when it
        refuses the request, NodeErrors when nobody knows what happened. Leaving drops the
        stream and not the payment.
        """
        call = self._router.SendPaymentV2(
            _send_request(request, order, preimage),
            metadata=self._credential,
            timeout=STREAM_TIMEOUT_SECONDS,
        )
        try:
            yield self._updates(call)
        finally:
            call.cancel()

    async def page(self, *, after_index: int, limit: int) -> PaymentPage:
        """At most `limit` payments after a payment_index, whatever became of them.

        The last page is empty. Raises NodeErrors.
        """
        with domain_errors(self._node):
            listed = await self._lightning.ListPayments(
                lightning_pb2.ListPaymentsRequest(
                    include_incomplete=True,
                    index_offset=after_index,
                    max_payments=limit,
                    omit_hops=True,
                ),
                metadata=self._credential,
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        return PaymentPage(
            tuple(
                (PaymentHash(each.payment_hash), node_payment(self._node, each))
                for each in listed.payments
            ),
            listed.last_index_offset if listed.payments else after_index,
        )

    async def _updates(
        self, call: AsyncIterable[lightning_pb2.Payment]
    ) -> AsyncIterator[NodePayment]:
        with domain_errors(self._node):
            async for payment in call:
                yield node_payment(self._node, payment)


def _send_request(
    request: PaymentRequest, order: Order, preimage: Preimage | None
) -> router_pb2.SendPaymentRequest:
    message = router_pb2.SendPaymentRequest(
        timeout_seconds=request.timeout_seconds,
        fee_limit_msat=order.fee_limit,
        max_parts=request.max_parts,
        outgoing_chan_ids=[channel.number for channel in request.outgoing_channels],
        time_pref=request.time_preference,
        cltv_limit=request.cltv_limit_blocks or 0,
        no_inflight_updates=True,
    )
    if request.last_hop:
        message.last_hop_pubkey = request.last_hop.raw()
    if request.amount_msat is not None:
        message.amt_msat = request.amount_msat
    if request.invoice is not None:
        message.payment_request = read_invoice(request.invoice).payment_request
    else:
        assert preimage is not None
        message.dest = order.destination.raw()
        message.payment_hash = order.payment_hash.raw()
        message.final_cltv_delta = _KEYSEND_FINAL_CLTV_DELTA_BLOCKS
        message.dest_custom_records[KEYSEND_RECORD] = preimage.reveal()
        message.dest_features.append(lightning_pb2.TLV_ONION_OPT)
        # The payee gives no payment address, without which there are no parts (BOLT 4).
        message.max_parts = 1
    return message


def node_payment(node: str, payment: lightning_pb2.Payment) -> NodePayment:
    """Raises UnexpectedAnswerError for what only a later LND can say."""
    try:
        status = _STATUS[payment.status]
        reason = FailureReason(
            lightning_pb2.PaymentFailureReason.Name(payment.failure_reason).removeprefix(
                "FAILURE_REASON_"
            )
        )
    except (KeyError, ValueError):
        # A status or reason of a later LND: unknown is never failed.
        raise UnexpectedAnswerError(
            f"{node}: payment status {payment.status}, reason {payment.failure_reason} are new "
            "to this version of Fulgurite: upgrade it"
        ) from None
    outstanding = [
        htlc.route.total_time_lock
        for htlc in payment.htlcs
        if htlc.status == lightning_pb2.HTLCAttempt.IN_FLIGHT
    ]
    settled = sum(htlc.status == lightning_pb2.HTLCAttempt.SUCCEEDED for htlc in payment.htlcs)
    resolved_ns = max((htlc.resolve_time_ns for htlc in payment.htlcs), default=0)
    succeeded = status is PaymentStatus.SUCCEEDED
    return NodePayment(
        status=status,
        failure_reason=reason,
        payment_index=payment.payment_index,
        amount=Msat(payment.value_msat),
        fee=Msat(payment.fee_msat),
        parts=settled + len(outstanding),
        attempts=len(payment.htlcs),
        created_at=_time(payment.creation_time_ns),
        resolved_at=_time(resolved_ns) if status is not PaymentStatus.IN_FLIGHT else None,
        expiry_height=min(outstanding, default=None),
        preimage=Preimage(bytes.fromhex(payment.payment_preimage)) if succeeded else None,
    )


def _time(nanoseconds: int) -> datetime | None:
    return datetime.fromtimestamp(nanoseconds / 1e9, tz=UTC) if nanoseconds else None
