"""A reconciliation under way: page by page, a few hundred records in memory at a time.

However many records differ: those of a page are handed over before there are many more.

Both books move while they are read, and Temporal's index lags behind Temporal. So nothing
differs at first sight: what seems to is looked at again a moment later, at the source.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final, Protocol, TypeVar

from fulgurite.identity import PaymentHash
from fulgurite.reconciliation.calls import Compare, Stage, Tally
from fulgurite.reconciliation.comparing import Ours, Theirs
from fulgurite.reconciliation.differences import DONE, TO_DO, Counts, Difference, DifferenceKind

PAGE: Final = 500

LOOKS_AT_ONCE: Final = 20
SECOND_LOOK_SECONDS: Final = 1.0

Item = TypeVar("Item")


@dataclass(frozen=True)
class TheirPage:
    """Some records of the node, oldest first. No further `last_index`: there are no more."""

    records: Sequence[Theirs]
    last_index: int


@dataclass(frozen=True)
class OurPage:
    """Some workflows that run. No `next_token`: there are no more."""

    records: Sequence[Ours]
    next_token: bytes


class TheirBook(Protocol):
    """What the node has of its payments, or of its invoices. Raises NodeErrors."""

    async def page(self, after_index: int, limit: int) -> TheirPage: ...

    async def look_up(self, payment_hash: PaymentHash) -> Theirs | None:
        """The node's present word; None: it knows nothing of it."""


class OurBook(Protocol):
    """What we know of the same."""

    def resource(self, payment_hash: PaymentHash) -> str: ...

    async def find(self, hashes: Sequence[PaymentHash]) -> Mapping[PaymentHash, Ours]:
        """Which of them are ours, by Temporal's index."""

    async def look_up(self, payment_hash: PaymentHash) -> Ours | None:
        """Temporal's own present word."""

    async def running(self, before: datetime, token: bytes, limit: int) -> OurPage:
        """Workflows that were started before that time and still run, by Temporal's index."""

    async def tell(self, kind: DifferenceKind, theirs: Theirs) -> bool:
        """Tells the workflow what the node says; False when it runs no more."""


class Comparing:
    """One comparison, of payments or of invoices. `compare` says what two records differ in."""

    def __init__(
        self,
        ask: Compare,
        theirs: TheirBook,
        ours: OurBook,
        compare: Callable[[Ours, Theirs], DifferenceKind | None],
        expects: Callable[[Ours], bool],
        *,
        second_look_seconds: float = SECOND_LOOK_SECONDS,
    ) -> None:
        """`expects`: whether the node must know of what is under way here."""
        self._ask = ask
        self._theirs = theirs
        self._ours = ours
        self._compare = compare
        self._expects = expects
        self._second_look_seconds = second_look_seconds
        self._grace = timedelta(seconds=ask.grace_seconds)

    async def further(self, tally: Tally) -> Tally:
        """One page further. Safe to repeat: what was told is not told again."""
        if tally.stage is Stage.THEIRS:
            return await self._through_their_list(tally)
        return await self._through_ours_under_way(tally)

    async def _through_their_list(self, tally: Tally) -> Tally:
        page = await self._theirs.page(tally.after_index, PAGE)
        if page.last_index <= tally.after_index:
            return tally.model_copy(update={"stage": Stage.OURS})
        settled = [each for each in page.records if not self._is_young(each)]
        ours = await self._ours.find([each.payment_hash for each in settled])
        seeming = [
            each.payment_hash
            for each in settled
            if each.payment_hash in ours and self._compare(ours[each.payment_hash], each)
        ]
        differences = await self._looked_at_again(seeming)
        counts = Counts(
            ours=len(ours),
            not_ours=len(settled) - len(ours),
            agreeing=len(ours) - len(differences),
            differing=len(differences),
            too_young=len(page.records) - len(settled),
        )
        return tally.plus(counts, differences).model_copy(update={"after_index": page.last_index})

    async def _through_ours_under_way(self, tally: Tally) -> Tally:
        page = await self._ours.running(
            self._ask.began_at - self._grace, bytes.fromhex(tally.page_token), PAGE
        )
        expected = [each.payment_hash for each in page.records if self._expects(each)]
        unknown = [
            payment_hash
            for some in batches(expected, LOOKS_AT_ONCE)
            for payment_hash, found in zip(
                some, await asyncio.gather(*map(self._theirs.look_up, some)), strict=True
            )
            if found is None
        ]
        differences = await self._looked_at_again(unknown)
        counts = Counts(ours=len(differences), differing=len(differences))
        return tally.plus(counts, differences).model_copy(
            update={
                "page_token": page.next_token.hex(),
                "stage": Stage.OURS if page.next_token else Stage.DONE,
            }
        )

    async def _looked_at_again(self, hashes: Sequence[PaymentHash]) -> list[Difference]:
        if hashes:
            await asyncio.sleep(self._second_look_seconds)
        return [
            difference
            for some in batches(hashes, LOOKS_AT_ONCE)
            for difference in await asyncio.gather(*map(self._look_again, some))
            if difference
        ]

    async def _look_again(self, payment_hash: PaymentHash) -> Difference | None:
        """At the sources, ours first: what settles in between is no difference of theirs."""
        ours = await self._ours.look_up(payment_hash)
        theirs = await self._theirs.look_up(payment_hash)
        if ours is None:
            return None  # retained no more
        if theirs is None:
            kind = DifferenceKind.UNKNOWN_TO_NODE if self._expects(ours) else None
        else:
            kind = None if self._is_young(theirs) else self._compare(ours, theirs)
        if kind is None:
            return None
        if kind in DONE:
            assert theirs is not None
            if not await self._ours.tell(kind, theirs):
                return None  # it has ended meanwhile: the next time looks at how
        return Difference(
            kind=kind,
            node=self._ask.node,
            payment_hash=payment_hash,
            resource=self._ours.resource(payment_hash),
            ours=str(ours),
            theirs=str(theirs) if theirs else "unknown",
            action=DONE.get(kind) or TO_DO[kind],
        )

    def _is_young(self, theirs: Theirs) -> bool:
        return theirs.changed_at is not None and datetime.now(UTC) - theirs.changed_at < self._grace


def batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    left = iter(items)
    while some := list(islice(left, size)):
        yield some
