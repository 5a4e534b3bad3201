"""Receiving: invoices made, followed, decided and listed, in domain terms."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from fulgurite.errors import UnexpectedAnswerError
from fulgurite.identity import Digest, PaymentHash, Preimage
from fulgurite.invoices.receipts import InvoiceUpdate
from fulgurite.invoices.requests import InvoiceRequest
from fulgurite.invoices.states import LndInvoiceState
from fulgurite.money import Msat
from nodes.lnd.connection import UNARY_TIMEOUT_SECONDS, LndConnection
from nodes.lnd.errors import domain_errors
from nodes.lnd.payments import STREAM_TIMEOUT_SECONDS
from nodes.roles import Role
from protos.invoicesrpc import invoices_pb2, invoices_pb2_grpc
from protos.lnrpc import lightning_pb2, lightning_pb2_grpc

# A day of blocks to decide in; LND's own default for normal invoices is 80.
HOLD_CLTV_BLOCKS: Final = 144

_ACCEPTED, _CANCELED = lightning_pb2.ACCEPTED, lightning_pb2.CANCELED
_COMPLETE = (LndInvoiceState.ACCEPTED, LndInvoiceState.SETTLED)


@dataclass(frozen=True)
class NodeInvoice:
    """What LND says of an invoice at one moment. There is no preimage in it, on purpose."""

    payment_hash: PaymentHash
    payment_request: str  # empty for a keysend
    memo: str
    description_hash: Digest | None
    state: LndInvoiceState
    amount: Msat | None  # asked for; None: the payer chooses
    paid: Msat  # settled, or held in a complete set
    partial: Msat  # came in parts that were never completed, and went back
    parts: int  # HTLCs of what was paid
    created_at: datetime
    expires_at: datetime
    paid_at: datetime | None  # when the last of these HTLCs arrived
    settled_at: datetime | None
    first_expiry_height: int | None  # of the HTLCs that are held
    add_index: int
    settle_index: int  # 0 until settled
    expiry_seconds: int
    private: bool
    is_keysend: bool
    is_hold: bool  # LND does not know the preimage; once settled it does, and this is False
    cltv_expiry_blocks: int = 0
    fallback_address: str = ""

    def update(self) -> InvoiceUpdate:
        """The same for workflows."""
        return InvoiceUpdate(
            state=self.state,
            paid_msat=self.paid,
            partial_msat=self.partial,
            parts=self.parts,
            paid_at=self.paid_at,
            settled_at=self.settled_at,
            first_expiry_height=self.first_expiry_height,
        )


@dataclass(frozen=True)
class Page:
    """Some invoices, oldest first. `last_index`: where the next page goes on."""

    invoices: tuple[NodeInvoice, ...]
    last_index: int


class LndInvoices:
    """Invoices of one node, with its invoice macaroon."""

    def __init__(self, connection: LndConnection) -> None:
        self._connection = connection
        self._node = connection.name
        self._credential = connection.credential(Role.INVOICE)
        self._lightning = lightning_pb2_grpc.LightningStub(connection.channel())
        self._invoices = invoices_pb2_grpc.InvoicesStub(connection.channel())

    async def add(
        self, request: InvoiceRequest, payment_hash: PaymentHash, preimage: Preimage | None
    ) -> None:
        """Writes an invoice; a hold invoice keeps its preimage from LND, if we have one.

        Raises InvoiceExistsError when LND has the hash: an earlier call may have had its
        effect, look it up. InvalidRequestErrors when LND refuses, and NodeErrors.
        """
        with domain_errors(self._node):
            if request.hold:
                await self._invoices.AddHoldInvoice(
                    _hold_invoice(request, payment_hash),
                    metadata=self._credential,
                    timeout=UNARY_TIMEOUT_SECONDS,
                )
                return
            assert preimage is not None
            assert preimage.settles(payment_hash)
            await self._lightning.AddInvoice(
                _invoice(request, preimage),
                metadata=self._credential,
                timeout=UNARY_TIMEOUT_SECONDS,
            )

    async def look_up(self, payment_hash: PaymentHash) -> NodeInvoice:
        """Raises InvoiceNotFoundError and NodeErrors."""
        with domain_errors(self._node):
            found = await self._lightning.LookupInvoice(
                lightning_pb2.PaymentHash(r_hash=payment_hash.raw()),
                metadata=self._credential,
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        return _node_invoice(self._node, found)

    async def payment_address(self, payment_hash: PaymentHash) -> bytes:
        """BOLT 4's payment_secret, without which the node refuses an HTLC for the invoice.

        Raises InvoiceNotFoundError and NodeErrors.
        """
        with domain_errors(self._node):
            found = await self._lightning.LookupInvoice(
                lightning_pb2.PaymentHash(r_hash=payment_hash.raw()),
                metadata=self._credential,
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        return found.payment_addr

    @asynccontextmanager
    async def watch(self, payment_hash: PaymentHash) -> AsyncIterator[AsyncIterator[NodeInvoice]]:
        """LND's word on an invoice, the present one first, until it has ended.

        Raises NodeErrors while iterating. Silent for an invoice that LND does not know.
        Whoever listens sets the time; leaving drops the stream.
        """
        call = self._invoices.SubscribeSingleInvoice(
            invoices_pb2.SubscribeSingleInvoiceRequest(r_hash=payment_hash.raw()),
            metadata=self._credential,
            timeout=STREAM_TIMEOUT_SECONDS,
        )
        try:
            yield self._updates(call)
        finally:
            call.cancel()

    async def settle(self, preimage: Preimage) -> None:
        """Takes the money of a held invoice; once more is no error.

        Raises InvoiceDecidedError when it is canceled or not yet paid, InvoiceNotFoundError
        and NodeErrors.
        """
        with domain_errors(self._node):
            await self._invoices.SettleInvoice(
                invoices_pb2.SettleInvoiceMsg(preimage=preimage.reveal()),
                metadata=self._credential,
                timeout=UNARY_TIMEOUT_SECONDS,
            )

    async def cancel(self, payment_hash: PaymentHash) -> None:
        """Closes an invoice and sends back what is held for it; once more is no error.

        Raises InvoiceDecidedError when it is settled, InvoiceNotFoundError and NodeErrors.
        """
        with domain_errors(self._node):
            await self._invoices.CancelInvoice(
                invoices_pb2.CancelInvoiceMsg(payment_hash=payment_hash.raw()),
                metadata=self._credential,
                timeout=UNARY_TIMEOUT_SECONDS,
            )

    async def page(
        self,
        *,
        after_index: int,
        limit: int,
        pending_only: bool = False,
        created_from: datetime | None = None,
        backwards: bool = False,
    ) -> Page:
        """At most `limit` invoices after an add_index, or before it when `backwards`.

        Backwards, `after_index` 0 begins at the newest. The last page is empty.
        Raises NodeErrors.
        """
        with domain_errors(self._node):
            listed = await self._lightning.ListInvoices(
                lightning_pb2.ListInvoiceRequest(
                    index_offset=after_index,
                    num_max_invoices=limit,
                    pending_only=pending_only,
                    reversed=backwards,
                    creation_date_start=int(created_from.timestamp()) if created_from else 0,
                ),
                metadata=self._credential,
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        reached = listed.first_index_offset if backwards else listed.last_index_offset
        return Page(
            tuple(_node_invoice(self._node, each) for each in listed.invoices if each.r_hash),
            reached if listed.invoices else after_index,
        )

    @asynccontextmanager
    async def subscribe(
        self, add_index: int, settle_index: int
    ) -> AsyncIterator[AsyncIterator[NodeInvoice]]:
        """Invoices as they are added and as they settle: first those above the indices.

        An index of 0 asks for nothing of the past. LND tells neither ACCEPTED nor CANCELED,
        nor when it has begun to listen. Raises NodeErrors while iterating.
        """
        call = self._lightning.SubscribeInvoices(
            lightning_pb2.InvoiceSubscription(add_index=add_index, settle_index=settle_index),
            metadata=self._credential,
            timeout=STREAM_TIMEOUT_SECONDS,
        )
        try:
            yield self._updates(call)
        finally:
            call.cancel()

    async def height(self) -> int:
        """The chain's tip, as the node sees it; by the observe macaroon. Raises NodeErrors."""
        with domain_errors(self._node):
            answer = await self._lightning.GetInfo(
                lightning_pb2.GetInfoRequest(),
                metadata=self._connection.credential(Role.OBSERVE),
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        return answer.block_height

    async def _updates(
        self, call: AsyncIterable[lightning_pb2.Invoice]
    ) -> AsyncIterator[NodeInvoice]:
        with domain_errors(self._node):
            async for invoice in call:
                # Only a spontaneous AMP payment has none, and it answers no request of anybody.
                if invoice.r_hash:
                    yield _node_invoice(self._node, invoice)


def _invoice(request: InvoiceRequest, preimage: Preimage) -> lightning_pb2.Invoice:
    return lightning_pb2.Invoice(
        r_preimage=preimage.reveal(),
        memo=request.memo,
        description_hash=request.description_hash.raw() if request.description_hash else b"",
        value_msat=request.amount_msat or 0,
        expiry=request.expiry_seconds,
        fallback_addr=request.fallback_address or "",
        cltv_expiry=request.cltv_expiry_blocks or 0,
        private=request.private_channels,
    )


def _hold_invoice(
    request: InvoiceRequest, payment_hash: PaymentHash
) -> invoices_pb2.AddHoldInvoiceRequest:
    return invoices_pb2.AddHoldInvoiceRequest(
        hash=payment_hash.raw(),
        memo=request.memo,
        description_hash=request.description_hash.raw() if request.description_hash else b"",
        value_msat=request.amount_msat or 0,
        expiry=request.expiry_seconds,
        fallback_addr=request.fallback_address or "",
        cltv_expiry=request.cltv_expiry_blocks or HOLD_CLTV_BLOCKS,
        private=request.private_channels,
    )


def _node_invoice(node: str, invoice: lightning_pb2.Invoice) -> NodeInvoice:
    try:
        state = LndInvoiceState(lightning_pb2.Invoice.InvoiceState.Name(invoice.state))
    except ValueError:
        # A state of a later LND: unknown is neither paid nor unpaid.
        raise UnexpectedAnswerError(
            f"{node}: invoice state {invoice.state} is new to this version of Fulgurite: upgrade it"
        ) from None
    standing = [htlc for htlc in invoice.htlcs if htlc.state != _CANCELED]
    # Until a set is complete nothing is paid: its first parts can still go back.
    paying = standing if state in _COMPLETE else []
    settled_at = _time(invoice.settle_date)
    return NodeInvoice(
        payment_hash=PaymentHash.of_bytes(invoice.r_hash),
        payment_request=invoice.payment_request,
        memo=invoice.memo,
        description_hash=(
            Digest.of_bytes(invoice.description_hash) if invoice.description_hash else None
        ),
        state=state,
        amount=Msat(invoice.value_msat) if invoice.value_msat else None,
        paid=_paid(state, invoice, paying),
        partial=_never_completed(invoice),
        parts=len(paying),
        created_at=datetime.fromtimestamp(invoice.creation_date, tz=UTC),
        expires_at=datetime.fromtimestamp(invoice.creation_date, tz=UTC)
        + timedelta(seconds=invoice.expiry),
        paid_at=_time(max((htlc.accept_time for htlc in paying), default=0)) or settled_at,
        settled_at=settled_at,
        first_expiry_height=min(
            (htlc.expiry_height for htlc in standing if htlc.state == _ACCEPTED), default=None
        ),
        add_index=invoice.add_index,
        settle_index=invoice.settle_index,
        expiry_seconds=invoice.expiry,
        private=invoice.private,
        is_keysend=invoice.is_keysend,
        is_hold=not invoice.r_preimage and not invoice.is_amp,
        cltv_expiry_blocks=invoice.cltv_expiry,
        fallback_address=invoice.fallback_addr,
    )


def _paid(
    state: LndInvoiceState,
    invoice: lightning_pb2.Invoice,
    paying: list[lightning_pb2.InvoiceHTLC],
) -> Msat:
    if state is LndInvoiceState.SETTLED:
        return Msat(invoice.amt_paid_msat)
    return Msat(sum(htlc.amt_msat for htlc in paying))


def _never_completed(invoice: lightning_pb2.Invoice) -> Msat:
    """What went back because the rest of its set never came.

    LND sends a whole set back in one moment, also one that was complete and then canceled;
    only the sums tell these apart.
    """
    sets: defaultdict[tuple[int, int], int] = defaultdict(int)
    for htlc in invoice.htlcs:
        if htlc.state == _CANCELED:
            sets[htlc.mpp_total_amt_msat, htlc.resolve_time] += htlc.amt_msat
    return Msat(sum(came for (total, _), came in sets.items() if came < total))


def _time(seconds: int) -> datetime | None:
    return datetime.fromtimestamp(seconds, tz=UTC) if seconds > 0 else None
