"""What became of a payment: LND's word on it, what we make of it, and how to read it."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from fulgurite.budgets.orders import Refusal
from fulgurite.budgets.policy import BudgetName
from fulgurite.identity import ChannelPoint, NodeName, NodePubkey, PaymentHash
from fulgurite.model import Model
from fulgurite.money import Msat
from fulgurite.payments.states import FailureReason, PaymentState, PaymentStatus
from fulgurite.sealing import Sealed


class PaymentUpdate(Model):
    """LND's word on a payment at one moment. Only `status` is a verdict."""

    status: PaymentStatus
    failure_reason: FailureReason = FailureReason.NONE
    payment_index: int = Field(default=0, description="LND's number of this send of the hash")
    amount_msat: Msat = Msat(0)
    fee_msat: Msat = Msat(0)
    parts: int = Field(default=0, description="HTLCs that settled, or are in flight")
    attempts: int = Field(default=0, description="HTLCs that were ever sent")
    created_at: datetime | None = None
    resolved_at: datetime | None = None
    expiry_height: int | None = Field(
        default=None, description="block height at which the first HTLC in flight expires"
    )
    sealed_preimage: Sealed | None = None

    @property
    def terminal(self) -> bool:
        return self.status is not PaymentStatus.IN_FLIGHT


class OnChain(Model):
    """What taking a payment to the chain has come to, for its receipt."""

    channel_points: tuple[ChannelPoint, ...]
    cost_sat: int = Field(description="on-chain fees so far, of all these channels")
    shared_with: int = Field(
        default=0,
        description="so many other payments of this node hung on these channels as well. The "
        "receipt of each tells the whole cost: what this one cost alone is cost_sat divided by "
        "shared_with + 1",
    )
    complete: bool = Field(
        description="false: outputs are still on their way; close/<channel point> has the rest"
    )


class Receipt(Model):
    """The result of a payment workflow."""

    status: PaymentState = Field(description="a terminal state")
    failure_reason: FailureReason = FailureReason.NONE
    advice: str = Field(default="", description="what to do next, when it did not succeed")
    warnings: tuple[str, ...] = Field(
        default=(), description="FEE_LIMIT_EXCEEDED: LND paid more than the limit it was given"
    )
    payment_hash: PaymentHash
    destination: NodePubkey
    node: NodeName
    amount_msat: Msat
    fee_msat: Msat = Msat(0)
    fee_limit_msat: Msat
    parts: int = 0
    attempts: int = Field(default=0, description="HTLCs that the last send made")
    sends: int = Field(default=0, description="sends of the hash that LND accepted from this run")
    initiated_by_this_run: bool = Field(
        default=False, description="false: somebody else had LND pay this hash"
    )
    requested_at: datetime
    resolved_at: datetime | None = Field(default=None, description="LND's time of the verdict")
    completed_at: datetime
    sealed_preimage: Sealed | None = Field(default=None, description="the proof of payment")
    budgets: tuple[BudgetName, ...] = Field(
        default=(), description="what counts it, if it was sent: amount and fee have left there"
    )
    refusal: Refusal | None = Field(
        default=None, description="OVER_BUDGET: which budget had no room, and when it has"
    )
    on_chain: OnChain | None = Field(
        default=None, description="where it had to be taken to the chain; null: it had not"
    )


class PaymentView(Model):
    """A running or finished payment, for those who watch."""

    state: PaymentState
    payment_hash: PaymentHash
    destination: NodePubkey
    node: NodeName
    amount_msat: Msat
    fee_limit_msat: Msat
    cancel_requested: bool = False
    update: PaymentUpdate | None = None
    on_chain: OnChain | None = None
    budgets: tuple[BudgetName, ...] = Field(default=(), description="what counts it")
    refusal: Refusal | None = Field(
        default=None, description="a budget's last word, where it has no room"
    )
    waits_until: datetime | None = Field(
        default=None, description="AWAITING_LIQUIDITY: after this no remedy is waited for"
    )
    timeline: tuple[str, ...] = Field(default=(), description="oldest first, RFC 3339 and words")
