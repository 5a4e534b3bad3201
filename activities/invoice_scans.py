"""Scans of a node's invoices: whatever happens to the stream, they find what it did not tell."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final, Protocol

from activities.backoff import Backoff
from activities.known_invoices import Found, KnownInvoices
from fulgurite.errors import NodeError
from fulgurite.invoices.stream import NEVER, StreamState
from nodes.lnd.invoices import NodeInvoice, Page

PAGE: Final = 500

# From one scan to the next: so long, or as many times as long as the node was busy with the
# last one, so that a node with a long list does not spend its days reading it out.
EVERY_SECONDS: Final = 30.0
_REST: Final = 20.0
_JITTER: Final = 0.2

# lnd has registered a subscription by then; what settled before that a scan must find.
REGISTERED_SECONDS: Final = 2.0

# How long a stream may lag behind what a scan found, before it counts as stalled.
_STALL_SECONDS: Final = 5.0


class ListingNode(Protocol):
    """What a scan needs of a node; see `nodes.lnd.invoices.LndInvoices`."""

    async def page(self, *, after_index: int, limit: int, backwards: bool = False) -> Page: ...


@dataclass(eq=False)
class Connection:
    """One subscription, and what shows whether it still tells."""

    began: float
    # The latest settlement, by LND's clock, that it told, and that a scan since has found.
    heard_through: datetime = NEVER
    scanned_through: datetime | None = None
    stalled: asyncio.Event = field(default_factory=asyncio.Event)

    def heard(self, settled: NodeInvoice) -> None:
        self.heard_through = max(self.heard_through, settled.settled_at or NEVER)

    @property
    def registered(self) -> bool:
        return _now() - self.began >= REGISTERED_SECONDS


class Scans:
    """Lists again and again, and at once when a connection is new."""

    def __init__(self, node: ListingNode, known: KnownInvoices, draw: Callable[[], float]) -> None:
        self._node = node
        self._known = known
        self._draw = draw
        self._connection: Connection | None = None
        self._due = asyncio.Event()
        # Held by a scan under way: who leaves between two scans wastes none.
        self.between = asyncio.Lock()

    def follow(self, connection: Connection | None) -> None:
        """The connection that there is from now on."""
        self._connection = connection
        if connection:
            self._due.set()

    async def run(self) -> None:
        backoff = Backoff(self._draw)
        while True:
            self._due.clear()
            registered = self._connection is None or self._connection.registered
            try:
                async with self.between:
                    listing_seconds = await self._scan()
            except NodeError as error:
                self._known.note(problem=str(error))
                await backoff.pause()
                continue
            backoff.begin_anew()
            # Also where each connection ends at once, no scan follows the other at once.
            soon = max(REGISTERED_SECONDS, listing_seconds)
            await asyncio.sleep(soon)
            rest = max(EVERY_SECONDS, _REST * listing_seconds) * (1 + _JITTER * self._draw())
            if registered:
                with suppress(TimeoutError):
                    async with asyncio.timeout(rest - soon):
                        await self._due.wait()

    async def _scan(self) -> float:
        """Lists what may have news, in pages; moves the cursor when all of it is told.

        Returns how many seconds the node was busy with it. Raises NodeErrors.
        """
        known, connection = self._known, self._connection
        registered = connection is not None and connection.registered
        known.reset.clear()
        found = known.begin_scan()
        listing_seconds = 0.0
        while not known.reset.is_set():
            asked_at = _now()
            page = await self._node.page(after_index=found.last_index, limit=PAGE)
            listing_seconds += _now() - asked_at
            if page.last_index <= found.last_index:
                break
            found.last_index = page.last_index
            for invoice in page.invoices:
                found.look_at(invoice)
            found.untold += await known.read(page.invoices)
            if not (found.untold or known.cursor.complete or known.reset.is_set()):
                known.listed_a_page(found)
        if known.reset.is_set():
            # What the indices meant so far they mean no more: from the beginning.
            self._due.set()
            return listing_seconds
        known.scanned(found)
        if connection and registered:
            self._show(connection, found)
            await _check(connection, found)
        return listing_seconds

    def _show(self, connection: Connection, found: Found) -> None:
        """Nothing is missing: what the stream did not tell, this scan has found."""
        if found.untold or connection is not self._connection:
            return
        if silent_since := self._known.listened.silent_since:
            silence = found.began_at - silent_since
            self._known.note(silent_since=None, last_silence_seconds=silence.total_seconds())
        self._known.note(state=StreamState.LISTENING, problem="")


async def _check(connection: Connection, found: Found) -> None:
    """Finds a connection stalled that tells nothing of what has settled since the last scan."""
    before = connection.scanned_through
    if before is not None and connection.heard_through < found.last_settled_at > before:
        await asyncio.sleep(_STALL_SECONDS)
        if connection.heard_through < found.last_settled_at:
            connection.stalled.set()
    connection.scanned_through = max(before or NEVER, found.last_settled_at)


def _now() -> float:
    return asyncio.get_running_loop().time()
