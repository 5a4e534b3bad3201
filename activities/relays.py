"""What there is of a payment hash already, before money is taken for it."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Final

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from activities.errors import application_error
from fulgurite import attributes, ids
from fulgurite.errors import (
    FulguriteError,
    InvalidRequestError,
    NodeUnavailableError,
    PaymentNotFoundError,
)
from fulgurite.identity import PaymentHash
from fulgurite.payments.states import PaymentStatus
from fulgurite.relays.calls import LOOK_AHEAD, LookAhead, Outlook
from nodes.registry import Nodes

_ANSWER: Final = timedelta(seconds=10)
_KEY: Final = SearchAttributeKey.for_keyword(attributes.KEY)


class RelayActivities:
    """Looks, and changes nothing."""

    def __init__(self, nodes: Nodes, client: Client) -> None:
        self._nodes = nodes
        self._client = client

    @activity.defn(name=LOOK_AHEAD.name)
    async def look_ahead(self, ask: LookAhead) -> Outlook:
        """What the paying node and Temporal have of the hash, and the node's key and tip.

        Raises UnknownNodeError, not to be retried, and NodeErrors.
        """
        try:
            info = await self._nodes.connection(ask.node).check()
            status = await self._payment(ask)
        except InvalidRequestError as error:
            raise application_error(error) from error
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error
        payment = await self._described(ids.payment_id(ask.payment_hash))
        return Outlook(
            pubkey=info.pubkey,
            height=info.block_height,
            payment=status,
            payment_runs=payment is not None and payment.status is WorkflowExecutionStatus.RUNNING,
            invoice_key=await self._invoice_key(ask.payment_hash),
        )

    async def _payment(self, ask: LookAhead) -> PaymentStatus | None:
        """LND's present word on a payment of the hash."""
        try:
            async with (
                asyncio.timeout(_ANSWER.total_seconds()),
                self._nodes.payments(ask.node).track(ask.payment_hash) as updates,
            ):
                async for payment in updates:
                    return payment.status
        except PaymentNotFoundError:
            return None
        except TimeoutError:
            pass
        raise NodeUnavailableError(f"{ask.node}: LND gave no word on the payment in time")

    async def _invoice_key(self, payment_hash: PaymentHash) -> str | None:
        """The caller's key of our invoice of the hash; empty where Temporal has lost it."""
        invoice = await self._described(ids.invoice_id(payment_hash))
        return None if invoice is None else invoice.typed_search_attributes.get(_KEY) or ""

    async def _described(self, workflow_id: str) -> WorkflowExecutionDescription | None:
        try:
            return await self._client.get_workflow_handle(workflow_id).describe(rpc_timeout=_ANSWER)
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise
