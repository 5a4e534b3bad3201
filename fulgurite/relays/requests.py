"""What a caller asks of a relay, and what of it is possible."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Annotated, Final, Self

from pydantic import Field, StringConstraints, model_validator

from fulgurite import ids
from fulgurite.bolt11 import read_invoice
from fulgurite.errors import (
    AmountError,
    InvalidRequestError,
    InvoiceExpiredError,
    KeyReusedError,
    SelfPaymentError,
)
from fulgurite.identity import NodeName, PaymentHash
from fulgurite.invoices.receipts import CreatedInvoice
from fulgurite.invoices.requests import (
    MAX_MEMO_BYTES,
    MIN_HOLD_CLTV_BLOCKS,
    DecideBy,
    Hold,
    InvoiceRequest,
    Key,
    Verdict,
)
from fulgurite.invoices.states import DECIDE_BEFORE_EXPIRY_BLOCKS
from fulgurite.model import Line, Model
from fulgurite.money import MAX_MSAT, Msat
from fulgurite.payments.requests import Order, PaymentRequest, understand
from fulgurite.payments.states import PaymentStatus
from fulgurite.relays.calls import Outlook

# Between the last moment of the outgoing HTLC and that of the decision about the incoming one:
# an HTLC that times out on chain needs some blocks to be certain, blocks come in bursts, and
# some are found between counting them and sending.
SAFETY_BLOCKS: Final = 40
_AHEAD_BLOCKS: Final = DECIDE_BEFORE_EXPIRY_BLOCKS + SAFETY_BLOCKS

# lnd adds so many to the last hop's delta, and wants a limit to be above the sum.
_PADDING_BLOCKS: Final = 3
# Three hops of 144 blocks, the longest delta in common use.
_ROUTE_BLOCKS: Final = 432
_MAX_BLOCKS: Final = 2_016

# Counted blocks are old after so long: nothing is sent later, whoever was away meanwhile.
PAY_WITHIN: Final = timedelta(hours=1)
# The outgoing invoice must outlive the incoming one by so much: it is paid afterwards.
TIME_TO_PAY: Final = timedelta(minutes=2)

_KEY: Final = "relay:"
_KEY_LENGTH: Final = 100

# Before every clock's present, however wrong that clock is.
_NEVER: Final = datetime.fromtimestamp(0, tz=UTC)


class Incoming(Model):
    """The invoice that we hold. Exactly one of `amount_msat` and `fee_msat`."""

    node: NodeName = Field(description="the configured node that receives")
    amount_msat: Msat | None = Field(
        default=None,
        description="what the payer pays; at least what can go out, fee limit included",
    )
    fee_msat: Msat | None = Field(
        default=None, description="what we keep at least, above the outgoing amount and fee limit"
    )
    expiry_seconds: int = Field(default=3_600, ge=1, le=30 * 86_400)
    memo: str = Field(default="", max_length=MAX_MEMO_BYTES, description="the payer reads it")
    private_channels: bool = Field(
        default=False, description="tell the payer the way through unannounced channels"
    )
    cltv_expiry_blocks: int | None = Field(
        default=None,
        ge=MIN_HOLD_CLTV_BLOCKS,
        le=_MAX_BLOCKS,
        description="how long it can be held; null: enough for three hops of the outgoing payment",
    )
    metadata: dict[Annotated[str, StringConstraints(max_length=40)], Line] = Field(
        default_factory=dict, max_length=20, description="comes back in every event; no secrets"
    )

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        if (self.amount_msat is None) == (self.fee_msat is None):
            raise ValueError('give exactly one of "amount_msat" and "fee_msat"')
        if len(self.memo.encode()) > MAX_MEMO_BYTES:
            raise ValueError(f'"memo" has at most {MAX_MEMO_BYTES} bytes')
        return self


class RelayRequest(Model):
    """Receive, hold, pay, and only then take: the payee's preimage settles what we hold."""

    incoming: Incoming
    outgoing: PaymentRequest = Field(description="of a BOLT11 invoice, by the payment's own rules")


class RelayCancellation(Model):
    """Call a relay off. Nothing more is sent; what is in flight is followed to its end."""

    by: Line = Field(min_length=1)
    reason: Line = ""


class Plan(Model):
    """A relay understood: the two sides and what lies between them."""

    request: RelayRequest
    order: Order = Field(description="what goes out")
    invoice: InvoiceRequest = Field(description="what comes in; the same for the same request")
    final_cltv_delta_blocks: int = Field(description="the payee's own")

    @property
    def payment_hash(self) -> PaymentHash:
        return self.order.payment_hash

    @property
    def amount(self) -> Msat:
        """What the payer pays."""
        assert self.invoice.amount_msat is not None
        return self.invoice.amount_msat


