"""How far an invoice is: everything that must survive, and the words operators read."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydantic import BaseModel, ConfigDict, Field

from fulgurite import timeline
from fulgurite.events.catalogue import EventId
from fulgurite.invoices.receipts import (
    CreatedInvoice,
    InvoiceReceipt,
    InvoiceUpdate,
    InvoiceView,
    LateAttempt,
)
from fulgurite.invoices.requests import DecideBy, Hold, Settlement, Verdict
from fulgurite.invoices.states import (
    DECIDE_BEFORE_EXPIRY_BLOCKS,
    INVOICE,
    InvoiceEvent,
    InvoiceState,
    LndInvoiceState,
)
from fulgurite.model import Model
from fulgurite.money import Msat
from fulgurite.sealing import Sealed

# Of more late payers for one invoice there is the count.
_LATE_ATTEMPTS_TOLD = 20
# The order is given so many blocks before the limit: blocks come in bursts, and LND must act.
_LEAD_BLOCKS = 4
# Two clocks: a cancellation so shortly before the expiry is LND's own.
_CLOCKS_DIFFER = timedelta(seconds=5)
_CAN_BE_OPEN = frozenset({InvoiceState.OPEN, InvoiceState.EXPIRED})
_CAN_BE_HELD = frozenset({InvoiceState.OPEN, InvoiceState.EXPIRED, InvoiceState.CANCELING})


class InvoiceProgress(BaseModel):
    """An invoice under way. Carried whole from one run to the next by continue-as-new."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    state: InvoiceState = INVOICE.start
    update: InvoiceUpdate | None = None
    held_at: datetime | None = None
    verdict: Verdict | None = None
    settlement: Settlement | None = None
    asked: bool = False
    undecided_told: bool = False
    ended_unpaid: bool = False
    late_attempts: int = 0
    last_late_attempt: datetime | None = None
    told: list[EventId] = []
    last_wanted: EventId | None = None  # of those told, the last that some endpoint wanted
    timeline: list[str] = []

    def fire(self, event: InvoiceEvent, at: datetime, words: str = "") -> None:
        """Moves along the table, and writes the timeline."""
        self.state = INVOICE.fire(self.state, event)
        if self.state is InvoiceState.ACCEPTED:
            self.held_at, self.verdict = self.held_at or at, None
        self.note(f"**{self.state}** {words}".rstrip(), at)

    def note(self, words: str, at: datetime) -> None:
        timeline.note(self.timeline, words, at)

    def heard(
        self, invoice: CreatedInvoice, update: InvoiceUpdate, at: datetime
    ) -> tuple[InvoiceEvent, str] | None:
        """What LND's word means for the invoice; None when it is nothing new.

        It comes from a stream, a list and look-ups, more than once and in any order: what
        ends the invoice counts, and what is older than that changes nothing.
        """
        if self.state in INVOICE.terminal:
            return None
        if update.state is LndInvoiceState.OPEN and self.state not in _CAN_BE_OPEN:
            return None  # it says nothing of what is held, and must not wipe what is known of that
        self.update = update
        match update.state:
            case LndInvoiceState.SETTLED:
                return _settled(invoice, update)
            case LndInvoiceState.CANCELED:
                return self._ended_unpaid(invoice, at)
            case LndInvoiceState.ACCEPTED if invoice.request.hold and self.state in _CAN_BE_HELD:
                return InvoiceEvent.HELD, f"{update.paid_msat} held until it is decided"
            case _:
                return None

    def late(self, attempt: LateAttempt) -> bool:
        """Counts one who came too late; True while such are still told one by one.

        To fail costs a payer nothing, and what is told fills the history.
        """
        self.late_attempts += 1
        self.last_late_attempt = attempt.at
        return self.late_attempts <= _LATE_ATTEMPTS_TOLD

    def _ended_unpaid(
        self, invoice: CreatedInvoice, at: datetime
    ) -> tuple[InvoiceEvent, str] | None:
        if self.state not in {InvoiceState.OPEN, InvoiceState.EXPIRED}:
            return InvoiceEvent.CANCELED, "LND sent back what was held"
        expired = at + _CLOCKS_DIFFER >= invoice.expires_at
        self.ended_unpaid = expired
        if self.state is InvoiceState.EXPIRED:
            return None
        if expired:
            return InvoiceEvent.TIME_OVER, "LND has closed it"
        return InvoiceEvent.CANCELED, "in LND itself"

    def verdict_of_policy(self, hold: Hold) -> Verdict | None:
        """What the policy says by itself; None when somebody must be asked."""
        assert self.update is not None
        match hold.decide_by:
            case DecideBy.ACCEPT_ALL:
                return Verdict.SETTLE
            case DecideBy.AMOUNT:
                most = self.update.paid_msat if hold.max_msat is None else hold.max_msat
                fits = hold.min_msat <= self.update.paid_msat <= most
                return Verdict.SETTLE if fits else Verdict.CANCEL
            case _:
                return None

    def decide_before_height(self) -> int | None:
        """The tip at which the default is carried out: some blocks before the very limit."""
        first = self.update.first_expiry_height if self.update else None
        return first - DECIDE_BEFORE_EXPIRY_BLOCKS - _LEAD_BLOCKS if first else None

    def decide_before(self, hold: Hold) -> datetime | None:
        return (
            self.held_at + timedelta(seconds=hold.decide_within_seconds) if self.held_at else None
        )

    def receipt(self, invoice: CreatedInvoice) -> InvoiceReceipt:
        """What is known so far; the result, once the state is terminal."""
        request, update = invoice.request, self.update
        paid = update.paid_msat if update else Msat(0)
        asked = request.amount_msat
        paid_at = update.paid_at if update else None
        last_try = self.last_late_attempt or paid_at
        late = last_try is not None and last_try > invoice.expires_at
        late_seconds = (
            max(1, round((last_try - invoice.expires_at).total_seconds()))
            if late and last_try
            else None
        )
        return InvoiceReceipt(
            status=self.state,
            payment_hash=invoice.payment_hash,
            node=request.node,
            key=request.key,
            memo=request.memo,
            metadata=request.metadata,
            amount_msat=asked,
            paid_msat=paid,
            overpaid_msat=Msat(paid - asked) if asked and paid > asked else Msat(0),
            partial_msat=update.partial_msat if update else Msat(0),
            parts=update.parts if update else 0,
            created_at=invoice.created_at,
            expires_at=invoice.expires_at,
            paid_at=paid_at,
            settled_at=update.settled_at if update else None,
            late_seconds=late_seconds,
            late_attempts=self.late_attempts,
            advice=_advice(request.expiry_seconds, late_seconds),
        )

    def view(self, invoice: CreatedInvoice) -> InvoiceView:
        hold = invoice.request.hold
        held = self.state is InvoiceState.ACCEPTED
        return InvoiceView(
            state=self.state,
            payment_request=invoice.payment_request,
            receipt=self.receipt(invoice),
            hold=hold,
            unpaid_for_good=self.ended_unpaid or self.state is InvoiceState.CANCELED,
            decide_before_height=self.decide_before_height() if held else None,
            decide_before=self.decide_before(hold) if held and hold else None,
            timeline=tuple(self.timeline),
        )

    def details(self, invoice: CreatedInvoice) -> str:
        """Markdown for the Temporal UI: where it stands, and how it came there."""
        asked = invoice.request.amount_msat
        what = f"{asked if asked is not None else 'any amount'} to **{invoice.request.node}**"
        expires = f"expires {invoice.expires_at:%Y-%m-%d %H:%M:%S} UTC"
        lines = [f"### {self.state}", f"{what}, {expires}", ""]
        if self.state is InvoiceState.ACCEPTED:
            hold = invoice.request.hold
            when = self.decide_before(hold) if hold else None
            lines += [
                "Held: send the update `settle` or `cancel`"
                + (f" before {when:%Y-%m-%d %H:%M:%S} UTC" if when else "")
                + f" and block {self.decide_before_height()}.",
                "",
            ]
        return "\n".join([*lines, *(f"- {line}" for line in self.timeline)])


