"""poold's bids, channels and accounts against our leases.

A bid's mark is made of its lease's key, and no key can be read from it. So it goes from our
leases to their bids; what is under no mark that we know is foreign, and counted.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from temporalio.client import WorkflowQueryFailedError
from temporalio.service import RPCError

from activities.comparing import LOOKS_AT_ONCE, SECOND_LOOK_SECONDS, batches
from activities.keyed_workflows import KeyedWorkflows
from fulgurite.identity import NodePubkey
from fulgurite.invoices.requests import Key
from fulgurite.leases.market import Bid
from fulgurite.leases.marks import mark_of
from fulgurite.leases.receipts import LeaseReceipt, LeaseView
from fulgurite.reconciliation.calls import Compare, Stage, Tally
from fulgurite.reconciliation.differences import TO_DO, Counts, Difference, DifferenceKind
from fulgurite.reconciliation.leases import (
    AtPool,
    account_words,
    compare_lease,
    expires_soon,
    looks_after,
    our_words,
)
from nodes.lnd.connection import LndConnection
from nodes.pool.trader import PoolTrader

PAGE: Final = 100

# It has ended meanwhile, or is wedged, or of another version.
_NO_ANSWER: Final = (RPCError, WorkflowQueryFailedError, ValueError, RuntimeError)


class ComparingLeases:
    """One comparison of leases, and then of the accounts that they are paid from."""

    def __init__(
        self,
        ask: Compare,
        lnd: LndConnection,
        pool: PoolTrader,
        ours: KeyedWorkflows[LeaseReceipt],
        *,
        second_look_seconds: float = SECOND_LOOK_SECONDS,
    ) -> None:
        self._ask = ask
        self._lnd = lnd
        self._pool = pool
        self._ours = ours
        self._second_look_seconds = second_look_seconds

    async def further(self, tally: Tally) -> Tally:
        """Some leases further. Safe to repeat: nothing is told from here."""
        if tally.stage is Stage.THEIRS:
            return await self._through_leases(tally)
        differences = await self._accounts()
        return tally.plus(Counts(differing=len(differences)), differences).model_copy(
            update={"stage": Stage.DONE}
        )

    async def _through_leases(self, tally: Tally) -> Tally:
        marks = {key: mark_of(self._ask.node, key) for key in await self._ours.keys()}
        # Behind a key and no number: keys come and go while the list is read.
        last = bytes.fromhex(tally.page_token).decode()
        keys = [key for key in marks if key > last][:PAGE]
        bids = await self._pool.marked_bids()
        counts = Counts()
        if not last:
            known = {mark.raw() for mark in marks.values()}
            counts += Counts(not_ours=sum(1 for _, theirs in bids if not known & theirs))
        if not keys:
            return tally.plus(counts, []).model_copy(update={"stage": Stage.OURS, "page_token": ""})
        said = await self._ours.find(keys)
        at_pool = await self._at_pool({key: marks[key] for key in keys})
        seeming = [key for key, ours in said.items() if compare_lease(ours, at_pool[key])]
        differences = await self._looked_at_again(seeming)
        counts += Counts(
            ours=len(said), agreeing=len(said) - len(differences), differing=len(differences)
        )
        return tally.plus(counts, differences).model_copy(
            update={"page_token": keys[-1].encode().hex()}
        )

    async def _looked_at_again(self, keys: list[Key]) -> list[Difference]:
        if not keys:
            return []
        await asyncio.sleep(self._second_look_seconds)
        differences: list[Difference] = []
        for some in batches(keys, LOOKS_AT_ONCE):
            # Ours first: what ends in between is no difference of theirs.
            said = await asyncio.gather(*map(self._ours.look_up, some))
            at_pool = await self._at_pool({key: mark_of(self._ask.node, key) for key in some})
            for key, ours in zip(some, said, strict=True):
                if ours and (kind := compare_lease(ours, at_pool[key])):
                    resource = self._ours.resource(key)
                    differences.append(
                        self._difference(kind, resource, our_words(ours), str(at_pool[key]))
                    )
        return differences

    async def _at_pool(self, marks: Mapping[Key, NodePubkey]) -> dict[Key, AtPool]:
        every = await self._pool.marked_bids()
        bids: dict[Key, list[Bid]] = {
            key: [bid for bid, marked in every if mark.raw() in marked]
            for key, mark in marks.items()
        }
        channels = await self._pool.leases(bid.nonce for some in bids.values() for bid in some)
        return {
            key: AtPool(
                bids=some,
                channels=[
                    channel for channel in channels if channel.nonce in {bid.nonce for bid in some}
                ],
            )
            for key, some in bids.items()
        }

    async def _accounts(self) -> list[Difference]:
        """Those that end soon, and that no lease under way would renew."""
        height = (await self._lnd.check()).block_height
        ending = [each for each in await self._pool.accounts() if expires_soon(each, height)]
        if not ending:
            return []
        leases = await self._under_way()
        kind = DifferenceKind.ACCOUNT_EXPIRING
        return [
            self._difference(
                kind, f"account/{each.key}", "no lease looks after it", account_words(each, height)
            )
            for each in ending
            if not any(looks_after(lease, each) for lease in leases)
        ]

    async def _under_way(self) -> list[LeaseView]:
        """What each lease says that runs now; who gives no answer looks after nothing."""
        views: list[LeaseView] = []
        token, more = b"", True
        while more:
            page = await self._ours.running(datetime.now(UTC), token, PAGE)
            for key in page.said:
                with suppress(*_NO_ANSWER):
                    views.append(await self._ours.ask(key, "view", LeaseView))
            token, more = page.next_token, bool(page.next_token)
        return views

    def _difference(
        self, kind: DifferenceKind, resource: str, ours: str, theirs: str
    ) -> Difference:
        return Difference(
            kind=kind,
            node=self._ask.node,
            resource=resource,
            ours=ours,
            theirs=theirs,
            action=TO_DO[kind],
        )
