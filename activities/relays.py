"""What there is of a payment hash already, before money is taken for it."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Final

from temporalio import activity
from temporalio.client import (
    Client,
    WorkflowExecution,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowFailureError,
)
from temporalio.common import SearchAttributeKey
from temporalio.exceptions import ApplicationError
from temporalio.service import RPCError, RPCStatusCode

from activities.errors import application_error
from fulgurite import attributes, ids
from fulgurite.errors import (
    FulguriteError,
    InvalidRequestError,
    NodeUnavailableError,
    PaymentNotFoundError,
    UnknownNodeError,
)
from fulgurite.identity import NodeName, PaymentHash
from fulgurite.payments.states import PaymentState, PaymentStatus
from fulgurite.relays.calls import LOOK_AHEAD, LookAhead, Outlook
from fulgurite.relays.progress import NOT_PAID
from nodes.registry import Nodes

_ANSWER: Final = timedelta(seconds=10)
# After a payment's workflow was ended by force: what it was sending has arrived by then.
_ARRIVES: Final = timedelta(minutes=1)
_KEY: Final = SearchAttributeKey.for_keyword(attributes.KEY)
_NODE: Final = SearchAttributeKey.for_keyword(attributes.NODE)
_STATE: Final = SearchAttributeKey.for_keyword(attributes.STATE)


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
            of_node = ask.known or await self._of_node(ask)
        except InvalidRequestError as error:
            raise application_error(error) from error
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error
        latest = await self._described(ids.payment_id(ask.payment_hash))
        runs = latest is not None and _runs(latest)
        relay = ids.relay_id(ask.payment_hash)
        return of_node.model_copy(
            update={
                "payment_runs": runs,
                "payment_ours": latest is not None and runs and latest.parent_id == relay,
                "payment_retained": latest is not None,
                "elsewhere": await self._elsewhere(ask, latest) if latest else None,
                "invoice_key": await self._invoice_key(ask.payment_hash),
            }
        )

    async def _of_node(self, ask: LookAhead) -> Outlook:
        info = await self._nodes.connection(ask.node).check()
        return Outlook(
            pubkey=info.pubkey, height=info.block_height, payment=await self._payment(ask)
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

    async def _elsewhere(
        self, ask: LookAhead, latest: WorkflowExecutionDescription
    ) -> NodeName | None:
        """Another node than the relay's, unless all that it had of this hash has ended unpaid.

        Its last word counts, whatever other nodes have said since: theirs is not about it.
        """
        # The latest run by itself: the list can be a moment behind.
        runs: dict[str, WorkflowExecution] = {latest.run_id: latest}
        async for run in self._client.list_workflows(f"WorkflowId = '{latest.id}'"):
            runs.setdefault(run.run_id, run)
        heard, refused = {ask.node}, set[str]()
        for run in sorted(runs.values(), key=lambda each: each.start_time, reverse=True):
            node = run.typed_search_attributes.get(_NODE)
            if node is None or node in heard:
                continue
            if run.status is WorkflowExecutionStatus.FAILED:
                # It sent nothing; and of many refusals the last is as good as any.
                if node not in refused and await self._refused_by_lnds_word(run):
                    heard.add(node)
                refused.add(node)
            elif _ended_unpaid(run):
                heard.add(node)
            else:
                return node
        return None

    async def _refused_by_lnds_word(self, run: WorkflowExecution) -> bool:
        """Not what nobody has asked LND about: it could not be read, or has no node any more."""
        if run.typed_search_attributes.get(_STATE) != PaymentState.REFUSED:
            return False
        try:
            await self._client.get_workflow_handle(run.id, run_id=run.run_id).result()
        except WorkflowFailureError as failure:
            cause = failure.cause
            return isinstance(cause, ApplicationError) and cause.type != UnknownNodeError.__name__
        return False

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


def _ended_unpaid(payment: WorkflowExecution) -> bool:
    ended = payment.status is WorkflowExecutionStatus.COMPLETED
    return ended and payment.typed_search_attributes.get(_STATE) in NOT_PAID


def _runs(payment: WorkflowExecution) -> bool:
    """Whether it can send, or what it was sending when it was ended by force may be on its way."""
    if payment.status is WorkflowExecutionStatus.RUNNING:
        return True
    by_itself = {WorkflowExecutionStatus.COMPLETED, WorkflowExecutionStatus.FAILED}
    if payment.status in by_itself or payment.close_time is None:
        return False
    return datetime.now(UTC) < payment.close_time + _ARRIVES
