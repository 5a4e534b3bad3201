"""How far a closing is: everything that must survive, and what follows from it."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from pydantic import BaseModel, ConfigDict

from fulgurite import ids, timeline
from fulgurite.channels import bumping
from fulgurite.channels.bumping import BumpOrder
from fulgurite.channels.calls import Bumped
from fulgurite.channels.closing import ClosePhase, CloseType, Closing
from fulgurite.channels.receipts import CloseReceipt, CloseView
from fulgurite.channels.requests import CloseKind, CloseRequest
from fulgurite.channels.states import CLOSE, CloseEvent, CloseState
from fulgurite.events.catalogue import Event, EventId, EventType, event
from fulgurite.identity import Outpoint

# In the lists of LND a channel can be missing for a moment, and what one has heard of a close
# can be ahead of them. After so many looks it is taken for what it seems.
_LOOKS_IN_VAIN: Final = 6
_BLOCKS_IN_VAIN: Final = 2_016

_ON_CHAIN: Final = {
    ClosePhase.WAITING_CLOSE: CloseEvent.PUBLISHED,
    ClosePhase.FORCE_CLOSING: CloseEvent.CONFIRMED,
    ClosePhase.CLOSED: CloseEvent.RESOLVED,
}
_WITHOUT_COMMITMENT: Final = (
    CloseType.COOPERATIVE,
    CloseType.FUNDING_CANCELED,
    CloseType.ABANDONED,
)
_CONFIRMED: Final = (ClosePhase.FORCE_CLOSING, ClosePhase.CLOSED)
# LND's sweeper takes up what it has dropped within a block or two, if it does.
_FORGOTTEN_BLOCKS: Final = 3
_BEFORE: Final = (CloseState.REQUESTED, CloseState.CLOSING)
# HTLCs that can hang on a channel, both ways: older orders than so many are of none of them.
_PAYMENTS_AT_MOST: Final = 966
# What replaces what, while LND has not published anything: the more that is ordered.
_STRENGTH: Final = {CloseKind.FOLLOW: 0, CloseKind.COOPERATIVE: 1, CloseKind.FORCE: 2}


class CloseProgress(BaseModel):
    """A closing under way. Carried whole from one run to the next by continue-as-new."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    requested_at: datetime
    request: CloseRequest  # what is ordered now: a later order adds to an earlier one
    state: CloseState = CLOSE.start
    closing: Closing | None = None
    told_fee_sat: int = 0  # of the commitment and its anchors, by who saw the channel open
    waiting_since: int | None = None  # the height of the first look that saw it in no block
    in_vain: int = 0
    bumps: list[BumpOrder] = []
    told_the_limit: bool = False
    told_forgotten: list[tuple[Outpoint, int]] = []
    forgotten_since: dict[Outpoint, int] = {}  # outputs that LND does not sweep, by height
    listeners: list[str] = []
    because: str = ""
    last_event: EventId | None = None
    timeline: list[str] = []

    def fire(self, event: CloseEvent, at: datetime, words: str = "") -> None:
        """Moves along the table, and writes the timeline."""
        self.state = CLOSE.fire(self.state, event)
        if self.state in {CloseState.CALLED_OFF, CloseState.REFUSED}:
            self.because = words
        self.note(f"**{self.state}** {words}".rstrip(), at)

    def note(self, words: str, at: datetime) -> None:
        """With the height, which is what a closing's time is."""
        height = f"block {self.closing.tip.height:,} " if self.closing else ""
        timeline.note(self.timeline, height + words, at)

    # What is ordered.

    @property
    def to_ask(self) -> bool:
        """Whether LND is to be asked for anything."""
        return self.request.kind is not CloseKind.FOLLOW

    def joined(self, other: CloseRequest) -> bool:
        """Adds a later order; whether anything of it is another than before.

        LND is asked once: what comes when it is closing already is only followed along.
        """
        mine = self.request
        stronger = _STRENGTH[other.kind] > _STRENGTH[mine.kind]
        base = other if stronger and self.state in _BEFORE else mine
        fees = mine.fees.model_copy(
            update={
                "budget_sat": max(mine.fees.budget_sat, other.fees.budget_sat),
                "blocks_before_deadline": max(
                    mine.fees.blocks_before_deadline, other.fees.blocks_before_deadline
                ),
            }
        )
        conditions: dict[str, object] = {}
        if mine.kind is other.kind is CloseKind.FORCE:
            conditions = _conditions_of_both(mine, other)
        self.request = base.model_copy(update={"fees": fees, **conditions})
        if mine.fees != fees:
            self.told_the_limit = False
        return self.request != mine

    # What LND says.

    def heard(self, closing: Closing) -> tuple[CloseEvent, str] | None:
        """What LND's word means; None when it means nothing new.

        That it lists a channel nowhere means nothing, and neither does an open one that was
        seen on chain before: the look was older.
        """
        before = self.closing.tip if self.closing else None
        self.closing = self._with_what_was_told(self._with_what_was_known(closing))
        event = _ON_CHAIN.get(closing.phase)
        if event is None:
            self.in_vain += 1
            return None
        self.in_vain = 0
        self._watch_its_block(closing)
        self.forgotten_since = {
            each.outpoint: self.forgotten_since.get(each.outpoint, closing.tip.height)
            for each in closing.outputs
            if each.forgotten
        }
        if self.state in _BEFORE:
            return event, self._how(closing)
        match self.state, event:
            case _, CloseEvent.RESOLVED:
                recovered = f"{closing.recovered_sat:,} sat recovered"
                return event, f"{recovered}, at a cost of {closing.cost_sat:,} sat"
            case CloseState.WAITING_CLOSE, CloseEvent.CONFIRMED:
                return event, f"at height {closing.close_height:,}" if closing.close_height else ""
            # Only another tip can take a block back; at the same one the look is an older one.
            case CloseState.FORCE_CLOSING, CloseEvent.PUBLISHED if before != closing.tip:
                return CloseEvent.REORGED, "the block of the closing transaction was taken back"
        return None

    def block_news(self, before: Closing | None) -> str | None:
        """What has happened to the closing transaction's block since, while it is not final."""
        if before is None or self.closing is None or self.state is not CloseState.WAITING_CLOSE:
            return None
        was, now = before.close_height, self.closing.close_height
        if was == now:
            return None
        return f"in block {now:,}, not final yet" if now else f"block {was:,} was taken back"

    @property
    def is_in_vain(self) -> bool:
        """Whether nothing of a close was to be seen for so long that blocks alone can change it."""
        return self.in_vain >= _LOOKS_IN_VAIN

    def given_up(self) -> tuple[CloseEvent, str] | None:
        """What it means that nothing of a close was to be seen so often; None: look again.

        A channel that was seen and is followed can be in no list for weeks: LND lists nowhere
        that it takes everything from a peer who has cheated, until that is done.
        """
        if not self.is_in_vain or self.closing is None:
            return None
        if self.closing.phase is ClosePhase.UNKNOWN:
            if not self.to_ask and self.in_vain < _BLOCKS_IN_VAIN:
                return None
            return CloseEvent.REFUSED, f"{self.request.node} has no such channel: is it another's?"
        if not self.to_ask:
            return CloseEvent.CALLED_OFF, "the channel is open, and nobody closes it"
        return None

    def _with_what_was_known(self, closing: Closing) -> Closing:
        """Some things LND says at one stage, and at the next one only who saw them knows them."""
        known = self.closing
        if known is None:
            return closing
        if closing.phase not in _ON_CHAIN:
            nowhere = self.state not in _BEFORE
            return known.model_copy(update={"tip": closing.tip}) if nowhere else closing
        kept: dict[str, object] = {
            "htlcs_expire_at": closing.htlcs_expire_at or known.htlcs_expire_at,
            "htlcs_sat": closing.htlcs_sat or known.htlcs_sat,
        }
        if closing.closing_txid is not None and closing.closing_txid == known.closing_txid:
            kept |= {
                "close_type": closing.close_type or known.close_type,
                "commit_fee_sat": closing.commit_fee_sat or known.commit_fee_sat,
            }
        if closing.phase in _CONFIRMED and closing.closing_txid == known.closing_txid:
            kept |= {
                "close_height": closing.close_height or known.close_height,
                "recovered_sat": max(closing.recovered_sat, known.recovered_sat),
                "sweep_fees_sat": max(closing.sweep_fees_sat, known.sweep_fees_sat),
            }
        return closing.model_copy(update=kept)

    def was_told(self, commit_fee_sat: int) -> None:
        """What the commitment costs this node, by somebody who saw it while it was open."""
        self.told_fee_sat = commit_fee_sat or self.told_fee_sat
        if self.closing is not None:
            self.closing = self._with_what_was_told(self.closing)

    def _with_what_was_told(self, closing: Closing) -> Closing:
        """LND's own word is the better one: each side's commitment has a fee of its own."""
        by_agreement = closing.close_type in _WITHOUT_COMMITMENT
        if closing.phase not in _CONFIRMED or by_agreement or closing.commit_fee_sat:
            return closing
        return closing.model_copy(update={"commit_fee_sat": self.told_fee_sat})

    def _watch_its_block(self, closing: Closing) -> None:
        """Since when the closing transaction is in no block; None: it is in one."""
        if closing.phase is not ClosePhase.WAITING_CLOSE or closing.close_height is not None:
            self.waiting_since = None
        elif self.waiting_since is None:
            self.waiting_since = closing.tip.height

    def _how(self, closing: Closing) -> str:
        who = f", {closing.close_type}" if closing.close_type else ""
        return f"transaction `{closing.closing_txid}`{who}" if closing.closing_txid else ""

    def wake_height(self) -> int:
        """The block after which to look again."""
        assert self.closing is not None
        heights = [self.closing.next_height]
        if (near := bumping.next_height(self.closing, self.request.fees)) is not None:
            heights.append(near)
        return min(heights)

    # What its fees may be.

    def bumps_due(self) -> list[BumpOrder]:
        """What LND is to be asked now, written down as asked: the answer may never come."""
        if self.closing is None or not self.closing.tip.synced or not self.request.fees.budget_sat:
            return []
        due = bumping.next_orders(self.closing, self.request.fees, self.bumps, self.waiting_since)
        for order in due:
            self._put(order)
        return due

    def bumped(self, outpoint: Outpoint | None, answer: Bumped) -> None:
        """LND's answer."""
        for order in [each for each in self.bumps if each.outpoint == outpoint]:
            if order.taken and not answer.taken:
                # What was taken may have been spent: a later no gives nothing back.
                continue
            self._put(
                order.model_copy(update={"taken": answer.taken, "because": answer.because[:_LINE]})
            )

    def at_the_limit(self) -> str | None:
        """Said once, when something is slow and the budget allows nothing more."""
        fees, closing = self.request.fees, self.closing
        if self.told_the_limit or closing is None or not fees.budget_sat:
            return None
        if self.bumped_sat < fees.budget_sat:
            return None
        if not bumping.is_slow(closing, fees, self.waiting_since):
            return None
        self.told_the_limit = True
        return f"the budget of {fees.budget_sat:,} sat is given out: LND goes on with it alone"

    @property
    def bumped_sat(self) -> int:
        return bumping.reserved_sat(self.bumps)

    def _put(self, order: BumpOrder) -> None:
        self.bumps = [each for each in self.bumps if each.outpoint != order.outpoint] + [order]

    def forgotten(self) -> list[Outpoint]:
        """What LND could sweep, and does not try to: only a restart of it helps."""
        if self.closing is None:
            return []
        tip = self.closing.tip.height
        return [
            outpoint
            for outpoint, since in self.forgotten_since.items()
            if tip >= since + _FORGOTTEN_BLOCKS
        ]

    # What others are told.

    def news_of_forgotten(self, at: datetime) -> list[Event]:
        """One for each output, and once for each time that it is dropped."""
        told = []
        for outpoint in self.forgotten():
            since = self.forgotten_since[outpoint]
            if (outpoint, since) not in self.told_forgotten:
                self.told_forgotten = [*self.told_forgotten, (outpoint, since)][-_TOLD_AT_MOST:]
                again = f"-{outpoint.txid[:16]}-{outpoint.output_index}-{since}"
                told.append(self.event_of(EventType.CHANNEL_SWEEP_FORGOTTEN, at, again))
        return told

    def news(self, at: datetime) -> list[Event]:
        """The events of the state that was just reached, in their order."""
        kinds = []
        if self.state in _OUT and self.last_event is None:
            kinds.append(EventType.CHANNEL_CLOSING)
        if self.state is CloseState.CLOSED:
            kinds.append(EventType.CHANNEL_CLOSED)
        return [self.event_of(kind, at) for kind in kinds]

    def event_of(self, kind: EventType, at: datetime, again: str = "") -> Event:
        """The same news, told by whomever, is one event."""
        point = self.request.channel_point
        news = event(
            kind,
            self.receipt(at) if kind is EventType.CHANNEL_CLOSED else self.view(),
            # Both ends of a channel can be ours.
            subject=f"{self.request.node}-{point.txid}-{point.output_index}{again}",
            resource=ids.close_id(point),
            node=self.request.node,
            timestamp=at,
            after=self.last_event,
        )
        self.last_event = news.id
        return news

    def moved_by(self) -> tuple[object, ...]:
        """What listeners are told of when it changes; a block alone is no move."""
        last = self.closing
        if last is None:
            return (self.state,)
        amounts = (last.cost_sat, last.limbo_sat, last.recovered_sat)
        return self.state, last.closing_txid, last.close_height, last.outputs, amounts

    def view(self) -> CloseView:
        return CloseView(
            state=self.state,
            node=self.request.node,
            channel_point=self.request.channel_point,
            kind=self.request.kind,
            closing=self.closing,
            bumped_sat=self.bumped_sat,
            timeline=tuple(self.timeline),
        )

    def word(self) -> CloseView:
        """What listeners are told: how it stands, without what has many lines.

        Hundreds can listen, one for each HTLC, and each word stands in the history of both.
        """
        closing = self.closing.model_copy(update={"outputs": ()}) if self.closing else None
        return self.view().model_copy(update={"closing": closing, "timeline": ()})

    def receipt(self, completed_at: datetime) -> CloseReceipt:
        """The result of a closing that has come to its end."""
        assert self.state in CLOSE.terminal
        last = self.closing
        return CloseReceipt(
            status=self.state,
            node=self.request.node,
            channel_point=self.request.channel_point,
            kind=self.request.kind,
            because=self.because,
            close_type=last.close_type if last else None,
            peer=last.peer if last else None,
            closing_txid=last.closing_txid if last else None,
            close_height=last.close_height if last else None,
            settled_sat=last.settled_sat if last else 0,
            recovered_sat=last.recovered_sat if last else 0,
            cost_sat=last.cost_sat if last else 0,
            outputs=last.outputs if last else (),
            requested_at=self.requested_at,
            completed_at=completed_at,
        )


def _conditions_of_both(mine: CloseRequest, other: CloseRequest) -> dict[str, object]:
    """Ordered without a condition once, it has none."""
    if mine.only_while_away is not other.only_while_away:
        # A payment whose peer must be away for it is no reason once the peer is back: where the
        # other order comes to nothing, its ladder orders again.
        lasting = other if mine.only_while_away else mine
        return {
            "for_payments": lasting.for_payments,
            "expire_by_height": lasting.expire_by_height,
            "only_while_away": False,
        }
    unconditional = not mine.for_payments or not other.for_payments
    both = dict.fromkeys((*mine.for_payments, *other.for_payments))
    heights = (mine.expire_by_height, other.expire_by_height)
    return {
        "for_payments": () if unconditional else tuple(both)[-_PAYMENTS_AT_MOST:],
        "expire_by_height": max((h for h in heights if h is not None), default=None)
        if None not in heights and not unconditional
        else None,
        "only_while_away": mine.only_while_away,
    }


_OUT: Final = CLOSE.states - set(_BEFORE) - {CloseState.CALLED_OFF, CloseState.REFUSED}
_LINE: Final = 400
_TOLD_AT_MOST: Final = 100
