"""What a caller asks of several swaps, one after another. Published as JSON Schema."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from fulgurite.budgets.policy import BudgetName
from fulgurite.identity import ChannelId, NodeName, NodePubkey
from fulgurite.invoices.requests import Key
from fulgurite.model import Line, Model
from fulgurite.swaps.limits import MAX_SAT, Cap, Direction, SwapLimits
from fulgurite.swaps.requests import SwapRequest


class OnFailure(StrEnum):
    """What a swap that did not succeed means for those after it."""

    STOP = "STOP"  # none of them is begun
    CARRY_ON = "CARRY_ON"  # they are begun all the same; what was not swapped is not made up for


class SequenceOrder(Model):
    """The part of a sequence that can be changed while it runs, for what has not begun."""

    amount_sat: int = Field(strict=True, ge=1, le=MAX_SAT, description="of all swaps together")
    max_swap_sat: int | None = Field(
        default=None,
        strict=True,
        ge=1,
        le=MAX_SAT,
        description="of one swap; null: what the server takes",
    )
    limits: SwapLimits = Field(description="of each swap")
    total_cost_sat: int = Field(
        strict=True, ge=0, le=MAX_SAT, description="of all swaps together, at the worst"
    )
    spacing_blocks: int = Field(
        default=0, ge=0, le=1_008, description="between the end of one swap and the next"
    )
    on_failure: OnFailure = OnFailure.STOP


class SwapSequenceRequest(Model):
    """Several swaps, split by what the server takes and over the channels."""

    key: Key = Field(
        max_length=90,  # leaves room for the numbers: a swap's key has the same length at most
        description="the caller's own name; its swaps are <key>.1, <key>.2, …",
    )
    node: NodeName
    direction: Direction
    channels: tuple[ChannelId, ...] = Field(
        default=(),
        max_length=64,
        description="out: the amount is shared equally among them, each swap over one of them",
    )
    last_hop: NodePubkey | None = Field(default=None, description="in: over a channel with it")
    order: SequenceOrder
    conf_target_blocks: int = Field(default=9, ge=2, le=1_008)
    htlc_confirmations: int = Field(default=1, ge=1, le=100)
    publish_within_seconds: int = Field(default=0, ge=0, le=86_400)
    approval_above_sat: int | None = Field(default=None, ge=0, le=MAX_SAT)
    swap_deadline_seconds: int = Field(
        default=3_600, ge=1, le=30 * 86_400, description="of each: after this it is not begun"
    )
    budgets: tuple[BudgetName, ...] = Field(default=(), max_length=8)

    @model_validator(mode="after")
    def _makes_swaps_that_can_be(self) -> Self:
        self.check(self.order)
        if len(set(self.channels)) != len(self.channels):
            raise ValueError("a channel is named twice")
        return self

    def check(self, order: SequenceOrder) -> None:
        """Whatever is wrong with each of its swaps is wrong with it. Raises ValidationError."""
        self.swap(1, Piece(number=1, amount_sat=MAX_SAT), order, left_sat=0)

    def swap(self, number: int, piece: Piece, order: SequenceOrder, left_sat: int) -> SwapRequest:
        """One of its swaps, which may cost what is left of the whole at the most."""
        total = order.limits.total
        least = min(each for each in (total.sat, left_sat) if each is not None)
        return SwapRequest(
            key=f"{self.key}.{number}",
            node=self.node,
            direction=self.direction,
            amount_sat=piece.amount_sat,
            channels=(piece.channel,) if piece.channel else (),
            last_hop=self.last_hop,
            limits=order.limits.model_copy(update={"total": Cap(sat=least, ppm=total.ppm)}),
            conf_target_blocks=self.conf_target_blocks,
            htlc_confirmations=self.htlc_confirmations,
            publish_within_seconds=self.publish_within_seconds,
            approval_above_sat=self.approval_above_sat,
            deadline_seconds=self.swap_deadline_seconds,
            budgets=self.budgets,
        )


class Piece(Model):
    """One swap to come."""

    number: int
    amount_sat: int
    channel: ChannelId | None = None


class SequenceChange(Model):
    """What is changed of a sequence that runs. What is null stays."""

    by: Line = Field(min_length=1, description="who; written to the timeline")
    note: Line = ""
    amount_sat: int | None = Field(default=None, strict=True, ge=1, le=MAX_SAT)
    max_swap_sat: int | None = Field(default=None, strict=True, ge=1, le=MAX_SAT)
    limits: SwapLimits | None = None
    total_cost_sat: int | None = Field(default=None, strict=True, ge=0, le=MAX_SAT)
    spacing_blocks: int | None = Field(default=None, ge=0, le=1_008)
    on_failure: OnFailure | None = None

    def of(self, order: SequenceOrder) -> SequenceOrder:
        """The order as it is then."""
        given = self.model_dump(exclude={"by", "note"}, exclude_none=True)
        return SequenceOrder.model_validate(order.model_dump() | given)


SwapSequenceRequest.model_rebuild()
