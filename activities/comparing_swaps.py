"""loopd's list against our swaps: some at a time, and nothing differs at first sight.

Foreign swaps are counted. So are those of ours that ended longer ago than Temporal retains.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from activities.comparing import LOOKS_AT_ONCE, SECOND_LOOK_SECONDS, batches
from activities.keyed_workflows import KeyedWorkflows
from fulgurite.errors import SwapNotFoundError
from fulgurite.identity import PaymentHash
from fulgurite.invoices.requests import Key
from fulgurite.reconciliation.calls import Compare, Stage, Tally
from fulgurite.reconciliation.differences import TO_DO, Counts, Difference, DifferenceKind
from fulgurite.reconciliation.swaps import (
    compare_swap,
    expects_swap,
    key_of,
    loopds_words,
    our_words,
)
from fulgurite.swaps.receipts import SwapReceipt, SwapView
from fulgurite.swaps.told import LoopSwap
from nodes.loop.swaps import LoopSwaps

PAGE: Final = 100


class ComparingSwaps:
    """One comparison of swaps. `retained`: what ended within so long, Temporal must know."""

    def __init__(
        self,
        ask: Compare,
        theirs: LoopSwaps,
        ours: KeyedWorkflows[SwapReceipt],
        retained: timedelta,
        *,
        second_look_seconds: float = SECOND_LOOK_SECONDS,
    ) -> None:
        self._ask = ask
        self._theirs = theirs
        self._ours = ours
        self._retained = retained
        self._second_look_seconds = second_look_seconds
        self._grace = timedelta(seconds=ask.grace_seconds)

    async def further(self, tally: Tally) -> Tally:
        """Some swaps further. Safe to repeat: nothing is told from here."""
        if tally.stage is Stage.THEIRS:
            return await self._through_their_list(tally)
        return await self._through_ours_under_way(tally)

    async def _through_their_list(self, tally: Tally) -> Tally:
        """What loopd lists, which has no pages: all that it has, oldest first."""
        page = (await self._theirs.every())[tally.after_index : tally.after_index + PAGE]
        if not page:
            return tally.model_copy(update={"stage": Stage.OURS})
        settled = [swap for swap in page if not self._is_young(swap)]
        labeled = [(key, swap) for swap in settled if (key := key_of(swap.label))]
        said = await self._ours.find(sorted({key for key, _ in labeled}))
        ours = [(key, swap) for key, swap in labeled if key in said or self._must_be_known(swap)]
        seeming = [(key, swap) for key, swap in ours if compare_swap(said.get(key), swap)]
        differences = await self._looked_at_again(seeming)
        counts = Counts(
            ours=len(ours),
            not_ours=len(settled) - len(ours),
            agreeing=len(ours) - len(differences),
            differing=len(differences),
            too_young=len(page) - len(settled),
        )
        after = tally.after_index + len(page)
        return tally.plus(counts, differences).model_copy(update={"after_index": after})

    async def _looked_at_again(self, seeming: Sequence[tuple[Key, LoopSwap]]) -> list[Difference]:
        if seeming:
            await asyncio.sleep(self._second_look_seconds)
        return [
            difference
            for some in batches(seeming, LOOKS_AT_ONCE)
            for difference in await asyncio.gather(
                *(self._look_again(key, swap.swap_hash) for key, swap in some)
            )
            if difference
        ]

    async def _look_again(self, key: Key, swap_hash: PaymentHash) -> Difference | None:
        """At the sources, ours first: what ends in between is no difference of theirs."""
        ours = await self._ours.look_up(key)
        theirs = await self._find(swap_hash)
        if theirs is None or self._is_young(theirs):
            return None
        if ours is None and not self._must_be_known(theirs):
            return None
        kind = compare_swap(ours, theirs)
        if kind is None:
            return None
        return self._difference(kind, key, swap_hash, our_words(ours), loopds_words(theirs))

    async def _through_ours_under_way(self, tally: Tally) -> Tally:
        page = await self._ours.running(
            self._ask.began_at - self._grace, bytes.fromhex(tally.page_token), PAGE
        )
        expected = [key for key, said in page.said.items() if expects_swap(said)]
        differences = await self._unknown_to_loopd(await self._not_listed(expected))
        counts = Counts(ours=len(differences), differing=len(differences))
        return tally.plus(counts, differences).model_copy(
            update={
                "page_token": page.next_token.hex(),
                "stage": Stage.OURS if page.next_token else Stage.DONE,
            }
        )

    async def _unknown_to_loopd(self, unlisted: Sequence[Key]) -> list[Difference]:
        """Those that a second look finds no more than the first."""
        if not unlisted:
            return []
        await asyncio.sleep(self._second_look_seconds)
        looks = [await self._unknown(key) for key in await self._not_listed(unlisted)]
        return [difference for difference in looks if difference]

    async def _not_listed(self, keys: Sequence[Key]) -> list[Key]:
        if not keys:
            return []
        listed = {key_of(swap.label) for swap in await self._theirs.every()}
        return [key for key in keys if key not in listed]

    async def _unknown(self, key: Key) -> Difference | None:
        """It can be one that a person has adopted, under a label that is none of ours."""
        ours = await self._ours.look_up(key)
        if ours is None or not expects_swap(ours):
            return None
        swap_hash = (await self._ours.ask(key, "view", SwapView)).swap_hash
        if swap_hash is None or await self._find(swap_hash):
            return None
        return self._difference(
            DifferenceKind.UNKNOWN_TO_NODE, key, swap_hash, our_words(ours), "unknown"
        )

    async def _find(self, swap_hash: PaymentHash) -> LoopSwap | None:
        try:
            return await self._theirs.find(swap_hash)
        except SwapNotFoundError:
            return None

    def _difference(
        self, kind: DifferenceKind, key: Key, swap_hash: PaymentHash, ours: str, theirs: str
    ) -> Difference:
        return Difference(
            kind=kind,
            node=self._ask.node,
            payment_hash=swap_hash,
            resource=self._ours.resource(key),
            ours=ours,
            theirs=theirs,
            action=TO_DO[kind],
        )

    def _is_young(self, swap: LoopSwap) -> bool:
        return datetime.now(UTC) - swap.updated_at < self._grace

    def _must_be_known(self, swap: LoopSwap) -> bool:
        """A workflow follows it to its end, and is retained for a while after that."""
        return not swap.final or datetime.now(UTC) - swap.updated_at < self._retained
