"""What a node has stored of its invoices, in the two orders that lnd counts them in."""

from __future__ import annotations

import bisect
from collections.abc import Callable
from dataclasses import dataclass, field

from devnet.simulated.htlcs import RoutedHtlc
from devnet.simulated.paging import PageQuery, page_of
from devnet.simulated.payment_requests import PaymentRequest
from protos.lnrpc import lightning_pb2

OPEN = lightning_pb2.Invoice.OPEN
SETTLED = lightning_pb2.Invoice.SETTLED
CANCELED = lightning_pb2.Invoice.CANCELED
ACCEPTED = lightning_pb2.Invoice.ACCEPTED


_Index = Callable[["Invoice"], int]


@dataclass(eq=False)
class InvoiceHtlc:
    """An HTLC as its invoice remembers it. `total_msat` is what the whole set shall be."""

    routed: RoutedHtlc
    channel_id: int
    htlc_index: int
    amount_msat: int
    total_msat: int
    expiry_height: int
    accept_height: int
    accept_time: int
    resolve_time: int = 0
    state: lightning_pb2.InvoiceHTLCState.ValueType = lightning_pb2.ACCEPTED


@dataclass(eq=False)
class Invoice:
    """An invoice. The preimage of a hold invoice is None until somebody settles it.

    `paid_msat` stays what it was when an accepted invoice is canceled, as in lnd: only the
    state says whether money came. Both indexes are 0 until the database gives them.
    """

    request: PaymentRequest
    payment_request: str
    preimage: bytes | None = field(repr=False)
    is_keysend: bool = False
    state: lightning_pb2.Invoice.InvoiceState.ValueType = OPEN
    add_index: int = 0
    settle_index: int = 0
    settle_time: int = 0
    paid_msat: int = 0
    htlcs: list[InvoiceHtlc] = field(default_factory=list)

    @property
    def accepted(self) -> list[InvoiceHtlc]:
        """The HTLCs that are held for it now."""
        return [htlc for htlc in self.htlcs if htlc.state == lightning_pb2.ACCEPTED]


class InvoiceDatabase:
    """A node's invoices, by payment hash, by add_index and by settle_index.

    It is lnd's default, bbolt, with one habit that costs its clients: from an index that is
    not there (a gap), it skips one invoice too many. `is_sql` makes it one of the others.
    """

    def __init__(self) -> None:
        self.is_sql = False
        self.forgets_canceled = False
        self._by_hash: dict[bytes, Invoice] = {}
        self._by_address: dict[bytes, Invoice] = {}
        self._added: list[Invoice] = []
        self._settled: list[Invoice] = []
        self._last_add_index = 0
        self._skipped = 0

    def find(self, payment_hash: bytes) -> Invoice | None:
        return self._by_hash.get(payment_hash)

    def find_by_address(self, payment_addr: bytes) -> Invoice | None:
        return self._by_address.get(payment_addr)

    def add(self, invoice: Invoice) -> None:
        """Stores an invoice of a new hash, and gives it its add_index."""
        self._last_add_index += 1 + self._skipped
        self._skipped = 0
        invoice.add_index = self._last_add_index
        self._by_hash[invoice.request.payment_hash] = invoice
        if invoice.request.payment_addr:
            self._by_address[invoice.request.payment_addr] = invoice
        self._added.append(invoice)

    def settle(self, invoice: Invoice) -> None:
        """Gives an invoice that settles its settle_index."""
        self._settled.append(invoice)
        invoice.settle_index = len(self._settled)

    def cancel(self, invoice: Invoice) -> None:
        """Deletes an invoice that was canceled, where the node is set to."""
        if self.forgets_canceled:
            del self._by_hash[invoice.request.payment_hash]
            self._by_address.pop(invoice.request.payment_addr, None)
            self._added.remove(invoice)

    def added_since(self, add_index: int) -> list[Invoice]:
        """The invoices behind an index, with what has become of them; none behind 0."""
        if not add_index:
            return []
        return self._added[self._behind(self._added, add_index, _add_index) :]

    def settled_since(self, settle_index: int) -> list[Invoice]:
        """The settlements behind an index; none behind 0. SQL has them in order of adding."""
        if not settle_index:
            return []
        settled = self._settled[self._behind(self._settled, settle_index, _settle_index) :]
        return sorted(settled, key=_add_index) if self.is_sql else settled

    def page(self, query: PageQuery, *, pending_only: bool) -> list[Invoice]:
        """A page of ListInvoices; pending is what can still be settled or canceled."""

        def wanted(invoice: Invoice) -> bool:
            pending = invoice.state in (OPEN, ACCEPTED)
            return (pending or not pending_only) and query.covers(invoice.request.timestamp)

        return page_of(self._added, query, index_of=_add_index, wanted=wanted)

    def skip_add_indexes(self, count: int) -> None:
        """Leaves a gap of `count` before the next invoice."""
        self._skipped = count

    def renumber_settlements(self, keep: int) -> None:
        """Counts settlements anew: the last `keep` as 1 to `keep`, those before as none."""
        kept = self._settled[len(self._settled) - keep :]
        for invoice in self._settled:
            invoice.settle_index = 0
        for settle_index, invoice in enumerate(kept, start=1):
            invoice.settle_index = settle_index
        self._settled = kept

    def _behind(self, invoices: list[Invoice], index: int, index_of: _Index) -> int:
        if self.is_sql:
            return bisect.bisect_right(invoices, index, key=index_of)
        # lnd seeks the index, or what comes next in its place, and then moves on by one.
        return bisect.bisect_left(invoices, index, key=index_of) + 1


def _add_index(invoice: Invoice) -> int:
    return invoice.add_index


def _settle_index(invoice: Invoice) -> int:
    return invoice.settle_index
