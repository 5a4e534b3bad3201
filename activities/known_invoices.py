"""What is known of a node's invoices: how far they were told, and what is news."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol

from activities.remembering import Ended, Recent
from activities.telling import Route, Router, Telling
from fulgurite.identity import PaymentHash
from fulgurite.invoices.states import LndInvoiceState
from fulgurite.invoices.stream import NEVER, Cursor, Listened, Mark
from nodes.lnd.invoices import NodeInvoice, Page


class Reporter(Protocol):
    """What operators measure and read; see `activities.listening`."""

    def settlement(self, *, managed: bool, lag: timedelta) -> None: ...

    def not_told(self, payment_hash: PaymentHash, because: str) -> None: ...

    def scanned(self, *, untold: int) -> None: ...

    def disconnected(self, because: str, *, lost: bool) -> None: ...

    def reset(self) -> None: ...


@dataclass
class Found:
    """What one scan has found so far. `resumed`: it goes on where another process ended."""

    began_at: datetime
    last_index: int
    first_pending: int | None
    resumed: bool
    last_settled_at: datetime = NEVER  # by LND's clock
    untold: int = 0

    def look_at(self, invoice: NodeInvoice) -> None:
        if invoice.state in {LndInvoiceState.OPEN, LndInvoiceState.ACCEPTED}:
            self.first_pending = self.first_pending or invoice.add_index
        if invoice.state is LndInvoiceState.SETTLED and invoice.settled_at:
            self.last_settled_at = max(self.last_settled_at, invoice.settled_at)


class KnownInvoices:
    """Shared by the stream and the scans of one node. `listened` is what must survive them."""

    def __init__(self, node: str, router: Router, reporter: Reporter, so_far: Listened) -> None:
        self.listened = so_far
        self._reporter = reporter
        self._telling = Telling(node, router, told=self._told, not_told=self._not_told)
        self._ended = Ended()
        self._held: Recent[PaymentHash] = Recent(10_000)
        self._scanned = False  # once, by this process
        # What this process has seen of the node's numbers: whose they are, and the highest paid.
        self._numbered: Recent[tuple[int, PaymentHash]] = Recent(10_000)
        self._settled_to = 0
        self.reset = asyncio.Event()  # everything is to be listed anew

    @property
    def cursor(self) -> Cursor:
        return self.listened.cursor

    def note(self, **changes: Any) -> None:
        """Changes fields of `listened`."""
        self.listened = self.listened.model_copy(update=changes)

    # What is news, and the telling of it.

    async def hear(self, invoice: NodeInvoice) -> None:
        """One from the stream. Waits only while too much is being told."""
        self._see(invoice, is_new=True)
        if self._is_news(invoice):
            await self._telling.begin(invoice, self._news_since)

    async def read(self, invoices: Iterable[NodeInvoice]) -> int:
        """Some from the list; returns how many of them could not be told."""
        read = tuple(invoices)
        for invoice in read:
            self._see(invoice, is_new=False)
        return await self._telling.all_of(filter(self._is_news, read), self._news_since)

    async def finish(self, seconds: float) -> None:
        await self._telling.finish(seconds)

    async def drop(self) -> None:
        await self._telling.drop()

    def begin_scan(self) -> Found:
        """A scan begins where there may be news, or where a first listing was left."""
        cursor = self.cursor
        resumed = not cursor.complete and cursor.listed_to > 0
        return Found(
            began_at=datetime.now(UTC),
            last_index=cursor.scan_from,
            # What was pending in the part that is listed already.
            first_pending=cursor.pending_from if resumed else None,
            resumed=resumed,
        )

    def listed_a_page(self, found: Found) -> None:
        """A first listing has come so far, and nothing is left to tell."""
        cursor = self.cursor.partly_listed(
            first_pending=found.first_pending, last_index=found.last_index
        )
        self.note(cursor=cursor)

    def scanned(self, found: Found) -> None:
        """A scan has come to the last page; where all of it was told, the cursor moves."""
        self.note(untold=found.untold)
        self._reporter.scanned(untold=found.untold)
        if found.untold:
            return
        # Where another process has listed a part, only the next scan tells how far we know.
        self._scanned |= not found.resumed
        cursor = self.cursor.listed(
            began_at=self.cursor.settled_through if found.resumed else found.began_at,
            first_pending=found.first_pending,
            last_index=found.last_index,
            last_settled_at=found.last_settled_at,
        )
        self.note(cursor=cursor, scanned_at=found.began_at)
        self._ended.forget_below(cursor.pending_from)

    def _is_news(self, invoice: NodeInvoice) -> bool:
        """Whether it may be news to somebody. What the cursor says is only for beginners.

        Clocks can be set back and numbers given anew; so once this process has listed
        everything itself, it goes by what it told itself.
        """
        if self._ended.has(invoice.add_index, invoice.payment_hash):
            return False
        match invoice.state:
            case LndInvoiceState.SETTLED:
                return not self._was_told_before(invoice)
            case LndInvoiceState.ACCEPTED:
                return invoice.payment_hash not in self._held
            case LndInvoiceState.CANCELED:
                # One that has expired is looked up by its own workflow, which knows the time.
                return invoice.expires_at > datetime.now(UTC)
            case _:
                return False

    def _was_told_before(self, invoice: NodeInvoice) -> bool:
        """Whether another process has told this settlement."""
        if not self.cursor.complete:
            return False  # our own may wait for any
        if invoice.add_index < self.cursor.pending_from:
            return True
        settled_at = invoice.settled_at
        if self._scanned or settled_at is None or settled_at >= self.cursor.told_before:
            return False
        self._ended.add(invoice.add_index, invoice.payment_hash)
        return True

    @property
    def _news_since(self) -> datetime:
        """What others were paid before this is no news."""
        cursor = self.cursor
        return NEVER if self._scanned else max(cursor.told_before, cursor.news_from)

    def _told(self, invoice: NodeInvoice, route: Route) -> None:
        if invoice.state is LndInvoiceState.ACCEPTED:
            self._held.add(invoice.payment_hash)
            return
        self._ended.add(invoice.add_index, invoice.payment_hash)
        if invoice.state is not LndInvoiceState.SETTLED or route is Route.NOBODY:
            return
        when = invoice.settled_at or invoice.created_at
        lag = max(datetime.now(UTC) - when, timedelta(0))
        self._reporter.settlement(managed=route is Route.TOLD, lag=lag)
        self.note(
            settlements=self.listened.settlements + 1,
            last_settlement_at=max(when, self.listened.last_settlement_at or when),
        )

    def _not_told(self, invoice: NodeInvoice, because: str) -> None:
        self._reporter.not_told(invoice.payment_hash, because)

    # The node's numbers.

    def compare(self, newest: Page) -> None:
        """Looks whether the newest invoices of the node are older than what is remembered."""
        last = max(newest.invoices, key=lambda each: each.add_index, default=None)
        if (last.add_index if last else 0) < self.cursor.added.index:
            went_back = not self._may_be_deletions(newest, last)
            added = Mark(index=last.add_index, at=last.created_at) if last else Mark()
            self.note(cursor=self.cursor.model_copy(update={"added": added}))
            if went_back:
                self._reset()
        for each in newest.invoices:
            self._numbered.add((each.add_index, each.payment_hash))

    def _may_be_deletions(self, newest: Page, last: NodeInvoice | None) -> bool:
        """Whether LND may only have deleted what was canceled, as it can be set to.

        What is settled it keeps, and no other invoice gets another number. The next number
        must be one that a scan reads: it may be given once more.
        """
        cursor, index = self.cursor, last.add_index if last else 0
        if index < cursor.pending_from - 1:
            return False
        if self._scanned:
            stayed = last is None or (index, last.payment_hash) in self._numbered
            return stayed and index >= self._settled_to
        # Another process knew the numbers; its marks are left. After a renumbering, the
        # newest invoice is still the one whose time is remembered.
        settled_to = max((each.settle_index for each in newest.invoices), default=0)
        stayed = last is None or last.created_at < cursor.added.at
        return stayed and settled_to >= cursor.settled.index

    def _see(self, invoice: NodeInvoice, *, is_new: bool) -> None:
        """Follows the node's indices, only to notice when they go back.

        What is listed is as old as it may be; clocks that were set back make old things
        look later than new ones.
        """
        cursor = self.cursor
        seen = {"added": (cursor.added, invoice.add_index, invoice.created_at)}
        if invoice.settle_index and invoice.settled_at:
            seen["settled"] = (cursor.settled, invoice.settle_index, invoice.settled_at)
        went_back = any(
            mark.given_anew(index, at) or (is_new and mark.passed_by(index, at))
            for mark, index, at in seen.values()
        )
        if went_back or any(index > mark.index for mark, index, _ in seen.values()):
            marks = {
                name: Mark(index=index, at=at) if went_back else mark.seen(index, at)
                for name, (mark, index, at) in seen.items()
            }
            self.note(cursor=cursor.model_copy(update=marks))
        if went_back:
            self._reset()
        self._numbered.add((invoice.add_index, invoice.payment_hash))
        if invoice.state is LndInvoiceState.SETTLED:
            self._settled_to = max(self._settled_to, invoice.add_index)

    def _reset(self) -> None:
        self._reporter.reset()
        self._scanned = False
        self._settled_to = 0
        self.note(cursor=self.cursor.went_back(), resets=self.listened.resets + 1)
        self.reset.set()
