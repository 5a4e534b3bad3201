"""Reconciliation of swaps, rebalances and leases: which there are, and their comparisons."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from temporalio import activity
from temporalio.client import Client

from activities.comparing_leases import ComparingLeases
from activities.comparing_rebalances import ComparingRebalances
from activities.comparing_swaps import ComparingSwaps
from activities.errors import application_error
from activities.keyed_workflows import KeyedWorkflows, retained
from activities.reconciliation import Further, go_on
from fulgurite import ids
from fulgurite.errors import FulguriteError
from fulgurite.identity import NodeName
from fulgurite.leases.receipts import LeaseReceipt
from fulgurite.rebalances.receipts import RebalanceReceipt
from fulgurite.reconciliation.calls import (
    COMPARE_LEASES,
    COMPARE_REBALANCES,
    COMPARE_SWAPS,
    FIND_BOOKS,
    Books,
    Compare,
    FindBooks,
    Tally,
)
from fulgurite.reconciliation.differences import Book
from fulgurite.sealing import UnsealingKey
from fulgurite.swaps.receipts import SwapReceipt
from nodes.registry import Nodes


class OtherBooksActivities:
    """Comparisons beside those of payments and invoices, where the credentials are held."""

    def __init__(self, nodes: Nodes, client: Client, key: UnsealingKey) -> None:
        """`client` must carry the converter that the workers have."""
        self._nodes = nodes
        self._client = client
        self._key = key

    @activity.defn(name=FIND_BOOKS.name)
    async def find(self, ask: FindBooks) -> Books:
        """What the node has.

        A daemon that this process is not configured for shows itself by workflows: what they
        say must be held against something, or told as not compared. Of rebalances there are
        only workflows to go by, and without one no list is read.
        """
        node = ask.node
        swaps, rebalances, leases = await asyncio.gather(
            self._swaps(node).any(), self._rebalances(node).any(), self._leases(node).any()
        )
        has = {
            Book.SWAPS: swaps or node in self._nodes.swapping(),
            Book.REBALANCES: rebalances,
            Book.LEASES: leases or node in self._nodes.leasing(),
        }
        return Books(books=tuple(book for book, there in has.items() if there))

    @activity.defn(name=COMPARE_SWAPS.name)
    async def swaps(self, ask: Compare) -> Tally:
        """Swaps as loopd has them against ours. Raises NodeErrors, to be retried for a while."""

        async def comparing() -> Further:
            loop = self._nodes.loop(ask.node)
            return ComparingSwaps(ask, loop, self._swaps(ask.node), await retained(self._client))

        return await self._compare(ask, comparing)

    @activity.defn(name=COMPARE_REBALANCES.name)
    async def rebalances(self, ask: Compare) -> Tally:
        """What LND has paid to itself against receipts. Raises NodeErrors, likewise."""

        async def comparing() -> Further:
            return ComparingRebalances(
                ask,
                self._nodes,
                self._key,
                self._rebalances(ask.node),
                await retained(self._client),
            )

        return await self._compare(ask, comparing)

    @activity.defn(name=COMPARE_LEASES.name)
    async def leases(self, ask: Compare) -> Tally:
        """Bids and accounts as poold has them against our leases. Raises NodeErrors, likewise."""

        async def comparing() -> Further:
            return ComparingLeases(
                ask,
                self._nodes.connection(ask.node),
                self._nodes.pool(ask.node),
                self._leases(ask.node),
            )

        return await self._compare(ask, comparing)

    async def _compare(self, ask: Compare, comparing: Callable[[], Awaitable[Further]]) -> Tally:
        try:
            begun = await comparing()
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error
        return await go_on(ask, begun)

    def _swaps(self, node: NodeName) -> KeyedWorkflows[SwapReceipt]:
        return KeyedWorkflows(self._client, node, "SwapWorkflow", ids.swap_id, SwapReceipt)

    def _rebalances(self, node: NodeName) -> KeyedWorkflows[RebalanceReceipt]:
        return KeyedWorkflows(
            self._client, node, "RebalanceWorkflow", ids.rebalance_id, RebalanceReceipt
        )

    def _leases(self, node: NodeName) -> KeyedWorkflows[LeaseReceipt]:
        return KeyedWorkflows(self._client, node, "LeaseWorkflow", ids.lease_id, LeaseReceipt)
