"""Finding payments, invoices, events, ladders and closings in Temporal's index."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Final

from temporalio.client import Client, WorkflowExecution

from fulgurite import ids
from fulgurite.budgets.policy import BudgetName
from fulgurite.channels.states import CloseState
from fulgurite.events.catalogue import EventType
from fulgurite.invoices.receipts import InvoiceReceipt
from fulgurite.invoices.states import InvoiceState
from fulgurite.leases.states import LeaseState
from fulgurite.payments.states import PaymentState
from fulgurite.rebalances.states import RebalanceState
from fulgurite.stuck.states import LadderState
from fulgurite.swaps.states import SwapState
from starter import listing
from starter.errors import temporal_errors
from starter.summaries import (
    CloseSummary,
    EventState,
    EventSummary,
    InvoiceSummary,
    LadderSummary,
    LeaseSummary,
    PaymentSummary,
    RebalanceSummary,
    SwapSummary,
)

# Answers that are waited for side by side, where many are asked for.
_AT_ONCE: Final = 20


class Finder:
    """The client's part that finds. What it finds is some moments old."""

    def __init__(self, client: Client) -> None:
        """`client` must carry `workflows.plugin.plugin()`."""
        self._client = client

    async def list_payments(
        self,
        *,
        state: PaymentState | None = None,
        node: str | None = None,
        limit: int | None = 100,
    ) -> AsyncIterator[PaymentSummary]:
        """Payments that Temporal retains: those under way, then the latest ended.

        `limit` None: all of them.
        """
        async for execution in self._found(listing.payments(state, node), limit=limit):
            # Refused for its id, it is a payment's workflow and no payment.
            if ids.is_payment_id(execution.id):
                yield listing.payment_summary(execution)

    async def list_invoices(
        self,
        *,
        state: InvoiceState | None = None,
        node: str | None = None,
        limit: int | None = 100,
    ) -> AsyncIterator[InvoiceSummary]:
        """Invoices of ours that Temporal retains: those under way, then the latest ended.

        `limit` None: all of them.
        """
        async for execution in self._found(listing.invoices(state, node), limit=limit):
            yield listing.invoice_summary(execution)

    async def list_stuck(
        self,
        *,
        state: LadderState | None = None,
        node: str | None = None,
        under_way: bool = False,
        limit: int | None = 100,
    ) -> AsyncIterator[LadderSummary]:
        """Ladders that Temporal retains: those under way, and then the latest ended.

        `under_way`: only those that climb or wait. `limit` None: all of them.
        """
        query = listing.ladders(state, node, under_way=under_way)
        async for execution in self._found(query, limit=limit):
            if summary := listing.ladder_summary(execution):
                yield summary

    async def list_closes(
        self,
        *,
        state: CloseState | None = None,
        node: str | None = None,
        under_way: bool = False,
        limit: int | None = 100,
    ) -> AsyncIterator[CloseSummary]:
        """Closings of channels that Temporal retains: those under way, then the latest ended.

        `under_way`: only channels that have an output to come. `limit` None: all of them.
        """
        query = listing.closes(state, node, under_way=under_way)
        async for execution in self._found(query, limit=limit):
            if summary := listing.close_summary(execution):
                yield summary

    async def list_swaps(
        self,
        *,
        state: SwapState | None = None,
        node: str | None = None,
        under_way: bool = False,
        limit: int | None = 100,
    ) -> AsyncIterator[SwapSummary]:
        """Swaps that Temporal retains: those under way, then the latest ended."""
        query = listing.swaps(state, node, under_way=under_way)
        async for execution in self._found(query, limit=limit):
            if summary := listing.swap_summary(execution):
                yield summary

    async def budget_names(self) -> AsyncIterator[BudgetName]:
        """Every budget that was ever set, configured or asked."""
        async for execution in self._found(listing.budgets()):
            yield execution.id.removeprefix("budget/")

    async def list_leases(
        self,
        *,
        state: LeaseState | None = None,
        node: str | None = None,
        under_way: bool = False,
        limit: int | None = 100,
    ) -> AsyncIterator[LeaseSummary]:
        """Leases that Temporal retains: those under way, then the latest ended.

        `under_way`: only those that bid, or whose term is not over. `limit` None: all of them.
        """
        query = listing.leases(state, node, under_way=under_way)
        async for execution in self._found(query, limit=limit):
            if summary := listing.lease_summary(execution):
                yield summary

    async def list_rebalances(
        self,
        *,
        state: RebalanceState | None = None,
        node: str | None = None,
        under_way: bool = False,
        limit: int | None = 100,
    ) -> AsyncIterator[RebalanceSummary]:
        """Rebalances that Temporal retains: those under way, then the latest ended."""
        query = listing.rebalances(state, node, under_way=under_way)
        async for execution in self._found(query, limit=limit):
            if summary := listing.rebalance_summary(execution):
                yield summary

    async def invoice_receipts(
        self, *, node: str | None = None, limit: int | None = 1_000
    ) -> AsyncIterator[InvoiceReceipt]:
        """What became of the invoices that have ended, the latest ended first."""
        ended = self._found(listing.ended_invoices(node), limit=limit)
        async for some in _in_batches(ended):
            for receipt in await asyncio.gather(*map(self._receipt, some)):
                yield receipt

    async def events(
        self,
        *,
        type: EventType | None = None,  # noqa: A002 - what the event's own field is called
        state: EventState | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = 100,
    ) -> AsyncIterator[EventSummary]:
        """Events that some endpoint wanted: those being told, then the latest ended.

        `since` and `until` bound when it happened, or was replayed. One that was replayed
        comes once, by its latest run that fits; a dead one only if it still is dead.
        """
        seen: set[str] = set()
        left = limit
        found = self._found(listing.events(type, state, since, until), page_size=limit)
        async for execution in found:
            if left == 0:
                return
            if execution.id in seen:
                continue
            seen.add(execution.id)
            if state is EventState.DEAD and not await self._is_latest(execution):
                continue
            yield listing.event_summary(execution)
            left = left and left - 1

    async def _receipt(self, execution: WorkflowExecution) -> InvoiceReceipt:
        handle = self._client.get_workflow_handle(
            execution.id, run_id=execution.run_id, result_type=InvoiceReceipt
        )
        with temporal_errors():
            receipt: InvoiceReceipt = await handle.result()
        return receipt

    async def _is_latest(self, execution: WorkflowExecution) -> bool:
        """Whether no later run, a replay, has the last word."""
        with temporal_errors():
            latest = await self._client.get_workflow_handle(execution.id).describe()
        return latest.run_id == execution.run_id

    async def _found(
        self, query: str, *, limit: int | None = None, page_size: int | None = None
    ) -> AsyncIterator[WorkflowExecution]:
        found = self._client.list_workflows(
            query, limit=limit, page_size=min(limit or page_size or 1_000, 1_000)
        )
        with temporal_errors():
            async for execution in found:
                yield execution


async def _in_batches(
    found: AsyncIterator[WorkflowExecution],
) -> AsyncIterator[list[WorkflowExecution]]:
    batch: list[WorkflowExecution] = []
    async for each in found:
        batch.append(each)
        if len(batch) == _AT_ONCE:
            yield batch
            batch = []
    if batch:
        yield batch
