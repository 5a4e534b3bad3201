"""The typed client: starts payments, joins those under way, and finds them again."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime
from typing import Self

from pydantic import Field, TypeAdapter, ValidationError
from temporalio.client import Client, WorkflowExecution, WorkflowFailureError
from temporalio.common import (
    SearchAttributeKey,
    WorkflowIDConflictPolicy,
    WorkflowIDReusePolicy,
)
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.runtime import Runtime

from fulgurite import ids
from fulgurite.errors import InvalidRequestError, KeyReusedError
from fulgurite.identity import NodeName, NodePubkey, PaymentHash, Preimage
from fulgurite.invoices.receipts import CreatedInvoice
from fulgurite.invoices.requests import InvoiceRequest
from fulgurite.model import Model
from fulgurite.money import Msat
from fulgurite.payments.requests import Keysend, Order, PaymentRequest, understand
from fulgurite.payments.states import FailureReason, PaymentState
from fulgurite.sealing import SealingKey
from starter.connect import TemporalSettings, connect
from starter.errors import of_failed_workflow, temporal_errors
from starter.invoice import Invoice
from starter.payment import Payment
from workflows import search_attributes
from workflows.create_invoice import CreateInvoiceWorkflow
from workflows.payment import PaymentWorkflow

_NODE_NAME: TypeAdapter[str] = TypeAdapter(NodeName)


class PaymentSummary(Model):
    """A payment as Temporal's index knows it: cheap, and some moments behind."""

    payment_hash: PaymentHash
    state: PaymentState = Field(
        description="REQUESTED also while the fast path pays: the index is not told in between"
    )
    workflow_status: str = Field(
        description="Temporal's own word: RUNNING, COMPLETED, FAILED (refused), TERMINATED, …"
    )
    node: NodeName | None = Field(default=None, description="null: not indexed yet")
    destination: NodePubkey | None = None
    amount_msat: Msat | None = None
    failure_reason: FailureReason = FailureReason.NONE
    started_at: datetime
    closed_at: datetime | None = None


class FulguriteClient:
    """Payments through Temporal. It needs no node, no macaroon and no private key."""

    def __init__(self, client: Client) -> None:
        """`client` must carry `workflows.plugin.plugin()`; `connect` sees to it."""
        self._client = client

    @classmethod
    async def connect(cls, settings: TemporalSettings, runtime: Runtime | None = None) -> Self:
        """Raises TemporalUnavailableError."""
        return cls(await connect(settings, runtime))

    async def pay(self, request: PaymentRequest) -> Payment:
        """Starts a payment, or joins the one that is under way for the same hash.

        It is durable once this returns. Safe to call again with the same request after any
        error: LND pays a hash at most once, and the workflow asks LND first.

        Raises MalformedInvoiceError and AmountError before anything starts. An expired
        invoice is not refused here: it may have been paid, and LND is asked first.
        """
        order = understand(request)
        attached = False
        try:
            with temporal_errors():
                handle = await self._client.start_workflow(
                    PaymentWorkflow.run,
                    request,
                    id=ids.payment_id(order.payment_hash),
                    task_queue=ids.TASK_QUEUE,
                    id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                    search_attributes=search_attributes.of_request(request, order),
                    static_summary=f"pay {order.amount} from {request.node}",
                    static_details=_details(request, order),
                    request_eager_start=True,
                )
        except WorkflowAlreadyStartedError:
            attached = True
            handle = self._client.get_workflow_handle_for(
                PaymentWorkflow.run, ids.payment_id(order.payment_hash)
            )
        return Payment(order.payment_hash, handle, attached=attached)

    async def create_invoice(self, request: InvoiceRequest) -> CreatedInvoice:
        """An invoice that can be given to a payer, watched from before it is.

        Safe to call again with the same request, at any time: it gives the same invoice.
        Raises KeyReusedError when the key belongs to another request, other
        InvalidRequestErrors when LND or we refuse it, TemporalUnavailableError.
        """
        key_id = ids.invoice_key_id(request.key)
        try:
            with temporal_errors():
                handle = await self._client.start_workflow(
                    CreateInvoiceWorkflow.run,
                    request,
                    id=key_id,
                    task_queue=ids.TASK_QUEUE,
                    id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
                    id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
                    search_attributes=search_attributes.of_invoice_request(request),
                    static_summary=f"invoice {request.key} of {request.node}",
                    request_eager_start=True,
                )
                created = await handle.result()
        except WorkflowFailureError as failure:
            raise of_failed_workflow(failure, key_id) from failure
        if created.request != request:
            raise KeyReusedError(
                f"the key {request.key} belongs to another invoice: take a new one"
            )
        return created

    async def invoice(self, key: str) -> Invoice:
        """The invoice of a caller's key, or of a payment hash.

        Raises NotRetainedError when Temporal knows no such key: `create_invoice` with the
        same request finds it again.
        """
        with suppress(ValueError):
            return Invoice(self._client, PaymentHash(key.strip().removeprefix("invoice/")))
        key_id = ids.invoice_key_id(key)
        try:
            with temporal_errors():
                created = await self._client.get_workflow_handle_for(
                    CreateInvoiceWorkflow.run, key_id
                ).result()
        except WorkflowFailureError as failure:
            raise of_failed_workflow(failure, key_id) from failure
        return Invoice(self._client, created.payment_hash)

    def payment(self, payment_hash: str) -> Payment:
        """The handle of a payment, known or not. Raises InvalidRequestError for no hash."""
        known = _payment_hash(payment_hash)
        handle = self._client.get_workflow_handle_for(PaymentWorkflow.run, ids.payment_id(known))
        return Payment(known, handle, attached=True)

    async def list(
        self,
        *,
        state: PaymentState | None = None,
        node: str | None = None,
        limit: int | None = 100,
    ) -> AsyncIterator[PaymentSummary]:
        """Payments that Temporal retains, the newest first. `limit` None: all of them."""
        with temporal_errors():
            found = self._client.list_workflows(_query(state, node), limit=limit)
            async for execution in found:
                # Refused for its id, it is a payment's workflow and no payment.
                if ids.is_payment_id(execution.id):
                    yield _summary(execution)


