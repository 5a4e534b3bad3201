"""What an operator wants of a node's channels, and what that may cost."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, field_validator, model_validator

from fulgurite.budgets.policy import BudgetName
from fulgurite.identity import ChannelId, NodePubkey
from fulgurite.model import Model
from fulgurite.money import MAX_MSAT, MSAT_PER_SAT

_MAX_SAT: Final = MAX_MSAT // MSAT_PER_SAT

LONGEST_BACKOFF_HOURS: Final = 720

# 0.1 and 0.9 are one, whatever binary fractions make of them.
_ROUNDING: Final = 1e-9

Ratio = Annotated[float, Field(ge=0, le=1)]


class Mode(StrEnum):
    """How far the autopilot goes by itself."""

    EXPLAIN = "EXPLAIN"  # it writes the plan, and moves nothing
    ASK = "ASK"  # it writes the plan, and moves what a person approves
    ACT = "ACT"  # it moves what the plan says


class Remedy(StrEnum):
    """A way to move liquidity."""

    REBALANCE = "REBALANCE"  # a payment to ourselves, out by one channel and in by another
    LOOP_OUT = "LOOP_OUT"  # local balance becomes coins: room to receive
    LOOP_IN = "LOOP_IN"  # coins become local balance: means to send
    LEASE = "LEASE"  # a channel that a peer opens to us, for a term: room to receive


class Rule(Model):
    """When a channel wants liquidity, and how much. Ratios are local balance by capacity."""

    local_below: Ratio = Field(
        default=0.1, description="below it the channel is to be filled; 0: never"
    )
    remote_below: Ratio = Field(
        default=0.0, description="the same for the peer's side: room to receive; 0: never"
    )
    target: Ratio = Field(default=0.5, description="the local ratio that a remedy aims at")
    ignore: bool = Field(default=False, description="leave it alone, whatever it looks like")

    @model_validator(mode="after")
    def _can_come_to_rest(self) -> Self:
        # A target beyond a trigger would call for the opposite remedy as soon as it is reached.
        if self.target < self.local_below or self.target + self.remote_below > 1 + _ROUNDING:
            raise ValueError('"target" lies between "local_below" and 1 - "remote_below"')
        return self


class LeaseTerms(Model):
    """What is bid for a leased channel, where leases may be used."""

    max_rate_ppb: int = Field(
        default=400,
        ge=1,
        le=2**31,
        description="parts per billion of the amount, for each block; 400 are 806 ppm a term",
    )
    duration_blocks: int = Field(default=2_016, ge=144, le=52_560)
    max_batch_fee_sat_per_vbyte: int = Field(default=20, ge=1, le=10_000)


class LiquidityPolicy(Model):
    """The operator's wishes, and the limits of what may be spent on them."""

    mode: Mode = Field(
        default=Mode.EXPLAIN, description="EXPLAIN, ASK or ACT: how far it goes by itself"
    )
    rule: Rule = Field(default=Rule(), description="for every channel that has none of its own")
    rules: dict[str, Rule] = Field(
        default_factory=dict,
        description="by channel id, or by a peer's public key: its channels are then judged "
        "together, because it may forward over any of them",
    )
    easy_local_sat: int | None = Field(
        default=None,
        ge=0,
        le=_MAX_SAT,
        description="easy mode: the node's local balance in all, instead of rules by channel",
    )
    easy_within: Ratio = Field(
        default=0.1, description="with easy mode: so far from it, as a part of it, is near enough"
    )
    remedies: tuple[Remedy, ...] = Field(
        default=tuple(Remedy), description="those that may be used, where they are configured"
    )

    ahead_hours: int = Field(
        default=0,
        ge=0,
        le=720,
        description="what runs dry within so long, by its flows, counts as low now",
    )
    history_days: int = Field(
        default=7, ge=1, le=90, description="how much of the node's forwarding history is read"
    )
    worth_ppm: int | None = Field(
        default=None,
        ge=0,
        le=1_000_000,
        description="what liquidity in the right place is worth beside the fees that it is "
        "forecast to earn, in ppm; null: the caps alone decide",
    )

    min_move_sat: int = Field(
        default=20_000, ge=1, le=_MAX_SAT, description="less than this is not worth the trouble"
    )
    max_move_sat: int = Field(
        default=5_000_000, ge=1, le=_MAX_SAT, description="at once, for one channel"
    )
    max_fee_ppm: int = Field(
        default=2_000, ge=0, le=1_000_000, description="of what is moved, everything included"
    )
    max_fee_sat: int = Field(default=5_000, ge=0, le=_MAX_SAT, description="for one remedy")
    lease: LeaseTerms = Field(
        default=LeaseTerms(), description="what is bid for a leased channel, and for how long"
    )
    budget: BudgetName | None = Field(
        default=None, description="the budget that every remedy's cost is taken from"
    )

    max_in_flight: int = Field(
        default=2, ge=1, le=50, description="remedies under way at once, for the node"
    )
    backoff_hours: int = Field(
        default=24,
        ge=0,
        le=LONGEST_BACKOFF_HOURS,
        description="so long after a failure the channel is left alone, and so long after a "
        "success nothing is moved back",
    )
    ask_hours: int = Field(
        default=6, ge=1, le=72, description="with ASK: a plan that nobody decides on lapses"
    )

    @field_validator("rules")
    @classmethod
    def _names_channels_or_peers(cls, rules: dict[str, Rule]) -> dict[str, Rule]:
        """In one form each, whichever of the accepted ones was written."""
        return {_key(name): rule for name, rule in rules.items()}

    @model_validator(mode="after")
    def _acts_within_limits(self) -> Self:
        if self.mode is Mode.ACT and self.budget is None:
            raise ValueError('"ACT" needs a "budget": what acts by itself has a limit in time')
        if self.min_move_sat > self.max_move_sat:
            raise ValueError('"min_move_sat" is above "max_move_sat"')
        return self

    def limit_msat(self, amount_sat: int) -> int:
        """The most that moving `amount_sat` may cost: the lower of both caps."""
        by_ppm = amount_sat * MSAT_PER_SAT * self.max_fee_ppm // 1_000_000
        return min(by_ppm, self.max_fee_sat * MSAT_PER_SAT)


def _key(name: str) -> str:
    for kind in (ChannelId, NodePubkey):
        try:
            return str(kind(name))
        except ValueError:
            continue
    raise ValueError("a rule is for a channel id, such as 800000x12x1, or for a peer's public key")
