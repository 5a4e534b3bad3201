"""How a swap stands, and what came of it."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from fulgurite.identity import NodeName, PaymentHash
from fulgurite.invoices.requests import Key
from fulgurite.model import Line, Model
from fulgurite.swaps.limits import Bounds, Cost, Direction, Excess, Quote, Terms
from fulgurite.swaps.reasons import SwapReason
from fulgurite.swaps.states import SwapState


class AtRisk(Model):
    """What of the money is not where it was, and what could be lost of it from now on."""

    in_flight_sat: int = Field(default=0, description="locked until the swap moves on")
    could_lose_sat: int = Field(default=0, description="at the worst, fees included")
    because: str = ""


class SwapView(Model):
    """A swap under way or over, for those who watch and for those who decide."""

    state: SwapState
    key: Key
    node: NodeName
    direction: Direction
    amount_sat: int
    terms: Terms | None = None
    quote: Quote | None = None
    bounds: Bounds | None = Field(default=None, description="what loopd may spend; null: unknown")
    swap_hash: PaymentHash | None = Field(
        default=None, description="loopd's name; null: it has none"
    )
    htlc_address: Line = ""
    cost: Cost = Field(default=Cost(), description="so far, by loopd")
    reason: SwapReason = SwapReason.NONE
    advice: str = ""
    at_risk: AtRisk = AtRisk()
    attempt: int = 1
    unlisted: int | None = Field(
        default=None,
        description="while it is looked for: swaps that loopd has stored and does not list; "
        "null: not known",
    )
    others: tuple[PaymentHash, ...] = Field(
        default=(), description="further swaps of this key: more than one was begun"
    )
    timeline: tuple[str, ...] = ()


class SwapReceipt(Model):
    """The result of a swap's workflow."""

    status: SwapState = Field(description="a terminal state")
    reason: SwapReason = SwapReason.NONE
    advice: str = Field(default="", description="what to do next, when it did not succeed")
    warnings: tuple[str, ...] = Field(
        default=(),
        description="LIMIT_EXCEEDED: loopd spent more than it was told; BEGUN_TWICE: `others`; "
        "NOT_RESOLVED: given up while loopd may have it; PREPAYMENT_UNSEEN: what it paid in "
        "advance may be lost",
    )
    key: Key
    node: NodeName
    direction: Direction
    amount_sat: int
    swap_hash: PaymentHash | None = None
    cost: Cost = Field(default=Cost(), description="in loopd's own figures")
    unseen_sat: int = Field(
        default=0,
        description="what may be gone beside that, which loopd does not tell: the prepayment of "
        "a swap out that failed, all of one given up; budgets and sequences count it",
    )
    bounds: Bounds | None = None
    exceeded: tuple[Excess, ...] = ()
    others: tuple[PaymentHash, ...] = ()
    attempts: int = Field(default=0, description="times that loopd was asked to begin it")
    requested_at: datetime
    initiated_at: datetime | None = Field(default=None, description="by loopd's clock")
    completed_at: datetime
