"""A node's invoices, from the first look at an HTLC to its settlement or cancellation."""

from __future__ import annotations

import asyncio
import hashlib
import heapq
import secrets
import time
from collections.abc import Callable

from coincurve import PrivateKey

from devnet.simulated import htlc_events
from devnet.simulated.errors import RpcError
from devnet.simulated.graph import Graph
from devnet.simulated.hop_hints import private_hints
from devnet.simulated.htlc_events import HtlcEvents, Refusal
from devnet.simulated.htlcs import RoutedHtlc, Switch
from devnet.simulated.invoice_database import (
    ACCEPTED,
    CANCELED,
    OPEN,
    SETTLED,
    Invoice,
    InvoiceDatabase,
    InvoiceHtlc,
)
from devnet.simulated.invoice_feed import InvoiceFeed
from devnet.simulated.invoice_terms import (
    EXPIRY_SECONDS,
    MIN_FINAL_CLTV_DELTA_BLOCKS,
    InvoiceTerms,
)
from devnet.simulated.ledger import Ledger
from devnet.simulated.payment_requests import PaymentRequest, PaymentRequestCodec
from protos.lnrpc import lightning_pb2

# lnd cancels a held invoice so long before its HTLC would force the channel closed.
HOLD_EXPIRY_DELTA_BLOCKS = 18

# How long the first parts of a payment wait for the rest (lnd's HTLC hold duration).
SET_COMPLETION_SECONDS = 120


class InvoiceRegistry:
    """Every invoice of one node. Kept through restarts; `start` and `stop` mind the clock."""

    def __init__(
        self,
        node: str,
        *,
        key: PrivateKey,
        codec: PaymentRequestCodec,
        graph: Graph,
        switch: Switch,
        ledger: Ledger,
        height: Callable[[], int],
    ) -> None:
        self.database = InvoiceDatabase()
        self.feed = InvoiceFeed(self.database)
        self.htlc_events = HtlcEvents()
        self._node = node
        self._key = key
        self._public_key = key.public_key.format().hex()
        self._codec = codec
        self._graph = graph
        self._switch = switch
        self._ledger = ledger
        self._height = height
        self._held: set[Invoice] = set()
        self._incomplete: dict[Invoice, asyncio.TimerHandle] = {}
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

    def add(self, terms: InvoiceTerms, payment_hash: bytes, preimage: bytes | None) -> Invoice:
        """A new invoice, to be held when it has no preimage; RpcError when the hash is known."""
        if self.database.find(payment_hash) is not None:
            raise RpcError("invoice with payment hash already exists")
        hints = terms.route_hints
        if terms.private:
            hints += private_hints(
                self._graph, self._node, amount_msat=terms.value_msat, given=hints
            )
        request = PaymentRequest(
            destination=self._public_key,
            payment_hash=payment_hash,
            payment_addr=secrets.token_bytes(32),
            amount_msat=terms.value_msat,
            timestamp=int(time.time()),
            expiry_seconds=terms.expiry_seconds,
            description=terms.memo,
            final_cltv_delta_blocks=terms.final_cltv_delta_blocks,
            takes_parts=True,
            description_hash=terms.description_hash,
            fallback_addr=terms.fallback_addr,
            route_hints=hints,
        )
        invoice = Invoice(request, self._codec.write(request, self._key), preimage)
        self.database.add(invoice)
        self.feed.changed(invoice)
        heapq.heappush(self._expiries, (_expires_at(invoice), payment_hash))
        self._set_alarm()
        return invoice

    def settle(self, preimage: bytes) -> None:
        """Settles the held invoice of this preimage; once more is no error."""
        invoice = self.database.find(hashlib.sha256(preimage).digest())
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
        invoice = self.database.find(payment_hash)
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
        invoice = self.database.find(routed.payment_hash) or self._keysend(routed)
        htlc = self._as_stored(routed)
        if invoice is None:
            self._send_back(htlc, htlc_events.INVOICE_NOT_FOUND)
        elif refusal := self._refusal(invoice, htlc):
            self._send_back(htlc, refusal)
        else:
            self._accept(invoice, htlc)

    def _refusal(self, invoice: Invoice, htlc: InvoiceHtlc) -> Refusal | None:
        """The first check of BOLT 4 for the final node that fails, in lnd's order."""
        request, onion = invoice.request, htlc.routed.onion
        min_expiry = self._height() + request.final_cltv_delta_blocks
        may_pay = invoice.is_keysend or onion.payment_addr == request.payment_addr
        same_set = all(part.routed.onion == onion for part in invoice.accepted)
        checks = (
            (invoice.state == OPEN, htlc_events.INVOICE_NOT_OPEN),
            (may_pay, htlc_events.ADDRESS_MISMATCH),
            (onion.total_msat >= max(1, request.amount_msat), htlc_events.TOTAL_TOO_LOW),
            (same_set, htlc_events.TOTAL_MISMATCH),
            (htlc.expiry_height >= min_expiry, htlc_events.EXPIRY_TOO_SOON),
        )
        return next((refusal for passed, refusal in checks if not passed), None)

    def _accept(self, invoice: Invoice, htlc: InvoiceHtlc) -> None:
        invoice.htlcs.append(htlc)
        held_msat = sum(htlc.amount_msat for htlc in invoice.accepted)
        if held_msat < htlc.total_msat:
            if invoice not in self._incomplete:
                self._await_parts(invoice)
        elif invoice.preimage is None:
            self._stop_waiting(invoice)
            self._held.add(invoice)
            invoice.state = ACCEPTED
            invoice.paid_msat = held_msat
            self.feed.changed(invoice)
        else:
            self._settle(invoice, invoice.preimage)

    def _as_stored(self, routed: RoutedHtlc) -> InvoiceHtlc:
        pending = routed.locked[-1]
        return InvoiceHtlc(
            routed,
            channel_id=pending.channel.channel_id,
            htlc_index=pending.index,
            amount_msat=pending.amount_msat,
            total_msat=routed.onion.total_msat,
            expiry_height=pending.expiry_height,
            accept_height=self._height(),
            accept_time=int(time.time()),
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
        invoice = Invoice(request, "", preimage, is_keysend=True)
        self.database.add(invoice)
        self.feed.changed(invoice)
        return invoice

    def _settle(self, invoice: Invoice, preimage: bytes) -> None:
        held = invoice.accepted
        self._stop_waiting(invoice)
        self._held.discard(invoice)
        self.database.settle(invoice)
        invoice.state = SETTLED
        invoice.settle_time = int(time.time())
        invoice.paid_msat = sum(htlc.amount_msat for htlc in held)
        self._ledger.invoice_settled(self._node, invoice.request.payment_hash, invoice.paid_msat)
        for htlc in held:
            htlc.state = lightning_pb2.SETTLED
            htlc.resolve_time = invoice.settle_time
            self._switch.settle(htlc.routed, preimage)
            self.htlc_events.settled(htlc, preimage)
        self.feed.changed(invoice)

    def _cancel(self, invoice: Invoice) -> None:
        held = invoice.accepted
        self._stop_waiting(invoice)
        self._held.discard(invoice)
        invoice.state = CANCELED
        for htlc in held:
            self._send_back(htlc, htlc_events.CANCELED)
        self.feed.changed(invoice)
        self.database.cancel(invoice)

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
            self._send_back(htlc, htlc_events.MPP_TIMEOUT)

    def _send_back(self, htlc: InvoiceHtlc, refusal: Refusal) -> None:
        htlc.state = lightning_pb2.CANCELED
        htlc.resolve_time = int(time.time())
        self._switch.fail(htlc.routed, refusal.code)
        self.htlc_events.sent_back(htlc, refusal)

    def _cancel_expired(self) -> None:
        now = time.time()
        while self._expiries and self._expiries[0][0] <= now:
            _, payment_hash = heapq.heappop(self._expiries)
            invoice = self.database.find(payment_hash)
            # A held invoice outlives its expiry: only its HTLCs' heights end it.
            if invoice is not None and invoice.state == OPEN:
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
