"""Everything around one relay: LND on both sides, the chain, and whoever comes in between.

It knows the truth, and cries out at the moment at which a relay gives upstream back that is
still needed, takes it without a preimage that outlives a crash, or sends what could end too
late. It was made from what must be so of the money, and not from the relay's own table.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

import bolt11
from temporalio.exceptions import (
    ApplicationError,
    ChildWorkflowError,
    TerminatedError,
    WorkflowAlreadyStartedError,
)

from fulgurite import ids
from fulgurite.errors import InvalidRequestError
from fulgurite.events.calls import Emitted
from fulgurite.events.catalogue import EventType
from fulgurite.identity import Preimage
from fulgurite.invoices.calls import InvoiceOf, Watched
from fulgurite.invoices.receipts import CreatedInvoice, InvoiceUpdate
from fulgurite.invoices.requests import Decision, Verdict
from fulgurite.invoices.states import LndInvoiceState
from fulgurite.money import Msat
from fulgurite.payments.receipts import Receipt
from fulgurite.payments.requests import PaymentRequest
from fulgurite.payments.states import FailureReason, PaymentState, PaymentStatus
from fulgurite.relays.calls import Outlook
from fulgurite.relays.requests import Plan
from fulgurite.sealing import UnsealingKey
from tests.properties.clock import EPOCH
from tests.relays.model_other_node import OtherNode
from tests.relays.model_temporal import child_error
from tests.relays.scripts import Order, Run, Script
from tests.unit.invoices import written

__all__ = [
    "BLOCK_SECONDS",
    "FEE_MSAT",
    "LND_CANCELS_BLOCKS",
    "ModelWorld",
    "Order",
    "Run",
    "Script",
]

FIRST_TIP = 1_000
BLOCK_SECONDS = 600.0
# A held HTLC is given back by LND itself so long before it expires.
LND_CANCELS_BLOCKS = 18
# And so long before it must have been decided.
DECIDED_BLOCKS = 24
# What a worker sends has arrived after so long, if ever.
ON_THE_WIRE_SECONDS = 3.0
# For so long it is taken for running still.
FORCE_SECONDS = 60.0
# What times out on chain is certain so many blocks later.
ON_CHAIN_BLOCKS = 6
# A payment that can send at once is not reached by a cancel before that.
CANCEL_SECONDS = 0.2
FEE_MSAT = 1_000
SEALED = UnsealingKey("11" * 32).sealing_key.seal(Preimage(bytes(32)))


@dataclass
class ModelWorld:
    """See above. `relay` is whoever is nudged."""

    plan: Plan
    script: Script
    upstream: LndInvoiceState | None = None
    downstream: PaymentStatus | None = None
    elsewhere: OtherNode = field(default_factory=OtherNode)
    expiry_height: int | None = None
    downstream_ends_at: int | None = None
    running: asyncio.Task[Any] | None = None
    ours: bool = False  # what runs was begun by a relay
    stopped: bool = False  # what runs was told to send no more
    told_no_more_at: float | None = None  # the present relay: called off, or upstream gone
    another_paid: bool = False
    durable: bool = False  # a result with the preimage is in the history of the present run
    relay_run: int = 0
    sends: int = 0
    forced_at: float | None = None  # when somebody last ended a payment by force
    on_the_wire: int = 0  # sends that have not arrived, and will
    extra_blocks: int = 0
    taken_back_at: float | None = None  # when somebody took upstream back
    landed_at: float | None = None  # when downstream came to its end
    events: list[EventType] = field(default_factory=list)
    outcries: list[BaseException | None] = field(default_factory=list)
    nudged: Any = None  # a method of the present relay
    _created_at: datetime = EPOCH
    _steps: int = 0
    _landed: asyncio.Event = field(default_factory=asyncio.Event)
    background: set[asyncio.Task[Any]] = field(default_factory=set)

    # The truth.

    @property
    def tip(self) -> int:
        return FIRST_TIP + self.extra_blocks + int(_time() / BLOCK_SECONDS)

    @property
    def downstream_is_open(self) -> bool:
        """Whether it is paid, or may be: in flight, on the wire, or with a run that can send."""
        may_send = self.running is not None and not self.running.done()
        has = self.downstream in _PAID_OR_OPEN or self.elsewhere.has_it
        return has or may_send or self.on_the_wire > 0

    @property
    def paid(self) -> bool:
        """Whether the payee has it, from whatever node."""
        return PaymentStatus.SUCCEEDED in {self.downstream, self.elsewhere.word}

    def told_no_more(self) -> None:
        """The present relay has heard it: from now on it has nothing sent."""
        if self.told_no_more_at is None:
            self.told_no_more_at = _time()

    def spawn(self, work: Any) -> asyncio.Task[Any]:
        task = asyncio.get_running_loop().create_task(work)
        self.background.add(task)
        task.add_done_callback(self._over)
        return task

    def _over(self, task: asyncio.Task[Any]) -> None:
        self.background.discard(task)
        if not task.cancelled() and isinstance(task.exception(), AssertionError):
            self.outcries.append(task.exception())

    # What happens upstream.

    async def _live_upstream(self) -> None:
        """From its making to its end, by LND's own rules."""
        if self.script.held_after_seconds is None:
            await asyncio.sleep(self.plan.invoice.expiry_seconds + 1)
            self._move(LndInvoiceState.CANCELED)
            return
        await asyncio.sleep(self.script.held_after_seconds)
        if self._has_ended():
            return
        blocks = self.plan.invoice.cltv_expiry_blocks
        assert blocks is not None
        self.expiry_height = self.tip + blocks + 3
        self._move(LndInvoiceState.ACCEPTED)
        while not self._has_ended():
            await asyncio.sleep(BLOCK_SECONDS)
            if self.tip >= self.expiry_height - LND_CANCELS_BLOCKS:
                self._move(LndInvoiceState.CANCELED)

    async def _take_back(self, after_seconds: float) -> None:
        await asyncio.sleep(after_seconds)
        if self.upstream in {LndInvoiceState.OPEN, LndInvoiceState.ACCEPTED}:
            self.taken_back_at = _time()
            self._move(LndInvoiceState.CANCELED)

    def _move(self, state: LndInvoiceState) -> None:
        if self._has_ended():
            return
        self.upstream = state
        if _next(self.script.nudges, otherwise=True) and self.nudged:
            self.nudged()

    def _has_ended(self) -> bool:
        return self.upstream in {LndInvoiceState.SETTLED, LndInvoiceState.CANCELED}

    def _settle(self, sealed: str | None) -> None:
        assert sealed == SEALED, "upstream was to be taken by another preimage"
        assert self.durable, "upstream was to be taken by a preimage that a crash would forget"
        if self.upstream is LndInvoiceState.ACCEPTED:
            self._move(LndInvoiceState.SETTLED)

    def _give_back(self) -> None:
        assert not self.downstream_is_open, "upstream was given back while downstream was open"
        if self.upstream in {LndInvoiceState.OPEN, LndInvoiceState.ACCEPTED}:
            self._move(LndInvoiceState.CANCELED)

    # What happens downstream.

    def _send(self, request: PaymentRequest) -> None:
        limit = request.cltv_limit_blocks
        assert limit is not None, "what goes out must end in time"
        assert self.expiry_height is not None, "nothing is held for what goes out"
        self.downstream_ends_at = self.tip + limit
        in_time = self.downstream_ends_at <= self.expiry_height - DECIDED_BLOCKS
        assert in_time, "what goes out could end too late"
        self.sends += 1
        self._fly()

    async def _arrive(self, request: PaymentRequest) -> None:
        """LND takes a hash once, whoever comes late with another send of it."""
        await asyncio.sleep(ON_THE_WIRE_SECONDS)
        self.on_the_wire -= 1
        if self.downstream in {None, PaymentStatus.FAILED}:
            self._send(request)

    def _fly(self) -> None:
        self.downstream = PaymentStatus.IN_FLIGHT
        self._landed.clear()
        self.spawn(self._end_downstream(*_next(self.script.fates, otherwise=(1.0, True))))

    async def _end_downstream(self, after_seconds: float, settles: bool) -> None:
        """Its fate; or, at the end of its blocks, the chain's word: it timed out."""
        lands_at, ends_at = _time() + after_seconds, self.downstream_ends_at
        while (left := lands_at - _time()) > 0:
            await asyncio.sleep(min(left, BLOCK_SECONDS))
            if ends_at is not None and self.tip >= ends_at:
                settles, lands_at = False, _time()
                await asyncio.sleep(ON_CHAIN_BLOCKS * BLOCK_SECONDS)
        settles = self._lands(settles)
        self.downstream = PaymentStatus.SUCCEEDED if settles else PaymentStatus.FAILED
        self._landed.set()

    async def _verdict(self) -> None:
        await self._landed.wait()

    async def _pay(self, request: PaymentRequest, how: Run, of_relay_run: int) -> Receipt:
        """A run of the payment's workflow, by its contract."""
        begun_at = _time()
        await asyncio.sleep(_next(self.script.answer_seconds, otherwise=0.1))
        if how is Run.NODE_UNKNOWN:
            raise child_error(ApplicationError("?", type="UnknownNodeError", non_retryable=True))
        if request.node == OtherNode.NAME:
            return await self._ask_elsewhere(request, how)
        asked_in_vain = self.downstream in {None, PaymentStatus.FAILED}
        if how is Run.REFUSED and asked_in_vain:
            wrong = InvalidRequestError.__name__
            raise child_error(ApplicationError("no", type=wrong, non_retryable=True))
        until = request.no_attempt_after
        now = _now()
        if asked_in_vain:
            if until is not None and now >= until:
                return self._receipt(PaymentState.EXPIRED)
            if self.stopped:
                return self._receipt(PaymentState.CANCELED)
            if of_relay_run == self.relay_run and (told_at := self.told_no_more_at) is not None:
                assert begun_at <= told_at, "a send was begun when upstream was gone or called off"
                assert _time() <= told_at + CANCEL_SECONDS, "and nobody has told the payment"
            assert not self.elsewhere.has_it, "two nodes would pay at once"
            if how is Run.FORCED_SENDING:
                self.on_the_wire += 1
                self.spawn(self._arrive(request))
                raise self._forced()
            self._send(request)
        if how in {Run.FORCED, Run.FORCED_SENDING}:
            await asyncio.sleep(5)
            raise self._forced()
        await self._verdict()
        return self._receipt(PaymentState(str(self.downstream)), mute=how is Run.MUTE)

    def _forced(self) -> ChildWorkflowError:
        self.forced_at = _time()
        return child_error(TerminatedError("terminated"))

    async def _ask_elsewhere(self, request: PaymentRequest, how: Run) -> Receipt:
        if how in {Run.FORCED, Run.FORCED_SENDING}:
            await asyncio.sleep(5)
            raise self._forced()
        state = await self.elsewhere.asked(request)
        return self._receipt(state, mute=how is Run.MUTE, node=OtherNode.NAME)

    def _receipt(self, status: PaymentState, *, mute: bool = False, node: str = "bob") -> Receipt:
        now = _now()
        paid = status is PaymentState.SUCCEEDED
        order = self.plan.order
        return Receipt(
            status=status,
            failure_reason=FailureReason.NONE,
            payment_hash=order.payment_hash,
            destination=order.destination,
            node=node,
            amount_msat=order.amount,
            fee_msat=Msat(FEE_MSAT if paid else 0),
            fee_limit_msat=order.fee_limit,
            initiated_by_this_run=True,
            requested_at=now,
            completed_at=now,
            sealed_preimage=SEALED if paid and not mute else None,
        )

    # As Temporal's other side; see `model_temporal.World`.

    def wants_a_new_run(self) -> bool:
        due = self.script.new_run_after_steps
        return bool(due) and self._steps >= due[0]

    def new_run(self, *, durable: bool) -> None:
        """Whatever children answer to the run before, the new one does not hear it."""
        if self.wants_a_new_run():
            self.script.new_run_after_steps.pop(0)
        self._steps, self.durable = 0, durable
        self.relay_run += 1

    def forgotten(self) -> None:
        """The relay was ended by force: the next one knows nothing of what it was told."""
        self.told_no_more_at = None

    async def begin_payment(self, request: PaymentRequest) -> asyncio.Task[Receipt]:
        self._steps += 1
        if self.running and not self.running.done():
            raise WorkflowAlreadyStartedError(ids.payment_id(self.plan.payment_hash), "Payment")
        how = _next(self.script.runs, otherwise=Run.HONEST)
        self.stopped, self.ours = False, how not in _OF_SOMEBODY_ELSE
        if not self.ours:
            self.running = self.spawn(
                self._pay_for_another() if how is Run.ANOTHERS else self._pay_elsewhere(how)
            )
            raise WorkflowAlreadyStartedError(ids.payment_id(self.plan.payment_hash), "Payment")
        run = self.running = self.spawn(self._pay(request, how, self.relay_run))
        return self.spawn(self._recorded(run, self.relay_run))

    async def _pay_for_another(self) -> None:
        if self.downstream in {None, PaymentStatus.FAILED}:
            self.another_paid, self.downstream_ends_at = True, None
            self._fly()
        await self._verdict()

    async def _pay_elsewhere(self, how: Run) -> None:
        if not self.elsewhere.has_it:
            self.another_paid = True
            after_seconds, settles = _next(self.script.fates, otherwise=(1.0, True))
            fate = (after_seconds, lambda: self._lands(settles))
            if how is Run.ELSEWHERE:
                await self.elsewhere.fly(*fate)
            else:
                self.forced_at = _time()
                self.spawn(self.elsewhere.arrive_later(ON_THE_WIRE_SECONDS, *fate))
                await asyncio.sleep(0)

    def _lands(self, settles: bool) -> bool:
        """A payee takes a hash once."""
        self.landed_at = _time()
        return settles and not self.paid

    async def _recorded(self, run: asyncio.Task[Receipt], of_relay_run: int) -> Receipt:
        """The child's end, as the parent's history has it."""
        receipt = await asyncio.shield(run)
        if receipt.sealed_preimage and of_relay_run == self.relay_run:
            self.durable = True
        return receipt

    async def signal(self, workflow_id: str, name: str, data: Any) -> None:
        assert (workflow_id, name) == (ids.invoice_id(self.plan.payment_hash), "decide")
        assert isinstance(data, Decision)
        match _next(self.script.orders, otherwise=self.script.other_orders):
            case Order.GONE:
                raise ApplicationError("not found")
            case Order.OBEYED:
                self.spawn(self._obey(data))
            case Order.IGNORED:
                pass

    async def _obey(self, decision: Decision) -> None:
        await asyncio.sleep(_next(self.script.answer_seconds, otherwise=0.1))
        if decision.verdict is Verdict.SETTLE:
            self._settle(decision.sealed_preimage)
        else:
            self._give_back()

    async def cancel(self, workflow_id: str) -> None:
        assert workflow_id == ids.payment_id(self.plan.payment_hash)
        assert self.ours, "somebody else's payment is not ours to stop"
        self.spawn(self._stop(self.running))

    async def _stop(self, running: asyncio.Task[Any] | None) -> None:
        await asyncio.sleep(CANCEL_SECONDS)
        self.stopped |= running is self.running

    async def activity(self, name: str, ask: Any, *, local: bool) -> Any:
        self._steps += 1
        if local and name != "event.emit" and _next(self.script.local_fails, otherwise=False):
            raise ApplicationError("the node is away", type="NodeUnavailableError")
        await asyncio.sleep(_next(self.script.answer_seconds, otherwise=0.1))
        return getattr(self, "_" + name.replace(".", "_"))(ask)

    def _relay_look_ahead(self, _: Any) -> Outlook:
        return Outlook(
            pubkey="02" + "00" * 32,
            height=self.tip,
            payment=self.downstream,
            payment_runs=(runs := self._runs()),
            payment_ours=runs and self.ours,
            payment_retained=self.running is not None,
            elsewhere=OtherNode.NAME if self.elsewhere.has_it else None,
            invoice_key=self.plan.invoice.key if self.upstream else None,
        )

    def _runs(self) -> bool:
        just_forced = self.forced_at is not None and _time() < self.forced_at + FORCE_SECONDS
        return just_forced or (self.running is not None and not self.running.done())

    def _invoice_create(self, _: Any) -> CreatedInvoice:
        if self.upstream is None:
            self._created_at = _now()
            self.upstream = LndInvoiceState.OPEN
            self.spawn(self._live_upstream())
            if self.script.taken_back_after_seconds is not None:
                self.spawn(self._take_back(self.script.taken_back_after_seconds))
        return CreatedInvoice(
            request=self.plan.invoice,
            payment_hash=self.plan.payment_hash,
            payment_request=ANOTHER_NODES_INVOICE,
            created_at=self._created_at,
            expires_at=self._created_at + timedelta(seconds=self.plan.invoice.expiry_seconds),
        )

    def _invoice_look_up(self, _: InvoiceOf) -> InvoiceUpdate:
        assert self.upstream is not None
        held = self.upstream in {LndInvoiceState.ACCEPTED, LndInvoiceState.SETTLED}
        if self.upstream is LndInvoiceState.CANCELED:
            self.told_no_more()
        return InvoiceUpdate(
            state=self.upstream,
            paid_msat=self.plan.amount if held else Msat(0),
            first_expiry_height=(
                self.expiry_height if self.upstream is LndInvoiceState.ACCEPTED else None
            ),
        )

    def _invoice_watch(self, ask: InvoiceOf) -> Watched:
        return Watched(update=self._invoice_look_up(ask), height=self.tip)

    def _invoice_settle(self, ask: Any) -> InvoiceUpdate:
        self._settle(ask.sealed_preimage)
        return self._invoice_look_up(ask)

    def _invoice_cancel(self, ask: InvoiceOf) -> InvoiceUpdate:
        self._give_back()
        return self._invoice_look_up(ask)

    def _event_emit(self, event: Any) -> Emitted:
        self.events.append(event.type)
        return Emitted(endpoints=())


_PAID_OR_OPEN = frozenset({PaymentStatus.IN_FLIGHT, PaymentStatus.SUCCEEDED})
_OF_SOMEBODY_ELSE = frozenset({Run.ANOTHERS, Run.ELSEWHERE, Run.ELSEWHERE_FORCED})

# The text of the incoming invoice: anything that another node than the payee has signed.
ANOTHER_NODES_INVOICE = bolt11.encode(bolt11.decode(written()), "22" * 32)


def _time() -> float:
    return asyncio.get_running_loop().time()


def _now() -> datetime:
    return EPOCH + timedelta(seconds=_time())


def _next(items: list[Any], *, otherwise: Any) -> Any:
    return items.pop(0) if items else otherwise
