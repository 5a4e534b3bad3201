"""One scale for every remedy: what a sat costs in the right place, in parts per million."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from fulgurite.identity import ChannelId, ChannelPoint, NodeName, NodePubkey
from fulgurite.liquidity.policy import Remedy
from fulgurite.model import Line, Model
from fulgurite.money import MSAT_PER_SAT
from fulgurite.swaps.limits import Quote


class Need(StrEnum):
    """Which side of a channel is short."""

    LOCAL = "LOCAL"  # it cannot send
    REMOTE = "REMOTE"  # it cannot receive


class Ask(Model):
    """A price to ask for: this remedy, for this channel, over this amount."""

    remedy: Remedy
    need: Need
    channel: ChannelPoint
    channel_id: ChannelId
    peer: NodePubkey
    amount_sat: int = Field(gt=0)
    partner: ChannelPoint | None = Field(default=None, description="of a rebalance")
    partner_id: ChannelId | None = None
    partner_peer: NodePubkey | None = None
    limit_msat: int = Field(ge=0, description="what costs more is not bought: no need to look far")

    @property
    def key(self) -> tuple[ChannelPoint, Remedy, ChannelPoint | None]:
        return (self.channel, self.remedy, self.partner)


class NoPrice(StrEnum):
    """Why a remedy has no price."""

    NOT_CONFIGURED = "NOT_CONFIGURED"  # no such daemon is configured for the node
    OUT_OF_RANGE = "OUT_OF_RANGE"  # more, or less, than the service does
    NO_WAY = "NO_WAY"  # no route, or no route below the limit
    NO_COINS = "NO_COINS"  # the wallet, or the account, has not enough
    NOT_TOLD = "NOT_TOLD"  # the daemon did not answer, or not in a way that we know


class Price(Model):
    """The answer to an ask: a cost, or why there is none."""

    remedy: Remedy
    channel: ChannelPoint
    partner: ChannelPoint | None = None
    amount_sat: int = Field(gt=0)
    cost_msat: int | None = Field(
        default=None, ge=0, description="everything: routing, service, chain, premium"
    )
    chain_msat: int | None = Field(
        default=None, ge=0, description="of a swap: the part of the cost that the chain takes"
    )
    term_blocks: int | None = Field(default=None, description="of a lease: how long it lasts")
    missing: NoPrice | None = None
    because: Line = ""

    @model_validator(mode="after")
    def _one_or_the_other(self) -> Self:
        if (self.cost_msat is None) == (self.missing is None):
            raise ValueError('a price has "cost_msat", or "missing" says why not')
        return self

    @property
    def ppm(self) -> int | None:
        """Rounded up, so that a cost never looks like none."""
        if self.cost_msat is None:
            return None
        return -(-self.cost_msat * 1_000_000 // (self.amount_sat * MSAT_PER_SAT))

    @property
    def key(self) -> tuple[ChannelPoint, Remedy, ChannelPoint | None]:
        return (self.channel, self.remedy, self.partner)


def costs(
    ask: Ask,
    cost_msat: int,
    *,
    chain_msat: int | None = None,
    term_blocks: int | None = None,
    because: str = "",
) -> Price:
    return Price(
        remedy=ask.remedy,
        channel=ask.channel,
        partner=ask.partner,
        amount_sat=ask.amount_sat,
        cost_msat=cost_msat,
        chain_msat=chain_msat,
        term_blocks=term_blocks,
        because=because,
    )


def of_swap(ask: Ask, quote: Quote) -> Price:
    """By loopd's quote; what its payments cost on their way shows when they are sent.

    Of a small Loop Out the prepayment is more than the fee. A swap that fails can lose it, so it
    is the price: a limit without room for it would have every such swap planned in vain.
    """
    server_sat = max(quote.swap_fee_sat, quote.prepay_sat)
    chain_msat = quote.miner_fee_sat * MSAT_PER_SAT
    prepaid = f", prepaid {quote.prepay_sat:,} sat" if server_sat > quote.swap_fee_sat else ""
    return costs(
        ask,
        server_sat * MSAT_PER_SAT + chain_msat,
        chain_msat=chain_msat,
        because=f"swap fee {quote.swap_fee_sat:,} sat{prepaid}, chain {quote.miner_fee_sat:,} sat",
    )


def unpriced(ask: Ask, missing: NoPrice, because: str = "") -> Price:
    return Price(
        remedy=ask.remedy,
        channel=ask.channel,
        partner=ask.partner,
        amount_sat=ask.amount_sat,
        missing=missing,
        because=because[:400].replace("\n", " "),
    )


class Purse(Model):
    """What the budget has left, at the moment of planning."""

    node: NodeName
    named: bool = Field(description="the policy names a budget")
    left_msat: int | None = Field(
        default=None, ge=0, description="for fees, beside what is reserved; null: it is not known"
    )
    read_at: datetime | None = None
    because: Line = ""
