"""Reconciliation at the node: what LND lists against what Temporal knows. Nothing is paid."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import Final, Protocol

from temporalio import activity
from temporalio.client import Client
from temporalio.exceptions import ApplicationError

from activities.comparing import Comparing, TheirPage
from activities.errors import application_error
from activities.heartbeats import heartbeating, until_shutdown
from activities.workflow_index import WorkflowIndex
from fulgurite import ids
from fulgurite.errors import (
    FulguriteError,
    InvoiceNotFoundError,
    NodeUnavailableError,
    PaymentNotFoundError,
)
from fulgurite.identity import NodeName, PaymentHash
from fulgurite.invoices.receipts import InvoiceUpdate
from fulgurite.invoices.states import InvoiceState, LndInvoiceState
from fulgurite.payments.states import PaymentState
from fulgurite.reconciliation.calls import (
    COMPARE_INVOICES,
    COMPARE_PAYMENTS,
    HANDED_OVER_AT,
    Compare,
    Stage,
    Tally,
)
from fulgurite.reconciliation.comparing import (
    Theirs,
    compare_invoice,
    compare_payment,
    expects_invoice,
    expects_payment,
)
from fulgurite.reconciliation.differences import DifferenceKind
from nodes.lnd.invoices import LndInvoices, NodeInvoice
from nodes.lnd.payments import LndPayments, NodePayment
from nodes.registry import Nodes

_ANSWER_SECONDS: Final = 15.0


class ReconciliationActivities:
    """Comparisons for every node whose credentials this worker holds."""

    def __init__(self, nodes: Nodes, client: Client) -> None:
        """`client` must carry the converter that the workers have."""
        self._nodes = nodes
        self._client = client

    @activity.defn(name=COMPARE_INVOICES.name)
    async def invoices(self, ask: Compare) -> Tally:
        """Goes on from `ask.so_far`, or from the last heartbeat of a try that died.

        Raises NodeErrors, to be retried for ever.
        """
        try:
            theirs = InvoiceBook(self._nodes.invoices(ask.node))
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error
        ours = invoice_workflows(self._client, ask.node)
        return await go_on(ask, Comparing(ask, theirs, ours, compare_invoice, expects_invoice))

    @activity.defn(name=COMPARE_PAYMENTS.name)
    async def payments(self, ask: Compare) -> Tally:
        """The same for payments."""
        try:
            theirs = PaymentBook(ask.node, self._nodes.payments(ask.node))
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error
        ours = payment_workflows(self._client, ask.node)
        return await go_on(ask, Comparing(ask, theirs, ours, compare_payment, expects_payment))


class Further(Protocol):
    """A comparison under way."""

    async def further(self, tally: Tally) -> Tally:
        """One page further. Raises NodeErrors."""


async def go_on(ask: Compare, comparing: Further) -> Tally:
    """As many pages as time and differences allow, which are handed over to be told.

    What was counted and what was read go together. A source that goes away hides nothing that
    was found before: that is handed over first, and the next try tells of the source.
    """
    beaten = activity.info().heartbeat_details
    tally = Tally.model_validate(beaten[0]) if beaten else ask.so_far
    ends = asyncio.get_running_loop().time() + ask.at_most.total_seconds()
    try:
        async with heartbeating(details=lambda: tally):
            while (
                tally.stage is not Stage.DONE
                and len(tally.differences) - len(ask.so_far.differences) < HANDED_OVER_AT
                and asyncio.get_running_loop().time() < ends
            ):
                tally = await until_shutdown(comparing.further(tally))
                activity.heartbeat(tally)
    except ApplicationError:
        raise  # this worker is leaving
    except Exception as error:
        if len(tally.differences) > len(ask.so_far.differences):
            activity.logger.warning("handed over what was found before: %s", error)
            return tally
        if isinstance(error, FulguriteError):
            raise application_error(error, retryable=True) from error
        raise
    return tally


class InvoiceBook:
    """A node's invoices. An `activities.comparing.TheirBook`."""

    def __init__(self, node: LndInvoices) -> None:
        self._node = node

    async def page(self, after_index: int, limit: int) -> TheirPage:
        page = await self._node.page(after_index=after_index, limit=limit)
        return TheirPage([_invoice(each) for each in page.invoices], page.last_index)

    async def look_up(self, payment_hash: PaymentHash) -> Theirs | None:
        try:
            return _invoice(await self._node.look_up(payment_hash))
        except InvoiceNotFoundError:
            return None


class PaymentBook:
    """A node's payments. An `activities.comparing.TheirBook`."""

    def __init__(self, name: NodeName, node: LndPayments) -> None:
        self._name = name
        self._node = node

    async def page(self, after_index: int, limit: int) -> TheirPage:
        page = await self._node.page(after_index=after_index, limit=limit)
        return TheirPage([_payment(*each) for each in page.payments], page.last_index)

    async def look_up(self, payment_hash: PaymentHash) -> Theirs | None:
        try:
            async with (
                asyncio.timeout(_ANSWER_SECONDS),
                self._node.track(payment_hash) as updates,
            ):
                async for payment in updates:
                    return _payment(payment_hash, payment)
        except PaymentNotFoundError:
            return None
        except TimeoutError:
            pass
        raise NodeUnavailableError(f"{self._name}: LND opened a stream, and said no more")


def invoice_workflows(client: Client, node: NodeName) -> WorkflowIndex:
    def heard(_: DifferenceKind, theirs: Theirs) -> tuple[str, InvoiceUpdate | None]:
        return "heard", theirs.update

    return WorkflowIndex(
        client,
        node,
        "InvoiceWorkflow",
        ids.invoice_id,
        first_state=InvoiceState.OPEN,
        signal=heard,
    )


def payment_workflows(client: Client, node: NodeName) -> WorkflowIndex:
    def look_again(_: DifferenceKind, __: Theirs) -> tuple[str, None]:
        return "look_again", None

    return WorkflowIndex(
        client,
        node,
        "PaymentWorkflow",
        ids.payment_id,
        first_state=PaymentState.REQUESTED,
        signal=look_again,
    )


def _invoice(invoice: NodeInvoice) -> Theirs:
    match invoice.state:
        case LndInvoiceState.SETTLED:
            changed_at = invoice.settled_at
        case LndInvoiceState.ACCEPTED:
            changed_at = invoice.paid_at
        case LndInvoiceState.CANCELED if invoice.expires_at <= datetime.now(UTC):
            # LND keeps no time of a cancellation, and cancels itself just after the expiry.
            changed_at = invoice.expires_at
        case _:
            changed_at = None
    return Theirs(
        payment_hash=invoice.payment_hash,
        status=invoice.state,
        amount=invoice.amount,
        changed_at=changed_at or invoice.created_at,
        update=invoice.update(),
    )


def _payment(payment_hash: PaymentHash, payment: NodePayment) -> Theirs:
    return Theirs(
        payment_hash=payment_hash,
        status=payment.status,
        amount=payment.amount,
        changed_at=payment.resolved_at or payment.created_at,
    )
