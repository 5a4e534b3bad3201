"""To whom an invoice's news go: to its workflow, or to the world where it has none."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from temporalio.client import (
    Client,
    WorkflowExecutionDescription,
    WorkflowExecutionStatus,
    WorkflowHandle,
)
from temporalio.common import SearchAttributeKey
from temporalio.service import RPCError, RPCStatusCode

from activities.telling import Route
from fulgurite import attributes, ids
from fulgurite.events.calls import Emitted
from fulgurite.events.catalogue import OF_INVOICE, Event, event
from fulgurite.invoices.receipts import InvoiceReceipt
from fulgurite.invoices.states import InvoiceState, LndInvoiceState
from fulgurite.money import Msat
from nodes.lnd.invoices import NodeInvoice

# A signal of `workflows.invoice.InvoiceWorkflow`.
HEARD: Final = "heard"

_PATIENCE: Final = timedelta(seconds=10)
_NODE: Final = SearchAttributeKey.for_keyword(attributes.NODE)
_STATE: Final = SearchAttributeKey.for_keyword(attributes.STATE)
_PAID: Final = frozenset({InvoiceState.SETTLED, InvoiceState.PAID_LATE})
_KEY: Final = SearchAttributeKey.for_keyword(attributes.KEY)


class Announcer(Protocol):
    """See `activities.events.Announcer`."""

    async def emit(self, event: Event) -> Emitted: ...


class InvoiceRouter:
    """Signals the workflow `invoice/<payment hash>` where one runs."""

    def __init__(
        self,
        client: Client,
        announcer: Announcer,
        is_to_itself: Callable[[str, NodeInvoice], bool] = lambda _, __: False,
    ) -> None:
        """`is_to_itself`: whether a node has paid this invoice to itself, which is no news."""
        self._client = client
        self._announcer = announcer
        self._is_to_itself = is_to_itself

    async def route(self, node: str, invoice: NodeInvoice, *, since: datetime) -> Route:
        """See `activities.telling.Router`. Raises RPCError, and what the announcer raises.

        A settlement that nobody waits for is an event of its own: of an invoice that was made
        by others on the node, or of one of ours whose workflow somebody has ended by force.

        An invoice of ours whose workflow does not run yet cannot be taken for somebody
        else's settlement: nobody can pay it, for its payment request is given out only once
        the workflow runs.
        """
        workflow = self._client.get_workflow_handle(ids.invoice_id(invoice.payment_hash))
        described = await _described(workflow, node)
        if _runs(described):
            try:
                await workflow.signal(HEARD, invoice.update(), rpc_timeout=_PATIENCE)
            except RPCError as error:
                if error.status is not RPCStatusCode.NOT_FOUND:
                    raise
                # It has ended between our two questions.
                described = await _described(workflow, node)
            else:
                return Route.TOLD
        settled_at = invoice.settled_at
        if invoice.state is not LndInvoiceState.SETTLED or (settled_at and settled_at < since):
            return Route.NOBODY
        if _knows(described) or self._is_to_itself(node, invoice):
            return Route.NOBODY
        if _runs(described):
            # It was ended by force, and started again meanwhile.
            await workflow.signal(HEARD, invoice.update(), rpc_timeout=_PATIENCE)
            return Route.TOLD
        receipt = _receipt(
            node,
            invoice,
            managed=described is not None,
            key=described.typed_search_attributes.get(_KEY) if described else None,
        )
        await self._announcer.emit(_settlement(receipt))
        return Route.ANNOUNCED


async def _described(
    workflow: WorkflowHandle[Any, Any], node: str
) -> WorkflowExecutionDescription | None:
    """What Temporal knows of the workflow; None: there is none of this id for this node.

    Whoever knows a preimage can have any node settle an invoice, or a keysend, of its hash:
    what one node was paid says nothing about the invoice of another.
    """
    try:
        described = await workflow.describe(rpc_timeout=_PATIENCE)
    except RPCError as error:
        if error.status is not RPCStatusCode.NOT_FOUND:
            raise
        return None
    return described if described.typed_search_attributes.get(_NODE, node) == node else None


def _runs(described: WorkflowExecutionDescription | None) -> bool:
    return described is not None and described.status is WorkflowExecutionStatus.RUNNING


def _knows(described: WorkflowExecutionDescription | None) -> bool:
    """Whether the workflow has ended by itself, and not as one that was never paid."""
    if described is None or described.status is not WorkflowExecutionStatus.COMPLETED:
        return False
    return described.typed_search_attributes.get(_STATE, InvoiceState.SETTLED) in _PAID


def _receipt(node: str, invoice: NodeInvoice, *, managed: bool, key: str | None) -> InvoiceReceipt:
    asked, paid = invoice.amount, invoice.paid
    late = invoice.paid_at is not None and invoice.paid_at > invoice.expires_at
    return InvoiceReceipt(
        status=InvoiceState.PAID_LATE if late else InvoiceState.SETTLED,
        payment_hash=invoice.payment_hash,
        node=node,
        key=key,
        managed=managed,
        memo=invoice.memo,
        amount_msat=asked,
        paid_msat=paid,
        overpaid_msat=Msat(paid - asked) if asked and paid > asked else Msat(0),
        partial_msat=invoice.partial,
        parts=invoice.parts,
        created_at=invoice.created_at,
        expires_at=invoice.expires_at,
        paid_at=invoice.paid_at,
        settled_at=invoice.settled_at,
        late_seconds=(
            max(1, round((invoice.paid_at - invoice.expires_at).total_seconds()))
            if late and invoice.paid_at
            else None
        ),
    )


def _settlement(receipt: InvoiceReceipt) -> Event:
    """The same event as the invoice's workflow would make, so that the two are one."""
    return event(
        OF_INVOICE[receipt.status],
        receipt,
        subject=receipt.payment_hash,
        resource=ids.invoice_id(receipt.payment_hash),
        node=receipt.node,
        timestamp=receipt.settled_at or receipt.created_at,
    )
