"""What is asked of a channel's end. Published as JSON Schema in docs/api/."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from fulgurite.identity import ChannelPoint, NodeName, PaymentHash
from fulgurite.model import Model
from fulgurite.money import MAX_MSAT, MSAT_PER_SAT

_MAX_SAT = MAX_MSAT // MSAT_PER_SAT


class CloseKind(StrEnum):
    """What is to be done."""

    COOPERATIVE = "COOPERATIVE"  # both sides sign: cheap, at once, and only with the peer online
    FORCE = "FORCE"  # this node alone: its balance waits for CSV, its HTLCs for their expiry
    FOLLOW = "FOLLOW"  # nothing: whoever closes it, it is followed to the last output


class FeeBudget(Model):
    """What may be spent to have a close and its sweeps confirmed in time.

    Never more than an output is worth: that is checked whatever the budget says.
    """

    budget_sat: int = Field(
        default=0, ge=0, le=_MAX_SAT, description="for every bump together; 0: LND's own fees only"
    )
    blocks_before_deadline: int = Field(
        default=12,
        ge=1,
        le=144,
        description="bump what is unconfirmed so shortly before a deadline",
    )


class CloseRequest(Model):
    """The end of one channel."""

    node: NodeName
    channel_point: ChannelPoint
    kind: CloseKind
    sat_per_vbyte: int | None = Field(default=None, ge=1, le=10_000)
    target_conf_blocks: int | None = Field(default=None, ge=1, le=1_008)
    delivery_address: str | None = Field(
        default=None, max_length=100, description="where a cooperative close pays our balance"
    )
    fees: FeeBudget = FeeBudget()
    for_payments: tuple[PaymentHash, ...] = Field(
        default=(),
        max_length=966,
        description="force close only while LND has one of these in flight on this channel",
    )
    expire_by_height: int | None = Field(
        default=None,
        ge=0,
        description="with `for_payments`: HTLCs that expire later are another attempt's",
    )
    only_while_away: bool = Field(
        default=False, description="force close only while the peer is not connected"
    )

    @model_validator(mode="after")
    def _only_what_lnd_can(self) -> Self:
        cooperative = self.kind is CloseKind.COOPERATIVE
        if self.sat_per_vbyte is not None and self.target_conf_blocks is not None:
            raise ValueError('give one of "sat_per_vbyte" and "target_conf_blocks"')
        terms = (self.sat_per_vbyte, self.target_conf_blocks, self.delivery_address)
        if not cooperative and any(term is not None for term in terms):
            raise ValueError("fee rate, target and address are a cooperative close's only")
        return self
