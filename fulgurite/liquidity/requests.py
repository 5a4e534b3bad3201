"""What is asked of the autopilot. Published as JSON Schema in docs/api/."""

from __future__ import annotations

from pydantic import Field

from fulgurite.identity import ChannelId, NodeName
from fulgurite.liquidity.outbound import Outbound
from fulgurite.liquidity.policy import LiquidityPolicy, Mode
from fulgurite.model import Model
from fulgurite.payments.requests import Approval


class LiquidityRequest(Model):
    """One look at a node's channels, and what is to be done about them."""

    node: NodeName
    mode: Mode | None = Field(default=None, description="null: the policy's own")
    policy: LiquidityPolicy | None = Field(default=None, description="null: the node's own")
    outbound: Outbound | None = Field(
        default=None, description="a payment that waits: wanted beside what the rules want"
    )


class PlanApproval(Approval):
    """A person's yes to a plan, or to some of its moves."""

    only: tuple[ChannelId, ...] = Field(
        default=(), max_length=500, description="the channels whose moves are begun; none: all"
    )
