"""How a lease stands, and what came of it. Published as JSON Schema in docs/api/."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import Self

from pydantic import Field

from fulgurite.chain.tip import Tip
from fulgurite.identity import NodeName
from fulgurite.leases.market import Account, Bid, LeasedChannel
from fulgurite.leases.pricing import Quote
from fulgurite.leases.requests import LeaseKey, LeaseRequest
from fulgurite.leases.states import LeaseState, Refusal
from fulgurite.model import Model


class LeaseCost(Model):
    """What the channels have cost, by poold's own figures. All of it came out of the account."""

    premium_sat: int = Field(default=0, description="to those who opened them")
    execution_fee_sat: int = Field(default=0, description="to the auctioneer")
    chain_fee_sat: int = Field(default=0, description="our share of the batches")
    total_sat: int = 0

    @classmethod
    def of(cls, channels: Iterable[LeasedChannel]) -> Self:
        each = list(channels)
        return cls(
            premium_sat=sum(channel.premium_sat for channel in each),
            execution_fee_sat=sum(channel.execution_fee_sat for channel in each),
            chain_fee_sat=sum(channel.chain_fee_sat for channel in each),
            total_sat=sum(channel.cost_sat for channel in each),
        )


class LeaseView(Model):
    """A lease under way or over, for those who watch and for those who decide."""

    state: LeaseState
    key: LeaseKey
    node: NodeName
    request: LeaseRequest
    deadline: datetime = Field(description="after this the bid is taken back")
    tip: Tip | None = None
    quote: Quote | None = Field(default=None, description="the most that it can cost")
    account: Account | None = Field(default=None, description="the one that pays")
    bid: Bid | None = None
    channels: tuple[LeasedChannel, ...] = ()
    leased_sat: int = 0
    cost: LeaseCost = LeaseCost()
    blocks_left: int | None = Field(
        default=None, description="of the term, to its last channel's height; null: not open yet"
    )
    because: str = ""
    timeline: tuple[str, ...] = ()


class LeaseReceipt(Model):
    """The result of a lease."""

    status: LeaseState = Field(description="a terminal state")
    key: LeaseKey
    node: NodeName
    amount_sat: int = Field(description="what was bid for")
    leased_sat: int = Field(description="what was won of it")
    channels: tuple[LeasedChannel, ...] = ()
    cost: LeaseCost = LeaseCost()
    account: Account | None = Field(
        default=None, description="as it was at the end: what is in it stays in it, and is ours"
    )
    account_opened: bool = Field(default=False, description="this lease had it opened")
    account_renewed: bool = Field(default=False, description="this lease had it renewed")
    refusal: Refusal = Refusal.NONE
    because: str = ""
    advice: str = ""
    requested_at: datetime
    completed_at: datetime
