"""What became of a rebalance, and how to read it."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from fulgurite.budgets.orders import Refusal
from fulgurite.identity import NodeName
from fulgurite.invoices.requests import Key
from fulgurite.model import Model
from fulgurite.money import Msat
from fulgurite.rebalances.calls import Attempt, Side
from fulgurite.rebalances.requests import FeeCap
from fulgurite.rebalances.routes import Route
from fulgurite.rebalances.states import RebalanceState, StopReason


class RebalanceReceipt(Model):
    """The result of a rebalance's workflow."""

    status: RebalanceState = Field(description="a terminal state")
    reason: StopReason = Field(description="why it did not go on")
    because: str = Field(default="", description="the same in words, with figures")
    advice: str = Field(default="", description="what to do next, when not all has moved")
    key: Key
    node: NodeName
    goal_msat: Msat = Field(description="what was to move")
    moved_msat: Msat
    fee_msat: Msat = Field(description="paid for it, in all")
    fee_ppm: int = Field(description="of what moved, rounded up")
    cap: FeeCap
    parts: int = Field(description="attempts that succeeded")
    attempts: int = Field(description="attempts that were made")
    before: tuple[Side, ...] = ()
    after: tuple[Side, ...] = ()
    refusal: Refusal | None = Field(default=None, description="OVER_BUDGET: which, and until when")
    requested_at: datetime
    completed_at: datetime


class RebalanceView(Model):
    """A running or finished rebalance, for those who watch."""

    state: RebalanceState
    reason: StopReason | None = None
    because: str = ""
    key: Key
    node: NodeName
    goal_msat: Msat | None = Field(default=None, description="null: not looked at yet")
    moved_msat: Msat = Msat(0)
    fee_msat: Msat = Msat(0)
    cap: FeeCap
    attempts: int = 0
    attempt: Attempt | None = Field(default=None, description="the one that is with LND")
    route: Route | None = None
    before: tuple[Side, ...] = ()
    now: tuple[Side, ...] = ()
    cancel_requested: bool = False
    timeline: tuple[str, ...] = Field(default=(), description="oldest first, RFC 3339 and words")
