"""How far a lease is: everything that must survive, and what follows from it."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict

from fulgurite import timeline
from fulgurite.budgets.orders import Holder
from fulgurite.budgets.orders import Refusal as BudgetRefusal
from fulgurite.chain.tip import Tip
from fulgurite.channels.closing import ClosePhase
from fulgurite.events.catalogue import OF_LEASE, Event, EventId, event
from fulgurite.identity import ChannelPoint
from fulgurite.ids import lease_id
from fulgurite.leases.calls import (
    AccountWord,
    Picture,
    Quoted,
    Submitted,
    Withdrawn,
)
from fulgurite.leases.market import OVER, Account, Bid, LeasedChannel
from fulgurite.leases.pricing import Quote
from fulgurite.leases.receipts import LeaseCost, LeaseReceipt, LeaseView
from fulgurite.leases.requests import LeaseRequest
from fulgurite.leases.states import (
    ADVICE,
    IN_THE_MARKET,
    LEASE,
    LeaseEvent,
    LeaseState,
    LeaseTrouble,
    Refusal,
)
from fulgurite.payments.requests import Approval, Rejection

_WITHOUT_SUCCESS: Final = LEASE.terminal - {LeaseState.TERM_ENDED}
# A batch is made when the auctioneer likes, and no block tells of it.
_LOOK_AT_THE_MARKET: Final = timedelta(minutes=2)
# A channel that somebody closes is noticed after so many blocks.
_LOOK_AT_THE_CHANNELS_BLOCKS: Final = 36
_RENEW_AGAIN_BLOCKS: Final = 36
# Nothing is waited for but a person.
_NO_BLOCK_MATTERS: Final = 1_008


class LeaseProgress(BaseModel):
    """A lease under way. Carried whole from one run to the next by continue-as-new."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    requested_at: datetime
    holder: Holder | None = None  # its name with its budgets; None: its id alone
    state: LeaseState = LEASE.start
    entered_at: datetime
    tip: Tip | None = None
    quote: Quote | None = None
    approval_above_sat: int | None = None  # the node's
    decision: Approval | Rejection | None = None
    cancel_requested: bool = False
    accounts: tuple[Account, ...] = ()  # while one is looked for
    account: Account | None = None
    open_to: int | None = None  # the height until which ours is opened: chosen once
    opened: bool = False
    renew_to: int | None = None  # the height to which it is renewed
    renewed: bool = False
    no_renewal_before: int = 0  # the height until which poold's last no is taken for an answer
    shorts: int = 0  # times that an account turned out to have too little
    bids: tuple[Bid, ...] = ()
    failed_at_height: int | None = None  # since when poold says FAILED
    channels: dict[ChannelPoint, LeasedChannel] = {}
    closed_early: list[ChannelPoint] = []
    reserved: bool = False  # in its budgets, by this run or one before
    settled: bool = False  # its budgets know what it has cost
    refusal: Refusal = Refusal.NONE
    because: str = ""
    told_of_withdrawal: str = ""
    connected: bool = True
    away_since: datetime | None = None  # poold has had no auctioneer since then
    troubles: tuple[LeaseTrouble, ...] = ()
    last_event: EventId | None = None
    timeline: list[str] = []

    def fire(self, event: LeaseEvent, at: datetime, words: str = "") -> None:
        """Moves along the table, and writes the timeline."""
        self.state = LEASE.fire(self.state, event)
        self.entered_at = at
        if event is LeaseEvent.SHORT:
            self.shorts += 1
            self.account, self.refusal, self.because = None, Refusal.NONE, ""
        if self.state in _WITHOUT_SUCCESS and not self.because:
            self.because = words
        if self.state not in {LeaseState.ACCOUNT_OPENING, *LEASE.terminal}:
            self.accounts = ()
        self.note(f"**{self.state}** {words}".rstrip(), at)

    def note(self, words: str, at: datetime) -> None:
        """With the height, by which a term is counted."""
        height = f"block {self.tip.height:,} " if self.tip else ""
        timeline.note(self.timeline, height + words, at)

    # What the world answers.

    def saw(self, picture: Picture) -> None:
        """What poold and LND say now."""
        self.tip = picture.tip
        for channel in picture.channels:
            self._saw_channel(channel, picture.tip)
        if self.state is LeaseState.LEASED:
            return  # poold was not asked
        self.bids, self.connected = picture.bids, picture.connected
        known = {account.key: account for account in picture.accounts}
        if self.account is not None:
            self.account = known.get(self.account.key, self.account)
        elif self.bids:
            self.account = known.get(self.bids[0].account)
        if self.state in {LeaseState.QUOTING, LeaseState.ACCOUNT_OPENING}:
            self.accounts = picture.accounts
        failed = bool(self.bids) and not any(bid.state not in OVER for bid in self.bids)
        if not failed:
            self.failed_at_height = None
        elif self.failed_at_height is None:
            self.failed_at_height = picture.tip.height

    def _saw_channel(self, seen: LeasedChannel, tip: Tip) -> None:
        """LND knows the height only while the channel is open; what was known of it holds."""
        point, before = seen.channel_point, self.channels.get(seen.channel_point)
        if before is not None and seen.open_height is None:
            seen = seen.model_copy(
                update={"open_height": before.open_height, "expiry_height": before.expiry_height}
            )
        if before is not None and seen.phase is ClosePhase.UNKNOWN:
            # In none of LND's lists for a moment.
            seen = seen.model_copy(update={"phase": before.phase})
        self.channels[point] = seen
        expiry = seen.expiry_height
        early = is_gone(seen) and (expiry is None or tip.height < expiry)
        if early and point not in self.closed_early:
            self.closed_early.append(point)

    def quoted(self, answer: Quoted) -> None:
        self.quote, self.approval_above_sat = answer.quote, answer.approval_above_sat
        self._refused(answer.refusal, answer.because)

    def heard_of_account(self, answer: AccountWord, at: datetime) -> None:
        """Opened or renewed, or why not."""
        if answer.account is None and self.state in IN_THE_MARKET:
            # The bid stands, and can be matched until its account has expired.
            self.renew_to = None
            self.no_renewal_before = (self.tip.height if self.tip else 0) + _RENEW_AGAIN_BLOCKS
            self.note(f"not renewed: {answer.because}", at)
        elif answer.account is None:
            self._refused(answer.refusal, answer.because)
        elif self.renew_to is not None:
            self.renewed |= answer.account.expiry_height >= self.renew_to
            self.renew_to = None
        else:
            self.opened = True
            self._note_trouble("the account is there", answer.because, at)

    def submitted(self, answer: Submitted, at: datetime) -> None:
        if answer.bid is not None:
            self.bids = self.bids or (answer.bid,)
            self._note_trouble("the bid is there", answer.because, at)
        self._refused(answer.refusal, answer.because)

    def heard_of_budgets(self, refusal: BudgetRefusal | None, at: datetime) -> None:
        """Granted, or why not."""
        if refusal is None:
            self.reserved = True
            self.note("its worst case is reserved", at)
        else:
            self._refused(Refusal.OVER_BUDGET, f"budget {refusal.budget}: {refusal.words}")

    def withdrawn(self, answer: Withdrawn, at: datetime) -> None:
        """The next look tells what became of it."""
        words = "taken back" if answer.done else f"not taken back: {answer.because}"
        if words != self.told_of_withdrawal:
            self.told_of_withdrawal = words
            self.note(words, at)

    def _note_trouble(self, found: str, because: str, at: datetime) -> None:
        if because:
            self.note(f"{found}, though poold said: {because}", at)

    def _refused(self, refusal: Refusal, because: str) -> None:
        if refusal is not Refusal.NONE:
            self.refusal, self.because = refusal, because

    # What follows.

    @property
    def bid(self) -> Bid | None:
        """The lease's own: the oldest. Another with its mark is one too many."""
        return self.bids[0] if self.bids else None

    @property
    def bid_is_over(self) -> bool:
        return bool(self.bids) and all(bid.state in OVER for bid in self.bids)

    @property
    def cost_is_known(self) -> bool:
        """Nothing of it can cost more from here on."""
        return self.state in LEASE.terminal or self.state is LeaseState.LEASED

    @property
    def leased_sat(self) -> int:
        return sum(channel.amount_sat for channel in self.channels.values())

    def deadline(self, request: LeaseRequest) -> datetime:
        return self.requested_at + timedelta(seconds=request.deadline_seconds)

    def wake_height(self) -> int:
        """The next block that can matter."""
        assert self.tip is not None  # nobody waits who has not looked
        height = self.tip.height
        match self.state:
            case LeaseState.AWAITING_APPROVAL:
                return height + _NO_BLOCK_MATTERS
            case LeaseState.LEASED:
                ends = [c.expiry_height for c in self.channels.values() if c.expiry_height]
                soonest = min((end for end in ends if end > height), default=height + 1)
                return min(soonest, height + _LOOK_AT_THE_CHANNELS_BLOCKS)
            case _:
                return height + 1

    def wake_at(self, request: LeaseRequest, now: datetime) -> datetime | None:
        """The moment that matters without a block."""
        match self.state:
            case LeaseState.AWAITING_APPROVAL:
                patience = timedelta(seconds=request.approval_expires_seconds)
                return min(self.deadline(request), self.entered_at + patience)
            case LeaseState.ACCOUNT_OPENING:
                return self.deadline(request)
            case state if state in IN_THE_MARKET:
                soon, end = now + _LOOK_AT_THE_MARKET, self.deadline(request)
                return min(soon, end) if now < end else soon
            case _:
                return None

    # What others are told.

    def news(self, request: LeaseRequest, at: datetime) -> Event | None:
        """The event of the present state, if it is one that others are told of."""
        kind = OF_LEASE.get(self.state)
        if kind is None:
            return None
        over = self.state in LEASE.terminal
        news = event(
            kind,
            self.receipt(request, at) if over else self.view(request),
            # A key may hold what no event's id may; its moment tells one run from another.
            subject=f"{request.node}-{request.key.encode().hex()[:80]}-"
            f"{round(self.requested_at.timestamp() * 1_000)}",
            resource=lease_id(request.key),
            node=request.node,
            timestamp=at,
            after=self.last_event,
        )
        self.last_event = news.id
        return news

    def view(self, request: LeaseRequest) -> LeaseView:
        ends = [channel.expiry_height for channel in self.channels.values()]
        last = max((end for end in ends if end is not None), default=None)
        left = None if last is None or self.tip is None else max(0, last - self.tip.height)
        return LeaseView(
            state=self.state,
            key=request.key,
            node=request.node,
            request=request,
            deadline=self.deadline(request),
            tip=self.tip,
            quote=self.quote,
            account=self.account,
            bid=self.bid,
            channels=tuple(self.channels.values()),
            leased_sat=self.leased_sat,
            cost=LeaseCost.of(self.channels.values()),
            blocks_left=left,
            because=self.because,
            timeline=tuple(self.timeline),
        )

    def receipt(self, request: LeaseRequest, at: datetime) -> LeaseReceipt:
        return LeaseReceipt(
            status=self.state,
            key=request.key,
            node=request.node,
            amount_sat=request.amount_sat,
            leased_sat=self.leased_sat,
            channels=tuple(self.channels.values()),
            cost=LeaseCost.of(self.channels.values()),
            account=self.account,
            account_opened=self.opened,
            account_renewed=self.renewed,
            refusal=self.refusal,
            because=self.because,
            advice=ADVICE[self.refusal],
            requested_at=self.requested_at,
            completed_at=at,
        )


def is_gone(channel: LeasedChannel) -> bool:
    """It is closing or closed: nothing passes over it any more."""
    return channel.phase not in {ClosePhase.OPEN, ClosePhase.UNKNOWN}
