"""Payments that spend a budget, in virtual time: our workflows and our book, and a model LND.

The LND keeps an account of its own, of what is in flight at its worst and of what has settled;
by that account, and not by the book's, a budget must hold at every send. Answers are lost after
they took effect, orders come twice, workflows are ended by force and begun anew.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime, timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock

from fulgurite import ids
from fulgurite.budgets.book import Book
from fulgurite.budgets.orders import TELL_BUDGET, BudgetAnswer, BudgetSetting, TellBudget
from fulgurite.budgets.policy import BudgetName, BudgetPolicy
from fulgurite.events.calls import EMIT_EVENT, Emitted
from fulgurite.identity import NodeName, NodePubkey, PaymentHash
from fulgurite.money import Msat
from fulgurite.payments.calls import (
    DISPATCH_PAYMENT,
    FOLLOW_PAYMENT,
    Dispatch,
    Dispatched,
    DispatchOutcome,
    Follow,
)
from fulgurite.payments.receipts import PaymentUpdate, Receipt
from fulgurite.payments.requests import PaymentRequest, understand
from fulgurite.payments.states import FailureReason, PaymentStatus
from fulgurite.sealing import UnsealingKey
from fulgurite.stuck.requests import StuckRequest
from starter.client import keysend
from tests.properties.clock import EPOCH
from tests.relays.model_temporal import Loop, NewRun
from tests.unit.stage import Stage, World
from workflows import (
    calling,
    metrics,
    payment,
    payment_approval,
    payment_budget,
    payment_dispatch,
    payment_following,
    payment_ladder,
)
from workflows.payment import PaymentWorkflow

_MODULES = (
    calling,
    metrics,
    payment,
    payment_approval,
    payment_budget,
    payment_dispatch,
    payment_following,
    payment_ladder,
)
_KEY = UnsealingKey.generate().sealing_key
_PAYEE = NodePubkey("02" + "ab" * 32)
_FAST_PATH_SECONDS = 4.0
_RUN: ContextVar[SimpleNamespace] = ContextVar("run")

BUDGET = "daily"


@dataclass(frozen=True)
class Fate:
    """What becomes of one attempt, and how long it takes."""

    seconds: float
    status: PaymentStatus
    fee_share: float = 0  # of the limit


@dataclass
class Attempt:
    """What LND has of it."""

    index: int
    amount: int
    fee_limit: int
    fate: Fate
    began: datetime

    @property
    def ends(self) -> datetime:
        return self.began + timedelta(seconds=self.fate.seconds)

    @property
    def fee(self) -> int:
        return round(self.fee_limit * self.fate.fee_share)


def request(amount_sat: int, fee_sat: int, **more: Any) -> PaymentRequest:
    """Of a hash of its own."""
    fields = {
        "node": "alice",
        "keysend": keysend(_PAYEE, sealing_key=_KEY),
        "amount_msat": amount_sat * 1_000,
        "fee_limit": {"sat": fee_sat},
        "stuck_after_seconds": 30 * 86_400,
    }
    return PaymentRequest.model_validate(fields | more)


class Treasury(World):
    """Nodes, one budget that counts whatever they pay, and whatever goes wrong between them.

    `budgets` has the others that a request may name; `longest_run` ends runs, by continue-as-new.
    """

    def __init__(self, policy: BudgetPolicy | None, chance: random.Random, trouble: float) -> None:
        """`trouble`: how likely each answer is lost, each order told twice."""
        super().__init__(self._answer)
        self.books: dict[BudgetName, Book] = {}
        self.keeps(BUDGET, policy)
        self.longest_run = timedelta.max
        self.runs = 0
        self.fates: dict[PaymentHash, list[Fate]] = {}
        self.attempts: dict[tuple[NodeName, PaymentHash], list[Attempt]] = {}
        self.most = 0  # the most that was ever spent and in flight, by LND's own account
        self.reachable = asyncio.Event()
        self.reachable.set()
        self._policy = policy
        self._chance = chance
        self._trouble = trouble

    def keeps(self, name: BudgetName, policy: BudgetPolicy | None) -> None:
        """A book of that name."""
        self.books[name] = Book(name=name)
        if policy:
            self.books[name].set(BudgetSetting(policy=policy, by="ada"), EPOCH)

    @property
    def book(self) -> Book:
        """Of the one that counts everything."""
        return self.books[BUDGET]

    async def _answer(self, name: str, ask: Any) -> Any:
        await asyncio.sleep(self._chance.uniform(0.01, 0.5))
        match name:
            case DISPATCH_PAYMENT.name:
                return await self._dispatch(ask)
            case FOLLOW_PAYMENT.name:
                return await self._follow(ask)
            case TELL_BUDGET.name:
                return await self._tell(ask)
            case EMIT_EVENT.name:
                return Emitted(endpoints=())
        raise NotImplementedError(name)

    async def begin_payment(self, request: Any) -> asyncio.Task[Any]:
        """The ladder of one that hangs: it climbs beside what is looked at here."""
        assert isinstance(request, StuckRequest)
        return asyncio.create_task(asyncio.sleep(0))

    async def signal(self, workflow_id: str, name: str, data: Any) -> None:
        """That ladder hears of LND's verdict."""
        assert (workflow_id.startswith("stuck/"), name) == (True, "verdict"), data

    # What LND does.

    async def _dispatch(self, ask: Dispatch) -> Dispatched:
        order = understand(ask.request)
        known_as = ask.request.node, order.payment_hash
        found = self._known(known_as)
        budgets = (BUDGET, *ask.request.budgets)
        if found is None or self._is_old(found, ask):
            if now() >= ask.send_until:
                return Dispatched(outcome=DispatchOutcome.LAPSED, budgets=budgets)
            if not set(budgets) <= set(ask.reserved):
                return Dispatched(outcome=DispatchOutcome.NEEDS_BUDGET, budgets=budgets)
            found = self._send(known_as, order.amount, order.fee_limit)
        if not ask.uncertain and self._happens():
            return Dispatched(outcome=DispatchOutcome.UNCERTAIN, because="its answer was lost")
        await asyncio.sleep(min(_FAST_PATH_SECONDS, max(0.0, (found.ends - now()).total_seconds())))
        return Dispatched(
            outcome=DispatchOutcome.FOLLOWED, update=_told(found), sent=True, budgets=budgets
        )

    @staticmethod
    def _is_old(found: Attempt, ask: Dispatch) -> bool:
        """A FAILED that this attempt follows, or that another run was told of."""
        if found.ends > now() or found.fate.status is not PaymentStatus.FAILED:
            return False
        old = found.began < ask.requested_at
        return old or ask.is_last_failure(found.index, found.began)

    async def _follow(self, ask: Follow) -> PaymentUpdate:
        found = self._known((ask.node, ask.payment_hash))
        assert found is not None
        left = min(ask.until, found.ends) - now()
        await asyncio.sleep(max(0.0, left.total_seconds()))
        return _told(found)

    def _send(self, known_as: tuple[NodeName, PaymentHash], amount: int, fee_limit: int) -> Attempt:
        attempts, fates = self.attempts.setdefault(known_as, []), self.fates[known_as[1]]
        fate = fates[min(len(attempts), len(fates) - 1)]
        sent = Attempt(1 + sum(map(len, self.attempts.values())), amount, fee_limit, fate, now())
        attempts.append(sent)
        spent = self.spent_or_in_flight()
        self.most = max(self.most, spent)
        assert self._policy is not None
        assert self._policy.amount is not None
        assert spent <= self._policy.amount, f"{spent} msat spent and in flight"
        return sent

    def _known(self, known_as: tuple[NodeName, PaymentHash]) -> Attempt | None:
        attempts = self.attempts.get(known_as)
        return attempts[-1] if attempts else None

    def spent_or_in_flight(self) -> int:
        """By LND's account: what is in flight at its worst, and what settled in the window."""
        assert self._policy is not None
        begins, total = self._policy.counts_from(now()), 0
        for each in (one for attempts in self.attempts.values() for one in attempts):
            if each.ends > now():
                total += each.amount + each.fee_limit
            elif each.fate.status is PaymentStatus.SUCCEEDED and each.ends > begins:
                total += each.amount + each.fee
        return total

    def settled(self) -> int:
        """Ever."""
        return sum(
            each.amount + each.fee
            for attempts in self.attempts.values()
            for each in attempts
            if each.ends <= now() and each.fate.status is PaymentStatus.SUCCEEDED
        )

    # What the budget does.

    async def _tell(self, ask: TellBudget) -> BudgetAnswer:
        await self.reachable.wait()
        answer = self.books[ask.budget].take(ask.order, now())
        while self._happens():
            # The answer was lost, and Temporal has the order told again; meanwhile a new run.
            await asyncio.sleep(self._chance.uniform(0.1, 30))
            carried = Book.model_validate_json(self.books[ask.budget].model_dump_json())
            self.books[ask.budget] = carried
            answer = carried.take(ask.order, now())
        return answer

    def _happens(self) -> bool:
        return self._chance.random() < self._trouble

    # Who pays.

    async def pay(
        self, asked: PaymentRequest, fates: Sequence[Fate], *, killed_after: Sequence[float] = ()
    ) -> Receipt:
        """To its receipt, by as many runs as it takes: each but the last is ended by force."""
        order = understand(asked)
        self.fates[order.payment_hash] = list(fates)
        for seconds in killed_after:
            story = asyncio.create_task(self._lives(asked, order.payment_hash))
            done, _ = await asyncio.wait({story}, timeout=seconds)
            if done:
                return story.result()
            story.cancel()
            await asyncio.wait({story})
            await asyncio.sleep(self._chance.uniform(0.1, 600))
        return await asyncio.create_task(self._lives(asked, order.payment_hash))

    async def _lives(self, asked: PaymentRequest, payment_hash: PaymentHash) -> Receipt:
        """From run to run. A task of its own: what it knows of its run, others must not."""
        carried: Any = None
        while True:
            began = now()
            info = SimpleNamespace(
                workflow_id=ids.payment_id(payment_hash),
                continued_run_id="the one before" if carried else None,
                workflow_start_time=began,
                typed_search_attributes={},
                is_continue_as_new_suggested=lambda began=began: now() - began > self.longest_run,
                get_current_history_length=lambda: 3,
            )
            _RUN.set(info)
            self.runs += 1
            try:
                # Not its `run`: that takes a cancel for an order, and would go on.
                return await PaymentWorkflow(asked, carried)._story()
            except NewRun as order:
                carried = order.carried.model_dump(mode="json")


