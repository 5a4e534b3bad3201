"""How far a swap is: everything that must survive, and what follows from it."""

from __future__ import annotations

import hashlib
from datetime import datetime, timedelta
from typing import Final

from pydantic import BaseModel, ConfigDict

from fulgurite import timeline
from fulgurite.budgets.orders import Holder
from fulgurite.events.catalogue import OF_SWAP, Event, EventId, event
from fulgurite.identity import PaymentHash
from fulgurite.ids import swap_id
from fulgurite.lifecycle import ImpossibleTransitionError
from fulgurite.payments.requests import Approval, Rejection
from fulgurite.swaps.calls import Offer, SwapPlan
from fulgurite.swaps.limits import Bounds, Cost, Direction, Excess, Limit, bound, exceeded
from fulgurite.swaps.orders import Orders
from fulgurite.swaps.reasons import ADVICE, SwapReason
from fulgurite.swaps.receipts import SwapReceipt, SwapView
from fulgurite.swaps.requests import SwapRequest
from fulgurite.swaps.risk import at_risk
from fulgurite.swaps.states import SWAP, SwapEvent, SwapState
from fulgurite.swaps.told import LoopSwap, Sighting

_OVER: Final = {
    Limit.SWAP_FEE: SwapReason.SWAP_FEE_LIMIT,
    Limit.PREPAY: SwapReason.PREPAY_LIMIT,
    Limit.MINER_FEE: SwapReason.MINER_FEE_LIMIT,
    Limit.ROUTING: SwapReason.ROUTING_LIMIT,
    Limit.PREPAY_ROUTING: SwapReason.ROUTING_LIMIT,
    Limit.TOTAL: SwapReason.TOTAL_LIMIT,
}


def judged(request: SwapRequest, offer: Offer) -> SwapPlan:
    """Whether an offer can be taken, and what loopd may spend then. Every limit fails closed."""
    if offer.existing and offer.reason is SwapReason.NONE:
        return SwapPlan(request=request, offer=offer)  # it was begun: nothing is to be held back
    bounds: Bounds | None = None
    over: tuple[Excess, ...] = ()
    reason = _why_not(request.amount_sat, offer)
    if reason is SwapReason.NONE:
        assert offer.quote is not None
        bounds, over = bound(request.direction, request.amount_sat, request.limits, offer.quote)
        reason = _OVER[over[0].limit] if over else SwapReason.NONE
    return SwapPlan(
        request=request,
        offer=offer,
        bounds=None if over else bounds,
        exceeded=over,
        reason=reason,
        advice=ADVICE[reason],
    )


def _why_not(amount_sat: int, offer: Offer) -> SwapReason:
    """What is wrong with an offer, whatever the limits are."""
    if offer.reason is not SwapReason.NONE:
        return offer.reason
    if offer.quote is None or offer.terms is None:
        return SwapReason.SERVER_REFUSED
    if amount_sat < offer.terms.min_sat:
        return SwapReason.AMOUNT_TOO_LOW
    if amount_sat > offer.terms.max_sat:
        return SwapReason.AMOUNT_TOO_HIGH
    # Below zero loopd could not estimate it: the wallet has too few coins for the HTLC.
    return SwapReason.WALLET_BALANCE if offer.quote.miner_fee_sat < 0 else SwapReason.NONE


