"""What a caller asks of a payment. Published as JSON Schema in docs/api/."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Self

from pydantic import AwareDatetime, Field, model_validator

from fulgurite.bolt11 import ChainNetwork, read_invoice
from fulgurite.budgets.policy import BudgetName
from fulgurite.errors import AmountError
from fulgurite.identity import ChannelId, NodeName, NodePubkey, PaymentHash
from fulgurite.model import Line, Model
from fulgurite.money import FeeLimit, Msat
from fulgurite.sealing import Sealed
from fulgurite.stuck.policy import LadderPolicy


class Keysend(Model):
    """A payment without an invoice.

    The caller fixes the preimage, sealed, before anything moves, so that its hash is the
    payment's identity from the first moment.
    """

    destination: NodePubkey
    payment_hash: PaymentHash = Field(description="SHA-256 of the preimage")
    sealed_preimage: Sealed = Field(description="sealed to the deployment's sealing key")


class PaymentRequest(Model):
    """One payment. Exactly one of `invoice` and `keysend`."""

    node: NodeName = Field(description="the configured node that pays")
    invoice: str | None = Field(default=None, description="BOLT11", max_length=8_000)
    keysend: Keysend | None = None
    amount_msat: Msat | None = Field(
        default=None, description="only for keysend and for invoices that name no amount"
    )
    fee_limit: FeeLimit

    timeout_seconds: int = Field(
        default=60, ge=1, le=3_600, description="bounds one send's new HTLCs, not its settlement"
    )
    max_parts: int = Field(default=16, ge=1, le=128)
    outgoing_channels: tuple[ChannelId, ...] = Field(default=(), max_length=128)
    last_hop: NodePubkey | None = None
    time_preference: float = Field(
        default=0, ge=-1, le=1, description="-1: cheap before fast; 1: fast before cheap"
    )
    cltv_limit_blocks: int | None = Field(
        default=None,
        ge=1,
        le=2_016,
        description="how far ahead the first HTLC may expire, the last hop's blocks included; "
        "null: the node's own limit",
    )

    deadline_seconds: int = Field(
        default=3_600,
        ge=1,
        le=30 * 86_400,
        description="after this no new attempt begins; what is in flight is followed to its end",
    )
    no_attempt_after: AwareDatetime | None = Field(
        default=None,
        description="the same as a moment, where `cltv_limit_blocks` was right at one only",
    )
    approval_above_msat: Msat | None = Field(
        default=None,
        description="ask a person when the amount is above this, beside the node's own threshold",
    )
    approval_expires_seconds: int = Field(default=86_400, ge=1, le=30 * 86_400)
    budgets: tuple[BudgetName, ...] = Field(
        default=(),
        max_length=4,
        description="what counts it, amount and fee limit, beside the node's own budget",
    )
    wait_for_budget: bool = Field(
        default=False,
        description="where a budget has no room: wait for it until the deadline, and not refuse",
    )
    wait_for_liquidity_seconds: int | None = Field(
        default=None,
        ge=1,
        le=30 * 86_400,
        description="after INSUFFICIENT_BALANCE or NO_ROUTE: tell the node's autopilot, and wait "
        "for liquidity, so long in all and within the deadline; null: no such wait",
    )
    stuck_after_seconds: int = Field(
        default=600, ge=1, le=30 * 86_400, description="in flight for longer than this: STUCK"
    )
    ladder: LadderPolicy | None = Field(
        default=None, description="what may be done when it is stuck; null: the node's own policy"
    )

    @model_validator(mode="after")
    def _one_way_to_pay(self) -> Self:
        if (self.invoice is None) == (self.keysend is None):
            raise ValueError('give exactly one of "invoice" and "keysend"')
        if self.keysend and not self.amount_msat:
            raise ValueError('a keysend needs "amount_msat" above 0')
        return self


class Order(Model):
    """A request understood: what is paid to whom, however it was asked for."""

    payment_hash: PaymentHash
    destination: NodePubkey
    amount: Msat
    fee_limit: Msat
    network: ChainNetwork | None  # a keysend belongs to no network
    description: str
    expires_at: datetime | None  # a keysend does not expire


def understand(request: PaymentRequest) -> Order:
    """Reads the invoice or the keysend.

    Raises MalformedInvoiceError, and AmountError when the amount is missing or given twice.
    """
    if request.keysend:
        assert request.amount_msat is not None  # the model's validator saw to it
        return Order(
            payment_hash=request.keysend.payment_hash,
            destination=request.keysend.destination,
            amount=request.amount_msat,
            fee_limit=request.fee_limit.of(request.amount_msat),
            network=None,
            description="keysend",
            expires_at=None,
        )
    assert request.invoice is not None
    invoice = read_invoice(request.invoice)
    if invoice.amount and request.amount_msat is not None:
        raise AmountError('the invoice names its amount: leave "amount_msat" out')
    amount = invoice.amount or request.amount_msat
    if not amount:
        raise AmountError('the invoice names no amount: give "amount_msat", above 0')
    return Order(
        payment_hash=invoice.payment_hash,
        destination=invoice.destination,
        amount=amount,
        fee_limit=request.fee_limit.of(amount),
        network=invoice.network,
        description=invoice.description,
        expires_at=invoice.expires_at,
    )


def send_until(request: PaymentRequest, order: Order, requested_at: datetime) -> datetime:
    """The moment after which no new attempt may begin: a deadline or the invoice's end."""
    deadline = requested_at + timedelta(seconds=request.deadline_seconds)
    moments = (deadline, request.no_attempt_after, order.expires_at)
    return min(moment for moment in moments if moment is not None)


class Approval(Model):
    """A person's yes."""

    approver: Line = Field(min_length=1, description="who; written to the payment's timeline")
    note: Line = ""


class Rejection(Model):
    """A person's no."""

    approver: Line = Field(min_length=1)
    reason: Line = ""


class Cancellation(Model):
    """No new attempts. What is in flight stays in flight until LND ends it."""

    reason: Line = ""
