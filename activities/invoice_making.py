"""The invoice of a caller's key: written once by LND, and given out once it is watched over."""

from __future__ import annotations

import hashlib
import json
from contextlib import suppress
from typing import Final

from temporalio import activity
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.starting import searchable
from fulgurite import attributes, ids
from fulgurite.errors import (
    CredentialError,
    InvalidRequestError,
    InvoiceDecidedError,
    InvoiceExistsError,
    InvoiceNotFoundError,
    KeyReusedError,
)
from fulgurite.identity import PaymentHash, Preimage
from fulgurite.invoices.progress import InvoiceOrder
from fulgurite.invoices.receipts import CreatedInvoice
from fulgurite.invoices.requests import InvoiceRequest
from fulgurite.invoices.states import InvoiceState, LndInvoiceState
from fulgurite.sealing import UnsealingKey
from nodes.lnd.invoices import NodeInvoice
from nodes.registry import Nodes
from nodes.roles import Role
from nodes.webhooks.sender import Webhooks

_CAN_BE_PAID: Final = frozenset({LndInvoiceState.OPEN, LndInvoiceState.ACCEPTED})
_REQUEST_MEMO: Final = "request_sha256"


class InvoiceMaker:
    """Makes invoices of every node whose invoice credential this worker holds.

    Again, it gives what is there: LND knows the hash, and Temporal what was asked for.
    """

    def __init__(self, nodes: Nodes, key: UnsealingKey, client: Client, webhooks: Webhooks) -> None:
        self._nodes = nodes
        self._key = key
        self._client = client
        self._webhooks = webhooks

    async def make(self, ask: InvoiceRequest) -> CreatedInvoice:
        """The one of its key, whoever asked for it before. Raises FulguriteErrors."""
        # Where no workflows run there need not be any endpoints.
        if activity.info().is_local and ask.hold and ask.hold.callback:
            self._webhooks.config(ask.hold.callback)  # raises where nobody could be asked
        connection = self._nodes.connection(ask.node)
        if not connection.holds(Role.INVOICE):
            raise CredentialError(f"this worker holds no invoice macaroon of {ask.node}")
        if ask.hold and not connection.holds(Role.OBSERVE):
            raise CredentialError(
                f"a hold invoice needs the observe macaroon of {ask.node}: it must be decided by "
                "the chain's height"
            )
        node = self._nodes.invoices(ask.node)
        preimage, payment_hash = self._identity(ask)
        await self._check_not_another(ask, payment_hash)
        try:
            await node.add(ask, payment_hash, preimage)
            existed = False
        except InvoiceExistsError:
            existed = True
        written = await node.look_up(payment_hash)
        if existed:
            _check_same(ask, written)
            await self._check_remembered(ask, payment_hash)
        created = CreatedInvoice(
            request=ask,
            payment_hash=payment_hash,
            payment_request=written.payment_request,
            created_at=written.created_at,
            expires_at=written.expires_at,
        )
        await self._watch_over(
            InvoiceOrder(
                invoice=created,
                sealed_preimage=self._key.sealing_key.seal(preimage) if preimage else None,
                heard=written.update() if existed else None,
            ),
            written.state,
        )
        return created

    async def _check_not_another(self, ask: InvoiceRequest, payment_hash: PaymentHash) -> None:
        """A key names one invoice: not another on another node, nor of another's hash.

        As far as Temporal remembers. What LND has under this very hash it remembers itself.
        """
        of_somebody = ask.hold is not None and ask.hold.payment_hash is not None
        # Who runs workflows knows every node; who serves a node's queue may know it alone.
        knows_all = activity.info().is_local
        if knows_all and len(list(self._nodes)) == 1 and not of_somebody:
            return
        others = self._client.list_workflows(
            f"WorkflowType = 'InvoiceWorkflow' AND {attributes.KEY} = '{ask.key}'"
            f" AND {attributes.PAYMENT_HASH} != '{payment_hash}'",
            limit=1,
        )
        async for _ in others:
            raise _reused(ask)

    def _identity(self, ask: InvoiceRequest) -> tuple[Preimage | None, PaymentHash]:
        if ask.hold and ask.hold.payment_hash:
            return None, ask.hold.payment_hash
        preimage = self._key.preimage_of(ask.node, ask.key)
        return preimage, preimage.hash()

    async def _watch_over(self, order: InvoiceOrder, state: LndInvoiceState) -> None:
        """Starts the invoice's workflow; its payment request is given out only after."""
        created = order.invoice
        # One that was ended by force is watched again; one that ended by itself is not, ...
        if await self._started(order, WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY):
            return
        described = await self._check_remembered(created.request, created.payment_hash)
        if described is None:
            return
        if described.status is WorkflowExecutionStatus.COMPLETED and state in _CAN_BE_PAID:
            # ... but where LND had canceled and deleted it, this is another one of the same hash.
            await self._started(order, WorkflowIDReusePolicy.ALLOW_DUPLICATE)
        elif described.status is WorkflowExecutionStatus.RUNNING:
            await self._check_watched(created, described)

    async def _check_watched(
        self, created: CreatedInvoice, described: WorkflowExecutionDescription
    ) -> None:
        """The workflow that runs must be this very invoice's.

        LND can delete what it has canceled, and then writes the hash again, while the first
        one's workflow still looks out for late payers: nobody would watch over the second.
        What cannot be watched is called off, and never given to a payer.
        """
        run = self._client.get_workflow_handle(described.id, run_id=described.run_id)
        async for first in run.fetch_history_events(page_size=1):
            payloads = first.workflow_execution_started_event_attributes.input.payloads
            [order] = await self._client.data_converter.decode(payloads, [InvoiceOrder])
            watched = InvoiceOrder.model_validate(order).invoice
            if watched.payment_request == created.payment_request:
                return
            break
        ask = created.request
        with suppress(InvoiceDecidedError, InvoiceNotFoundError):
            await self._nodes.invoices(ask.node).cancel(created.payment_hash)
        raise InvalidRequestError(
            f"the invoice of the key {ask.key} has expired or was canceled: take a new key"
        )

    async def _started(self, order: InvoiceOrder, reuse: WorkflowIDReusePolicy) -> bool:
        created, ask = order.invoice, order.invoice.request
        try:
            await self._client.start_workflow(
                "InvoiceWorkflow",
                order,
                id=ids.invoice_id(created.payment_hash),
                task_queue=ids.TASK_QUEUE,
                id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
                id_reuse_policy=reuse,
                memo={_REQUEST_MEMO: _sha256(ask)},
                search_attributes=searchable(
                    {
                        attributes.STATE: InvoiceState.OPEN,
                        attributes.NODE: ask.node,
                        attributes.PAYMENT_HASH: created.payment_hash,
                        attributes.AMOUNT_MSAT: ask.amount_msat or 0,
                        attributes.KEY: ask.key,
                    }
                ),
                static_summary=f"invoice {ask.key} of {ask.node}",
                request_eager_start=True,
            )
        except WorkflowAlreadyStartedError:
            return False
        return True

    async def _check_remembered(
        self, ask: InvoiceRequest, payment_hash: PaymentHash
    ) -> WorkflowExecutionDescription | None:
        """What Temporal remembers of this invoice, if anything, must be what is asked for now."""
        workflow = self._client.get_workflow_handle(ids.invoice_id(payment_hash))
        try:
            described = await workflow.describe()
        except RPCError as error:
            if error.status is RPCStatusCode.NOT_FOUND:
                return None
            raise
        if await described.memo_value(_REQUEST_MEMO, None) != _sha256(ask):
            raise _reused(ask)
        return described


