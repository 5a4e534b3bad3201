"""The activities themselves against the simulated network, in any order of trouble.

A small reference model keeps what a bystander knows; the network's ledger keeps the truth.
Virtual time cannot reach across gRPC, so the graces are shortened: what is on its way here
arrives within milliseconds.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    invariant,
    rule,
    run_state_machine_as_test,
)
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import dispatching, payments
from activities.payments import PaymentActivities
from devnet.house import configured
from devnet.node import TestInvoice
from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import (
    DropAnswer,
    Fault,
    NeverClose,
    Refuse,
    RepeatMessages,
    RestartNode,
    Stall,
)
from devnet.simulated.holds import HtlcHold
from fulgurite.identity import PaymentHash
from fulgurite.money import FeeLimit
from fulgurite.payments.calls import Dispatch, Dispatched, DispatchOutcome, Follow
from fulgurite.payments.receipts import PaymentUpdate
from fulgurite.payments.requests import PaymentRequest
from fulgurite.payments.states import PaymentStatus
from nodes.registry import Nodes
from protos.lnrpc import lightning_pb2

FOLLOW_SECONDS = 0.15
FEE_LIMIT = FeeLimit(sat=50)
Result = TypeVar("Result")

of_a_send: st.SearchStrategy[Fault] = st.sampled_from(
    [Refuse(), DropAnswer(), Stall(), RepeatMessages(), NeverClose(), RestartNode()]
)
of_a_track: st.SearchStrategy[Fault] = st.sampled_from(
    [Refuse(), Stall(), Stall(after_messages=1), RepeatMessages(), NeverClose()]
)
reasons = st.sampled_from(
    [lightning_pb2.FAILURE_REASON_NO_ROUTE, lightning_pb2.FAILURE_REASON_TIMEOUT]
)


@pytest.fixture(autouse=True)
def _short_graces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dispatching, "GRACE_SECONDS", 0.2)
    monkeypatch.setattr(dispatching, "_PAUSE_SECONDS", 0.01)
    monkeypatch.setattr(payments, "_PAUSE_SECONDS", 0.01)


@dataclass
class Known:
    """What a caller knows of a payment; what the workflow would carry along."""

    request: PaymentRequest
    invoice: TestInvoice
    held: bool
    requested_at: datetime
    uncertain: bool = False
    last_failed_index: int | None = None
    last_failed_at: datetime | None = None
    dispatched: bool = False
    settled: bool = False
    decided: bool = False


class Paying(RuleBasedStateMachine):
    """Alice pays Carol over Bob, and everything goes wrong that can."""

    known = Bundle("known")

    def __init__(self) -> None:
        super().__init__()
        self._loop = asyncio.new_event_loop()
        self._folder = Path(tempfile.mkdtemp(prefix="fulgurite-paying-"))
        self._network = SimulatedNetwork(self._folder / "network")
        self._holds: list[HtlcHold] = []
        self._run(self._network.__aenter__())
        settled_in = configured(self._folder, self._network.nodes, "127.0.0.1:1")
        self._nodes = Nodes(settled_in.nodes)
        self._activities = PaymentActivities(
            self._nodes, settled_in.unsealing_key(), lambda *_: False
        )

    def teardown(self) -> None:
        self._run(self._network.restarted())
        self._run(self._nodes.close())
        self._run(self._network.__aexit__(None, None, None))
        self._loop.close()
        shutil.rmtree(self._folder)

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self._loop.run_until_complete(work)

    # What the world does.

    @rule(fault=of_a_send)
    def a_send_goes_wrong(self, fault: Fault) -> None:
        self._network.faults.add("alice", "SendPaymentV2", fault)

    @rule(fault=of_a_track, times=st.integers(1, 3))
    def a_question_goes_wrong(self, fault: Fault, times: int) -> None:
        self._network.faults.add("alice", "TrackPaymentV2", fault, times=times)

    @rule(reason=reasons)
    def the_next_payment_fails(self, reason: Any) -> None:
        self._network.faults.end_next_payment("alice", reason)

    @rule()
    def bob_holds_what_comes(self) -> None:
        self._holds.append(self._network.faults.hold_htlcs("bob"))

    @rule(fails=st.booleans())
    def bob_lets_go(self, fails: bool) -> None:
        for hold in self._holds:
            hold.fail() if fails else hold.release()
        self._holds.clear()

    @rule()
    def alice_restarts(self) -> None:
        self._run(self._network.restarted())
        self._run(self._network.stop_node("alice"))
        self._run(self._network.start_node("alice"))

    @rule(payment=known, settles=st.booleans())
    def carol_decides(self, payment: Known, settles: bool) -> None:
        if not payment.held or payment.decided:
            return
        carol = self._network.nodes["carol"]
        # Not accepted yet: lnd says so, and nothing happens.
        with suppress(Exception):
            self._run(carol.settle(payment.invoice) if settles else carol.cancel(payment.invoice))
            payment.decided = True

    # What we do.

    @rule(target=known, held=st.booleans(), sat=st.integers(1, 2_000_000))
    def somebody_asks_for_a_payment(self, held: bool, sat: int) -> Known:
        carol = self._network.nodes["carol"]
        invoice = self._run((carol.hold_invoice if held else carol.invoice)(sat * 1_000))
        request = PaymentRequest(node="alice", invoice=invoice.payment_request, fee_limit=FEE_LIMIT)
        return Known(request, invoice, held, datetime.now(UTC))

    @rule(payment=known, too_late=st.booleans(), crashed=st.booleans())
    def we_dispatch(self, payment: Known, too_late: bool, crashed: bool) -> None:
        """`crashed`: the outcome is lost with its worker, and only LND remembers."""
        now = datetime.now(UTC)
        ask = Dispatch(
            request=payment.request,
            requested_at=payment.requested_at,
            send_until=now - timedelta(seconds=1) if too_late else now + timedelta(hours=1),
            follow_seconds=FOLLOW_SECONDS,
            last_failed_index=payment.last_failed_index,
            last_failed_at=payment.last_failed_at,
            uncertain=payment.uncertain,
            first_task=not payment.dispatched,
        )
        payment.dispatched = True
        environment = ActivityEnvironment()
        try:
            given: Dispatched = self._run(environment.run(self._activities.dispatch, ask))
        except ApplicationError as error:
            if error.non_retryable:
                raise
            payment.uncertain = True
            return
        if crashed:
            payment.uncertain = True
            return
        if given.outcome is DispatchOutcome.FOLLOWED:
            assert given.update is not None
            payment.uncertain = False
            self._heard(payment, given.update)
        else:
            assert given.outcome is DispatchOutcome.LAPSED
            assert self._nothing_moved(payment), f"{given}, and LND has it"

    @rule(payment=known)
    def we_follow(self, payment: Known) -> None:
        ask = Follow(
            node="alice",
            payment_hash=PaymentHash(payment.invoice.payment_hash.hex()),
            until=datetime.now(UTC) + timedelta(seconds=FOLLOW_SECONDS),
            last_failed_index=payment.last_failed_index,
            last_failed_at=payment.last_failed_at,
        )
        with suppress(ApplicationError):
            given = self._run(ActivityEnvironment().run(self._activities.follow, ask))
            self._heard(payment, given)

    # What must be so.

    def _heard(self, payment: Known, update: PaymentUpdate) -> None:
        sends = self._network.ledger.sends(payment.invoice.payment_hash)
        assert not (payment.settled and update.status is PaymentStatus.FAILED)
        match update.status:
            case PaymentStatus.SUCCEEDED:
                assert any(send.settled for send in sends)
                assert update.fee_msat <= 50_000
                payment.settled = True
            case PaymentStatus.FAILED:
                assert sends
                assert all(send.ended_at is not None and not send.settled for send in sends)
                payment.last_failed_index = update.payment_index
                payment.last_failed_at = update.created_at

    def _nothing_moved(self, payment: Known) -> bool:
        sends = self._network.ledger.sends(payment.invoice.payment_hash)
        return all(send.ended_at is not None and not send.settled for send in sends) and (
            not sends or payment.last_failed_index is not None
        )

    @invariant()
    def the_money_adds_up(self) -> None:
        ledger = self._network.ledger
        ledger.assert_balanced()
        ledger.assert_settled_at_most_once()
        ledger.assert_no_overlapping_sends()


def test_no_course_of_trouble_loses_doubles_or_misreports_a_payment() -> None:
    run_state_machine_as_test(
        Paying,
        settings=settings(
            max_examples=25,
            stateful_step_count=15,
            suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
        ),
    )