def understand_relay(request: RelayRequest) -> Plan:
    """Reads the outgoing invoice, and writes the incoming one's request.

    Raises InvalidRequestErrors for what is impossible at any time.
    """
    outgoing, incoming = request.outgoing, request.incoming
    if outgoing.invoice is None:
        raise InvalidRequestError("a relay pays a BOLT11 invoice: a keysend has no payee to ask")
    order = understand(outgoing)
    final_blocks = read_invoice(outgoing.invoice).final_cltv_delta_blocks
    shortest = _AHEAD_BLOCKS + final_blocks + _PADDING_BLOCKS + 1
    blocks = incoming.cltv_expiry_blocks or min(shortest + _ROUTE_BLOCKS, _MAX_BLOCKS)
    if blocks < shortest:
        raise InvalidRequestError(
            f'"cltv_expiry_blocks" must be {shortest} or more: the payee alone wants {final_blocks}'
            f", and what comes in is decided {_AHEAD_BLOCKS} blocks later than what goes out"
        )
    relay = ids.relay_id(order.payment_hash)
    invoice = InvoiceRequest(
        key=relay_key(outgoing.node, order.payment_hash),
        node=incoming.node,
        amount_msat=_amount(incoming, order),
        memo=incoming.memo,
        expiry_seconds=incoming.expiry_seconds,
        private_channels=incoming.private_channels,
        cltv_expiry_blocks=blocks,
        metadata=incoming.metadata,
        notify_workflow_id=relay,
        hold=Hold(
            decide_by=DecideBy.WORKFLOW,
            workflow_id=relay,
            payment_hash=order.payment_hash,
            # Nobody but the relay knows whether what went out is certain to have failed.
            default=Verdict.KEEP,
            decide_within_seconds=min(
                outgoing.deadline_seconds + outgoing.stuck_after_seconds, 14 * 86_400
            ),
        ),
    )
    return Plan(request=request, order=order, invoice=invoice, final_cltv_delta_blocks=final_blocks)


def relay_key(outgoing_node: NodeName, payment_hash: PaymentHash) -> Key:
    """The caller's key of the incoming invoice.

    It says which node pays, because another node's LND does not know what this one has sent:
    whoever asks for the relay again from another node does not find it begun.
    """
    # A key has a hundred characters: next to a long name fewer of the hash's digits will do.
    return f"{_KEY}{outgoing_node}:{payment_hash}"[:_KEY_LENGTH]


def check_possible(plan: Plan, outlook: Outlook, now: datetime) -> None:
    """What would be wrong with beginning now. Not for a relay that has begun already.

    Raises InvalidRequestErrors.
    """
    order, node = plan.order, plan.request.outgoing.node
    if outlook.pubkey == order.destination:
        raise SelfPaymentError(f"the outgoing invoice is {node}'s own: pay from another node")
    if outlook.invoice_key is not None and outlook.invoice_key.startswith(_KEY):
        raise KeyReusedError(
            "a relay of this invoice that pays from another node was begun before, and may have "
            "paid: ask for that one again, or ask the payee for a new invoice"
        )
    if outlook.invoice_key is not None:
        raise SelfPaymentError(
            f"invoice/{order.payment_hash} is an invoice of ours: its payer can pay it as it is"
        )
    if outlook.elsewhere is not None:
        raise InvalidRequestError(
            f"{outlook.elsewhere} has this payment already, or may be about to send it, and this "
            f"relay would pay from {node}: ask again when that payment has ended unpaid"
        )
    if outlook.payment_open or outlook.payment is PaymentStatus.SUCCEEDED:
        raise InvalidRequestError(
            f"{node} has this payment already: another payer's money would be taken for it"
        )
    assert order.expires_at is not None  # it is an invoice
    needed = timedelta(seconds=plan.invoice.expiry_seconds) + TIME_TO_PAY
    if order.expires_at < now + needed:
        raise InvoiceExpiredError(
            f"the outgoing invoice expires at {order.expires_at.isoformat()}: it must be payable "
            f'{TIME_TO_PAY.seconds} s after the incoming one\'s "expiry_seconds"; shorten these, '
            "or ask the payee for a new invoice"
        )


def check_not_the_payees(plan: Plan, created: CreatedInvoice) -> None:
    """The receiving node may have the very invoice that is to be paid.

    Raises SelfPaymentError.
    """
    if read_invoice(created.payment_request).destination == plan.order.destination:
        raise SelfPaymentError(
            f"the outgoing invoice is {plan.invoice.node}'s own: its payer can pay it as it is"
        )


def cltv_limit_blocks(plan: Plan, first_expiry_height: int, tip: int) -> int | None:
    """How far ahead the outgoing HTLC may expire; None when that is too near to be sent."""
    blocks = min(
        first_expiry_height - tip - _AHEAD_BLOCKS,
        plan.request.outgoing.cltv_limit_blocks or _MAX_BLOCKS,
        _MAX_BLOCKS,
    )
    return blocks if blocks > plan.final_cltv_delta_blocks + _PADDING_BLOCKS else None


def to_pay(plan: Plan, limit_blocks: int, counted_at: datetime) -> PaymentRequest:
    """The outgoing payment, for as long as the blocks that were counted are worth something."""
    outgoing = plan.request.outgoing
    until = counted_at + min(timedelta(seconds=outgoing.deadline_seconds), PAY_WITHIN)
    return outgoing.model_copy(
        update={
            "cltv_limit_blocks": limit_blocks,
            "no_attempt_after": min(outgoing.no_attempt_after or until, until),
        }
    )


def to_ask(plan: Plan, node: NodeName | None = None) -> PaymentRequest:
    """A payment that sends nothing: LND is asked what it has, and that is followed to its end.

    `node` is another one than the relay's own, where that one may have paid.
    """
    asked = node or plan.request.outgoing.node
    return plan.request.outgoing.model_copy(update={"node": asked, "no_attempt_after": _NEVER})


def only_asks(request: PaymentRequest) -> bool:
    """Whether it is such a payment."""
    return request.no_attempt_after == _NEVER


def _amount(incoming: Incoming, order: Order) -> Msat:
    """What the payer pays: never less than what can go out."""
    worst = int(order.amount) + order.fee_limit
    asked = worst + incoming.fee_msat if incoming.fee_msat is not None else incoming.amount_msat
    assert asked is not None  # the model's validator saw to it
    if asked < worst:
        raise AmountError(
            f"{worst} msat can go out, fee limit included, and only {int(asked)} msat would come in"
        )
    if asked > MAX_MSAT:
        raise AmountError("more than every bitcoin there will ever be")
    return Msat(asked)
