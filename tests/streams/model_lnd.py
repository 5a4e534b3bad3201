"""A model of what LND promises of its invoices, and of what it does not.

It counts adds and settles by indices that can have gaps and can be reset, tells a subscriber
nothing at or below the index that it came with, begins to tell at some time after it was
asked, never tells ACCEPTED or CANCELED, and gives the settles of the past in whatever order.
Streams break, stall and repeat; the list can show an invoice late. Time is virtual.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final

from fulgurite.errors import NodeUnavailableError
from fulgurite.identity import PaymentHash
from fulgurite.invoices.states import LndInvoiceState
from fulgurite.money import Msat
from nodes.lnd.invoices import NodeInvoice, Page
from tests.properties.clock import VirtualDatetime

OPEN, ACCEPTED = LndInvoiceState.OPEN, LndInvoiceState.ACCEPTED
SETTLED, CANCELED = LndInvoiceState.SETTLED, LndInvoiceState.CANCELED

EXPIRY: Final = timedelta(days=1)


@dataclass(eq=False)
class Subscriber:
    """A stream as LND sees it: the indices it has told, and what it has yet to send."""

    add_index: int
    settle_index: int
    registered: bool = False
    messages: asyncio.Queue[NodeInvoice | None] = field(default_factory=asyncio.Queue)

    def tell(self, invoice: NodeInvoice) -> None:
        if invoice.state is SETTLED:
            if invoice.settle_index <= self.settle_index:
                return
            self.settle_index = invoice.settle_index
        else:
            if invoice.add_index <= self.add_index:
                return
            self.add_index = invoice.add_index
        self.messages.put_nowait(invoice)


@dataclass
class Trouble:
    """What is wrong at present."""

    down: bool = False  # no call is answered
    deaf: bool = False  # streams stay open and tell nothing
    closes_at_once: bool = False
    repeats: bool = False
    unlisted: set[PaymentHash] = field(default_factory=set)  # written, and not yet to be seen


class ModelLnd:
    """A `ReceivingNode` of `activities.invoice_stream`."""

    def __init__(
        self, *, clock_ahead: timedelta = timedelta(0), registers_after_seconds: float = 0.5
    ) -> None:
        self.trouble = Trouble()
        self.is_sql = False
        self.subscribers: list[Subscriber] = []
        self.connections = 0
        self.pages = 0
        self.clock_ahead = clock_ahead
        self.answers_after_seconds = 0.02
        self._registers_after_seconds = registers_after_seconds
        self._invoices: dict[PaymentHash, NodeInvoice] = {}
        self._made = 0
        self._last_add_index = 0
        self._last_settle_index = 0

    def now(self) -> datetime:
        """By LND's clock, which knows no fractions of a second where it tells dates."""
        return (VirtualDatetime.now(UTC) + self.clock_ahead).replace(microsecond=0)

    # What happens on the network.

    def add(self, *, gap: int = 0, expiry: timedelta = EXPIRY) -> PaymentHash:
        self._made += 1
        self._last_add_index += 1 + gap
        payment_hash = PaymentHash(hashlib.sha256(b"%d" % self._made).hexdigest())
        self._changed(
            _invoice(payment_hash, self._last_add_index, self.now(), expiry), only_if_new=True
        )
        return payment_hash

    def settle(self, payment_hash: PaymentHash) -> None:
        self._last_settle_index += 1
        now = self.now()
        self._changed(
            replace(
                self._invoices[payment_hash],
                state=SETTLED,
                settle_index=self._last_settle_index,
                settled_at=now,
                paid_at=now,
                paid=Msat(1_000),
                parts=1,
            )
        )

    def hold(self, payment_hash: PaymentHash) -> None:
        self._changed(replace(self._invoices[payment_hash], state=ACCEPTED))

    def cancel(self, payment_hash: PaymentHash) -> None:
        self._changed(replace(self._invoices[payment_hash], state=CANCELED))

    def cancel_and_delete(self, payment_hash: PaymentHash) -> None:
        """As one that is set to delete what it cancels. A SQL table gives its last number again."""
        del self._invoices[payment_hash]
        if self.is_sql:
            self._last_add_index = max((e.add_index for e in self._invoices.values()), default=0)

    def state(self, payment_hash: PaymentHash) -> LndInvoiceState:
        return self._invoices[payment_hash].state

    def renumber_settlements(self, keep: int) -> None:
        """A migration: the last `keep` settlements become 1 … keep; those before have none."""
        settled = sorted(
            (each for each in self._invoices.values() if each.settle_index),
            key=lambda each: each.settle_index,
        )
        first_kept = len(settled) - keep
        for at, invoice in enumerate(settled):
            index = max(0, at - first_kept + 1)
            self._invoices[invoice.payment_hash] = replace(invoice, settle_index=index)
        self._last_settle_index = min(keep, len(settled))
        self.cut()

    def renumber_invoices(self, fewer_by: int) -> None:
        """A database restored or rebuilt: every invoice gets a lower add_index."""
        for at, invoice in enumerate(list(self._invoices.values())):
            index = max(at + 1, invoice.add_index - fewer_by)
            self._invoices[invoice.payment_hash] = replace(invoice, add_index=index)
        self._last_add_index = max((e.add_index for e in self._invoices.values()), default=0)
        self.cut()

    def forget_newest(self, count: int) -> None:
        """A database restored from some time ago: the next invoices take these numbers."""
        for payment_hash in list(self._invoices)[-count:]:
            del self._invoices[payment_hash]
        left = self._invoices.values()
        self._last_add_index = max((each.add_index for each in left), default=0)
        self._last_settle_index = max((each.settle_index for each in left), default=0)
        self.cut()

    def cut(self) -> None:
        """Every stream ends, as when the node restarts."""
        for subscriber in self.subscribers:
            subscriber.messages.put_nowait(None)
        self.subscribers.clear()

    def _changed(self, invoice: NodeInvoice, *, only_if_new: bool = False) -> None:
        assert not (only_if_new and invoice.payment_hash in self._invoices)
        self._invoices[invoice.payment_hash] = invoice
        if invoice.state in {OPEN, SETTLED} and not self.trouble.deaf:
            for subscriber in self.subscribers:
                if subscriber.registered:
                    subscriber.tell(invoice)

    # As a ReceivingNode.

    async def page(self, *, after_index: int, limit: int, backwards: bool = False) -> Page:
        self.pages += 1
        await asyncio.sleep(self.answers_after_seconds)
        self._answer_or_raise()
        seen = sorted(
            (
                each
                for each in self._invoices.values()
                if each.payment_hash not in self.trouble.unlisted
                and (backwards or each.add_index > after_index)
            ),
            key=lambda each: each.add_index,
        )
        found = seen[-limit:] if backwards else seen[:limit]
        if not found:
            return Page((), after_index)
        return Page(tuple(found), found[0 if backwards else -1].add_index)

    @asynccontextmanager
    async def subscribe(
        self, add_index: int, settle_index: int
    ) -> AsyncIterator[AsyncIterator[NodeInvoice]]:
        self.connections += 1
        subscriber = Subscriber(add_index, settle_index)
        try:
            yield self._updates(subscriber)
        finally:
            if subscriber in self.subscribers:
                self.subscribers.remove(subscriber)

    async def _updates(self, subscriber: Subscriber) -> AsyncIterator[NodeInvoice]:
        await asyncio.sleep(self.answers_after_seconds)
        self._answer_or_raise()
        if self.trouble.closes_at_once:
            return
        self.subscribers.append(subscriber)
        await asyncio.sleep(self._registers_after_seconds)
        self._register(subscriber)
        while (message := await subscriber.messages.get()) is not None:
            yield message
            if self.trouble.repeats:
                yield message
        raise NodeUnavailableError("the connection was cut")

    def _register(self, subscriber: Subscriber) -> None:
        if subscriber not in self.subscribers:
            return  # it was cut meanwhile
        subscriber.registered = True
        if self.trouble.deaf:
            return
        invoices = list(self._invoices.values())
        if subscriber.add_index:
            for each in sorted(invoices, key=lambda each: each.add_index):
                if each.add_index > subscriber.add_index and each.state in {OPEN, SETTLED}:
                    subscriber.messages.put_nowait(each)
        if subscriber.settle_index:
            by_index = sorted(
                invoices, key=lambda each: each.add_index if self.is_sql else each.settle_index
            )
            for each in by_index:
                if each.settle_index > subscriber.settle_index:
                    subscriber.messages.put_nowait(each)

    def _answer_or_raise(self) -> None:
        if self.trouble.down:
            raise NodeUnavailableError("connection refused")


def _invoice(
    payment_hash: PaymentHash, add_index: int, created_at: datetime, expiry: timedelta
) -> NodeInvoice:
    return NodeInvoice(
        payment_hash=payment_hash,
        payment_request="lnbcrt1",
        memo="",
        description_hash=None,
        state=OPEN,
        amount=None,
        paid=Msat(0),
        partial=Msat(0),
        parts=0,
        created_at=created_at,
        expires_at=created_at + expiry,
        paid_at=None,
        settled_at=None,
        first_expiry_height=None,
        add_index=add_index,
        settle_index=0,
        expiry_seconds=int(expiry.total_seconds()),
        private=False,
        is_keysend=False,
        is_hold=False,
    )
