"""What became of a channel's closing, and how to read it."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from fulgurite.channels.closing import CloseOutput, CloseType, Closing
from fulgurite.channels.requests import CloseKind
from fulgurite.channels.states import CloseState
from fulgurite.identity import ChannelPoint, NodeName, NodePubkey, Txid
from fulgurite.model import Model


class CloseView(Model):
    """A closing under way or over, for those who watch."""

    state: CloseState
    node: NodeName
    channel_point: ChannelPoint
    kind: CloseKind
    closing: Closing | None = Field(default=None, description="LND's last word")
    bumped_sat: int = Field(default=0, description="of the budget, what bumps may spend")
    timeline: tuple[str, ...] = ()


class CloseReceipt(Model):
    """The result of a channel's closing."""

    status: CloseState = Field(description="a terminal state")
    node: NodeName
    channel_point: ChannelPoint
    kind: CloseKind
    because: str = ""
    close_type: CloseType | None = None
    peer: NodePubkey | None = None
    closing_txid: Txid | None = None
    close_height: int | None = None
    settled_sat: int = Field(default=0, description="our balance when it was closed")
    recovered_sat: int = Field(default=0, description="back in the wallet, after every fee")
    cost_sat: int = Field(default=0, description="on-chain fees that this node paid")
    outputs: tuple[CloseOutput, ...] = ()
    requested_at: datetime
    completed_at: datetime