class InvoiceOrder(Model):
    """What the workflow of an invoice starts with."""

    invoice: CreatedInvoice
    sealed_preimage: Sealed | None = Field(
        default=None, description="null: the hash is somebody else's"
    )
    heard: InvoiceUpdate | None = Field(
        default=None, description="LND's word, where the invoice existed before its workflow"
    )
    carried: InvoiceProgress | None = Field(default=None, description="from an earlier run")


def _settled(invoice: CreatedInvoice, update: InvoiceUpdate) -> tuple[InvoiceEvent, str]:
    paid = f"{update.paid_msat} in {update.parts} part{'s' * (update.parts != 1)}"
    if update.paid_at and update.paid_at > invoice.expires_at:
        late_seconds = (update.paid_at - invoice.expires_at).total_seconds()
        return InvoiceEvent.SETTLED_LATE, f"{paid}, {late_seconds:,.0f} s after its expiry"
    return InvoiceEvent.SETTLED, paid


def _advice(expiry_seconds: int, late_seconds: int | None) -> str:
    """A better expiry, from what was seen."""
    if late_seconds is None:
        return ""
    better = 2 * (expiry_seconds + late_seconds)
    return (
        f"A payer came {late_seconds:,} s after the expiry of {expiry_seconds:,} s: make such "
        f"invoices with {better:,} s or more. `fulgurite invoice advice` has the figures of all."
    )
