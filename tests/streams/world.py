"""Those who wait for settlements, and those who listen for them: what a test looks at."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from unittest import mock

from activities import invoice_scans, invoice_stream, known_invoices
from activities.invoice_stream import Listener
from activities.telling import Route
from devnet.waiting import eventually
from fulgurite.identity import PaymentHash
from fulgurite.invoices.states import LndInvoiceState
from fulgurite.invoices.stream import Cursor, Listened, StreamState
from nodes.lnd.invoices import NodeInvoice
from tests.properties import clock
from tests.properties.clock import VirtualDatetime
from tests.streams.model_lnd import ModelLnd

Result = TypeVar("Result")

HEARTBEAT_SECONDS = 5.0
FOR_EVER = timedelta(days=365)


def in_virtual_time(story: Coroutine[Any, Any, Result]) -> Result:
    """Runs to the end; dates in the modules under test follow the virtual clock."""
    with (
        mock.patch.object(known_invoices, "datetime", VirtualDatetime),
        mock.patch.object(invoice_scans, "datetime", VirtualDatetime),
        mock.patch.object(invoice_stream, "datetime", VirtualDatetime),
    ):
        return clock.run(story)


@dataclass
class World:
    """A `Router`: the workflows of our own invoices, and everybody who reads events."""

    ours: set[PaymentHash] = field(default_factory=set)
    poisoned: set[PaymentHash] = field(default_factory=set)  # can never be told
    temporal_is_down: bool = False
    takes_seconds: float = 0.005
    asked: Counter[PaymentHash] = field(default_factory=Counter)
    heard: list[tuple[PaymentHash, LndInvoiceState]] = field(default_factory=list)
    effects: Counter[PaymentHash] = field(default_factory=Counter)
    events: set[PaymentHash] = field(default_factory=set)
    emitted: Counter[PaymentHash] = field(default_factory=Counter)
    at_once: int = 0
    most_at_once: int = 0

    async def route(self, node: str, invoice: NodeInvoice, *, since: datetime) -> Route:
        assert node == "alice"
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
            if settled:
                self.effects[payment_hash] += 1
            return Route.TOLD
        if not settled or (invoice.settled_at and invoice.settled_at < since):
            return Route.NOBODY
        # An event's id is made of the hash: the same, emitted again, is one and the same event.
        self.events.add(payment_hash)
        self.emitted[payment_hash] += 1
        return Route.ANNOUNCED


@dataclass
class Reports:
    """A `Reporter` that counts."""

    settlements: Counter[bool] = field(default_factory=Counter)
    lags: list[timedelta] = field(default_factory=list)
    untold: list[PaymentHash] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    resets: int = 0
    still_untold: int = 0

    def settlement(self, *, managed: bool, lag: timedelta) -> None:
        self.settlements[managed] += 1
        self.lags.append(lag)

    def not_told(self, payment_hash: PaymentHash, because: str) -> None:
        assert because
        self.untold.append(payment_hash)

    def scanned(self, *, untold: int) -> None:
        self.still_untold = untold

    def disconnected(self, because: str, *, lost: bool) -> None:
        if lost:
            self.lost.append(because)

    def reset(self) -> None:
        self.resets += 1


class Workers:
    """Whoever listens at present; a killed one is followed by one that knows its heartbeats."""

    def __init__(
        self, lnd: ModelLnd, world: World, *, draw: Callable[[], float] = lambda: 0.5
    ) -> None:
        self.reports = Reports()
        self.began_at = VirtualDatetime.now(UTC)
        self._lnd = lnd
        self._world = world
        self._draw = draw
        self._saved = Listened(cursor=Cursor.at(self.began_at))
        self._listener: Listener | None = None
        self._was_killed = False
        self.shown = StreamState.DISCONNECTED  # to operators
        self.rounds = 0
        self._work: list[asyncio.Task[Any]] = []

    @property
    def saved(self) -> Listened:
        """The last heartbeat."""
        return self._saved

    @property
    def listened(self) -> Listened:
        return self._listener.listened if self._listener else self._saved

    def start(self) -> None:
        so_far = self._saved.interrupted() if self._was_killed else self._saved
        listener = self._listener = self._new_listener(so_far)
        self._work = [
            asyncio.create_task(self._rounds(listener)),
            asyncio.create_task(self._beat()),
        ]

    async def one_round(self, seconds: float) -> Listened:
        until = VirtualDatetime.now(UTC) + timedelta(seconds=seconds)
        return await self._new_listener(self._saved).run(until, self.shown)

    def _new_listener(self, so_far: Listened) -> Listener:
        return Listener("alice", self._lnd, self._world, self.reports, so_far, draw=self._draw)

    async def kill(self) -> None:
        """What was not in a heartbeat is forgotten, and what was under way is not finished."""
        for task in self._work:
            task.cancel()
        for task in self._work:
            with suppress(asyncio.CancelledError):
                await task
        self._listener = None
        self._was_killed = True

    async def _rounds(self, listener: Listener) -> None:
        until = VirtualDatetime.now(UTC) + FOR_EVER
        while True:
            # As the workflow does: operators see what the last round came back with.
            self.shown = (await listener.run(until, self.shown)).state
            self.rounds += 1

    async def _beat(self) -> None:
        while True:
            self._saved = self.listened
            await asyncio.sleep(HEARTBEAT_SECONDS)


async def is_listening(workers: Workers) -> None:
    """Returns when nothing is missing any more."""
    await happens(lambda: workers.listened.state is StreamState.LISTENING)


async def happens(what: Callable[[], object]) -> None:
    """Returns when it is so. Virtual time costs nothing."""

    async def ask() -> object:
        return what()

    await eventually(ask, what="what was waited for", timeout_seconds=86_400)
