"""What a caller asks of an invoice. Published as JSON Schema in docs/api/."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Self

from pydantic import Field, StringConstraints, model_validator

from fulgurite.identity import Digest, NodeName, PaymentHash
from fulgurite.invoices.states import DECIDE_BEFORE_EXPIRY_BLOCKS
from fulgurite.model import Line, Model
from fulgurite.money import Msat
from fulgurite.sealing import Sealed

# The caller's own name for an intent: an order number, a UUID. Part of a workflow id.
Key = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]{0,99}$")]
EndpointName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,39}$")]

# BOLT 11 has ten bits of length for the description, in groups of five bits.
MAX_MEMO_BYTES = 639
# A hold invoice must leave its decision some hours, and LND its margin.
MIN_HOLD_CLTV_BLOCKS = 2 * DECIDE_BEFORE_EXPIRY_BLOCKS


class Verdict(StrEnum):
    """What can be decided about a held invoice."""

    SETTLE = "SETTLE"
    CANCEL = "CANCEL"
    # Only for who holds it against another payment: canceling could lose money (a relay).
    KEEP = "KEEP"


class DecideBy(StrEnum):
    """Who decides about a held invoice."""

    ACCEPT_ALL = "ACCEPT_ALL"  # settle whatever LND accepted
    AMOUNT = "AMOUNT"  # settle between `min_msat` and `max_msat`, cancel outside
    CALLBACK = "CALLBACK"  # ask a configured endpoint by a signed request
    WORKFLOW = "WORKFLOW"  # signal a workflow, which answers by `decide`
    UPDATE = "UPDATE"  # wait for somebody's `settle` or `cancel`


class Hold(Model):
    """A hold invoice: paid means held, until somebody decides."""

    decide_by: DecideBy = DecideBy.UPDATE
    min_msat: Msat = Field(default=Msat(0), description="only for AMOUNT")
    max_msat: Msat | None = Field(default=None, description="only for AMOUNT; null: no limit")
    callback: EndpointName | None = Field(
        default=None, description="only for CALLBACK: a configured webhook endpoint"
    )
    workflow_id: Line | None = Field(
        default=None,
        min_length=1,
        description="only for WORKFLOW: signalled `invoice_accepted` with the view",
    )
    decide_within_seconds: int = Field(
        default=3_600,
        ge=1,
        le=14 * 86_400,
        description="patience after it is held; ends earlier when the HTLC's expiry comes near",
    )
    default: Verdict = Field(
        default=Verdict.CANCEL,
        description="what happens when nobody has decided in time; KEEP, nothing: only for "
        "WORKFLOW with a `payment_hash`, and its workflow decides before the HTLC expires",
    )
    payment_hash: PaymentHash | None = Field(
        default=None,
        description="for a preimage that somebody else holds; `settle` must bring it. "
        "null: we make and keep one",
    )

    @model_validator(mode="after")
    def _policy_is_whole(self) -> Self:
        by = self.decide_by
        if (self.callback is not None) != (by is DecideBy.CALLBACK):
            raise ValueError('"callback" goes with decide_by CALLBACK, and only with it')
        if (self.workflow_id is not None) != (by is DecideBy.WORKFLOW):
            raise ValueError('"workflow_id" goes with decide_by WORKFLOW, and only with it')
        if by is not DecideBy.AMOUNT and (self.min_msat or self.max_msat is not None):
            raise ValueError('"min_msat" and "max_msat" go with decide_by AMOUNT only')
        if self.max_msat is not None and self.max_msat < self.min_msat:
            raise ValueError('"max_msat" is below "min_msat"')
        if self.payment_hash and (
            by in {DecideBy.ACCEPT_ALL, DecideBy.AMOUNT, DecideBy.CALLBACK}
            or self.default is Verdict.SETTLE
        ):
            raise ValueError("who holds the preimage must decide: use UPDATE or WORKFLOW")
        if self.default is Verdict.KEEP and not self.payment_hash:
            raise ValueError("KEEP is for an invoice that is held against another payment")
        if self.default is Verdict.KEEP and by is not DecideBy.WORKFLOW:
            raise ValueError("KEEP waits for a workflow, and for nobody else: use WORKFLOW")
        return self


class InvoiceRequest(Model):
    """One invoice. The same key and the same fields always give the same invoice."""

    key: Key = Field(description="the caller's own name for it; a second request attaches")
    node: NodeName = Field(description="the configured node that receives")
    amount_msat: Msat | None = Field(default=None, description="null: the payer chooses")
    memo: str = Field(default="", max_length=MAX_MEMO_BYTES, description="the payer reads it")
    description_hash: Digest | None = Field(
        default=None, description="SHA-256 of a longer description, instead of a memo"
    )
    expiry_seconds: int = Field(default=86_400, ge=1, le=365 * 86_400)
    private_channels: bool = Field(
        default=False, description="tell the payer the way through unannounced channels"
    )
    fallback_address: str | None = Field(default=None, pattern=r"^[A-Za-z0-9]{14,100}$")
    cltv_expiry_blocks: int | None = Field(
        default=None,
        ge=18,
        le=2_016,
        description="of the last hop; null: LND's own for normal invoices, 144 for hold invoices",
    )
    hold: Hold | None = Field(default=None, description="null: settled as soon as it is paid")
    late_watch_seconds: int = Field(
        default=3_600,
        ge=0,
        le=30 * 86_400,
        description="how long those who pay after the expiry are looked out for",
    )
    metadata: dict[Annotated[str, StringConstraints(max_length=40)], Line] = Field(
        default_factory=dict, max_length=20, description="comes back in every event; no secrets"
    )
    notify_workflow_id: Line | None = Field(
        default=None,
        min_length=1,
        description="signalled `fulgurite_event` with every event of this invoice",
    )

    @model_validator(mode="after")
    def _can_be_written(self) -> Self:
        if self.amount_msat == 0:
            raise ValueError('leave "amount_msat" out for any amount')
        if len(self.memo.encode()) > MAX_MEMO_BYTES:
            raise ValueError(f'"memo" has at most {MAX_MEMO_BYTES} bytes')
        if self.memo and self.description_hash:
            raise ValueError('give "memo" or "description_hash", not both')
        if self.hold and self.cltv_expiry_blocks is not None:
            shortest = MIN_HOLD_CLTV_BLOCKS
            if self.cltv_expiry_blocks < shortest:
                raise ValueError(f'a hold invoice needs "cltv_expiry_blocks" of {shortest} or more')
        return self


class Settlement(Model):
    """Take the money of a held invoice."""

    by: Line = Field(min_length=1, description="who; written to the invoice's timeline")
    sealed_preimage: Sealed | None = Field(
        default=None, description="where the invoice was made for somebody else's hash"
    )


class InvoiceCancellation(Model):
    """Call an invoice off; what is held for it goes back."""

    by: Line = Field(min_length=1)
    reason: Line = ""


class Decision(Model):
    """What a workflow says about the invoice that is held for it."""

    verdict: Verdict
    by: Line = Field(min_length=1, description="who; written to the invoice's timeline")
    reason: Line = ""
    sealed_preimage: Sealed | None = Field(
        default=None, description="with SETTLE, where the hash is somebody else's"
    )
