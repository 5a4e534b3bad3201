"""What a ladder sees, and what came of it."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from fulgurite.chain.tip import Tip
from fulgurite.channels.closing import ClosePhase
from fulgurite.identity import ChannelPoint, NodeName, NodePubkey, PaymentHash
from fulgurite.model import Model
from fulgurite.payments.receipts import OnChain, PaymentUpdate
from fulgurite.payments.states import PaymentStatus
from fulgurite.stuck.policy import LadderPolicy
from fulgurite.stuck.states import LadderState


class Stake(Model):
    """One channel on which HTLCs of the payment hang: what a force close of it would touch."""

    channel_point: ChannelPoint
    peer: NodePubkey
    peer_alias: str = ""
    peer_online: bool = Field(description="it can still resolve the HTLC off chain")
    hung_sat: int = Field(description="of this payment, all its HTLCs on the channel")
    expiry_height: int = Field(description="of the first of them")
    capacity_sat: int
    local_sat: int = Field(description="locked until CSV after a force close")
    commit_fee_sat: int = Field(description="what the commitment costs this node")
    anchors_sat: int = Field(
        default=0, description="what this node has put into both anchors; its own can come back"
    )
    csv_blocks: int
    others: int = Field(
        default=0, description="other payments of this node that hang on the channel as well"
    )


class Picture(Model):
    """What LND says of a stuck payment at one moment."""

    tip: Tip
    asked: bool = Field(description="LND was asked for its word on the payment")
    payment: PaymentUpdate | None = Field(
        default=None, description="its word; null where it was asked: it does not know the hash"
    )
    stakes: tuple[Stake, ...] = Field(default=(), description="open channels it hangs on")
    closing: dict[ChannelPoint, ClosePhase] = Field(
        default={}, description="of the known channels those that are no longer open"
    )
    policy: LadderPolicy = Field(description="the one that holds: the request's, or the node's")


class LadderView(Model):
    """A ladder under way or over, for those who watch and for those who decide."""

    state: LadderState
    node: NodeName
    payment_hash: PaymentHash
    tip: Tip | None = None
    stakes: tuple[Stake, ...] = ()
    policy: LadderPolicy | None = None
    blocks_to_expiry: int | None = None
    on_chain: OnChain | None = None
    timeline: tuple[str, ...] = ()


class LadderReceipt(Model):
    """The result of a ladder."""

    status: LadderState = Field(description="a terminal state")
    node: NodeName
    payment_hash: PaymentHash
    verdict: PaymentStatus | None = Field(description="LND's; null: it does not know the payment")
    on_chain: OnChain | None = None
    force_closed: tuple[ChannelPoint, ...] = Field(
        default=(), description="the channels whose close this ladder ordered"
    )
    began_at: datetime
    completed_at: datetime
