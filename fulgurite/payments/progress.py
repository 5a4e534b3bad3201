"""How far a payment is: everything that must survive, and the words operators read."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from fulgurite.events.catalogue import OF_PAYMENT, Event, EventId, event
from fulgurite.ids import payment_id
from fulgurite.money import Msat
from fulgurite.payments.receipts import PaymentUpdate, PaymentView, Receipt
from fulgurite.payments.requests import Order, PaymentRequest, send_until
from fulgurite.payments.states import (
    ADVICE,
    PAYMENT,
    FailureReason,
    PaymentEvent,
    PaymentState,
    PaymentStatus,
    pause_before_attempt,
    worth_another_attempt,
)

# A timeline is for reading; what is older than this many lines is in the history.
_TIMELINE_LINES = 40


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
    uncertain: bool = False
    cancel_requested: bool = False
    in_flight_since: datetime | None = None
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
        self, update: PaymentUpdate, at: datetime, last_moment: datetime
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
        self.failures += 1
        self.last_failed_index = update.payment_index
        self.last_failed_at = update.created_at
        reason = update.failure_reason
        if not worth_another_attempt(reason):
            return PaymentEvent.FAILED, reason
        if self.cancel_requested:
            return PaymentEvent.GIVEN_UP, f"{reason}; canceled, so no other attempt"
        pause = pause_before_attempt(self.failures)
        if at + pause >= last_moment:
            return PaymentEvent.GIVEN_UP, f"{reason}; no time for another attempt"
        return PaymentEvent.FAILED_FOR_NOW, f"{reason}; next attempt in {pause.seconds} s"

    def overdue_at(self, request: PaymentRequest) -> datetime:
        assert self.in_flight_since is not None
        return self.in_flight_since + timedelta(seconds=request.stuck_after_seconds)

    def last_moment(self, request: PaymentRequest, order: Order) -> datetime:
        """No attempt begins at or after it."""
        return send_until(request, order, self.requested_at)

    def news(self, request: PaymentRequest, order: Order, at: datetime) -> Event | None:
        """The event of the present state, if it is one that others are told of."""
        kind = OF_PAYMENT.get(self.state)
        if kind is None:
            return None
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
        )

    def details(self, request: PaymentRequest, order: Order) -> str:
        """Markdown for the Temporal UI: where it stands, what that means, how it came there."""
        what = f"{order.amount} to `{order.destination[:16]}…` from **{request.node}**"
        lines = [f"### {self.state}", f"{what}, fee at most {order.fee_limit}", ""]
        if self.cancel_requested and self.state not in PAYMENT.terminal:
            lines += ["Canceled: no new attempts. What is in flight stays until LND ends it.", ""]
        if self.update and self.state in {PaymentState.IN_FLIGHT, PaymentState.STUCK}:
            expiry = self.update.expiry_height
            lines += [
                f"{self.update.parts} HTLC{'s' * (self.update.parts != 1)} in flight"
                + (f", the first expires at height {expiry}" if expiry else ""),
                "",
            ]
        return "\n".join([*lines, *(f"- {line}" for line in self.timeline)])

    def _advice(self, reason: FailureReason) -> str:
        match self.state:
            case PaymentState.FAILED:
                return ADVICE[reason]
            case PaymentState.EXPIRED:
                return "Nothing was sent. Ask again with a longer deadline, or a new invoice."
            case PaymentState.REJECTED | PaymentState.CANCELED:
                return "Nothing was sent."
            case _:
                return ""
