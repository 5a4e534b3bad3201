"""Rebalances that LND has paid against their receipts, by the invoices that they have paid.

An attempt's invoice says in its memo whose it is, and its preimage proves it. So LND's list of
invoices has every part that has settled, whoever has forgotten it; what it has cost, its
payment tells.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from activities.comparing import LOOKS_AT_ONCE, SECOND_LOOK_SECONDS
from activities.keyed_workflows import KeyedWorkflows
from activities.rebalancing import Behind, attempt_behind
from fulgurite.errors import InvoiceNotFoundError
from fulgurite.identity import PaymentHash
from fulgurite.invoices.states import LndInvoiceState
from fulgurite.money import Msat
from fulgurite.rebalances.receipts import RebalanceReceipt
from fulgurite.rebalances.requests import RebalanceRequest
from fulgurite.reconciliation.calls import Compare, Stage, Tally
from fulgurite.reconciliation.differences import TO_DO, Counts, Difference
from fulgurite.reconciliation.rebalances import Moved, compare_rebalance, our_words
from fulgurite.reconciliation.saying import Said
from fulgurite.sealing import UnsealingKey
from nodes.lnd.invoices import NodeInvoice
from nodes.registry import Nodes

PAGE: Final = 500

# Where nobody knows how many attempts were allowed.
_LOOK_AHEAD: Final = 30

# One rebalance: its key, and its request's identity.
Whose = tuple[str, str]


class ComparingRebalances:
    """One comparison of rebalances. `retained`: what ended within so long, Temporal must know."""

    def __init__(
        self,
        ask: Compare,
        nodes: Nodes,
        key: UnsealingKey,
        ours: KeyedWorkflows[RebalanceReceipt],
        retained: timedelta,
        *,
        second_look_seconds: float = SECOND_LOOK_SECONDS,
    ) -> None:
        self._ask = ask
        self._invoices = nodes.invoices(ask.node)
        self._routes = nodes.routes(ask.node)
        self._key = key
        self._ours = ours
        self._retained = retained
        self._second_look_seconds = second_look_seconds
        self._grace = timedelta(seconds=ask.grace_seconds)

    async def further(self, tally: Tally) -> Tally:
        """One page of invoices further. Safe to repeat: nothing is told from here."""
        page = await self._invoices.page(after_index=tally.after_index, limit=PAGE)
        if page.last_index <= tally.after_index:
            return tally.model_copy(update={"stage": Stage.DONE})
        settled = self._settled_on(page.invoices)
        said = await self._ours.find(sorted({key for key, _ in settled}))
        # So few that LND has no other page.
        whole = tally.after_index == 0 and page.last_index < PAGE
        counts, differences = Counts(), list[Difference]()
        seeming: list[Whose] = []
        for whose, invoices in settled.items():
            ours = said.get(whose[0])
            if ours is None and not self._must_be_known(invoices):
                # LND keeps them for ever: what each has cost is not asked in vain.
                counts += Counts(not_ours=1)
                continue
            parts = invoices if whole else await self._all_of_it(whose, invoices, ours)
            if compare_rebalance(ours, await self._moved(parts)):
                seeming.append(whose)
            elif _begins_on(invoices, parts):
                counts += Counts(ours=1, agreeing=1)
        if seeming:
            await asyncio.sleep(self._second_look_seconds)
        for whose in seeming:
            more, difference = await self._look_again(whose, settled[whose])
            counts += more
            differences += [difference] if difference else []
        return tally.plus(counts, differences).model_copy(update={"after_index": page.last_index})

    def _settled_on(self, invoices: Sequence[NodeInvoice]) -> dict[Whose, list[NodeInvoice]]:
        found: dict[Whose, list[NodeInvoice]] = {}
        for invoice in invoices:
            if invoice.state is not LndInvoiceState.SETTLED:
                continue
            if behind := self._behind(invoice):
                found.setdefault((behind.key, behind.identity), []).append(invoice)
        return found

    def _behind(self, invoice: NodeInvoice) -> Behind | None:
        return attempt_behind(self._key, self._ask.node, invoice)

    async def _look_again(
        self, whose: Whose, on_page: Sequence[NodeInvoice]
    ) -> tuple[Counts, Difference | None]:
        """At the sources, and all of its attempts: they may lie on several pages.

        It is counted where the first of them lies.
        """
        key = whose[0]
        ours = await self._ours.look_up(key)
        request = await self._ours.request(key, ours.run_id, RebalanceRequest) if ours else None
        if request and request.identity() != whose[1]:
            ours = None  # the same key, asked for otherwise since: it knows nothing of these
        invoices = await self._all_settled(
            whose, on_page, request.max_attempts if request else _LOOK_AHEAD
        )
        if not _begins_on(on_page, invoices):
            return Counts(), None
        moved = await self._moved(invoices)
        if datetime.now(UTC) - moved.last_at < self._grace:
            return Counts(too_young=1), None
        if ours is None and not self._must_be_known(invoices):
            return Counts(not_ours=1), None
        if difference := self._difference(key, invoices, ours, moved):
            return Counts(ours=1, differing=1), difference
        return Counts(ours=1, agreeing=1), None

    async def _all_of_it(
        self, whose: Whose, on_page: Sequence[NodeInvoice], ours: Said[RebalanceReceipt] | None
    ) -> Sequence[NodeInvoice]:
        """Also on other pages: one by itself can agree by chance. Of others all is asked later."""
        if ours is None or ours.by_force:
            return on_page
        attempts = ours.receipt.attempts if ours.receipt else 0
        return await self._all_settled(whose, on_page, max(_LOOK_AHEAD, attempts))

    async def _all_settled(
        self, whose: Whose, on_page: Sequence[NodeInvoice], look_ahead: int
    ) -> list[NodeInvoice]:
        """By their numbers. LND can be set to forget what came to nothing: gaps are passed over."""
        found: list[NodeInvoice] = []
        number = 0
        last = max(behind.number for each in on_page if (behind := self._behind(each)))
        while number < last + look_ahead:
            some = range(number + 1, min(number + LOOKS_AT_ONCE, last + look_ahead) + 1)
            for number, invoice in zip(
                some,
                await asyncio.gather(*(self._attempt(whose, each) for each in some)),
                strict=True,
            ):
                if invoice:
                    last = max(last, number)
                    if invoice.state is LndInvoiceState.SETTLED:
                        found.append(invoice)
        return found

    async def _attempt(self, whose: Whose, number: int) -> NodeInvoice | None:
        preimage = self._key.preimage_of_rebalance(self._ask.node, whose[1], number)
        return await self._look_up(preimage.hash())

    async def _look_up(self, payment_hash: PaymentHash) -> NodeInvoice | None:
        try:
            return await self._invoices.look_up(payment_hash)
        except InvoiceNotFoundError:
            return None

    async def _moved(self, invoices: Sequence[NodeInvoice]) -> Moved:
        words = [await self._routes.word(each.payment_hash) for each in invoices]
        fees = [word.payment.fee for word in words if word]
        return Moved(
            parts=len(invoices),
            amount=Msat(sum(each.paid for each in invoices)),
            fee=Msat(sum(fees)) if len(fees) == len(invoices) else None,
            last_at=_last_of(invoices),
        )

    def _must_be_known(self, invoices: Sequence[NodeInvoice]) -> bool:
        """A workflow follows each part to its end, and is retained for a while after that."""
        return datetime.now(UTC) - _last_of(invoices) < self._retained

    def _difference(
        self,
        key: str,
        invoices: Sequence[NodeInvoice],
        ours: Said[RebalanceReceipt] | None,
        moved: Moved,
    ) -> Difference | None:
        kind = compare_rebalance(ours, moved)
        if kind is None:
            return None
        return Difference(
            kind=kind,
            node=self._ask.node,
            payment_hash=invoices[0].payment_hash if len(invoices) == 1 else None,
            resource=self._ours.resource(key),
            ours=our_words(ours),
            theirs=str(moved),
            action=TO_DO[kind],
        )


def _begins_on(on_page: Sequence[NodeInvoice], parts: Sequence[NodeInvoice]) -> bool:
    """Whether the first of its parts lies on this page: there it is counted, and told."""
    return parts[0].payment_hash in {each.payment_hash for each in on_page}


def _last_of(invoices: Sequence[NodeInvoice]) -> datetime:
    return max(each.settled_at or each.created_at for each in invoices)
