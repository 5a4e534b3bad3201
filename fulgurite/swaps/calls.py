"""What a swap's workflow asks of the world."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from fulgurite.calls import Call
from fulgurite.identity import ChannelPoint, NodeName, PaymentHash
from fulgurite.model import Model
from fulgurite.swaps.limits import Bounds, Direction, Excess, Quote, Terms
from fulgurite.swaps.reasons import SwapReason
from fulgurite.swaps.requests import SwapRequest
from fulgurite.swaps.told import LoopSwap, Sighting


class QuoteSwap(Model):
    """Ask loopd what it has under our labels, and its server what the swap would cost."""

    request: SwapRequest
    label_prefix: str


class Offer(Model):
    """What a swap would cost now. Refused where `reason` says why."""

    terms: Terms | None = None
    quote: Quote | None = None
    reason: SwapReason = SwapReason.NONE
    because: str = ""
    existing: LoopSwap | None = Field(default=None, description="begun before: an earlier run's")
    points: tuple[ChannelPoint, ...] = Field(
        default=(), description="the funding outputs of the request's channels"
    )
    approval_above_sat: int | None = Field(default=None, description="the node's own threshold")


class SwapPlan(Model):
    """What a swap would cost now, and whether it would be begun."""

    request: SwapRequest
    offer: Offer
    bounds: Bounds | None = Field(default=None, description="what loopd would be allowed")
    exceeded: tuple[Excess, ...] = Field(default=(), description="limits that the quote is above")
    reason: SwapReason = SwapReason.NONE
    advice: str = Field(default="", description="what to do, where it would be refused")


class Initiate(Model):
    """Have loopd begin a swap, once. Nobody may run this again after it was begun."""

    request: SwapRequest
    label: str
    label_prefix: str = Field(description="a swap under any label that begins so is this one")
    bounds: Bounds
    not_after: datetime = Field(description="loopd is not asked after this, whoever was held up")


class Outcome(StrEnum):
    """What is known after loopd was asked."""

    BEGUN = "BEGUN"  # it has the swap
    REFUSED = "REFUSED"  # it, or its server, said no before anything was stored
    NOT_ASKED = "NOT_ASKED"  # it did not answer the question whether it has it already
    LOST = "LOST"  # neither: it may have begun


class Initiated(Model):
    """loopd's answer, or what became of it."""

    outcome: Outcome
    swap: LoopSwap | None = None
    swap_hash: PaymentHash | None = Field(default=None, description="told, and not yet listed")
    reason: SwapReason = SwapReason.NONE
    because: str = ""


class LookForSwap(Model):
    """All that loopd has of one workflow, and whether it lists all that it has stored."""

    node: NodeName
    direction: Direction
    label_prefix: str
    swap_hash: PaymentHash | None = Field(default=None, description="this one too, if it is there")


class FollowSwap(Model):
    """Wait until loopd says something new of a swap, at the latest until `until`."""

    node: NodeName
    swap_hash: PaymentHash
    seen: LoopSwap | None = None
    until: datetime


class Followed(Model):
    """loopd's present word; null: it does not list the swap."""

    swap: LoopSwap | None


class AbandonSwap(Model):
    """Have loopd stop caring for a swap in, if its HTLC is not published or that was allowed."""

    node: NodeName
    swap_hash: PaymentHash
    even_if_published: bool = False


class Abandoned(Model):
    """Whether loopd took the order; `because` says why not."""

    taken: bool
    because: str = ""


QUOTE_SWAP = Call("swap.quote", QuoteSwap, Offer)
INITIATE_SWAP = Call("swap.initiate", Initiate, Initiated)
LOOK_FOR_SWAP = Call("swap.look", LookForSwap, Sighting)
FOLLOW_SWAP = Call("swap.follow", FollowSwap, Followed)
ABANDON_SWAP = Call("swap.abandon", AbandonSwap, Abandoned)
