"""How far a ladder is: everything that must survive, and what follows from it."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from fulgurite import timeline
from fulgurite.chain.tip import Tip
from fulgurite.channels.closing import ClosePhase
from fulgurite.channels.receipts import CloseView
from fulgurite.channels.states import CLOSE, CloseState
from fulgurite.events.catalogue import OF_LADDER, Event, EventId, EventType, event
from fulgurite.identity import ChannelPoint
from fulgurite.ids import stuck_id
from fulgurite.payments.receipts import OnChain, PaymentUpdate
from fulgurite.payments.requests import Approval, Rejection
from fulgurite.stuck.policy import ForceCloseBy, LadderPolicy
from fulgurite.stuck.receipts import LadderReceipt, LadderView, Picture, Stake
from fulgurite.stuck.requests import StuckRequest
from fulgurite.stuck.states import LADDER, OFF_CHAIN, LadderEvent, LadderState

# A ladder that is told of LND's verdict looks by itself so often; one that is not, every block.
_LOOK_EVERY_BLOCKS = 6
# A link that is made anew, or a node that has just started, is away for a moment.
_SHORTEST_ABSENCE_SECONDS = 60
# For what is in flight, and not yet on any channel.
_LOOK_AGAIN, _LOOK_AGAIN_AT_LATEST = timedelta(seconds=10), timedelta(minutes=10)

# So long at the most a payment waits for what the chain costs, after its verdict, and hears it.
_PAYMENT_COUNTS = timedelta(minutes=5)

_PUBLISHED = frozenset({CloseState.WAITING_CLOSE, CloseState.FORCE_CLOSING, CloseState.CLOSED})
_CONFIRMED = frozenset({CloseState.FORCE_CLOSING, CloseState.CLOSED})


def pace(*, followed: bool) -> int:
    """Every how many blocks a ladder looks, where nothing else makes it."""
    return _LOOK_EVERY_BLOCKS if followed else 1


class Ladder(BaseModel):
    """A ladder under way. Carried whole from one run to the next by continue-as-new."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    began_at: datetime
    state: LadderState = LADDER.start
    entered_at: datetime
    tip: Tip | None = None
    policy: LadderPolicy = LadderPolicy()
    stakes: dict[ChannelPoint, Stake] = {}
    on_chain: dict[ChannelPoint, ClosePhase] = {}  # of the stakes, those that LND says are closing
    closes: dict[ChannelPoint, CloseView] = {}  # what their own workflows have told
    heard_at: datetime | None = None  # the last time that one of them told, or was asked to
    ordered: list[ChannelPoint] = []
    ordered_at_height: int = 0
    by_time: bool = False  # the order holds only while the peer is away
    verdict: PaymentUpdate | None = None
    swept_since: datetime | None = None  # since then only sweeps are waited for
    again: bool = False  # another attempt hangs, after the verdict that ended this one on chain
    unknown: bool = False  # LND was asked, and does not know the payment
    away_since: dict[ChannelPoint, datetime] = {}
    confirmed_once: list[ChannelPoint] = []
    decision: Approval | Rejection | None = None
    decided_for: list[ChannelPoint] = []  # what hung, and was shown, when it was decided
    forbidden: bool = False  # a person said no, and nobody but a person takes that back
    told_payment: OnChain | None = None
    told_hung: list[ChannelPoint] = []  # where it hung when others were told that it does
    last_event: EventId | None = None
    timeline: list[str] = []

    def fire(self, event: LadderEvent, at: datetime, words: str = "") -> None:
        """Moves along the table, and writes the timeline."""
        self.state = LADDER.fire(self.state, event)
        self.entered_at = at
        if self.state is LadderState.SWEEPING:
            self.swept_since = at
        if event in {LadderEvent.APPROVED, LadderEvent.DUE}:
            approved = event is LadderEvent.APPROVED
            self.by_time = not approved and self.policy.after_seconds is not None
            self.ordered = self.approved() if approved else self.due(at)
            self.ordered_at_height = self.tip.height if self.tip else 0
            self.forbidden &= not approved
        self.forbidden |= event is LadderEvent.REJECTED
        if event is LadderEvent.CONFIRMED:
            self.confirmed_once = sorted(self.published())
        if event in {LadderEvent.CALLED_OFF, LadderEvent.REJECTED, LadderEvent.APPROVED}:
            self.decision = None
        if event is LadderEvent.CALLED_OFF:
            self.closes = {point: self.closes[point] for point in self.closes if self._out(point)}
        self.note(f"**{self.state}** {words}".rstrip(), at)

    def note(self, words: str, at: datetime) -> None:
        """With the height, which is what a ladder's time is."""
        height = f"block {self.tip.height:,} " if self.tip else ""
        timeline.note(self.timeline, height + words, at)

    def decide(self, decision: Approval | Rejection) -> None:
        """A person's word, on what hangs now."""
        self.decision, self.decided_for = decision, self.to_close()

    def saw(self, picture: Picture, at: datetime) -> None:
        """What LND says now. A channel that is open without an HTLC of ours is none of ours."""
        self.tip, self.policy = picture.tip, picture.policy
        closing = {point: phase for point, phase in picture.closing.items() if point in self.stakes}
        self.stakes = {
            **{point: stake for point, stake in self.stakes.items() if point in closing},
            **{stake.channel_point: stake for stake in picture.stakes},
        }
        self.away_since = {
            stake.channel_point: self.away_since.get(stake.channel_point, at)
            for stake in picture.stakes
            if not stake.peer_online
        }
        # In none of LND's lists for a moment: what was known of it holds.
        self.on_chain = {
            point: self.on_chain.get(point, phase) if phase is ClosePhase.UNKNOWN else phase
            for point, phase in closing.items()
        }
        if picture.payment and picture.payment.terminal:
            self.verdict = picture.payment
        self.unknown = picture.asked and picture.payment is None

    def heard(self, view: CloseView, at: datetime) -> None:
        """What a channel's own workflow says of its closing; of a channel of the payment's."""
        if view.channel_point not in {*self.stakes, *self.ordered, *self.closes}:
            return
        self.closes[view.channel_point] = view
        self.heard_at = at

    def hangs_again(self) -> bool:
        """Another attempt hangs, if there was a verdict on this one; whether that is news."""
        if self.state in {*OFF_CHAIN, LadderState.CLOSING}:
            self.verdict = None
            return True
        self.again |= self.verdict is not None
        return self.again

    def is_anothers(self) -> bool:
        """Whether it is to begin anew, for that attempt: what is left here is to be counted."""
        return self.again and self.state in {LadderState.SWEEPING, *LADDER.terminal}

    def is_counted(self, at: datetime) -> bool:
        """Whether the payment has ended without the rest: whoever has its id is another attempt."""
        return self.swept_since is not None and at >= self.swept_since + _PAYMENT_COUNTS

    def may_be_rejected(self) -> bool:
        """Whether there is a force close to forbid."""
        if self.state is LadderState.WAITING:
            by_itself = self.policy.force_close_by in {ForceCloseBy.EXPIRY, ForceCloseBy.TIME}
            return by_itself and not self.forbidden
        return self.state in {LadderState.RECONNECTING, LadderState.AWAITING_APPROVAL}

    def news(self, request: StuckRequest, at: datetime) -> Event | None:
        """The event of the present rung, if it is one that others are told of."""
        kind = OF_LADDER.get(self.state)
        if kind is None or (kind is EventType.PAYMENT_HUNG and not self._hangs_elsewhere()):
            return None
        news = event(
            kind,
            self.view(request),
            subject=f"{request.payment_hash}-{round(self.entered_at.timestamp() * 1_000)}",
            resource=stuck_id(request.payment_hash),
            node=request.node,
            timestamp=at,
            after=self.last_event,
        )
        self.last_event = news.id
        return news

    def _hangs_elsewhere(self) -> bool:
        """Than when it was told. An order that is refused at each block is no news at each."""
        told, self.told_hung = self.told_hung, sorted(self.stakes)
        return told != self.told_hung

    @property
    def blocks_to_expiry(self) -> int | None:
        """Until the first HTLC expires. Negative: it has."""
        expiry = min((stake.expiry_height for stake in self.stakes.values()), default=None)
        return None if expiry is None or self.tip is None else expiry - self.tip.height

    def to_close(self) -> list[ChannelPoint]:
        """The channels that a force close could be for."""
        return [point for point in self.stakes if point not in self.on_chain]

    def approved(self) -> list[ChannelPoint]:
        """Those that a person was shown. What hangs since is another question."""
        return [point for point in self.to_close() if point in self.decided_for]

    def due(self, at: datetime) -> list[ChannelPoint]:
        """Those that the policy wants closed now (invariant 9).

        By expiry the ones whose own is near; by time the ones whose peer is away, and has had
        its time to come back.
        """
        if self.forbidden or self.tip is None or not self.tip.synced:
            return []
        near, late = self.policy.blocks_before_expiry, self.policy.after_seconds
        if near is not None:
            last = self.tip.height + near
            return [point for point in self.to_close() if self.stakes[point].expiry_height <= last]
        if late is not None and at >= self.began_at + timedelta(seconds=late):
            return [p for p in self.to_close() if p in self.away_since and at >= self._lost_at(p)]
        return []

    def _lost_at(self, point: ChannelPoint) -> datetime:
        """When a peer that is away has had its time."""
        patience = max(self.policy.reconnect_seconds, _SHORTEST_ABSENCE_SECONDS)
        return self.away_since[point] + timedelta(seconds=patience)

    def unfollowed(self) -> list[ChannelPoint]:
        """Closing, and its workflow has told nothing: somebody else closed it."""
        return [
            point
            for point, phase in self.on_chain.items()
            if point not in self.closes and phase is not ClosePhase.UNKNOWN
        ]

    def published(self) -> set[ChannelPoint]:
        """The payment's channels that are on chain, or on their way there."""
        by_lnd = {
            point for point, phase in self.on_chain.items() if phase is not ClosePhase.UNKNOWN
        }
        return by_lnd | {point for point in self.closes if self._out(point)}

    def unresolved(self) -> list[ChannelPoint]:
        """Of those, the ones whose outputs are still on their way."""
        return sorted(
            point
            for point in self.published()
            if point not in self.closes or self.closes[point].state is not CloseState.CLOSED
        )

    def confirmed(self) -> bool:
        """Whether every closing transaction is in a block."""
        return self._all_are(_CONFIRMED)

    def swept(self) -> bool:
        """Whether every output of theirs is resolved."""
        return self._all_are(frozenset({CloseState.CLOSED}))

    def taken_back(self) -> bool:
        """Whether a closing transaction that was in a block is in none any more."""
        return any(
            self.closes[point].state is CloseState.WAITING_CLOSE
            for point in self.confirmed_once
            if point in self.closes
        )

    def called_off(self) -> bool:
        """Whether no ordered close came to anything."""
        views = [self.closes.get(point) for point in self.ordered]
        return all(view and view.state in CLOSE.terminal for view in views)

    def wake_height(self, *, followed: bool) -> int:
        """The block after which the ladder looks again, if nothing wakes it before."""
        assert self.tip is not None
        waits = [self.tip.height + pace(followed=followed)]
        if (blocks := self.blocks_to_expiry) is not None and self.state in OFF_CHAIN:
            near = self.policy.blocks_before_expiry or 0
            waits += [self.tip.height + each for each in (blocks - near, blocks) if each > 0]
            # LND goes to the chain at any block now.
            waits += [self.tip.height + 1] if blocks <= 0 else []
        return min(waits)

    def wake_at(self, now: datetime) -> datetime | None:
        """The moment to come at which a rung's patience ends; None: only blocks and words count."""
        match self.state:
            case LadderState.LOOKING:
                # LND's lists may have been read before the HTLC was in them.
                waited = now - self.entered_at
                return now + min(max(waited, _LOOK_AGAIN), _LOOK_AGAIN_AT_LATEST)
            case LadderState.RECONNECTING:
                moments = [self.entered_at + timedelta(seconds=self.policy.reconnect_seconds)]
            case LadderState.WAITING:
                moments = []
            case _:
                return None
        if self.policy.after_seconds is not None:
            moments.append(self.began_at + timedelta(seconds=self.policy.after_seconds))
            moments += [self._lost_at(point) for point in self.away_since]
        return min((moment for moment in moments if moment > now), default=None)

    def outcome(self) -> OnChain | None:
        """What the chain has cost so far; None: nothing of it is there."""
        points = sorted(self.published())
        if not points:
            return None
        closings = [self.closes[point].closing for point in points if point in self.closes]
        return OnChain(
            channel_points=tuple(points),
            cost_sat=sum(closing.cost_sat for closing in closings if closing),
            shared_with=sum(self.stakes[point].others for point in points if point in self.stakes),
            complete=self.swept(),
        )

    def view(self, request: StuckRequest) -> LadderView:
        return LadderView(
            state=self.state,
            node=request.node,
            payment_hash=request.payment_hash,
            tip=self.tip,
            stakes=tuple(self.stakes.values()),
            policy=self.policy,
            blocks_to_expiry=self.blocks_to_expiry,
            on_chain=self.outcome(),
            timeline=tuple(self.timeline),
        )

    def receipt(self, request: StuckRequest, completed_at: datetime) -> LadderReceipt:
        """The result of a ladder that has come to its end."""
        assert self.state in LADDER.terminal
        return LadderReceipt(
            status=self.state,
            node=request.node,
            payment_hash=request.payment_hash,
            verdict=self.verdict.status if self.verdict else None,
            on_chain=self.outcome(),
            force_closed=tuple(point for point in self.ordered if self._out(point)),
            began_at=self.began_at,
            completed_at=completed_at,
        )

    def _out(self, point: ChannelPoint) -> bool:
        return point in self.closes and self.closes[point].state in _PUBLISHED

    def _all_are(self, states: frozenset[CloseState]) -> bool:
        points = self.published()
        return bool(points) and all(
            point in self.closes and self.closes[point].state in states for point in points
        )
