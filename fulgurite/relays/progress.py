"""How far a relay is: everything that must survive, and the words operators read."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict

from fulgurite import timeline
from fulgurite.events.catalogue import OF_RELAY, Event, EventType, event
from fulgurite.ids import relay_id
from fulgurite.invoices.receipts import CreatedInvoice, InvoiceUpdate
from fulgurite.invoices.states import LndInvoiceState
from fulgurite.money import Msat
from fulgurite.payments.receipts import Receipt
from fulgurite.payments.requests import PaymentRequest
from fulgurite.payments.states import PaymentState, PaymentStatus
from fulgurite.relays.calls import Outlook
from fulgurite.relays.receipts import RelayReceipt, RelayView, RelayWarning
from fulgurite.relays.requests import Plan, cltv_limit_blocks, to_ask, to_pay
from fulgurite.relays.states import RELAY, RelayEvent, RelayState

# Two clocks: a cancellation so shortly before the expiry is LND's own.
_CLOCKS_DIFFER = timedelta(seconds=5)
# After these nothing is in flight, and nothing will be. A refused payment is as certain.
NOT_PAID = frozenset(
    {
        PaymentState.FAILED,
        PaymentState.REJECTED,
        PaymentState.OVER_BUDGET,
        PaymentState.EXPIRED,
        PaymentState.CANCELED,
    }
)


class RelayProgress(BaseModel):
    """A relay under way. Carried whole from one run to the next by continue-as-new."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    requested_at: datetime
    state: RelayState = RELAY.start
    created: CreatedInvoice | None = None
    upstream: InvoiceUpdate | None = None
    outlook: Outlook | None = None
    payment: PaymentRequest | None = None
    receipt_of_payment: Receipt | None = None
    payments_begun: int = 0
    resumed: bool = False
    cancel_requested: bool = False
    warnings: list[RelayWarning] = []
    untold: list[EventType] = []
    timeline: list[str] = []

    def fire(self, event: RelayEvent, at: datetime, words: str = "") -> None:
        """Moves along the table, and writes the timeline."""
        self.state = RELAY.fire(self.state, event)
        if self.state in {RelayState.LOSS_POSSIBLE, RelayState.LOST}:
            self.warn(RelayWarning(self.state))
            self.untold.append(OF_RELAY[self.state])
        if self.state is RelayState.SETTLED and not self.paid:
            self.warn(RelayWarning.SETTLED_UNPAID)
        self.note(f"**{self.state}** {words}".rstrip(), at)

    def note(self, words: str, at: datetime) -> None:
        timeline.note(self.timeline, words, at)

    def warn(self, warning: RelayWarning) -> None:
        if warning not in self.warnings:
            self.warnings.append(warning)

    @property
    def paid(self) -> bool:
        """Whether the preimage is ours, and durable."""
        receipt = self.receipt_of_payment
        return receipt is not None and receipt.sealed_preimage is not None

    def heard_upstream(self, update: InvoiceUpdate, at: datetime) -> tuple[RelayEvent, str] | None:
        """What LND's word on the incoming invoice means; None when it changes nothing."""
        self.upstream = update
        before_paying = self.state in {RelayState.OPEN, RelayState.HELD}
        match update.state:
            case LndInvoiceState.ACCEPTED if self.state is RelayState.OPEN:
                return RelayEvent.HELD, f"{update.paid_msat} held until downstream has its verdict"
            case LndInvoiceState.SETTLED if before_paying:
                return RelayEvent.UPSTREAM_SETTLED, "asking what became of the payment"
            case LndInvoiceState.SETTLED if self.state in {
                RelayState.SETTLING,
                RelayState.CANCELING,
            }:
                return RelayEvent.UPSTREAM_SETTLED, f"{update.paid_msat} taken"
            case LndInvoiceState.CANCELED:
                return self._upstream_went_back(at, before_paying=before_paying)
            case _:
                return None

    def _upstream_went_back(
        self, at: datetime, *, before_paying: bool
    ) -> tuple[RelayEvent, str] | None:
        known = self.outlook is not None and (
            self.outlook.payment_open
            or self.outlook.payment is PaymentStatus.SUCCEEDED
            or self.outlook.elsewhere is not None
        )
        if self.state in {RelayState.PAYING, RelayState.SETTLING} or (before_paying and known):
            return RelayEvent.UPSTREAM_LOST, "LND gave back what was held, and this was too early"
        if self.state is RelayState.OPEN and self.created and self._expired(self.created, at):
            return RelayEvent.UNPAID, "nobody paid in time"
        if before_paying:
            return RelayEvent.UPSTREAM_CANCELED, "in LND itself"
        if self.state is RelayState.CANCELING:
            return RelayEvent.UPSTREAM_CANCELED, "what was held went back"
        return None

    @staticmethod
    def _expired(created: CreatedInvoice, at: datetime) -> bool:
        return at + _CLOCKS_DIFFER >= created.expires_at

    def weigh(self, plan: Plan, held: InvoiceUpdate, tip: int, counted_at: datetime) -> str:
        """Writes the payment, if one may be sent; says why, or why not."""
        expiry = held.first_expiry_height
        limit = cltv_limit_blocks(plan, expiry, tip) if expiry else None
        if self.cancel_requested:
            return "called off: LND is asked, and nothing is sent"
        if held.paid_msat < plan.amount:
            return f"only {held.paid_msat} held: LND is asked, and nothing is sent"
        if limit is None:
            return f"held until {expiry}, now {tip}: too few blocks, LND is asked, nothing is sent"
        self.payment = to_pay(plan, limit, counted_at)
        return f"held until {expiry}, now {tip}: downstream has {limit} blocks"

    @property
    def sends_no_more(self) -> bool:
        """Called off, or for nothing any more: what is in flight is followed, and that is all."""
        return self.cancel_requested or self.state is RelayState.LOSS_POSSIBLE

    def to_begin(self, plan: Plan) -> PaymentRequest:
        """The payment, where it may be sent; otherwise what asks LND what it has, and sends not."""
        if self.outlook and self.outlook.elsewhere:
            return to_ask(plan, self.outlook.elsewhere)
        if self.payment is None or self.sends_no_more:
            return to_ask(plan)
        return self.payment

    def heard_downstream(self, plan: Plan, receipt: Receipt) -> tuple[RelayEvent, str] | None:
        """What the payment's end means; None when it is no verdict that one can act on."""
        self.receipt_of_payment = receipt
        of_another_node = receipt.node != plan.request.outgoing.node
        if receipt.status is PaymentState.SUCCEEDED:
            if receipt.sealed_preimage is None:
                return None
            known = receipt.initiated_by_this_run or self.resumed or self.payments_begun > 1
            if of_another_node or not known:
                # The payer gets the preimage that was paid for: that is what the hash promises.
                self.warn(RelayWarning.PAID_BY_ANOTHER)
            return RelayEvent.PAID, f"{receipt.amount_msat} paid, fee {receipt.fee_msat}"
        # One node's FAILED says nothing of what another one has in flight.
        if receipt.status in NOT_PAID and not of_another_node:
            return RelayEvent.NOT_PAID, f"the payment is {receipt.status}: {receipt.failure_reason}"
        return None

    def news(self, plan: Plan, at: datetime) -> Event:
        """The first event that nobody was told of yet."""
        kind = self.untold[0]
        lost = kind is EventType.RELAY_LOST
        return event(
            kind,
            self.receipt(plan, at) if lost else self.view(plan),
            subject=plan.payment_hash,
            resource=relay_id(plan.payment_hash),
            node=plan.invoice.node,
            timestamp=at,
        )

    def view(self, plan: Plan) -> RelayView:
        created, upstream = self.created, self.upstream
        return RelayView(
            state=self.state,
            warnings=tuple(self.warnings),
            payment_hash=plan.payment_hash,
            payment_request=created.payment_request if created else "",
            expires_at=created.expires_at if created else None,
            incoming_node=plan.invoice.node,
            outgoing_node=plan.request.outgoing.node,
            destination=plan.order.destination,
            asked_msat=plan.amount,
            held_msat=upstream.paid_msat if upstream else Msat(0),
            first_expiry_height=upstream.first_expiry_height if upstream else None,
            cltv_limit_blocks=self.payment.cltv_limit_blocks if self.payment else None,
            cancel_requested=self.cancel_requested,
            payment=self.receipt_of_payment,
            timeline=tuple(self.timeline),
        )

    def receipt(self, plan: Plan, completed_at: datetime) -> RelayReceipt:
        """What is known so far; the result, once the state is terminal."""
        upstream, payment = self.upstream, self.receipt_of_payment
        settled = upstream is not None and upstream.state is LndInvoiceState.SETTLED
        received = upstream.paid_msat if upstream and settled else Msat(0)
        paid = payment.amount_msat + payment.fee_msat if payment and self.paid else Msat(0)
        return RelayReceipt(
            status=self.state,
            warnings=tuple(self.warnings),
            advice=_ADVICE.get(self.state, ""),
            payment_hash=plan.payment_hash,
            incoming_node=plan.invoice.node,
            outgoing_node=plan.request.outgoing.node,
            destination=plan.order.destination,
            asked_msat=plan.amount,
            received_msat=received,
            paid_msat=paid,
            kept_msat=int(received) - int(paid),
            payment=payment,
            metadata=plan.invoice.metadata,
            requested_at=self.requested_at,
            completed_at=completed_at,
        )

    def details(self, plan: Plan) -> str:
        """Markdown for the Temporal UI: where it stands, what that means, how it came there."""
        outgoing = plan.request.outgoing
        comes = f"{plan.amount} to **{plan.invoice.node}**"
        goes = f"{plan.order.amount} to `{plan.order.destination[:16]}…` from **{outgoing.node}**"
        limit = f"fee at most {plan.order.fee_limit}"
        lines = [f"### {self.state}", f"{comes}, then {goes}, {limit}", ""]
        if self.state in {RelayState.LOSS_POSSIBLE, RelayState.LOST}:
            lines += [f"**{_ADVICE[self.state]}**", ""]
        if self.state is RelayState.PAYING:
            lines += ["Upstream stays held until the payment has its verdict.", ""]
        return "\n".join([*lines, *(f"- {line}" for line in self.timeline)])


_ADVICE: dict[RelayState, str] = {
    RelayState.CANCELED: "The payer has everything back, and the payee was not paid.",
    RelayState.EXPIRED: "Nobody paid. For another try ask the payee for a new invoice.",
    RelayState.LOSS_POSSIBLE: "LND gave the payer everything back while the payment is in flight: "
    "if the payee is paid, that is lost. Look at the node's channels and height.",
    RelayState.LOST: "The payee was paid and the payer has everything back. Ask the payer to pay "
    "again, and look at why LND gave it back.",
}
