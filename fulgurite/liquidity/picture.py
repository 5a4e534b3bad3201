"""What the autopilot looks at: a node's channels, and what has flowed over them."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from fulgurite.identity import ChannelId, ChannelPoint, NodeName, NodePubkey
from fulgurite.liquidity.flows import Flow, Forecast, forecast
from fulgurite.liquidity.policy import LiquidityPolicy, Remedy
from fulgurite.model import Model

# BOLT 2 leaves the reserve to the peers; LND asks for one percent, which never moves.
_RESERVE_DIVISOR = 100


class Holding(Model):
    """An open channel, as far as liquidity goes."""

    channel_point: ChannelPoint
    channel_id: ChannelId
    peer: NodePubkey
    peer_alias: str = ""
    active: bool
    capacity_sat: int = Field(gt=0)
    local_sat: int = Field(ge=0)
    remote_sat: int = Field(ge=0)
    flow: Flow | None = Field(default=None, description="null: the history could not be read")

    @property
    def local_ratio(self) -> float:
        return self.local_sat / self.capacity_sat

    @property
    def reserve_sat(self) -> int:
        return self.capacity_sat // _RESERVE_DIVISOR

    def forecast(self) -> Forecast:
        return forecast(self.flow, local_sat=self.local_sat, remote_sat=self.remote_sat)


class Snapshot(Model):
    """A node's channels at one moment, and the policy that holds there."""

    node: NodeName
    taken_at: datetime
    channels: tuple[Holding, ...]
    policy: LiquidityPolicy
    remedies: tuple[Remedy, ...] = Field(
        default=tuple(Remedy), description="those that are configured for the node"
    )
    flows_told: str = Field(default="", description="why there are no flows, if there are none")

    def holding(self, point: ChannelPoint) -> Holding:
        return next(each for each in self.channels if each.channel_point == point)
