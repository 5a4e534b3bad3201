"""Listening to a node's invoices: a stream for speed, and scans of its list for truth.

lnd tells only what is added and what settles, says nowhere when it has begun to tell, and
leaves out what its indices make it think we know. So nothing rests on the stream: scans find
what it does not tell, and a stream that does not tell what a scan has found is replaced.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from activities.backoff import Backoff
from activities.invoice_scans import Connection, ListingNode, Scans
from activities.known_invoices import KnownInvoices, Reporter
from activities.telling import Router
from fulgurite.errors import NodeError
from fulgurite.invoices.states import LndInvoiceState
from fulgurite.invoices.stream import Listened, StreamState
from nodes.lnd.invoices import NodeInvoice

# The first indices come from so many of the newest invoices.
_NEWEST: Final = 100

# After a connection that lasted so long, the backoff begins anew.
_HEALTHY_SECONDS: Final = 60.0

# A state that has lasted so long is shown to operators: good news sooner than bad ones.
_GOOD_NEWS_SECONDS: Final = 5.0
_BAD_NEWS_SECONDS: Final = 60.0

_FINISH_SECONDS: Final = 5.0


class ReceivingNode(ListingNode, Protocol):
    """What listening needs of a node; see `nodes.lnd.invoices.LndInvoices`."""

    def subscribe(
        self, add_index: int, settle_index: int
    ) -> AbstractAsyncContextManager[AsyncIterator[NodeInvoice]]: ...


class Listener:
    """Listens to one node for as long as it is wanted."""

    def __init__(
        self,
        name: str,
        node: ReceivingNode,
        router: Router,
        reporter: Reporter,
        so_far: Listened,
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`draw` gives the jitter, 0 … 1."""
        self._node = node
        self._reporter = reporter
        self._known = KnownInvoices(name, router, reporter, so_far)
        self._scans = Scans(node, self._known, draw)
        self._backoff = Backoff(draw)

    @property
    def listened(self) -> Listened:
        """How far it came: all that must survive it."""
        return self._known.listened

    async def run(self, until: datetime, shown: StreamState) -> Listened:
        """Until then, or until the state has been another one than `shown` for a while.

        May be run again, and then knows what it told before.
        """
        self._known.note(state=StreamState.DISCONNECTED)
        work = [
            asyncio.create_task(self._stay_connected()),
            asyncio.create_task(self._scans.run()),
            asyncio.create_task(self._until(until, shown)),
        ]
        try:
            await asyncio.wait(work, return_when=asyncio.FIRST_COMPLETED)
            for task in work:
                if task.done():
                    task.result()
            await self._known.finish(_FINISH_SECONDS)
        finally:
            await _end(*work)
            await self._known.drop()
        return self.listened

    async def _until(self, until: datetime, shown: StreamState) -> None:
        right_at = _now()
        while (seconds := (until - datetime.now(UTC)).total_seconds()) > 0:
            state = self.listened.state
            steady = _GOOD_NEWS_SECONDS if state is StreamState.LISTENING else _BAD_NEWS_SECONDS
            if state is shown:
                right_at = _now()
            elif _now() - right_at >= steady:
                break
            await asyncio.sleep(min(seconds, 1.0))
        async with self._scans.between:
            return

    async def _stay_connected(self) -> None:
        while True:
            began = _now()
            try:
                because = await self._connect()
            except NodeError as error:
                because = str(error)
            if _now() - began >= _HEALTHY_SECONDS:
                self._backoff.begin_anew()
            self._lost(because)
            await self._backoff.pause()

    async def _connect(self) -> str:
        """One connection, to its end; returns why it ended. Raises NodeErrors."""
        newest = await self._node.page(after_index=0, limit=_NEWEST, backwards=True)
        self._known.compare(newest)
        # From the list of this very connection: a remembered index may be ahead of the node,
        # and lnd would tell nothing below it. An index of 0 only spares us the past.
        add_index = max((each.add_index for each in newest.invoices), default=0)
        settle_index = max((each.settle_index for each in newest.invoices), default=0)
        async with self._node.subscribe(add_index, settle_index) as updates:
            connection = Connection(_now())
            self._known.note(
                state=StreamState.CATCHING_UP,
                connected_since=self.listened.connected_since or datetime.now(UTC),
            )
            self._scans.follow(connection)
            reading = asyncio.create_task(self._read(connection, updates))
            stalling = asyncio.create_task(connection.stalled.wait())
            try:
                await asyncio.wait({reading, stalling}, return_when=asyncio.FIRST_COMPLETED)
                if not reading.done():
                    return "the stream was open, and told nothing of a settlement"
                reading.result()
            finally:
                self._scans.follow(None)
                await _end(reading, stalling)
        return "LND closed the stream"

    async def _read(self, connection: Connection, updates: AsyncIterator[NodeInvoice]) -> None:
        async for invoice in updates:
            if invoice.state is LndInvoiceState.SETTLED:
                connection.heard(invoice)
            await self._known.hear(invoice)

    def _lost(self, because: str) -> None:
        lost = self.listened.state is not StreamState.DISCONNECTED
        if lost or because != self.listened.problem:
            self._reporter.disconnected(because, lost=lost)
        self._known.note(
            state=StreamState.DISCONNECTED,
            connected_since=None,
            silent_since=self.listened.silent_since or datetime.now(UTC),
            reconnections=self.listened.reconnections + lost,
            problem=because,
        )


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
