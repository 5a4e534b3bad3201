"""Invoices in LND. Safe to run again at any point: LND is asked what it has."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from pydantic import ValidationError
from temporalio import activity
from temporalio.client import Client, WorkflowExecutionDescription, WorkflowExecutionStatus
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.service import RPCError, RPCStatusCode

from activities.errors import application_error
from activities.heartbeats import heartbeating, until_shutdown
from activities.starting import searchable
from activities.tip import Tip
from fulgurite import attributes, ids
from fulgurite.errors import (
    CredentialError,
    DeliveryError,
    FulguriteError,
    InvalidRequestError,
    InvoiceDecidedError,
    InvoiceExistsError,
    InvoiceNotFoundError,
    KeyReusedError,
)
from fulgurite.identity import NodeName, NodePubkey, PaymentHash, Preimage
from fulgurite.invoices.calls import (
    ASK_CALLBACK,
    CANCEL_INVOICE,
    CREATE_INVOICE,
    LOOK_UP_INVOICE,
    SETTLE_INVOICE,
    WATCH_INVOICE,
    Asking,
    Decided,
    InvoiceOf,
    Settle,
    Watch,
    Watched,
)
from fulgurite.invoices.progress import InvoiceOrder
from fulgurite.invoices.receipts import CreatedInvoice, InvoiceUpdate, payee_of
from fulgurite.invoices.requests import InvoiceRequest
from fulgurite.invoices.states import InvoiceState, LndInvoiceState
from fulgurite.sealing import UnsealingKey
from nodes.lnd.invoices import LndInvoices, NodeInvoice
from nodes.registry import Nodes
from nodes.roles import Role
from nodes.webhooks.sender import Webhooks

# So often the chain is looked at where a height decides, and the invoice itself otherwise.
_LOOK_AT_THE_CHAIN_SECONDS: Final = 5.0
_LOOK_ANYWAY_SECONDS: Final = 30.0
_CAN_BE_PAID: Final = frozenset({LndInvoiceState.OPEN, LndInvoiceState.ACCEPTED})
_PAUSE_SECONDS: Final = 1.0
_REQUEST_MEMO: Final = "request_sha256"
# A keysend is signed by nobody, and one of so many is none.
_SIGNED_LATELY: Final = 100


class InvoiceActivities:
    """Invoices of every node whose invoice credential this worker holds."""

    def __init__(self, nodes: Nodes, key: UnsealingKey, client: Client, webhooks: Webhooks) -> None:
        self._nodes = nodes
        self._key = key
        self._client = client
        self._webhooks = webhooks

    @activity.defn(name=CREATE_INVOICE.name)
    async def create(self, ask: InvoiceRequest) -> CreatedInvoice:
        """The invoice of this key: written by LND, and watched by its workflow.

        Raises KeyReusedError and other InvalidRequestErrors; NodeErrors, to be retried.
        """
        try:
            async with heartbeating():
                return await self._create(ask)
        except InvalidRequestError as error:
            raise application_error(error) from error
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error

    async def _create(self, ask: InvoiceRequest) -> CreatedInvoice:
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

    @activity.defn(name=LOOK_UP_INVOICE.name)
    async def look_up(self, ask: InvoiceOf) -> InvoiceUpdate:
        """LND's present word. Raises NodeErrors and InvoiceNotFoundError, to be retried."""
        try:
            async with heartbeating():
                return await self._word(ask)
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error

    async def _word(self, ask: InvoiceOf) -> InvoiceUpdate:
        """LND's word on an invoice that it has written.

        It can be set to delete what it has canceled, and deletes nothing else: what the payee
        itself does not know any more is canceled. Another node's ignorance says nothing.
        """
        try:
            return (await self._nodes.invoices(ask.node).look_up(ask.payment_hash)).update()
        except InvoiceNotFoundError:
            if ask.payee is None or not await self._signs_as(ask.payee, ask.node):
                raise
            return InvoiceUpdate(state=LndInvoiceState.CANCELED)

    async def _signs_as(self, payee: NodePubkey, name: NodeName) -> bool:
        """Whether the node is `payee`: it says so, or has signed its newest invoices so."""
        try:
            return (await self._nodes.connection(name).check()).pubkey == payee
        except CredentialError:
            # Ordinary invoices need no observe macaroon.
            newest = await self._nodes.invoices(name).page(
                after_index=0, limit=_SIGNED_LATELY, backwards=True
            )
            return any(payee_of(each.payment_request) == payee for each in newest.invoices)

    async def _after(self, order: Awaitable[None], ask: InvoiceOf) -> InvoiceUpdate:
        """LND's word after an order; one that came too late changes nothing, and LND says so."""
        with suppress(InvoiceDecidedError, InvoiceNotFoundError):
            await order
        return await self._word(ask)

    @activity.defn(name=SETTLE_INVOICE.name)
    async def settle(self, ask: Settle) -> InvoiceUpdate:
        """Takes what is held, and gives LND's word after that; twice is once.

        Raises InvalidRequestError, not to be retried, where the preimage is not the invoice's.
        """
        node = self._nodes.invoices(ask.node)
        try:
            preimage = self._open(ask)
        except InvalidRequestError as error:
            raise application_error(error) from error
        try:
            async with heartbeating():
                return await self._after(node.settle(preimage), ask)
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error

    def _open(self, ask: Settle) -> Preimage:
        preimage = self._key.open(ask.sealed_preimage)
        if not preimage.settles(ask.payment_hash):
            raise InvalidRequestError("the sealed preimage does not belong to the payment hash")
        return preimage

    @activity.defn(name=CANCEL_INVOICE.name)
    async def cancel(self, ask: InvoiceOf) -> InvoiceUpdate:
        """Sends back what is held, and gives LND's word after that; twice is once."""
        try:
            node = self._nodes.invoices(ask.node)
            async with heartbeating():
                return await self._after(node.cancel(ask.payment_hash), ask)
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error

    @activity.defn(name=WATCH_INVOICE.name)
    async def watch(self, ask: Watch) -> Watched:
        """Follows one invoice until it leaves `state`, or until the time or height is there."""
        try:
            async with heartbeating():
                return await until_shutdown(self._watch(ask))
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error

    async def _watch(self, ask: Watch) -> Watched:
        node = self._nodes.invoices(ask.node)
        tip = Tip(node)
        while True:
            update = await self._word(ask)
            if update.state is not ask.state:
                return Watched(update=update)  # whatever the chain does
            over = datetime.now(UTC) >= ask.until
            if ask.until_height is not None:
                height = await tip.height(ask.until_height)
                reached = height >= ask.until_height
                if over or reached:
                    return Watched(update=update, height=height)
            elif over:
                return Watched(update=update, height=await node.height())
            await self._next_change(node, ask)

    async def _next_change(self, node: LndInvoices, ask: Watch) -> None:
        """Returns on a change, and otherwise when it is time to look at the chain again."""
        left_seconds = (ask.until - datetime.now(UTC)).total_seconds()
        by_height = ask.until_height is not None
        look_after = _LOOK_AT_THE_CHAIN_SECONDS if by_height else _LOOK_ANYWAY_SECONDS
        try:
            async with (
                asyncio.timeout(min(look_after, max(left_seconds, 0.0))),
                node.watch(ask.payment_hash) as changes,
            ):
                async for invoice in changes:
                    if invoice.state is not ask.state:
                        return
        except TimeoutError:
            return
        # lnd closed the stream without a change: do not ask it without a pause.
        await asyncio.sleep(_PAUSE_SECONDS)

    @activity.defn(name=ASK_CALLBACK.name)
    async def ask(self, ask: Asking) -> Decided:
        """A signed request with the held invoice; the answer is `{"verdict": "SETTLE"}`.

        Raises DeliveryErrors, and says nothing where the answer is no verdict.
        """
        # A number for each time that it is asked: who drops duplicates must still hear it.
        # A new run counts its activities anew.
        info = activity.info()
        number = f"{str(info.workflow_run_id)[:8]}-{info.activity_id}"
        question = f"ask-{ask.view.receipt.payment_hash}-{number}"
        body = ask.view.model_dump_json().encode()
        try:
            async with heartbeating():
                answer = await until_shutdown(self._webhooks.send(ask.endpoint, question, body))
            return Decided.model_validate_json(answer.body)
        except ValidationError:
            unclear = DeliveryError(
                f'{ask.endpoint}: the answer is no {{"verdict": "SETTLE"}} or "CANCEL"'
            )
            raise application_error(unclear) from None
        except FulguriteError as error:
            raise application_error(error) from error


def _check_same(ask: InvoiceRequest, written: NodeInvoice) -> None:
    """What LND has under this hash must be what is asked for now."""
    asked = (ask.amount_msat, ask.memo, ask.description_hash, ask.expiry_seconds)
    found = (written.amount, written.memo, written.description_hash, written.expiry_seconds)
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