def keysend(destination: NodePubkey, *, sealing_key: SealingKey) -> Keysend:
    """A payment without an invoice, with a fresh preimage sealed to the workers' key.

    The preimage is the payment's identity: keep the request that this becomes part of, and
    repeat that request after an error. A second `keysend` is a second payment.
    """
    preimage = Preimage.generate()
    return Keysend(
        destination=destination,
        payment_hash=preimage.hash(),
        sealed_preimage=sealing_key.seal(preimage),
    )


def _payment_hash(text: str) -> PaymentHash:
    try:
        return PaymentHash(text.strip().removeprefix("payment/"))
    except ValueError as error:
        raise InvalidRequestError(f"{error}: copy it from `fulgurite payment list`") from error


def _details(request: PaymentRequest, order: Order) -> str:
    """Markdown for the Temporal UI. Nothing from the invoice's own words: they may be private."""
    return "\n".join(
        [
            f"- to `{order.destination}`",
            f"- fee at most {order.fee_limit}",
            f"- new attempts for {request.deadline_seconds:,} s at most",
        ]
    )


def _query(state: PaymentState | None, node: str | None) -> str:
    """A visibility query. Only words with a known alphabet get between the quotes."""
    terms = ["WorkflowType = 'PaymentWorkflow'"]
    if state is not None:
        of_state = f"{search_attributes.STATE.name} = '{PaymentState(state)}'"
        refused = "ExecutionStatus = 'Failed'"
        terms.append(refused if state is PaymentState.REFUSED else f"{of_state} AND NOT {refused}")
    if node is not None:
        try:
            terms.append(f"{search_attributes.NODE.name} = '{_NODE_NAME.validate_python(node)}'")
        except ValidationError as error:
            raise InvalidRequestError(
                "a node's name is lower-case letters, digits, - and _, and begins with a letter"
            ) from error
    return " AND ".join(terms)


def _summary(execution: WorkflowExecution) -> PaymentSummary:
    indexed = execution.typed_search_attributes

    def keyword(key: SearchAttributeKey[str]) -> str | None:
        return indexed.get(key)

    destination = keyword(search_attributes.DESTINATION)
    amount = indexed.get(search_attributes.AMOUNT_MSAT)
    return PaymentSummary(
        payment_hash=ids.hash_of_payment_id(execution.id),
        state=PaymentState(keyword(search_attributes.STATE) or PaymentState.REQUESTED),
        workflow_status=execution.status.name if execution.status else "RUNNING",
        node=keyword(search_attributes.NODE),
        destination=NodePubkey(destination) if destination else None,
        amount_msat=None if amount is None else Msat(amount),
        failure_reason=FailureReason(
            keyword(search_attributes.FAILURE_REASON) or FailureReason.NONE
        ),
        started_at=execution.start_time,
        closed_at=execution.close_time,
    )