class _Stages(Stage):
    """Many workflows on one stage, each with its own name."""

    def info(self) -> SimpleNamespace:
        return _RUN.get()

    async def wait(self, tasks: Any, *, return_when: str = asyncio.ALL_COMPLETED) -> Any:
        return await super().wait(tasks, return_when=return_when)


@contextmanager
def on_stage(treasury: Treasury) -> Iterator[None]:
    """For as long as the block lasts, payments ask this treasury for everything."""
    stage = _Stages(treasury, "payment/")
    with ExitStack() as stack:
        for module in _MODULES:
            stack.enter_context(mock.patch.object(module, "workflow", stage))
        yield


def now() -> datetime:
    loop = asyncio.get_running_loop()
    assert isinstance(loop, Loop)
    return loop.now


def _told(attempt: Attempt) -> PaymentUpdate:
    if attempt.ends > now():
        return PaymentUpdate(status=PaymentStatus.IN_FLIGHT, payment_index=attempt.index, parts=1)
    succeeded = attempt.fate.status is PaymentStatus.SUCCEEDED
    return PaymentUpdate(
        status=attempt.fate.status,
        failure_reason=FailureReason.NONE if succeeded else FailureReason.NO_ROUTE,
        payment_index=attempt.index,
        amount_msat=Msat(attempt.amount),
        fee_msat=Msat(attempt.fee if succeeded else 0),
        parts=1,
        attempts=1,
        created_at=attempt.began,
        resolved_at=attempt.ends,
    )
