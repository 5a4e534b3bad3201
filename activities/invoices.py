"""Invoices in LND. Safe to run again at any point: LND is asked what it has."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from pydantic import ValidationError
from temporalio import activity
from temporalio.client import Client

from activities.errors import application_error
from activities.heartbeats import heartbeating, until_shutdown
from activities.invoice_making import InvoiceMaker
from activities.tip import Tip
from fulgurite.errors import (
    CredentialError,
    DeliveryError,
    FulguriteError,
    InvalidRequestError,
    InvoiceDecidedError,
    InvoiceNotFoundError,
)
from fulgurite.identity import NodeName, NodePubkey, Preimage
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
from fulgurite.invoices.receipts import CreatedInvoice, InvoiceUpdate, payee_of
from fulgurite.invoices.requests import InvoiceRequest
from fulgurite.invoices.states import LndInvoiceState
from fulgurite.sealing import UnsealingKey
from nodes.lnd.invoices import LndInvoices
from nodes.registry import Nodes
from nodes.webhooks.sender import Webhooks

# So often the chain is looked at where a height decides, and the invoice itself otherwise.
_LOOK_AT_THE_CHAIN_SECONDS: Final = 5.0
_LOOK_ANYWAY_SECONDS: Final = 30.0
_PAUSE_SECONDS: Final = 1.0
# A keysend is signed by nobody, and one of so many is none.
_SIGNED_LATELY: Final = 100


class InvoiceActivities:
    """Invoices of every node whose invoice credential this worker holds."""

    def __init__(self, nodes: Nodes, key: UnsealingKey, client: Client, webhooks: Webhooks) -> None:
        self._nodes = nodes
        self._key = key
        self._webhooks = webhooks
        self._maker = InvoiceMaker(nodes, key, client, webhooks)

    @activity.defn(name=CREATE_INVOICE.name)
    async def create(self, ask: InvoiceRequest) -> CreatedInvoice:
        """The invoice of this key: written by LND, and watched by its workflow.

        Raises KeyReusedError and other InvalidRequestErrors; NodeErrors, to be retried.
        """
        try:
            async with heartbeating():
                return await self._maker.make(ask)
        except InvalidRequestError as error:
            raise application_error(error) from error
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error

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
