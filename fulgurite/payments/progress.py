"""How far a payment is: everything that must survive, and the words operators read."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from fulgurite.budgets.orders import Claim, Refusal, holder_at
from fulgurite.budgets.policy import BudgetName
from fulgurite.events.catalogue import OF_PAYMENT, Event, EventId, event
from fulgurite.ids import payment_id
from fulgurite.money import Msat
from fulgurite.payments.receipts import OnChain, PaymentUpdate, PaymentView, Receipt
from fulgurite.payments.requests import Order, PaymentRequest, send_until
from fulgurite.payments.states import (
    ADVICE,
    PAYMENT,
    FailureReason,
    PaymentEvent,
    PaymentState,
    PaymentStatus,
    liquidity_may_help,
    pause_before_attempt,
    worth_another_attempt,
)

# A timeline is for reading; what is older than this many lines is in the history.
_TIMELINE_LINES = 40
_TIMED_OUT_ON_CHAIN = (
    "The chain has decided: the HTLC timed out, and its amount comes back with the sweeps of the "
    "channel that was closed. Whether this can be paid again, the payee must say."
)


class Progress(BaseModel):
    """A payment under way. Carried whole from one run to the next by continue-as-new."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    requested_at: datetime
    state: PaymentState = PAYMENT.start
    update: PaymentUpdate | None = None
    sends: int = 0
    initiated: bool = False
    failures: int = 0
    last_failed_index: int | None = None
    last_failed_at: datetime | None = None
    approved: bool = False
    budgets: tuple[BudgetName, ...] = ()  # all that count it, as far as a dispatch has told
    reserved: tuple[BudgetName, ...] = ()  # those that have granted this run its worst case
    # Of its last try. Each has its own: what one budget of two has granted before the other
    # refused has ended in that one, and is not granted again.
    asks_since: datetime | None = None
    refusal: Refusal | None = None
    uncertain: bool = False
    cancel_requested: bool = False
    awaits_liquidity_since: datetime | None = None  # the first time; all its waits are one
    ask_autopilot_at: datetime | None = None  # not again before it
    in_flight_since: datetime | None = None
    ladder: bool = False  # one was begun: it must hear of LND's verdict
    on_chain: OnChain | None = None
    last_event: EventId | None = None
    timeline: list[str] = []

    def fire(self, event: PaymentEvent, at: datetime, words: str = "") -> None:
        """Moves along the table, and writes the timeline."""
        self.state = PAYMENT.fire(self.state, event)
        if self.state is PaymentState.IN_FLIGHT:
            self.in_flight_since = at
        self.note(f"**{self.state}** {words}".rstrip(), at)

    def note(self, words: str, at: datetime) -> None:
        self.timeline.append(f"{at.isoformat(timespec='milliseconds')} {words}")
        del self.timeline[:-_TIMELINE_LINES]

    def heard(
        self,
        update: PaymentUpdate,
        at: datetime,
        last_moment: datetime,
        wait_for_liquidity_seconds: int | None = None,
    ) -> tuple[PaymentEvent, str] | None:
        """What LND's word means for the payment; None when it means nothing new.

        Only `status` decides. A reason without FAILED is no verdict (LND says TIMEOUT for
        payments that settle later).
        """
        self.update = update
        if update.status is PaymentStatus.SUCCEEDED:
            fee = f"fee {update.fee_msat}, {update.parts} part{'s' * (update.parts != 1)}"
            return PaymentEvent.SETTLED, fee
        if update.status is PaymentStatus.IN_FLIGHT:
            arriving = self.state is PaymentState.DISPATCHING
            return (PaymentEvent.ACCEPTED, "LND has it") if arriving else None
        return self._failed(update, at, last_moment, wait_for_liquidity_seconds)

    def _failed(
        self,
        update: PaymentUpdate,
        at: datetime,
        last_moment: datetime,
        wait_for_liquidity_seconds: int | None,
    ) -> tuple[PaymentEvent, str]:
        """Whether another attempt follows LND's FAILED, and what is waited for before it."""
        self.failures += 1
        self.last_failed_index = update.payment_index
        self.last_failed_at = update.created_at
        reason = update.failure_reason
        waits = not self.on_chain and self._may_wait(reason, at, wait_for_liquidity_seconds)
        if self.on_chain or not (waits or worth_another_attempt(reason)):
            return PaymentEvent.FAILED, reason
        if self.cancel_requested:
            return PaymentEvent.GIVEN_UP, f"{reason}; canceled, so no other attempt"
        if waits and at < last_moment:
            return PaymentEvent.NEEDS_LIQUIDITY, f"{reason}; waits for a remedy"
        pause = pause_before_attempt(self.failures)
        if at + pause >= last_moment:
            return PaymentEvent.GIVEN_UP, f"{reason}; no time for another attempt"
        return PaymentEvent.FAILED_FOR_NOW, f"{reason}; next attempt in {pause.seconds} s"

    def _may_wait(self, reason: FailureReason, at: datetime, seconds: int | None) -> bool:
        """Whether a remedy is (still) waited for. The first such FAILED begins the time."""
        if seconds is None or not liquidity_may_help(reason):
            return False
        self.awaits_liquidity_since = self.awaits_liquidity_since or at
        return at < self.awaits_liquidity_since + timedelta(seconds=seconds)

    def or_given_up(self, event: PaymentEvent) -> PaymentEvent:
        """After a send that failed, "nothing was sent" is no longer true: the verdict stands."""
        return PaymentEvent.GIVEN_UP if self.failures else event

    def claim(self, request: PaymentRequest, order: Order) -> Claim:
        """What its budgets know it by."""
        holder = holder_at(request.node, payment_id(order.payment_hash))
        return Claim(holder=holder, since=self.asks_since or self.requested_at)

    def overdue_at(self, request: PaymentRequest) -> datetime:
        assert self.in_flight_since is not None
        return self.in_flight_since + timedelta(seconds=request.stuck_after_seconds)

    def waits_until(self, request: PaymentRequest) -> datetime | None:
        """The end of its time for a remedy; None where it has not begun."""
        if not (self.awaits_liquidity_since and request.wait_for_liquidity_seconds):
            return None
        return self.awaits_liquidity_since + timedelta(seconds=request.wait_for_liquidity_seconds)

    def last_moment(self, request: PaymentRequest, order: Order) -> datetime:
        """No attempt begins at or after it."""
        return send_until(request, order, self.requested_at)

    def news(self, request: PaymentRequest, order: Order, at: datetime) -> Event | None:
        """The event of the present state, if it is one that others are told of."""
        kind = OF_PAYMENT.get(self.state)
        if kind is None:
            return None
        if self.state is PaymentState.AWAITING_LIQUIDITY and at != self.awaits_liquidity_since:
            return None  # told when it began
        ended = self.state in PAYMENT.terminal
        # A hash succeeds once. Everything else can happen to it again, in another run too.
        again = f"-{round(self.requested_at.timestamp() * 1_000)}-{self.failures}"
        news = event(
            kind,
            self.receipt(request, order, at) if ended else self.view(request, order),
            subject=order.payment_hash + ("" if self.state is PaymentState.SUCCEEDED else again),
            resource=payment_id(order.payment_hash),
            node=request.node,
            timestamp=at,
            after=self.last_event,
        )
        self.last_event = news.id
        return news

    def view(self, request: PaymentRequest, order: Order) -> PaymentView:
        return PaymentView(
            state=self.state,
            payment_hash=order.payment_hash,
            destination=order.destination,
            node=request.node,
            amount_msat=order.amount,
            fee_limit_msat=order.fee_limit,
            cancel_requested=self.cancel_requested,
            update=self.update,
            on_chain=self.on_chain,
            budgets=self.budgets,
            refusal=self.refusal,
            waits_until=self._waiting_until(request, order),
            timeline=tuple(self.timeline),
        )

    def receipt(self, request: PaymentRequest, order: Order, completed_at: datetime) -> Receipt:
        """The result of a payment that has come to its end."""
        assert self.state in PAYMENT.terminal
        update = self.update
        succeeded = self.state is PaymentState.SUCCEEDED
        reason = update.failure_reason if update and not succeeded else FailureReason.NONE
        resolved_at = update.resolved_at if update else None
        # What somebody else had LND pay was paid under their limit, not under this one.
        over = self.initiated and succeeded and update and update.fee_msat > order.fee_limit
        return Receipt(
            status=self.state,
            failure_reason=reason,
            advice=self._advice(reason),
            warnings=("FEE_LIMIT_EXCEEDED",) if over else (),
            payment_hash=order.payment_hash,
            destination=order.destination,
            node=request.node,
            amount_msat=update.amount_msat if update and succeeded else order.amount,
            fee_msat=update.fee_msat if update and succeeded else Msat(0),
            fee_limit_msat=order.fee_limit,
            parts=update.parts if update and succeeded else 0,
            attempts=update.attempts if update else 0,
            sends=self.sends,
            initiated_by_this_run=self.initiated,
            requested_at=self.requested_at,
            resolved_at=resolved_at,
            # Two clocks: LND's and Temporal's, which may differ by a moment.
            completed_at=max(completed_at, resolved_at) if resolved_at else completed_at,
            sealed_preimage=update.sealed_preimage if update else None,
            budgets=self.budgets,
            refusal=self.refusal,
            on_chain=self.on_chain,
        )

    def details(self, request: PaymentRequest, order: Order) -> str:
        """Markdown for the Temporal UI: where it stands, what that means, how it came there."""
        what = f"{order.amount} to `{order.destination[:16]}…` from **{request.node}**"
        lines = [f"### {self.state}", f"{what}, fee at most {order.fee_limit}", ""]
        if self.cancel_requested and self.state not in PAYMENT.terminal:
            lines += ["Canceled: no new attempts. What is in flight stays until LND ends it.", ""]
        if self.refusal:
            lines += [self.refusal.words, ""]
        if until := self._waiting_until(request, order):
            lines += [f"LND is asked again when liquidity has moved, until {until:%F %T} UTC", ""]
        if self.on_chain:
            channels = ", ".join(f"`close/{point}`" for point in self.on_chain.channel_points)
            lines += [f"On chain: {self.on_chain.cost_sat:,} sat so far; see {channels}", ""]
        if self.update and self.state in {PaymentState.IN_FLIGHT, PaymentState.STUCK}:
            expiry = self.update.expiry_height
            lines += [
                f"{self.update.parts} HTLC{'s' * (self.update.parts != 1)} in flight"
                + (f", the first expires at height {expiry}" if expiry else ""),
                "",
            ]
        return "\n".join([*lines, *(f"- {line}" for line in self.timeline)])

    def _waiting_until(self, request: PaymentRequest, order: Order) -> datetime | None:
        """In the wait for liquidity, its end: by its own time or by the payment's."""
        until = self.waits_until(request)
        if until is None or self.state is not PaymentState.AWAITING_LIQUIDITY:
            return None
        return min(until, self.last_moment(request, order))

    def _advice(self, reason: FailureReason) -> str:
        match self.state:
            case PaymentState.FAILED if self.on_chain:
                # LND's reason is of its last attempt; what ended this one was an expiry.
                return _TIMED_OUT_ON_CHAIN
            case PaymentState.FAILED:
                return f"{ADVICE[reason]}{self._in_vain(reason)}"
            case PaymentState.EXPIRED:
                return "Nothing was sent. Ask again with a longer deadline, or a new invoice."
            case PaymentState.REJECTED | PaymentState.CANCELED:
                return "Nothing was sent."
            case PaymentState.OVER_BUDGET:
                because = f" {self.refusal.words}" if self.refusal else ""
                return f"Nothing was sent.{because}"
            case _:
                return ""

    def _in_vain(self, reason: FailureReason) -> str:
        if self.awaits_liquidity_since is None or not liquidity_may_help(reason):
            return ""
        return f" It waited for a remedy since {self.awaits_liquidity_since:%F %T} UTC, in vain."
