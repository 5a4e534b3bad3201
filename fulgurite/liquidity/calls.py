"""What the autopilot asks of the world."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from fulgurite.budgets.policy import BudgetName
from fulgurite.calls import Call
from fulgurite.identity import NodeName, NodePubkey
from fulgurite.liquidity.deeds import Deed
from fulgurite.liquidity.picture import Snapshot
from fulgurite.liquidity.policy import LeaseTerms
from fulgurite.liquidity.pricing import Ask, Need, Price, Purse
from fulgurite.liquidity.requests import LiquidityRequest
from fulgurite.model import Line, Model


class Recall(Model):
    """Find what earlier plans of the node have begun, and how it stands now."""

    node: NodeName
    backoff_hours: int = Field(ge=0, description="what ended longer ago no longer counts")
    known: tuple[Deed, ...] = Field(default=(), description="from the schedule's last run")
    budget: BudgetName | None = None


class Asking(Model):
    """A move that a plan waits for a person's word on."""

    plan: Line
    planned_at: datetime
    peer: NodePubkey
    need: Need

    @property
    def asks_since(self) -> tuple[datetime, str]:
        """Which of two asks first."""
        return self.planned_at, self.plan


class Recalled(Model):
    """The deeds that count, what there is to spend, and what a person is asked already."""

    deeds: tuple[Deed, ...]
    purse: Purse
    asking: tuple[Asking, ...] = ()


class AskPrices(Model):
    """What each of these would cost. The activity is given what its queue's workers can price."""

    node: NodeName
    asks: tuple[Ask, ...]
    lease: LeaseTerms


class Prices(Model):
    """One an ask: a price, or why there is none. Asking moves nothing."""

    prices: tuple[Price, ...]


LOOK_AT_LIQUIDITY = Call("liquidity.look", LiquidityRequest, Snapshot)
RECALL_DEEDS = Call("liquidity.recall", Recall, Recalled)
ASK_PRICES = Call("liquidity.prices", AskPrices, Prices)
