"""Those who pay when an invoice has expired and LND takes their payment no more."""

from __future__ import annotations

import asyncio
import random
from collections import defaultdict, deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from temporalio import activity
from temporalio.client import Client
from temporalio.service import RPCError

from activities.backoff import Backoff
from fulgurite import attributes
from fulgurite.errors import CredentialError, NodeError
from fulgurite.identity import NodeName
from fulgurite.invoices.receipts import LateAttempt
from fulgurite.invoices.states import InvoiceState
from nodes.lnd.htlcs import LndHtlcs
from nodes.registry import Nodes

LATE_ATTEMPT: Final = "late_attempt"

# LND closes an invoice at its expiry; its workflow follows a little later, and Temporal's index
# after that. Much later, another invoice could pass for the one that was meant.
_AGAIN_AFTER_SECONDS: Final = 5.0
_TOO_LATE_SECONDS: Final = 15.0

# To fail costs a payer nothing: no more than so many wait for that.
_WAITING_AT_MOST: Final = 32


class LatePayers:
    """Tells the workflow of an expired invoice that somebody came too late.

    LND turns such a payment away without a word on which invoice it was for. Only its amount
    tells: where exactly one invoice that is looked out for asks for it, that one is told.
    All are counted, and an alert reads the count: of several invoices of one price, or of
    any amount, none is told.
    """

    def __init__(self, nodes: Nodes, client: Client) -> None:
        self._nodes = nodes
        self._client = client
        # When they came, by the loop's clock. Who listens next goes on with them.
        self._unmatched: defaultdict[NodeName, deque[tuple[float, LateAttempt]]] = defaultdict(
            deque
        )

    @asynccontextmanager
    async def looking_out(self, node: NodeName) -> AsyncIterator[None]:
        """For as long as the block lasts. Who comes while the node is away is seen by nobody."""
        work = [
            asyncio.create_task(self._look_out(node)),
            asyncio.create_task(self._tell_again(node)),
        ]
        try:
            yield
        finally:
            for task in work:
                task.cancel()

    async def _look_out(self, node: NodeName) -> None:
        turned_away = activity.metric_meter().create_counter(
            "fulgurite_invoice_turned_away_total", "HTLCs for invoices that were no longer open"
        )
        backoff = Backoff(random.random)
        while True:
            try:
                htlcs = LndHtlcs(self._nodes.connection(node))
                async with htlcs.turned_away() as attempts:
                    async for attempt in attempts:
                        backoff.begin_anew()
                        turned_away.add(1, {"node": node})
                        found = await self._tell(node, attempt)
                        if not found and len(self._unmatched[node]) < _WAITING_AT_MOST:
                            self._unmatched[node].append((_now(), attempt))
            except CredentialError as error:
                activity.logger.warning(
                    "late payers are not seen without the observe macaroon",
                    extra={"because": str(error)},
                )
                return
            except (NodeError, RPCError) as error:
                activity.logger.info(
                    "not looking out for late payers", extra={"because": str(error)}
                )
            await backoff.pause()

    async def _tell_again(self, node: NodeName) -> None:
        """Once more for each that was for no invoice to be found when it came."""
        unmatched = self._unmatched[node]
        while True:
            while unmatched and _now() - unmatched[0][0] >= _AGAIN_AFTER_SECONDS:
                came_at, attempt = unmatched.popleft()
                if _now() - came_at >= _TOO_LATE_SECONDS:
                    continue
                try:
                    await self._tell(node, attempt)
                except RPCError as error:
                    activity.logger.info(
                        "a late payer was not told of", extra={"because": str(error)}
                    )
            await asyncio.sleep(1.0)

    async def _tell(self, node: NodeName, attempt: LateAttempt) -> bool:
        """Returns whether there was any that it may have been for."""
        expired = self._client.list_workflows(
            f"WorkflowType = 'InvoiceWorkflow' AND ExecutionStatus = 'Running'"
            f" AND {attributes.NODE} = '{node}' AND {attributes.STATE} = '{InvoiceState.EXPIRED}'"
            f" AND {attributes.AMOUNT_MSAT} = {attempt.amount_msat:d}",
            limit=2,
        )
        candidates = [found.id async for found in expired]
        if len(candidates) == 1:
            await self._client.get_workflow_handle(candidates[0]).signal(LATE_ATTEMPT, attempt)
        return bool(candidates)


def _now() -> float:
    return asyncio.get_running_loop().time()
