"""The typed client: starts what moves money, joins what is under way, finds it again."""

from __future__ import annotations

from contextlib import suppress
from typing import Final, Self, TypeAlias

from pydantic import ValidationError
from temporalio.client import WorkflowFailureError, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.runtime import Runtime

from fulgurite import ids
from fulgurite.channels.requests import CloseRequest
from fulgurite.errors import InvalidRequestError, KeyReusedError
from fulgurite.identity import ChannelPoint, NodeName, NodePubkey, PaymentHash, Preimage
from fulgurite.invoices.receipts import CreatedInvoice
from fulgurite.invoices.requests import InvoiceRequest
from fulgurite.leases.receipts import LeaseView
from fulgurite.liquidity.plans import LiquidityPlan
from fulgurite.payments.receipts import PaymentView
from fulgurite.payments.requests import (
    Approval,
    Keysend,
    Order,
    PaymentRequest,
    Rejection,
    understand,
)
from fulgurite.relays.receipts import RelayView
from fulgurite.relays.requests import RelayRequest
from fulgurite.sealing import SealingKey
from fulgurite.stuck.receipts import LadderView
from fulgurite.stuck.requests import StuckRequest
from fulgurite.swaps.receipts import SwapView
from starter import channel, listing
from starter.channel import ChannelClose
from starter.channels import ChannelWatch, NodeChannels, node_channels
from starter.connect import TemporalSettings, connect
from starter.errors import NotRetainedError, of_failed_workflow, temporal_errors
from starter.event import Announcement
from starter.invoice import Invoice
from starter.lease import Lease
from starter.liquidity import LiquidityRun, plan_of
from starter.payment import Payment
from starter.relay import Relay, begin_relay
from starter.stuck import StuckPayment, begin_ladder
from starter.swap import Swap
from starter.treasury import Treasury
from workflows import search_attributes
from workflows.create_invoice import CreateInvoiceWorkflow
from workflows.payment import PaymentWorkflow

# A key that has failed may be tried again; one that has made an invoice stands for it.
_UNLESS_MADE: Final = WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY

# What a person may be asked about, and what is then told of it.
_Asking: TypeAlias = Payment | StuckPayment | Swap | Lease | LiquidityRun
_Told: TypeAlias = PaymentView | LadderView | SwapView | LeaseView | LiquidityPlan

_Making: TypeAlias = WorkflowHandle[CreateInvoiceWorkflow, CreatedInvoice]


