"""How far a rebalance is: everything that must survive, and what follows from it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict

from fulgurite import timeline
from fulgurite.budgets.orders import Holder, Refusal
from fulgurite.identity import ChannelPoint, NodePubkey, PaymentHash
from fulgurite.money import Msat
from fulgurite.rebalances.calls import Attempt, Side
from fulgurite.rebalances.receipts import RebalanceReceipt, RebalanceView
from fulgurite.rebalances.requests import RebalanceRequest
from fulgurite.rebalances.routes import Avoided, Pair, Route
from fulgurite.rebalances.states import (
    ADVICE,
    REBALANCE,
    RebalanceEvent,
    RebalanceState,
    StopReason,
)

MILLION: Final = 1_000_000


class UnderWay(BaseModel):
    """The attempt that LND has, or may have. Written down before it is sent."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    attempt: Attempt
    payment_hash: PaymentHash
    route: Route | None
    may_send: bool  # False: LND had it before this run, which only follows it
    seen: bool = False  # it had moved before the channels were first looked at
    began_at: datetime


class Progress(BaseModel):
    """A rebalance under way. Carried whole from one run to the next by continue-as-new."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    requested_at: datetime
    holder: Holder | None = None  # its name with its budgets; None: its id alone
    state: RebalanceState = REBALANCE.start
    before: tuple[Side, ...] = ()
    now: tuple[Side, ...] = ()
    goal_msat: Msat | None = None
    moved_msat: Msat = Msat(0)
    fee_msat: Msat = Msat(0)
    number: int = 0  # of the last invoice that there is, or may be
    recalled: bool = False  # whatever an earlier run has sent is accounted for
    attempts: int = 0
    parts: int = 0
    refusals: int = 0
    part_msat: Msat | None = None  # how much is tried at once; None: as much as there is
    avoided: list[Avoided] = []
    told_terms: list[Pair] = []  # whose terms were news once: twice is a way to burn attempts
    given_up: dict[NodePubkey, StopReason] = {}  # peers over whom nothing more comes in
    counted_msat: Msat = Msat(0)  # fees that the budgets were told of as an earlier run's
    reserved: bool = False
    refusal: Refusal | None = None
    under_way: UnderWay | None = None
    cancel_requested: bool = False
    stop: StopReason | None = None
    because: str = ""
    ladders: int = 0
    timeline: list[str] = []

    def fire(self, event: RebalanceEvent, at: datetime, words: str = "") -> None:
        """Moves along the table, and writes the timeline."""
        self.state = REBALANCE.fire(self.state, event)
        self.note(f"**{self.state}** {words}".rstrip(), at)

    def note(self, words: str, at: datetime) -> None:
        timeline.note(self.timeline, words, at)

    # Looking.

    def saw(self, request: RebalanceRequest, sides: tuple[Side, ...]) -> None:
        """How the channels stand. What is to move is decided once, at the first look."""
        self.now = sides
        if self.goal_msat is None:
            self.before = sides
            self.goal_msat = _goal(request, sides)

    def missing(self, request: RebalanceRequest) -> tuple[ChannelPoint, ...]:
        """The channels that are not open."""
        there = {side.channel_point for side in self.now}
        return tuple(point for point in request.channels if point not in there)

    @property
    def left_msat(self) -> Msat:
        return Msat(max(0, (self.goal_msat or 0) - self.moved_msat))

    def smallest(self, request: RebalanceRequest) -> Msat:
        """The least that is worth an attempt; all of it, where all of it is less."""
        return Msat(min(request.smallest_part_msat, self.goal_msat or 0))

    def fee_limit(self, request: RebalanceRequest, amount: Msat) -> Msat:
        """What a part of that size may cost: by the cap, and less than it will earn."""
        limit = request.cap.of(amount, self.fee_msat)
        earns = gain(request, amount)
        return limit if earns is None else Msat(min(limit, max(0, earns - 1)))

    def ends_at(self, request: RebalanceRequest) -> datetime:
        """When no attempt begins any more."""
        return self.requested_at + timedelta(seconds=request.deadline_seconds)

    # Ending.

    def give_up(self, peer: NodePubkey, reason: StopReason) -> None:
        """Nothing more comes in over this peer. The others are tried with all there is."""
        self.given_up[peer] = reason
        self.part_msat = None

    def end(self, reason: StopReason, because: str) -> None:
        """It does not go on. The first reason stands."""
        if self.stop is None:
            self.stop, self.because = reason, because

    def ending(self) -> RebalanceEvent:
        """How it ends, by its reason and by what has moved."""
        if self.stop is StopReason.REACHED:
            return RebalanceEvent.REACHED
        if self.moved_msat:
            return RebalanceEvent.STOPPED
        if self.stop is StopReason.CANCELED:
            return RebalanceEvent.CANCELED
        return RebalanceEvent.STOPPED_EMPTY

    # Telling.

    def view(self, request: RebalanceRequest) -> RebalanceView:
        under_way = self.under_way
        return RebalanceView(
            state=self.state,
            reason=self.stop,
            because=self.because,
            key=request.key,
            node=request.node,
            goal_msat=self.goal_msat,
            moved_msat=self.moved_msat,
            fee_msat=self.fee_msat,
            cap=request.cap,
            attempts=self.attempts,
            attempt=under_way.attempt if under_way else None,
            route=under_way.route if under_way else None,
            before=self.before,
            now=self.now,
            cancel_requested=self.cancel_requested,
            timeline=tuple(self.timeline),
        )

    def receipt(self, request: RebalanceRequest, at: datetime) -> RebalanceReceipt:
        assert self.stop is not None
        return RebalanceReceipt(
            status=self.state,
            reason=self.stop,
            because=self.because,
            advice=ADVICE[self.stop],
            key=request.key,
            node=request.node,
            goal_msat=self.goal_msat or Msat(0),
            moved_msat=self.moved_msat,
            fee_msat=self.fee_msat,
            fee_ppm=ppm(self.fee_msat, self.moved_msat),
            cap=request.cap,
            parts=self.parts,
            attempts=self.attempts,
            before=self.before,
            after=self.now,
            refusal=self.refusal,
            requested_at=self.requested_at,
            completed_at=at,
        )

    def sides(self, points: tuple[ChannelPoint, ...]) -> list[Side]:
        wanted = set(points)
        return [side for side in self.now if side.channel_point in wanted]


def _goal(request: RebalanceRequest, sides: tuple[Side, ...]) -> Msat:
    if request.amount_msat is not None:
        return request.amount_msat
    assert request.target_local_ppm is not None
    return Msat.from_sat(
        sum(
            max(0, side.capacity_sat * request.target_local_ppm // MILLION - side.local_sat)
            for side in sides
            if side.channel_point in request.to_channels
        )
    )


def gain(request: RebalanceRequest, amount: Msat) -> int | None:
    """What a part will earn beyond what it would have earned where it is; None: nobody said."""
    if request.earns_ppm is None:
        return None
    return int(amount) * max(0, request.earns_ppm - request.forgoes_ppm) // MILLION


def ppm(fee: int, amount: int) -> int:
    """Rounded up, so that no fee looks smaller than it is."""
    return -(-fee * MILLION // amount) if amount else 0


def price(fee: Msat, amount: Msat) -> str:
    return f"{fee} ({ppm(fee, amount):,} ppm)"
