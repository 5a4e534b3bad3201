"""Who hears of a node's invoices, and of what: lnd's two subscriptions."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from devnet.simulated.invoice_database import CANCELED, OPEN, SETTLED, Invoice, InvoiceDatabase
from devnet.simulated.marshal import invoice_message
from protos.lnrpc import lightning_pb2

Updates = asyncio.Queue[lightning_pb2.Invoice]


@dataclass(eq=False)
class _Client:
    """A subscriber to all invoices, and how far it is: what it says, then what it hears."""

    add_index: int
    settle_index: int
    updates: Updates = field(default_factory=asyncio.Queue)

    def wants(self, invoice: Invoice) -> bool:
        """Whether it hears of this change. A cursor ahead of the node's count hears nothing."""
        if invoice.state == SETTLED:
            return invoice.settle_index > self.settle_index
        return invoice.state == OPEN and invoice.add_index > self.add_index

    def take(self, invoice: Invoice, message: lightning_pb2.Invoice) -> None:
        if invoice.state == SETTLED:
            self.settle_index = invoice.settle_index
        else:
            self.add_index = invoice.add_index
        self.updates.put_nowait(message)


class InvoiceFeed:
    """Every message is the invoice as it was when it changed."""

    def __init__(self, database: InvoiceDatabase) -> None:
        self._database = database
        self._clients: set[_Client] = set()
        self._followers: dict[bytes, set[Updates]] = {}

    def changed(self, invoice: Invoice) -> None:
        """Tells of an invoice's new state."""
        clients = [client for client in self._clients if client.wants(invoice)]
        followers = self._followers.get(invoice.request.payment_hash, ())
        if not clients and not followers:
            return
        message = invoice_message(invoice)
        for client in clients:
            client.take(invoice, message)
        for updates in followers:
            updates.put_nowait(message)

    async def follow_all(
        self, add_index: int, settle_index: int
    ) -> AsyncIterator[lightning_pb2.Invoice]:
        """SubscribeInvoices: all adds behind an index, all settles behind the other, then live.

        The adds come as the invoices are now. So one settled since then comes twice, and
        one held or canceled not at all: lnd has no channel for these states.
        """
        client = _Client(add_index, settle_index)
        database = self._database
        for invoice in (*database.added_since(add_index), *database.settled_since(settle_index)):
            if invoice.state in (OPEN, SETTLED):
                # Past messages leave the cursor where it is, which is where live ones go on.
                client.updates.put_nowait(invoice_message(invoice))
        self._clients.add(client)
        try:
            while True:
                yield await client.updates.get()
        finally:
            self._clients.discard(client)

    async def follow_one(self, payment_hash: bytes) -> AsyncIterator[lightning_pb2.Invoice]:
        """SubscribeSingleInvoice: the present state, if there is one yet, then every other."""
        updates: Updates = asyncio.Queue()
        if invoice := self._database.find(payment_hash):
            updates.put_nowait(invoice_message(invoice))
        followers = self._followers.setdefault(payment_hash, set())
        followers.add(updates)
        try:
            while True:
                message = await updates.get()
                yield message
                if message.state in (SETTLED, CANCELED):
                    return
        finally:
            followers.discard(updates)
            if not followers:
                self._followers.pop(payment_hash, None)