class FulguriteClient(Treasury):
    """Payments, invoices, liquidity through Temporal. It needs no node, no macaroon, no key."""

    @classmethod
    async def connect(cls, settings: TemporalSettings, runtime: Runtime | None = None) -> Self:
        """Raises TemporalUnavailableError."""
        return cls(await connect(settings, runtime))

    # Paying.

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

    def payment(self, payment_hash: str) -> Payment:
        """The handle of a payment, known or not. Raises InvalidRequestError for no hash."""
        known = _payment_hash(payment_hash)
        handle = self._client.get_workflow_handle_for(PaymentWorkflow.run, ids.payment_id(known))
        return Payment(known, handle, attached=True)

    # Receiving.

    async def create_invoice(self, request: InvoiceRequest) -> CreatedInvoice:
        """An invoice that can be given to a payer, watched from before it is.

        Safe to call again with the same request, at any time: it gives the same invoice.
        Raises KeyReusedError when the key belongs to another request, other
        InvalidRequestErrors when LND or we refuse it, TemporalUnavailableError.
        """
        key_id = ids.invoice_key_id(request.key)
        try:
            with temporal_errors():
                try:
                    return await self._made(request, _UNLESS_MADE)
                except WorkflowAlreadyStartedError:
                    # What was made stands, on whatever node; only then is it looked after again.
                    earlier = self._client.get_workflow_handle_for(
                        CreateInvoiceWorkflow.run, key_id
                    )
                    _check_same(request, await earlier.result())
                    return await self._made(request, WorkflowIDReusePolicy.ALLOW_DUPLICATE)
        except WorkflowFailureError as failure:
            raise of_failed_workflow(failure, key_id) from failure

    async def _made(self, request: InvoiceRequest, reuse: WorkflowIDReusePolicy) -> CreatedInvoice:
        making = await self._making(request, reuse)
        try:
            created = await making.result()
        except WorkflowFailureError:
            if await self._is_of(request, making):
                raise
            # Another's request was under way, and refused: that says nothing about this one.
            created = await (await self._making(request, reuse)).result()
        _check_same(request, created)
        return created

    async def _is_of(self, request: InvoiceRequest, making: _Making) -> bool:
        """Whether the run of the key that was started or joined was asked for just this."""
        run = self._client.get_workflow_handle(making.id, run_id=making.result_run_id)
        async for first in run.fetch_history_events(page_size=1):
            payloads = first.workflow_execution_started_event_attributes.input.payloads
            asked = await self._client.data_converter.decode(payloads)
            with suppress(ValidationError):
                return [InvoiceRequest.model_validate(each) for each in asked] == [request]
            break
        return False

    async def _making(self, request: InvoiceRequest, reuse: WorkflowIDReusePolicy) -> _Making:
        return await self._client.start_workflow(
            CreateInvoiceWorkflow.run,
            request,
            id=ids.invoice_key_id(request.key),
            task_queue=ids.TASK_QUEUE,
            id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
            id_reuse_policy=reuse,
            search_attributes=search_attributes.of_invoice_request(request),
            static_summary=f"invoice {request.key} of {request.node}",
            request_eager_start=True,
        )

    async def invoice(self, key_or_hash: str) -> Invoice:
        """The invoice of a caller's key, or of a payment hash, which need not be known.

        Raises NotRetainedError when Temporal knows no such key: `create_invoice` with the
        same request finds it again. What looks like a payment hash is taken for one.
        """
        given = key_or_hash.strip().removeprefix("invoice/")
        with suppress(ValueError):
            return Invoice(self._client, PaymentHash(given))
        of_key = listing.invoices_of_key(given)
        try:
            with temporal_errors():
                created = await self._client.get_workflow_handle_for(
                    CreateInvoiceWorkflow.run, ids.invoice_key_id(given)
                ).result()
        except (NotRetainedError, WorkflowFailureError) as error:
            # The making is forgotten long before the invoice is; and a later request with the
            # same key may have been refused.
            async for execution in self._found(of_key, limit=1):
                return Invoice(self._client, listing.invoice_summary(execution).payment_hash)
            if isinstance(error, WorkflowFailureError):
                raise of_failed_workflow(error, ids.invoice_key_id(given)) from error
            raise
        return Invoice(self._client, created.payment_hash)

    # Receiving, in order to pay.

    async def begin_relay(self, request: RelayRequest) -> RelayView:
        """Has an invoice written that is held until what it is for has been paid.

        The answer's `payment_request` is for the payer. Safe to call again with the same
        request while it is under way. Raises KeyReusedError when the outgoing invoice is
        relayed on other terms, other InvalidRequestErrors when it cannot be or has ended,
        WorkerUnavailableError, TemporalUnavailableError.
        """
        return await begin_relay(self._client, request)

    def relay(self, payment_hash: str) -> Relay:
        """The handle of a relay, known or not. Raises InvalidRequestError for no hash."""
        return Relay(self._client, _payment_hash(payment_hash))

    # What hangs, and what is decided about it.

    async def begin_ladder(self, request: StuckRequest) -> StuckPayment:
        """Begins the ladder of a payment that hangs, or joins the one that climbs already.

        A payment that is STUCK has one; by hand it is begun for payments of others, or
        sooner. Safe to repeat. What it may do by itself is its policy's: with PERSON, the
        default, and NOBODY it closes nothing by itself. Raises TemporalUnavailableError.
        """
        return await begin_ladder(self._client, request)

    def stuck(self, payment_hash: str) -> StuckPayment:
        """A payment's ladder, known or not. Raises InvalidRequestError for no hash."""
        return StuckPayment(self._client, _payment_hash(payment_hash), attached=True)

    def undecided(self, workflow_id: str) -> _Asking:
        """What a person may be asked about, by its workflow's id.

        Raises InvalidRequestError for the id of anything else.
        """
        match workflow_id.strip().partition("/"):
            case "payment", "/", payment_hash:
                return self.payment(payment_hash)
            case "stuck", "/", payment_hash:
                return self.stuck(payment_hash)
            case "swap", "/", key:
                return self.swap_of(key)
            case "lease", "/", key:
                return self.lease_of(key)
            case "liquidity", "/", _:
                return plan_of(self._client, workflow_id.strip())
            case _:
                raise InvalidRequestError(
                    "give the id of a workflow that asks: payment/<payment hash> for a payment "
                    "above its threshold, stuck/<payment hash> for a force close, swap/<key> for "
                    "a swap, lease/<key> for a lease, liquidity/<node>-<time> for a plan"
                )

    async def approve(self, workflow_id: str, approval: Approval) -> _Told:
        """Says yes: to a payment, a swap, a lease, or the force close that a ladder asks for.

        Raises InvalidRequestError when there is nothing (more) to decide.
        """
        return await self.undecided(workflow_id).approve(approval)

    async def reject(self, workflow_id: str, rejection: Rejection) -> _Told:
        """Says no. Raises InvalidRequestError when there is nothing (more) to decide."""
        return await self.undecided(workflow_id).reject(rejection)

    # Channels.

    async def close_channel(self, request: CloseRequest) -> ChannelClose:
        """Has a channel closed, or followed, or adds the order to the closing under way.

        Safe to repeat: LND is asked once a channel, by its one workflow. A force order
        replaces a cooperative one that LND has not carried out, and a channel that is
        CLOSED has the receipt it has. Raises TemporalUnavailableError.
        """
        return await channel.close_channel(self._client, request)

    async def channel_close(
        self, channel_point: str, *, node: NodeName | None = None
    ) -> ChannelClose:
        """The closing of a channel, known or not.

        `node` matters only where both ends are nodes of ours. Raises InvalidRequestError for
        what is no channel point.
        """
        return await channel.channel_close(self._client, channel_point_of(channel_point), node)

    async def channels(self, node: NodeName) -> NodeChannels:
        """A node's channels now: open, opening and closing.

        Raises NotRetainedError where nobody watches that node, WorkerUnavailableError, and
        the NodeError that LND was not reached by.
        """
        return await node_channels(self._client, self, node)

    def channel_watch(self, node: NodeName) -> ChannelWatch:
        """The handle of a node's channel watch."""
        return ChannelWatch(self._client, node)

    # Events.

    def event(self, event_id: str) -> Announcement:
        """The handle of an event, known or not."""
        return Announcement(self._client, event_id.strip().removeprefix("event/"))


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


def channel_point_of(text: str) -> ChannelPoint:
    """`<txid>:<index>`, or the id of its closing. Raises InvalidRequestError."""
    try:
        return ChannelPoint(text.strip().removeprefix("close/").partition("/")[0])
    except ValueError as error:
        raise InvalidRequestError(f"{error}: copy it from `fulgurite channel list`") from error


def _check_same(request: InvoiceRequest, created: CreatedInvoice) -> None:
    if created.request != request:
        raise KeyReusedError(f"the key {request.key} belongs to another invoice: take a new one")


def _payment_hash(text: str) -> PaymentHash:
    named = text.strip().removeprefix("payment/").removeprefix("relay/").removeprefix("stuck/")
    try:
        return PaymentHash(named)
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