def _check_same(ask: InvoiceRequest, written: NodeInvoice) -> None:
    """What LND has under this hash must be what is asked for now.

    All that LND knows of a request; the rest is compared for as long as Temporal remembers.
    """
    asked = (
        *(ask.amount_msat, ask.memo, ask.description_hash, ask.expiry_seconds),
        (ask.fallback_address or "").lower(),
        # LND's own, where none was asked for: that can be set differently by now.
        ask.cltv_expiry_blocks or written.cltv_expiry_blocks,
    )
    found = (
        *(written.amount, written.memo, written.description_hash, written.expiry_seconds),
        written.fallback_address.lower(),
        written.cltv_expiry_blocks,
    )
    # LND does not say whether hints were asked for, only whether it had any to give; and once
    # settled, a hold invoice looks like any other.
    kinds_differ = (ask.hold is not None) != written.is_hold
    if asked != found or (kinds_differ and written.state is not LndInvoiceState.SETTLED):
        raise _reused(ask)


def _reused(ask: InvoiceRequest) -> KeyReusedError:
    return KeyReusedError(
        f"the key {ask.key} belongs to another invoice: repeat that request as it was, or "
        "take a new key"
    )


def _sha256(ask: InvoiceRequest) -> str:
    # Without defaults, so that a later version's new fields change nothing for an old request.
    canonical = json.dumps(ask.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()
