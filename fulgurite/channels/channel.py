"""An open channel, as its node sees it."""

from __future__ import annotations

from pydantic import Field

from fulgurite.identity import ChannelId, ChannelPoint, NodePubkey, PaymentHash
from fulgurite.model import Model


class Htlc(Model):
    """An HTLC that is pending on a channel."""

    payment_hash: PaymentHash
    amount_sat: int = Field(ge=0)
    incoming: bool
    expiry_height: int
    forwarding_channel: ChannelId | None = Field(
        default=None, description="where it came from or goes to; null: this node sent or keeps it"
    )


class Channel(Model):
    """A channel that is open. Amounts are this node's side unless they say otherwise."""

    channel_point: ChannelPoint
    channel_id: ChannelId
    peer: NodePubkey
    peer_alias: str = ""
    active: bool = Field(description="the peer is connected, and HTLCs can pass")
    private: bool = False
    initiator: bool = Field(description="this node opened it, and pays for the commitment")
    capacity_sat: int
    local_sat: int
    remote_sat: int
    commit_fee_sat: int
    anchors_sat: int = Field(
        default=0, description="in both anchors of the commitment, from whoever opened it"
    )
    csv_blocks: int = Field(
        description="how long this node waits for its own balance after it force closes"
    )
    htlcs: tuple[Htlc, ...] = ()
