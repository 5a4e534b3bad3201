"""What a caller asks of a swap. Published as JSON Schema in docs/api/."""

from __future__ import annotations

from typing import Final, Self

from pydantic import Field, model_validator

from fulgurite.budgets.policy import BudgetName
from fulgurite.identity import ChannelId, NodeName, NodePubkey, PaymentHash
from fulgurite.invoices.requests import Key
from fulgurite.model import Line, Model
from fulgurite.swaps.limits import MAX_SAT, Direction, SwapLimits

# Below it neither loopd nor anybody's server swaps.
MIN_SAT: Final = 1_000


class SwapRequest(Model):
    """One swap, begun at most once: `key` is its name with us, and its label at loopd."""

    key: Key = Field(description="the caller's own name for it; a second request attaches")
    node: NodeName = Field(description="the configured node whose loopd swaps")
    direction: Direction
    amount_sat: int = Field(
        strict=True, ge=MIN_SAT, le=MAX_SAT, description="what is swapped, without any fee"
    )
    channels: tuple[ChannelId, ...] = Field(
        default=(), max_length=64, description="out: only over these; none: over any"
    )
    last_hop: NodePubkey | None = Field(
        default=None, description="in: over a channel with this peer; null: any"
    )
    limits: SwapLimits
    conf_target_blocks: int = Field(
        default=9, ge=2, le=1_008, description="for the sweep (out), or for the HTLC (in)"
    )
    htlc_confirmations: int = Field(
        default=1, ge=1, le=100, description="out: of the server's HTLC, before it is taken"
    )
    publish_within_seconds: int = Field(
        default=0,
        ge=0,
        le=86_400,
        description="out: how long the server may wait with its HTLC, which makes it cheaper",
    )
    external_htlc: bool = Field(
        default=False, description="in: somebody else pays the HTLC's address, which the view has"
    )
    approval_above_sat: int | None = Field(
        default=None,
        ge=0,
        le=MAX_SAT,
        description="ask a person when the amount is above this, beside the node's threshold",
    )
    approval_expires_seconds: int = Field(default=86_400, ge=1, le=30 * 86_400)
    deadline_seconds: int = Field(
        default=3_600,
        ge=1,
        le=30 * 86_400,
        description="after this it is not begun; what has begun is followed to its end",
    )
    initiation_seconds: int = Field(
        default=120,
        ge=30,
        le=600,
        description="how long loopd may take to begin it; a call that is cut off can leave an "
        "orphan behind",
    )
    orphan_watch_seconds: int = Field(
        default=120,
        ge=1,
        le=86_400,
        description="how long one is looked for whose answer was lost, before a person is asked",
    )

    budgets: tuple[BudgetName, ...] = Field(
        default=(), max_length=8, description="what counts its fees; the amount only changes place"
    )

    @model_validator(mode="after")
    def _fits_its_direction(self) -> Self:
        if self.direction is Direction.OUT:
            if self.last_hop or self.external_htlc:
                raise ValueError('"last_hop" and "external_htlc" are for a swap in')
            return self
        limits = self.limits
        if self.channels or self.publish_within_seconds:
            raise ValueError('"channels" and "publish_within_seconds" are for a swap out')
        if limits.prepay or limits.routing or limits.prepay_routing:
            raise ValueError("a swap in pays no prepayment and no routing: leave those limits out")
        return self


class Word(Model):
    """A person's word on a swap."""

    by: Line = Field(min_length=1, description="who; written to the timeline")
    note: Line = ""


class Adoption(Model):
    """A person says which of loopd's swaps an uncertain one is."""

    by: Line = Field(min_length=1)
    swap_hash: PaymentHash


class Abandonment(Model):
    """loopd stops caring for a swap in. What is on chain then is for a person to take back."""

    by: Line = Field(min_length=1)
    note: Line = ""
    even_if_published: bool = Field(
        default=False, description="the HTLC may be on chain: its coins can be lost"
    )
