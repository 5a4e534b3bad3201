"""What `--json` prints that is not a model of the domain. Published in docs/api/ like those."""

from __future__ import annotations

from pydantic import Field

from fulgurite.chain.tip import Tip
from fulgurite.channels.channel import Channel
from fulgurite.channels.receipts import CloseReceipt
from fulgurite.channels.requests import CloseRequest
from fulgurite.identity import ChannelPoint, PaymentHash
from fulgurite.invoices.receipts import InvoiceReceipt
from fulgurite.invoices.requests import Key
from fulgurite.leases.receipts import LeaseReceipt
from fulgurite.leases.requests import LeaseKey, LeaseRequest
from fulgurite.model import Model
from fulgurite.payments.receipts import Receipt
from fulgurite.rebalances.receipts import RebalanceReceipt
from fulgurite.rebalances.requests import RebalanceRequest
from fulgurite.stuck.receipts import LadderReceipt
from fulgurite.stuck.requests import StuckRequest
from fulgurite.swaps.receipts import SwapReceipt
from fulgurite.swaps.sequence import SequenceReceipt
from starter.replay import EventReplay


class Outcome(Model):
    """What came of `pay` or `payment watch`."""

    payment_hash: PaymentHash
    attached: bool = Field(description="it was under way before this command, on its own terms")
    receipt: Receipt | None = Field(description="null: no verdict yet, and the payment goes on")


class InvoiceOutcome(Model):
    """What came of `invoice watch`, or of `invoice create --wait`."""

    payment_hash: PaymentHash
    receipt: InvoiceReceipt | None = Field(description="null: open, and nobody has paid yet")


class LadderOutcome(Model):
    """What came of `payment stuck HASH --follow`."""

    payment_hash: PaymentHash
    receipt: LadderReceipt | None = Field(description="null: it climbs on without this command")


class LadderPlan(Model):
    """What `payment stuck HASH --begin --dry-run` would begin, and what is at stake."""

    request: StuckRequest
    tip: Tip | None = Field(description="where the chain is; null: nobody follows its blocks")
    channels: tuple[Channel, ...] = Field(description="open ones that the payment hangs on")


class RebalanceOutcome(Model):
    """What came of `rebalance start` or `rebalance watch`."""

    key: Key
    attached: bool = Field(description="it was begun before this command")
    receipt: RebalanceReceipt | None = Field(description="null: it goes on without this command")


class RebalancePlan(Model):
    """What `rebalance start --dry-run` would begin, and how its channels stand."""

    request: RebalanceRequest
    channels: tuple[Channel, ...] = Field(description="open ones, of both sides")


class CloseOutcome(Model):
    """What came of `channel close`."""

    channel_point: ChannelPoint
    attached: bool = Field(
        description="it was being closed, and this order was added to the others; or it is closed"
    )
    receipt: CloseReceipt | None = Field(description="null: it goes on without this command")


class ClosePlan(Model):
    """What `channel close --dry-run` would order, and what is at stake."""

    request: CloseRequest
    tip: Tip | None = Field(description="where the chain is; null: nobody follows its blocks")
    channel: Channel | None = Field(description="null: it is not open, and already closing")


class LeaseOutcome(Model):
    """What came of `lease bid` or `lease watch`."""

    key: LeaseKey
    attached: bool = Field(description="it was under way before this command, on its own terms")
    receipt: LeaseReceipt | None = Field(description="null: it goes on without this command")


class LeasePlan(Model):
    """What `lease bid --dry-run` would bid. Fees are poold's to quote: they are not in it."""

    request: LeaseRequest
    premium_sat: int = Field(description="at the bid's own rate, for the whole amount and term")
    percent_a_year: float


class SwapOutcome(Model):
    """What came of `swap out`, `swap in` or `swap watch`."""

    key: Key
    attached: bool = Field(description="it was begun before this command")
    receipt: SwapReceipt | None = Field(description="null: it goes on without this command")


class SequenceOutcome(Model):
    """What came of `swap sequence begin` or `swap sequence watch`."""

    key: Key
    attached: bool = Field(description="it was begun before this command")
    receipt: SequenceReceipt | None = Field(description="null: it goes on without this command")


class ReplayReport(Model):
    """What came of `events replay`."""

    dry_run: bool
    events: tuple[EventReplay, ...]


class Problem(Model):
    """Why a command did not do what it was asked to."""

    error: str = Field(description="the name of a class in `fulgurite.errors` or `starter.errors`")
    message: str = Field(description="what is wrong, and what to do next")
    retryable: bool = Field(description="the same command can work later without a change")


class Proof(Model):
    """The proof of payment, opened."""

    payment_hash: PaymentHash
    preimage: str = Field(pattern="^[0-9a-f]{64}$", description="its SHA-256 is the payment hash")


class PublicKey(Model):
    """The public half of a sealing key."""

    sealing_key: str = Field(pattern="^[0-9a-f]{64}$")
