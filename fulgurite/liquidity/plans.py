"""A plan: one line a channel, with a reason for every action and every non-action."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

from pydantic import Field

from fulgurite.identity import ChannelId, ChannelPoint, NodeName, NodePubkey
from fulgurite.liquidity.deeds import Deed
from fulgurite.liquidity.flows import Forecast
from fulgurite.liquidity.policy import LiquidityPolicy, Mode, Remedy
from fulgurite.liquidity.pricing import Need, Price, Purse
from fulgurite.liquidity.reasons import Reason
from fulgurite.model import Line, Model


class Move(Model):
    """What a plan does for one channel."""

    remedy: Remedy
    need: Need
    amount_sat: int = Field(gt=0)
    partner: ChannelPoint | None = None
    partner_id: ChannelId | None = None
    partner_peer: NodePubkey | None = None
    cost_msat: int = Field(ge=0, description="as quoted")
    limit_msat: int = Field(ge=0, description="the most that it may cost, handed on and enforced")
    chain_msat: int | None = Field(default=None, description="of a swap's cost, the chain's part")
    term_blocks: int | None = None
    workflow_id: Line | None = Field(default=None, description="null: it was not begun")


class ChannelLine(Model):
    """What a plan says of one channel."""

    channel_point: ChannelPoint
    channel_id: ChannelId
    peer: NodePubkey
    peer_alias: str = ""
    capacity_sat: int
    local_sat: int
    remote_sat: int
    local_after_sat: int = Field(description="if every move of the plan succeeds")
    forecast: Forecast = Forecast()
    reason: Reason
    words: str = Field(description="the reason with its figures, for people")
    move: Move | None = Field(default=None, description="null: nothing is done")
    prices: tuple[Price, ...] = Field(default=(), description="all that were asked for")
    idle_ppm: int | None = Field(
        default=None, description="what doing nothing costs; null: the caps alone decide"
    )


class PlanState(StrEnum):
    """How a run of the autopilot stands."""

    LOOKING = "LOOKING"  # channels, history and prices are read
    PLANNED = "PLANNED"  # explained, and nothing was to be moved
    AWAITING_APPROVAL = "AWAITING_APPROVAL"  # a person is asked
    BEGINNING = "BEGINNING"  # its moves are being begun
    BEGUN = "BEGUN"  # its moves are under way, each in a workflow of its own
    REJECTED = "REJECTED"  # a person said no
    LAPSED = "LAPSED"  # nobody said anything in time
    BLIND = "BLIND"  # the node's channels could not be read: nothing is planned


# Stands for all of a node's channels among its turns, for who begins a plan's moves: no
# transaction has this id, so that the moves themselves can have their channels meanwhile.
WHOLE_NODE: Final = ChannelPoint(f"{'0' * 64}:0")

# Nothing more happens in these.
OVER: Final = frozenset(PlanState) - {
    PlanState.LOOKING,
    PlanState.AWAITING_APPROVAL,
    PlanState.BEGINNING,
}


class LiquidityPlan(Model):
    """The result of one run, and the answer to its query."""

    node: NodeName
    state: PlanState
    mode: Mode
    began_at: datetime
    planned_at: datetime | None = None
    lines: tuple[ChannelLine, ...] = ()
    policy: LiquidityPolicy | None = None
    purse: Purse | None = None
    deeds: tuple[Deed, ...] = Field(
        default=(), description="what this and earlier plans have begun, as far as it still counts"
    )
    note: str = ""

    @property
    def remembers(self) -> bool:
        """It has come so far that `deeds` has all that counted then."""
        return self.planned_at is not None or self.state is PlanState.BLIND

    @property
    def moves(self) -> tuple[ChannelLine, ...]:
        return tuple(line for line in self.lines if line.move)

    @property
    def cost_msat(self) -> int:
        return sum(line.move.cost_msat for line in self.lines if line.move)

    @property
    def limit_msat(self) -> int:
        return sum(line.move.limit_msat for line in self.lines if line.move)


class PlanNotice(Model):
    """What an event says of a plan: what it moves, and what for. The rest is in the plan."""

    node: NodeName
    plan: Line = Field(description="the id of the workflow that has made it")
    state: PlanState
    headline: str
    moves: tuple[ChannelLine, ...]
