"""Those who pay when an invoice has expired and LND takes their payment no more."""

from __future__ import annotations

import asyncio
import random
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


class LatePayers:
    """Tells the workflow of an expired invoice that somebody came too late.

    LND turns such a payment away without a word on which invoice it was for. Only its amount
    tells: where exactly one invoice that is looked out for asks for it, that one is told.
    All are counted.
    """

    def __init__(self, nodes: Nodes, client: Client) -> None:
        self._nodes = nodes
        self._client = client

    @asynccontextmanager
    async def looking_out(self, node: NodeName) -> AsyncIterator[None]:
        """For as long as the block lasts. Who comes while the node is away is seen by nobody."""
        looking = asyncio.create_task(self._look_out(node))
        try:
            yield
        finally:
            looking.cancel()

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
                        await self._tell(node, attempt)
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

    async def _tell(self, node: NodeName, attempt: LateAttempt) -> None:
        expired = self._client.list_workflows(
            f"WorkflowType = 'InvoiceWorkflow' AND ExecutionStatus = 'Running'"
            f" AND {attributes.NODE} = '{node}' AND {attributes.STATE} = '{InvoiceState.EXPIRED}'"
            f" AND {attributes.AMOUNT_MSAT} = {attempt.amount_msat:d}",
            limit=2,
        )
        candidates = [found.id async for found in expired]
        if len(candidates) == 1:
            await self._client.get_workflow_handle(candidates[0]).signal(LATE_ATTEMPT, attempt)