class Swap(BaseModel):
    """A swap under way. Carried whole from one run to the next by continue-as-new."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    label_prefix: str  # of every label under which loopd may know it
    began_at: datetime
    holder: Holder | None = None  # its name with its budgets; None: its id alone
    state: SwapState = SWAP.start
    entered_at: datetime
    attempt: int = 1
    orders: Orders = Orders()
    asked: int = 0  # times that loopd was asked to begin it, or may have been
    offer: Offer | None = None
    bounds: Bounds | None = None
    quoted_at: datetime | None = None
    tried_again_at: datetime | None = None
    approved: bool = False
    decision: Approval | Rejection | None = None
    swap_hash: PaymentHash | None = None
    loop: LoopSwap | None = None  # loopd's last word
    reason: SwapReason = SwapReason.NONE
    because: str = ""
    unlisted: int | None = None
    # A worker that is held up can ask loopd until then, though its answer was given up.
    asked_until: datetime | None = None
    nothing_stored_since: datetime | None = None  # every look since then has found no orphan
    looked_at: datetime | None = None
    others: list[PaymentHash] = []
    last_event: EventId | None = None
    timeline: list[str] = []

    def fire(self, moved_by: SwapEvent, at: datetime, words: str = "") -> None:
        """Moves along the table, and writes the timeline."""
        self.state = SWAP.fire(self.state, moved_by)
        self.entered_at = at
        if moved_by is SwapEvent.ASKED:
            self.asked += 1
        if moved_by is SwapEvent.AGAIN:
            self.attempt += 1
            self.tried_again_at = at  # the first deadline was for the first try
        if moved_by in {SwapEvent.PAUSED, SwapEvent.APPROVED, SwapEvent.REJECTED}:
            self.decision = None
        self.approved |= moved_by is SwapEvent.APPROVED
        if moved_by in {SwapEvent.LOST, SwapEvent.AGAIN}:
            self.unlisted = self.nothing_stored_since = self.looked_at = None
        if moved_by is SwapEvent.AGAIN:
            self.asked_until = None
        self.note(f"**{self.state}** {words}".rstrip(), at)

    def note(self, words: str, at: datetime) -> None:
        timeline.note(self.timeline, words, at)

    def quoted(self, offer: Offer, request: SwapRequest, at: datetime) -> tuple[SwapReason, str]:
        """Hears an offer; why it cannot be taken, or NONE. Every limit is held against it."""
        plan = judged(request, offer)
        self.offer, self.bounds, self.quoted_at = offer, plan.bounds, at
        return plan.reason, "; ".join(map(str, plan.exceeded)) or offer.because

    def wants_a_person(self, request: SwapRequest) -> bool:
        """Whether its amount is above a threshold that nobody has said yes to."""
        own = self.offer.approval_above_sat if self.offer else None
        thresholds = [each for each in (request.approval_above_sat, own) if each is not None]
        return not self.approved and any(request.amount_sat > each for each in thresholds)

    def heard(self, told: LoopSwap, at: datetime) -> tuple[SwapEvent, str] | None:
        """What loopd says of it, and the event that it is; None: it moves nothing.

        The same state again moves nothing, and neither does one that comes before the present.
        """
        news = told != self.loop
        self.loop, self.swap_hash, self.reason = told, told.swap_hash, told.reason
        try:
            SWAP.fire(self.state, told.event)
        except ImpossibleTransitionError:
            if news:
                self.note(f"loopd: {told.state} {_cost(told.cost)}".rstrip(), at)
            return None
        return told.event, _cost(told.cost)

    def sighted(self, sighting: Sighting | None, at: datetime) -> LoopSwap | None:
        """What a look has found: the swap of one of our labels, the last attempt's first.

        None: loopd did not answer, and what was known before says nothing of now.
        """
        if sighting is None:
            self.unlisted = self.nothing_stored_since = None
            return None
        self.looked_at, self.unlisted = at, sighting.unlisted
        if sighting.unlisted:
            self.nothing_stored_since = None
        elif self.nothing_stored_since is None:
            self.nothing_stored_since = at
        ours = [each for each in sighting.swaps if each.label.startswith(self.label_prefix)]
        return min(ours, key=lambda each: (each.final, -_attempt(each)), default=None)

    def absent(self, request: SwapRequest) -> bool:
        """Whether every look, over as long as one is looked for, has found nothing stored.

        It is evidence for who decides: loopd lists all that its database has, and what it was
        asked for is not there. While it may still be being asked, no look is evidence.
        """
        since, last = self.nothing_stored_since, self.looked_at
        if since is None or last is None:
            return False
        watched = timedelta(seconds=request.orphan_watch_seconds)
        return last - max(since, self.asked_until or since) >= watched

    def exceeded(self, request: SwapRequest) -> tuple[Excess, ...]:
        """Limits that loopd was handed and has not kept. Of one found again, only the total."""
        if self.bounds:
            return exceeded(self.bounds, self.cost)
        spent_sat, limit_sat = self.cost.total_sat, _total_sat(request)
        over = Excess(limit=Limit.TOTAL, sat=spent_sat, limit_sat=limit_sat)
        return (over,) if spent_sat > limit_sat else ()

    def unseen_sat(self, request: SwapRequest) -> int:
        """What may be gone beside the cost, at the worst: loopd's figures leave it out.

        Of a swap out that failed it tells no prepayment, whether that is lost or not.
        """
        if self.state is SwapState.GIVEN_UP:
            return _total_sat(request)
        out = request.direction is Direction.OUT
        if self.state is not SwapState.FAILED or not out or self.cost.server_sat:
            return 0
        if self.bounds is None:
            return max(0, _total_sat(request) - self.cost.total_sat)
        routing_sat = max(0, self.bounds.max_prepay_routing_sat - self.cost.off_chain_sat)
        return self.bounds.max_prepay_sat + routing_sat

    @property
    def label(self) -> str:
        """What loopd knows the present attempt by. No key has `#` in it."""
        return f"{self.label_prefix}{self.attempt}"

    @property
    def cost(self) -> Cost:
        return self.loop.cost if self.loop else Cost()

    def deadline(self, request: SwapRequest) -> datetime:
        """After this it is not begun."""
        since = self.tried_again_at or self.began_at
        return since + timedelta(seconds=request.deadline_seconds)

    def news(self, request: SwapRequest, at: datetime) -> Event | None:
        """The event of the present state, if it is one that others are told of."""
        kind = OF_SWAP.get(self.state)
        if kind is None:
            return None
        ended = self.state in SWAP.terminal
        news = event(
            kind,
            self.receipt(request, at) if ended else self.view(request),
            subject=f"{_short(request.key)}-{_moment(self.entered_at)}",
            resource=swap_id(request.key),
            node=request.node,
            timestamp=at,
            after=self.last_event,
        )
        self.last_event = news.id
        return news

    def view(self, request: SwapRequest) -> SwapView:
        offer = self.offer or Offer()
        return SwapView(
            state=self.state,
            key=request.key,
            node=request.node,
            direction=request.direction,
            amount_sat=request.amount_sat,
            terms=offer.terms,
            quote=offer.quote,
            bounds=self.bounds,
            swap_hash=self.swap_hash,
            htlc_address=self.loop.htlc_address if self.loop else "",
            cost=self.cost,
            reason=self.reason,
            advice=ADVICE[self.reason],
            at_risk=at_risk(self.state, request, self.bounds, self.cost),
            attempt=self.attempt,
            unlisted=self.unlisted,
            others=tuple(self.others),
            timeline=tuple(self.timeline),
        )

    def receipt(self, request: SwapRequest, at: datetime) -> SwapReceipt:
        over, unseen_sat = self.exceeded(request), self.unseen_sat(request)
        given_up = self.state is SwapState.GIVEN_UP
        warnings = {
            "LIMIT_EXCEEDED": bool(over),
            "BEGUN_TWICE": bool(self.others),
            "NOT_RESOLVED": given_up,
            "PREPAYMENT_UNSEEN": bool(unseen_sat) and not given_up,
        }
        return SwapReceipt(
            status=self.state,
            reason=self.reason,
            advice=ADVICE[self.reason],
            warnings=tuple(word for word, holds in warnings.items() if holds),
            key=request.key,
            node=request.node,
            direction=request.direction,
            amount_sat=request.amount_sat,
            swap_hash=self.swap_hash,
            cost=self.cost,
            unseen_sat=unseen_sat,
            bounds=self.bounds,
            exceeded=over,
            others=tuple(self.others),
            attempts=self.asked,
            requested_at=self.began_at,
            initiated_at=self.loop.initiated_at if self.loop else None,
            completed_at=at,
        )


def _total_sat(request: SwapRequest) -> int:
    return request.limits.total.of(request.amount_sat)


def _attempt(swap: LoopSwap) -> int:
    number = swap.label.rpartition("#")[2]
    return int(number) if number.isdigit() else 0


def _short(key: str) -> str:
    """A key in the letters that an event's id may have."""
    return hashlib.sha256(key.encode()).hexdigest()[:24]


def _moment(at: datetime) -> int:
    return round(at.timestamp() * 1_000)


def _cost(cost: Cost) -> str:
    return f"cost so far {cost.total_sat:,} sat" if cost.total_sat else ""
