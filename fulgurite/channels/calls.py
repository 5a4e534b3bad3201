"""What a closing's workflow asks of the world."""

from __future__ import annotations

from pydantic import Field

from fulgurite.calls import Call
from fulgurite.chain.tip import Tip
from fulgurite.channels.closing import Closing
from fulgurite.channels.requests import CloseRequest
from fulgurite.identity import ChannelPoint, NodeName, NodePubkey, Outpoint
from fulgurite.model import Line, Model


class ChannelOf(Model):
    """One channel of one node."""

    node: NodeName
    channel_point: ChannelPoint
    tip: Tip | None = Field(
        default=None, description="the block that is the reason to look; null: something else is"
    )


class Reconnect(Model):
    """Connect to the peer of a channel, at the addresses that the node knows."""

    node: NodeName
    peer: NodePubkey


class Reconnected(Model):
    """Whether the peer is there now."""

    online: bool
    because: str = ""


class BeginClose(Model):
    """Start the closing's workflow, or join the one that runs; `listener` is told of each move.

    A listener is a workflow with the signal `closing_moved`, which carries a `CloseView`. The
    workflow that runs is told by its signal `join`, which carries this.
    """

    request: CloseRequest
    listener: Line | None = None
    commit_fee_sat: int = Field(
        default=0,
        ge=0,
        description="what the commitment, its fee and both anchors, has cost this node: seen while "
        "the channel was open, for LND says it no more once outputs are swept; 0: not known",
    )


class Begun(Model):
    """The closing's workflow runs, or has told its end already."""

    workflow_id: Line


class Bump(Model):
    """Have one output's sweep, or the closing transaction itself, confirmed sooner."""

    node: NodeName
    channel_point: ChannelPoint
    outpoint: Outpoint | None = Field(description="null: the closing transaction, by its anchor")
    budget_sat: int = Field(ge=1, description="the most that its fee may be")
    deadline_height: int


class Bumped(Model):
    """Whether LND took the order; `because` says why not."""

    taken: bool
    because: str = ""


CLOSE_CHANNEL = Call("channel.close", CloseRequest, Closing)
LOOK_AT_CLOSE = Call("channel.look_at_close", ChannelOf, Closing)
BUMP_CLOSE = Call("channel.bump", Bump, Bumped)
RECONNECT_PEER = Call("channel.reconnect", Reconnect, Reconnected)
BEGIN_CLOSE = Call("channel.begin_close", BeginClose, Begun)
