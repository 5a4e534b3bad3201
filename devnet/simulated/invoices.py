"""A node's invoices, from the first look at an HTLC to its settlement or cancellation."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from coincurve import PrivateKey

from devnet.simulated.errors import RpcError
from devnet.simulated.htlcs import FailureCode, RoutedHtlc, Switch
from devnet.simulated.ledger import Ledger
from devnet.simulated.payment_requests import PaymentRequest, PaymentRequestCodec
from protos.lnrpc import lightning_pb2

OPEN = lightning_pb2.Invoice.OPEN
SETTLED = lightning_pb2.Invoice.SETTLED
CANCELED = lightning_pb2.Invoice.CANCELED
ACCEPTED = lightning_pb2.Invoice.ACCEPTED

# lnd's defaults.
EXPIRY_SECONDS = 86_400
MAX_EXPIRY_SECONDS = 365 * 86_400
FINAL_CLTV_DELTA_BLOCKS = 80
MIN_FINAL_CLTV_DELTA_BLOCKS = 18
MAX_MEMO_BYTES = 1024

# lnd cancels a held invoice so long before its HTLC would force the channel closed.
HOLD_EXPIRY_DELTA_BLOCKS = 18

# How long the first parts of a payment wait for the rest (lnd's HTLC hold duration).
SET_COMPLETION_SECONDS = 120


@dataclass(eq=False)
class InvoiceHtlc:
    """An HTLC as its invoice remembers it."""

    routed: RoutedHtlc
    channel_id: int
    htlc_index: int
    amount_msat: int
    expiry_height: int
    accept_height: int
    accept_time: int
    resolve_time: int = 0
    state: lightning_pb2.InvoiceHTLCState.ValueType = lightning_pb2.ACCEPTED


@dataclass(eq=False)
class Invoice:
    """An invoice. The preimage of a hold invoice is None until somebody settles it."""

    request: PaymentRequest
    payment_request: str
    preimage: bytes | None = field(repr=False)
    add_index: int
    is_keysend: bool = False
    private: bool = False
    state: lightning_pb2.Invoice.InvoiceState.ValueType = OPEN
    settle_index: int = 0
    settle_time: int = 0
    paid_msat: int = 0
    htlcs: list[InvoiceHtlc] = field(default_factory=list)

    @property
    def accepted(self) -> list[InvoiceHtlc]:
        """The HTLCs that are held for it now."""
        return [htlc for htlc in self.htlcs if htlc.state == lightning_pb2.ACCEPTED]


class InvoiceRegistry:
    """Every invoice of one node. Kept through restarts; `start` and `stop` mind the clock."""

    def __init__(
        self,
        node: str,
        *,
        key: PrivateKey,
        codec: PaymentRequestCodec,
        switch: Switch,
        ledger: Ledger,
        height: Callable[[], int],
    ) -> None:
        self._node = node
        self._key = key
        self._public_key = key.public_key.format().hex()
        self._codec = codec
        self._switch = switch
        self._ledger = ledger
        self._height = height
        self._by_hash: dict[bytes, Invoice] = {}
        self._held: set[Invoice] = set()
        self._incomplete: dict[Invoice, asyncio.TimerHandle] = {}
        self._settled_count = 0
        self._expiries: list[tuple[int, bytes]] = []
        self._alarm: asyncio.TimerHandle | None = None
        self._running = False
        switch.add_payee(node, self)

    def start(self) -> None:
        """Begins to cancel what has expired, whatever expired meanwhile first."""
        self._running = True
        for invoice in list(self._incomplete):
            self._await_parts(invoice)
        self._cancel_expired()
        self.on_block(self._height())

    def stop(self) -> None:
        self._running = False
        for patience in self._incomplete.values():
            patience.cancel()
        if self._alarm is not None:
            self._alarm.cancel()

    def find(self, payment_hash: bytes) -> Invoice | None:
        return self._by_hash.get(payment_hash)

    def add(
        self,
        *,
        memo: str,
        preimage: bytes | None,
        payment_hash: bytes,
        value_msat: int,
        expiry_seconds: int,
        final_cltv_delta_blocks: int,
        private: bool,
    ) -> Invoice:
        """A new invoice; raises RpcError for what lnd would not write."""
        _validate(memo, value_msat, expiry_seconds, final_cltv_delta_blocks)
        if payment_hash in self._by_hash:
            raise RpcError("invoice with payment hash already exists")
        request = PaymentRequest(
            destination=self._public_key,
            payment_hash=payment_hash,
            payment_addr=secrets.token_bytes(32),
            amount_msat=value_msat,
            timestamp=int(time.time()),
            expiry_seconds=expiry_seconds or EXPIRY_SECONDS,
            description=memo,
            final_cltv_delta_blocks=final_cltv_delta_blocks or FINAL_CLTV_DELTA_BLOCKS,
            takes_parts=True,
        )
        invoice = Invoice(
            request,
            self._codec.write(request, self._key),
            preimage,
            add_index=len(self._by_hash) + 1,
            private=private,
        )
        self._by_hash[payment_hash] = invoice
        heapq.heappush(self._expiries, (_expires_at(invoice), payment_hash))
        self._set_alarm()
        return invoice

    def settle(self, preimage: bytes) -> None:
        """Settles the held invoice of this preimage; once more is no error."""
        invoice = self._by_hash.get(hashlib.sha256(preimage).digest())
        if invoice is None:
            raise RpcError("unable to locate invoice")
        if invoice.state == OPEN:
            raise RpcError("invoice still open")
        if invoice.state == CANCELED:
            raise RpcError("invoice already canceled")
        if invoice.state == ACCEPTED:
            invoice.preimage = preimage
            self._settle(invoice, preimage)

    def cancel(self, payment_hash: bytes) -> None:
        """Cancels an invoice and sends back what is held for it; once more is no error."""
        invoice = self._by_hash.get(payment_hash)
        if invoice is None:
            raise RpcError("unable to locate invoice")
        if invoice.state == SETTLED:
            raise RpcError("invoice already settled")
        if invoice.state != CANCELED:
            self._cancel(invoice)

    def on_block(self, height: int) -> None:
        """Cancels held invoices whose HTLCs come too near their expiry."""
        if not self._running:
            return
        for invoice in list(self._held):
            first_expiry = min(htlc.expiry_height for htlc in invoice.accepted)
            if first_expiry - HOLD_EXPIRY_DELTA_BLOCKS <= height:
                self._cancel(invoice)

    def arrive(self, routed: RoutedHtlc) -> None:
        """An HTLC reaches its payee: it is accepted, or sent back at once.

        There is no look at the clock here: as in lnd, an HTLC that comes after the expiry
        and before the cancellation is accepted.
        """
        invoice = self._by_hash.get(routed.payment_hash) or self._keysend(routed)
        if invoice is None or not self._acceptable(invoice, routed):
            self._switch.fail(routed, FailureCode.INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS)
            return

        self._accept(invoice, routed)
        held_msat = sum(htlc.amount_msat for htlc in invoice.accepted)
        if held_msat < routed.onion.total_msat:
            if invoice not in self._incomplete:
                self._await_parts(invoice)
        elif invoice.preimage is None:
            self._stop_waiting(invoice)
            invoice.state = ACCEPTED
            self._held.add(invoice)
        else:
            self._settle(invoice, invoice.preimage)

    def _acceptable(self, invoice: Invoice, routed: RoutedHtlc) -> bool:
        """The checks of BOLT 4 for the final node; lnd answers all of them alike."""
        onion = routed.onion
        min_expiry = self._height() + invoice.request.final_cltv_delta_blocks
        return (
            invoice.state == OPEN
            and (invoice.is_keysend or onion.payment_addr == invoice.request.payment_addr)
            and onion.total_msat >= max(1, invoice.request.amount_msat)
            and all(htlc.routed.onion == onion for htlc in invoice.accepted)
            and routed.last_hop.expiry_height >= min_expiry
        )

    def _accept(self, invoice: Invoice, routed: RoutedHtlc) -> None:
        pending = routed.locked[-1]
        invoice.htlcs.append(
            InvoiceHtlc(
                routed,
                channel_id=pending.channel.channel_id,
                htlc_index=pending.index,
                amount_msat=pending.amount_msat,
                expiry_height=pending.expiry_height,
                accept_height=self._height(),
                accept_time=int(time.time()),
            )
        )

    def _keysend(self, routed: RoutedHtlc) -> Invoice | None:
        """A keysend brings its own preimage, and its invoice is written on arrival."""
        preimage = routed.onion.keysend_preimage
        if preimage is None or hashlib.sha256(preimage).digest() != routed.payment_hash:
            return None
        request = PaymentRequest(
            destination=self._public_key,
            payment_hash=routed.payment_hash,
            payment_addr=b"",
            amount_msat=routed.onion.total_msat,
            timestamp=int(time.time()),
            expiry_seconds=EXPIRY_SECONDS,
            description="",
            final_cltv_delta_blocks=MIN_FINAL_CLTV_DELTA_BLOCKS,
            takes_parts=False,
        )
        invoice = Invoice(request, "", preimage, add_index=len(self._by_hash) + 1, is_keysend=True)
        self._by_hash[routed.payment_hash] = invoice
        return invoice

    def _settle(self, invoice: Invoice, preimage: bytes) -> None:
        held = invoice.accepted
        self._stop_waiting(invoice)
        self._settled_count += 1
        self._held.discard(invoice)
        invoice.state = SETTLED
        invoice.settle_index = self._settled_count
        invoice.settle_time = int(time.time())
        invoice.paid_msat = sum(htlc.amount_msat for htlc in held)
        self._ledger.invoice_settled(self._node, invoice.request.payment_hash, invoice.paid_msat)
        for htlc in held:
            htlc.state = lightning_pb2.SETTLED
            htlc.resolve_time = invoice.settle_time
            self._switch.settle(htlc.routed, preimage)

    def _cancel(self, invoice: Invoice) -> None:
        held = invoice.accepted
        self._stop_waiting(invoice)
        self._held.discard(invoice)
        invoice.state = CANCELED
        for htlc in held:
            self._send_back(htlc, FailureCode.INCORRECT_OR_UNKNOWN_PAYMENT_DETAILS)

    def _await_parts(self, invoice: Invoice) -> None:
        self._incomplete[invoice] = asyncio.get_running_loop().call_later(
            SET_COMPLETION_SECONDS, self._give_up_on_parts, invoice
        )

    def _stop_waiting(self, invoice: Invoice) -> None:
        patience = self._incomplete.pop(invoice, None)
        if patience is not None:
            patience.cancel()

    def _give_up_on_parts(self, invoice: Invoice) -> None:
        """Sends back a set that nobody completed; the invoice stays open for another."""
        self._stop_waiting(invoice)
        for htlc in invoice.accepted:
            self._send_back(htlc, FailureCode.MPP_TIMEOUT)

    def _send_back(self, htlc: InvoiceHtlc, code: FailureCode.ValueType) -> None:
        htlc.state = lightning_pb2.CANCELED
        htlc.resolve_time = int(time.time())
        self._switch.fail(htlc.routed, code)

    def _cancel_expired(self) -> None:
        now = time.time()
        while self._expiries and self._expiries[0][0] <= now:
            _, payment_hash = heapq.heappop(self._expiries)
            invoice = self._by_hash[payment_hash]
            # A held invoice outlives its expiry: only its HTLCs' heights end it.
            if invoice.state == OPEN:
                self._cancel(invoice)
        self._set_alarm()

    def _set_alarm(self) -> None:
        if self._alarm is not None:
            self._alarm.cancel()
        if self._running and self._expiries:
            # One alarm for the earliest expiry; the loop's clock is not the wall's.
            delay_seconds = max(0.0, self._expiries[0][0] - time.time())
            self._alarm = asyncio.get_running_loop().call_later(delay_seconds, self._cancel_expired)


def _expires_at(invoice: Invoice) -> int:
    return invoice.request.timestamp + invoice.request.expiry_seconds


def _validate(
    memo: str, value_msat: int, expiry_seconds: int, final_cltv_delta_blocks: int
) -> None:
    memo_bytes = len(memo.encode())
    if memo_bytes > MAX_MEMO_BYTES:
        raise RpcError(f"memo too large: {memo_bytes} bytes (maxsize={MAX_MEMO_BYTES})")
    if value_msat < 0:
        raise RpcError(f"payments of negative value are not allowed, value is {value_msat} mSAT")
    if expiry_seconds > MAX_EXPIRY_SECONDS:
        raise RpcError(
            f"expiry of {expiry_seconds} seconds greater than max expiry of "
            f"{MAX_EXPIRY_SECONDS} seconds"
        )
    if 0 < final_cltv_delta_blocks < MIN_FINAL_CLTV_DELTA_BLOCKS:
        raise RpcError(
            f"CLTV delta of {final_cltv_delta_blocks} must be greater than minimum of "
            f"{MIN_FINAL_CLTV_DELTA_BLOCKS}"
        )
