"""A sequence of swaps: where it stands, and everything that must survive."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from fulgurite import timeline
from fulgurite.identity import NodeName
from fulgurite.invoices.requests import Key
from fulgurite.lifecycle import Edge, Lifecycle
from fulgurite.model import Model
from fulgurite.swaps.limits import Cost, Direction, Terms
from fulgurite.swaps.reasons import SwapReason
from fulgurite.swaps.receipts import SwapReceipt
from fulgurite.swaps.requests import MIN_SAT
from fulgurite.swaps.sequence_requests import OnFailure, Piece, SequenceOrder, SwapSequenceRequest
from fulgurite.swaps.splitting import MAX_SWAPS, UnsplittableError, split
from fulgurite.swaps.states import SwapState


class SequenceState(StrEnum):
    """Where a sequence stands."""

    PLANNING = "PLANNING"  # the server's terms are asked for, and the amount is split
    PAUSED = "PAUSED"  # a person said wait; no further swap is begun
    SWAPPING = "SWAPPING"  # one of its swaps is under way
    SPACING = "SPACING"  # blocks are waited for, before the next one
    COMPLETED = "COMPLETED"  # every swap was begun and has ended; some may have failed
    STOPPED = "STOPPED"  # a swap did not succeed, and those after it were not begun
    OVER_BUDGET = "OVER_BUDGET"  # what is left of the total cost is not enough for the next one
    CANCELED = "CANCELED"  # a person said that no further swap is begun
    REFUSED = "REFUSED"  # the amount cannot be split


class SequenceEvent(StrEnum):
    """What moves it."""

    PLANNED = "PLANNED"
    WAITS = "WAITS"  # planned anew, and the blocks after the last swap have not come
    REFUSED = "REFUSED"
    PAUSED = "PAUSED"
    RESUMED = "RESUMED"
    SWAPPED = "SWAPPED"  # one ended, and another one follows
    ENOUGH = "ENOUGH"  # the blocks have come
    DONE = "DONE"
    STOPPED = "STOPPED"
    OVER_BUDGET = "OVER_BUDGET"
    CANCELED = "CANCELED"


_S, _E = SequenceState, SequenceEvent

SEQUENCE = Lifecycle(
    start=_S.PLANNING,
    edges=[
        Edge(_S.PLANNING, _E.PLANNED, _S.SWAPPING, "the amount is split"),
        Edge(_S.PLANNING, _E.WAITS, _S.SPACING, "split anew; the blocks have not come"),
        Edge(_S.PLANNING, _E.REFUSED, _S.REFUSED, "no swaps of that size, or too small a budget"),
        Edge(_S.SWAPPING, _E.SWAPPED, _S.SPACING, "it ended, and another one follows"),
        Edge(_S.SPACING, _E.ENOUGH, _S.SWAPPING, "the blocks have come"),
        *(
            Edge(each, _E.PAUSED, _S.PAUSED, "a person said wait")
            for each in (_S.PLANNING, _S.SPACING)
        ),
        Edge(_S.PAUSED, _E.RESUMED, _S.PLANNING, "what has not begun is split anew"),
        *(
            Edge(each, _E.CANCELED, _S.CANCELED, "no further swap is begun")
            for each in (_S.PLANNING, _S.PAUSED, _S.SPACING)
        ),
        Edge(_S.PLANNING, _E.DONE, _S.COMPLETED, "nothing is left, after a change"),
        Edge(_S.SWAPPING, _E.DONE, _S.COMPLETED, "the last one ended"),
        Edge(_S.SWAPPING, _E.STOPPED, _S.STOPPED, "it did not succeed"),
        Edge(_S.SWAPPING, _E.OVER_BUDGET, _S.OVER_BUDGET, "nothing is left for the next one"),
        # Changed while it waits: the rest is split anew.
        Edge(_S.SPACING, _E.RESUMED, _S.PLANNING, "a change"),
    ],
)

# Ended so, nobody knows what it has cost: no other is begun after it, whatever was ordered.
_UNKNOWN: Final = frozenset({SwapState.GIVEN_UP})


class Swapped(Model):
    """One of its swaps that has ended."""

    number: int
    key: Key
    amount_sat: int
    status: SwapState
    reason: SwapReason = SwapReason.NONE
    cost: Cost = Cost()
    unseen_sat: int = Field(default=0, description="what may be gone beside it, at the worst")

    @property
    def counts_sat(self) -> int:
        """What the total is held against."""
        return self.cost.total_sat + self.unseen_sat


class SequenceView(Model):
    """A sequence under way or over."""

    state: SequenceState
    key: Key
    node: NodeName
    direction: Direction
    order: SequenceOrder = Field(description="as it was last changed")
    swapped_sat: int = Field(description="by swaps that succeeded")
    spent_sat: int = Field(description="by all swaps, with what may be gone unseen")
    under_way: Key | None = None
    ended: tuple[Swapped, ...] = ()
    to_come: tuple[Piece, ...] = ()
    because: str = ""
    timeline: tuple[str, ...] = ()


class SequenceReceipt(Model):
    """The result of a sequence."""

    status: SequenceState = Field(description="a terminal state")
    because: str = ""
    key: Key
    node: NodeName
    direction: Direction
    order: SequenceOrder
    swapped_sat: int
    spent_sat: int = Field(description="by all swaps, with what may be gone unseen")
    swaps: tuple[Swapped, ...]
    began_at: datetime
    completed_at: datetime


class Sequence(BaseModel):
    """A sequence under way. Carried whole from one run to the next by continue-as-new."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    began_at: datetime
    state: SequenceState = SEQUENCE.start
    order: SequenceOrder
    terms: Terms | None = None
    ended: list[Swapped] = []
    to_come: list[Piece] = []
    under_way: Key | None = None
    # What people have said, and the next step carries out.
    pausing: bool = False
    resuming: bool = False
    changed: bool = False
    canceling: bool = False
    spaced: bool = True  # enough blocks have come since the last swap ended
    ended_height: int | None = None  # of the first block that was seen since then
    because: str = ""
    timeline: list[str] = []

    def fire(self, moved_by: SequenceEvent, at: datetime, words: str = "") -> None:
        """Moves along the table, and writes the timeline."""
        self.state = SEQUENCE.fire(self.state, moved_by)
        self.because = words
        self.spaced |= moved_by is SequenceEvent.ENOUGH
        self.note(f"**{self.state}** {words}".rstrip(), at)

    def note(self, words: str, at: datetime) -> None:
        timeline.note(self.timeline, words, at)

    def plan(self, request: SwapSequenceRequest, terms: Terms) -> tuple[SequenceEvent, str]:
        """Splits what no swap has been begun for, and says what follows from that."""
        self.terms = terms
        # Below this nobody's server swaps, and no request is made.
        terms = Terms(min_sat=max(terms.min_sat, MIN_SAT), max_sat=terms.max_sat)
        done_sat = sum(each.amount_sat for each in self.ended)
        left_sat = self.order.amount_sat - done_sat
        if left_sat <= 0:
            return SequenceEvent.DONE, "nothing is left to swap"
        if left_sat < terms.min_sat and self.ended:
            return SequenceEvent.DONE, f"{left_sat:,} sat are left, too little for a swap"
        try:
            self.to_come = split(
                left_sat,
                terms,
                max_swap_sat=self.order.max_swap_sat,
                channels=request.channels,
                first_number=len(self.ended) + 1,
            )
        except UnsplittableError as error:
            return SequenceEvent.REFUSED, str(error)
        if len(self.to_come) + len(self.ended) > MAX_SWAPS:
            return SequenceEvent.REFUSED, f"more than {MAX_SWAPS} swaps: split it by hand"
        planned = SequenceEvent.PLANNED if self.spaced else SequenceEvent.WAITS
        return planned, f"{len(self.to_come)} swaps"

    def heard(self, piece: Piece, key: Key, receipt: SwapReceipt) -> tuple[SequenceEvent, str]:
        """How one of its swaps has ended, and what that means for those after it."""
        self.under_way, self.spaced, self.ended_height = None, False, None
        self.to_come = [each for each in self.to_come if each.number != piece.number]
        self.ended.append(
            Swapped(
                number=piece.number,
                key=key,
                amount_sat=piece.amount_sat,
                status=receipt.status,
                reason=receipt.reason,
                cost=receipt.cost,
                unseen_sat=receipt.unseen_sat,
            )
        )
        failed = receipt.status is not SwapState.SUCCEEDED
        stops = self.order.on_failure is OnFailure.STOP or receipt.status in _UNKNOWN
        if failed and stops:
            return SequenceEvent.STOPPED, f"swap {piece.number} is {receipt.status}"
        if self.changed:
            return SequenceEvent.SWAPPED, f"swap {piece.number} is {receipt.status}, and a change"
        if not self.to_come:
            return SequenceEvent.DONE, f"{self.swapped_sat:,} sat for {self.spent_sat:,} sat"
        return SequenceEvent.SWAPPED, f"swap {piece.number} is {receipt.status}"

    @property
    def next_height(self) -> int | None:
        """The block that the next swap waits for, by the order as it is now."""
        if self.spaced or self.ended_height is None:
            return None
        return self.ended_height + self.order.spacing_blocks

    @property
    def swapped_sat(self) -> int:
        return sum(each.amount_sat for each in self.ended if each.status is SwapState.SUCCEEDED)

    @property
    def spent_sat(self) -> int:
        return sum(each.counts_sat for each in self.ended)

    @property
    def left_sat(self) -> int:
        """What the swaps to come may cost yet, all together."""
        return max(0, self.order.total_cost_sat - self.spent_sat)

    def view(self, request: SwapSequenceRequest) -> SequenceView:
        return SequenceView(
            state=self.state,
            key=request.key,
            node=request.node,
            direction=request.direction,
            order=self.order,
            swapped_sat=self.swapped_sat,
            spent_sat=self.spent_sat,
            under_way=self.under_way,
            ended=tuple(self.ended),
            to_come=tuple(self.to_come),
            because=self.because,
            timeline=tuple(self.timeline),
        )

    def receipt(self, request: SwapSequenceRequest, at: datetime) -> SequenceReceipt:
        return SequenceReceipt(
            status=self.state,
            because=self.because,
            key=request.key,
            node=request.node,
            direction=request.direction,
            order=self.order,
            swapped_sat=self.swapped_sat,
            spent_sat=self.spent_sat,
            swaps=tuple(self.ended),
            began_at=self.began_at,
            completed_at=at,
        )

    def details(self, request: SwapSequenceRequest) -> str:
        """Markdown for the Temporal UI."""
        lines = [
            f"### {self.state}",
            (
                f"{self.swapped_sat:,} of {self.order.amount_sat:,} sat {request.direction} of "
                f"**{request.node}**, {self.spent_sat:,} of {self.order.total_cost_sat:,} sat spent"
            ),
            "",
            *(
                f"- {each.number}. `swap/{each.key}` {each.amount_sat:,} sat {each.status}, "
                f"{each.counts_sat:,} sat"
                for each in self.ended
            ),
        ]
        if self.under_way:
            lines.append(f"- `swap/{self.under_way}` is under way")
        waits = f", from block {self.next_height:,} on" if self.next_height else ""
        lines.append(f"- {len(self.to_come)} to come{waits}")
        return "\n".join([*lines, "", *(f"- {line}" for line in self.timeline)])
