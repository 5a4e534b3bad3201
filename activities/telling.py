"""Telling what is heard of a node's invoices to whom it concerns: many at once, none lost.

None lost, because what cannot be told now is found again by the next scan: the cursor does
not pass it. Telling twice is harmless: who is told drops what it knows already.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final, Protocol

from activities.remembering import Recent
from fulgurite.identity import PaymentHash
from fulgurite.invoices.states import LndInvoiceState
from nodes.lnd.invoices import NodeInvoice

# How many are told at once, from the stream and from a scan each.
AT_ONCE: Final = 32

# Between the tries of one telling; then the next scan tries once more.
_PAUSES_SECONDS: Final = (0.2, 1.0, 3.0)

_Key = tuple[PaymentHash, LndInvoiceState]


class Route(StrEnum):
    """To whom an invoice's news went."""

    TOLD = "TOLD"  # to its workflow
    ANNOUNCED = "ANNOUNCED"  # to the world, as an event: nobody of ours waits for it
    NOBODY = "NOBODY"  # ours and ended, or somebody else's and no news


class Router(Protocol):
    """Brings news to whom they concern; see `activities.routing.InvoiceRouter`."""

    async def route(self, node: str, invoice: NodeInvoice, *, since: datetime) -> Route:
        """The same news may come again. What settled before `since` is told to our own only.

        Whatever it raises means: not told, to be tried again.
        """
        ...


class Telling:
    """Everything that is being told of one node's invoices."""

    def __init__(
        self,
        node: str,
        router: Router,
        *,
        told: Callable[[NodeInvoice, Route], None],
        not_told: Callable[[NodeInvoice, str], None],
    ) -> None:
        """`told` hears of each that was told, `not_told` of each that could not be at first."""
        self._node = node
        self._router = router
        self._told = told
        self._not_told = not_told
        self._failing: Recent[_Key] = Recent(10_000)
        self._under_way: dict[_Key, asyncio.Task[bool]] = {}
        self._room = asyncio.Semaphore(AT_ONCE)

    async def begin(self, invoice: NodeInvoice, since: datetime) -> None:
        """Begins to tell one; waits only while too many are under way."""
        await self._room.acquire()
        task = self._start(invoice, since)
        task.add_done_callback(lambda _: self._room.release())

    async def all_of(self, invoices: Iterable[NodeInvoice], since: datetime) -> int:
        """Tells all of these, and returns how many of them could not be told.

        One that takes long keeps its place, and delays nobody else.
        """
        room = asyncio.Semaphore(AT_ONCE)
        telling = []
        for each in invoices:
            await room.acquire()
            task = self._start(each, since)
            task.add_done_callback(lambda _: room.release())
            telling.append(task)
        return (await asyncio.gather(*telling)).count(False)

    async def finish(self, seconds: float) -> None:
        """Gives what is under way so long, and leaves the rest to the next scan."""
        if self._under_way:
            await asyncio.wait(self._under_way.values(), timeout=seconds)
        await self.drop()

    async def drop(self) -> None:
        """Leaves everything under way to the next scan."""
        tasks = list(self._under_way.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _start(self, invoice: NodeInvoice, since: datetime) -> asyncio.Task[bool]:
        """What the stream and a scan find at the same time is told by one of them."""
        key = (invoice.payment_hash, invoice.state)
        if key not in self._under_way:
            task = asyncio.create_task(self._tell(key, invoice, since))
            self._under_way[key] = task
            task.add_done_callback(lambda _: self._under_way.pop(key, None))
        return self._under_way[key]

    async def _tell(self, key: _Key, invoice: NodeInvoice, since: datetime) -> bool:
        # What failed before gets one try in each scan, so that it delays nobody for long.
        for pause in (None,) if key in self._failing else (*_PAUSES_SECONDS, None):
            try:
                route = await self._router.route(self._node, invoice, since=since)
            except Exception as error:  # noqa: BLE001 - whatever broke, the settlement is not lost
                if pause is not None:
                    await asyncio.sleep(pause)
                    continue
                if key not in self._failing:
                    self._failing.add(key)
                    self._not_told(invoice, str(error) or type(error).__name__)
                return False
            self._failing.discard(key)
            self._told(invoice, route)
            return True
        raise AssertionError("the last try returns")
