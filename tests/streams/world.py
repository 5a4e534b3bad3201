"""Those who wait for settlements, and those who listen for them: what a test looks at."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from unittest import mock

from activities import invoice_scans, invoice_stream, known_invoices
from activities.invoice_stream import Listener
from activities.telling import Route
from fulgurite.identity import PaymentHash
from fulgurite.invoices.states import LndInvoiceState
from fulgurite.invoices.stream import Cursor, Listened, StreamState
from nodes.lnd.invoices import NodeInvoice
from tests.properties.clock import VirtualDatetime
from tests.streams.model_lnd import ModelLnd

DAY = timedelta(days=1)


@contextmanager
def virtual_dates() -> Iterator[None]:
    """Dates in the modules under test follow the virtual clock."""
    with (
        mock.patch.object(known_invoices, "datetime", VirtualDatetime),
        mock.patch.object(invoice_scans, "datetime", VirtualDatetime),
        mock.patch.object(invoice_stream, "datetime", VirtualDatetime),
    ):
        yield


@dataclass
class World:
    """A `Router`: the workflows of our own invoices, and the endpoints of events."""

    ours: set[PaymentHash] = field(default_factory=set)
    poisoned: set[PaymentHash] = field(default_factory=set)  # can never be told
    temporal_is_down: bool = False
    takes_seconds: float = 0.005
    asked: Counter[PaymentHash] = field(default_factory=Counter)
    heard: list[tuple[PaymentHash, LndInvoiceState]] = field(default_factory=list)
    effects: Counter[PaymentHash] = field(default_factory=Counter)
    events: Counter[PaymentHash] = field(default_factory=Counter)
    at_once: int = 0
    most_at_once: int = 0
    not_told: list[PaymentHash] = field(default_factory=list)
    lags: list[timedelta] = field(default_factory=list)
    resets: int = 0

    async def route(self, node: str, invoice: NodeInvoice, *, since: datetime) -> Route:  # noqa: ARG002 - there is one
        self.asked[invoice.payment_hash] += 1
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        try:
            await asyncio.sleep(self.takes_seconds)
        finally:
            self.at_once -= 1
        if self.temporal_is_down or invoice.payment_hash in self.poisoned:
            raise ConnectionError("Temporal is away")
        return self._routed(invoice, since)

    def _routed(self, invoice: NodeInvoice, since: datetime) -> Route:
        payment_hash, settled = invoice.payment_hash, invoice.state is LndInvoiceState.SETTLED
        if payment_hash in self.ours:
            if self.effects[payment_hash]:
                return Route.NOBODY  # its workflow has ended
            self.heard.append((payment_hash, invoice.state))
            self.effects[payment_hash] += settled
            return Route.TOLD
        if not settled or (invoice.settled_at and invoice.settled_at < since):
            return Route.NOBODY
        # An event's id is made of the hash: the same, emitted again, is no other event.
        self.events[payment_hash] += 1
        return Route.ANNOUNCED

    # As a Reporter.

    def settlement(self, *, managed: bool, lag: timedelta) -> None:  # noqa: ARG002 - the Protocol's
        self.lags.append(lag)

    def not_told_(self, payment_hash: PaymentHash) -> None:
        self.not_told.append(payment_hash)


class Reports:
    """A `Reporter` that counts."""

    def __init__(self) -> None:
        self.settlements: Counter[bool] = Counter()
        self.lags: list[timedelta] = []
        self.not_told_: list[PaymentHash] = []
        self.lost: list[str] = []
        self.resets = 0

    def settlement(self, *, managed: bool, lag: timedelta) -> None:
        self.settlements[managed] += 1
        self.lags.append(lag)

    def not_told(self, payment_hash: PaymentHash, because: str) -> None:
        assert because
        self.not_told_.append(payment_hash)

    def disconnected(self, because: str, *, lost: bool) -> None:
        if lost:
            self.lost.append(because)

    def reset(self) -> None:
        self.resets += 1
