"""What a caller asks of a rebalance. Published as JSON Schema in docs/api/."""

from __future__ import annotations

import hashlib
import json
from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from fulgurite.budgets.policy import BudgetName
from fulgurite.identity import ChannelPoint, Digest, NodeName
from fulgurite.invoices.requests import Key
from fulgurite.model import Model
from fulgurite.money import MAX_MSAT, MSAT_PER_SAT, Msat

_MAX_SAT = MAX_MSAT // MSAT_PER_SAT
_MILLION = 1_000_000


class RebalanceMethod(StrEnum):
    """Who chooses the routes."""

    ROUTES = "ROUTES"  # we do, one at a time: the fee of each is known before it is sent
    SELF_PAYMENT = "SELF_PAYMENT"  # LND does, in as many attempts and parts as it likes


class FeeCap(Model):
    """The most that may be paid in routing fees. Both hold, at every moment: there is no "any"."""

    sat: int = Field(strict=True, ge=0, le=_MAX_SAT, description="for the rebalance as a whole")
    ppm: int = Field(strict=True, ge=0, le=_MILLION, description="of what moves, for each part")

    def of(self, amount: Msat, spent: Msat) -> Msat:
        """What a part of `amount` may cost where `spent` is gone already."""
        left = max(0, self.sat * MSAT_PER_SAT - spent)
        return Msat(min(left, int(amount) * self.ppm // _MILLION))


class RebalanceRequest(Model):
    """Move liquidity from some channels to others of the same node."""

    key: Key = Field(description="the caller's own name for it; a second request attaches")
    node: NodeName
    from_channels: tuple[ChannelPoint, ...] = Field(
        min_length=1, max_length=20, description="money leaves by these: their local balance falls"
    )
    to_channels: tuple[ChannelPoint, ...] = Field(
        min_length=1,
        max_length=20,
        description="and comes back by these. Which of several channels with one peer it takes "
        "is the peer's to choose",
    )
    amount_msat: Msat | None = Field(default=None, description="give this, or the target")
    target_local_ppm: int | None = Field(
        default=None,
        strict=True,
        ge=1,
        le=_MILLION,
        description="fill each of the channels until so much of its capacity is local; "
        "500000 is half",
    )
    cap: FeeCap
    earns_ppm: int | None = Field(
        default=None,
        strict=True,
        ge=0,
        le=_MILLION,
        description="what the moved liquidity will earn in forwarding fees, as the caller "
        "expects; nothing is moved that costs as much. null: the cap alone decides",
    )
    forgoes_ppm: int = Field(
        default=0,
        strict=True,
        ge=0,
        le=_MILLION,
        description="what it would have earned where it is; taken from earns_ppm",
    )
    smallest_part_msat: Msat = Field(
        default=Msat.from_sat(10_000),
        description="amounts are halved where liquidity is short, and no further than to this",
    )
    largest_part_msat: Msat | None = Field(
        default=None, description="no attempt is about more; null: as much as fits"
    )
    method: RebalanceMethod = RebalanceMethod.ROUTES
    max_attempts: int = Field(default=30, ge=1, le=500, description="sends, whatever comes of them")
    deadline_seconds: int = Field(
        default=3_600, ge=1, le=7 * 86_400, description="no attempt begins after so long"
    )
    stuck_after_seconds: int = Field(
        default=120,
        ge=1,
        le=86_400,
        description="an attempt in flight for so long is told of, and gets a ladder",
    )
    budgets: tuple[BudgetName, ...] = Field(
        default=(), max_length=10, description="each must have room for the cap in sat"
    )

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if (self.amount_msat is None) == (self.target_local_ppm is None):
            raise ValueError('give one of "amount_msat" and "target_local_ppm"')
        if self.amount_msat is not None and self.amount_msat < MSAT_PER_SAT:
            raise ValueError('"amount_msat" is one satoshi or more')
        if self.smallest_part_msat < MSAT_PER_SAT:
            raise ValueError('"smallest_part_msat" is one satoshi or more')
        if self.largest_part_msat is not None and self.largest_part_msat < self.smallest_part_msat:
            raise ValueError('"largest_part_msat" is below "smallest_part_msat"')
        if set(self.from_channels) & set(self.to_channels):
            raise ValueError("no channel can be on both sides")
        for side in (self.from_channels, self.to_channels):
            if len(set(side)) != len(side):
                raise ValueError("a channel is named twice")
        return self

    @property
    def channels(self) -> tuple[ChannelPoint, ...]:
        return (*self.from_channels, *self.to_channels)

    def identity(self) -> Digest:
        """What its invoices follow from: the same request makes the same ones, for ever.

        Without defaults, so that a later version's new fields change nothing for an old one.
        """
        canonical = json.dumps(self.model_dump(mode="json", exclude_defaults=True), sort_keys=True)
        return Digest.of_bytes(hashlib.sha256(canonical.encode()).digest())


class RebalanceCancellation(Model):
    """Nothing more is sent. What is in flight stays until LND ends it."""

    reason: str = Field(default="", max_length=400)
