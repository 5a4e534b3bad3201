"""Whatever LND and the wire do, a dispatch concludes nothing that is not so.

Two assumptions bound what a node may do to us, and stand in `GRACE_SECONDS`: a send is on
its way, and an index lags behind, for less than half of that each.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from unittest import mock

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from activities import dispatching
from activities.dispatching import GRACE_SECONDS, Dispatching, Ending
from fulgurite.errors import FulguriteError, InvalidRequestError, NodeError
from fulgurite.money import FeeLimit, Msat
from fulgurite.payments.calls import Dispatch, DispatchOutcome
from fulgurite.payments.requests import PaymentRequest, understand
from fulgurite.payments.states import FailureReason, PaymentStatus
from tests.properties import clock
from tests.properties.clock import VirtualDatetime
from tests.properties.model_node import Fate, ModelNode, OnSend, OnTrack, Script
from tests.unit.invoices import written

REQUEST = PaymentRequest(node="alice", invoice=written(), fee_limit=FeeLimit(sat=10))
ORDER = understand(REQUEST)
# The workflow gives the fast path no more than this.
FOLLOW_SECONDS = 4.0

moments = st.floats(0.01, GRACE_SECONDS / 2 - 0.6)
fates = st.builds(
    Fate,
    st.sampled_from([0.05, 0.5, 2.0, 3.9, 10.0, 600.0]),
    st.sampled_from([PaymentStatus.SUCCEEDED, PaymentStatus.FAILED]),
    st.sampled_from([FailureReason.NONE, FailureReason.NO_ROUTE, FailureReason.TIMEOUT]),
)
scripts = st.builds(
    Script,
    sends=st.lists(st.sampled_from(OnSend), max_size=4),
    tracks=st.lists(st.sampled_from(OnTrack), max_size=8),
    fates=st.lists(fates, max_size=3),
    arrives_after_seconds=moments,
    lag_seconds=moments,
)


class Dispatched:
    """One dispatch, from beginning to end, and what was true when it ended."""

    def __init__(self, script: Script) -> None:
        self.node = ModelNode(script)
        self.ending: Ending | None = None
        self.error: FulguriteError | None = None
        self.may_still_pay = False
        self.took_seconds = 0.0
        self.known_failure: int | None = None
        self.failed_at: datetime | None = None

    async def run(
        self,
        *,
        uncertain: bool = False,
        on_the_wire_seconds: float | None = None,
        age_seconds: float = 0,
        too_late: bool = False,
        approval_above: Msat | None = None,
        after_a_failure: bool = False,
        budgets: tuple[str, ...] = (),
        reserved: tuple[str, ...] = (),
    ) -> Dispatched:
        loop = asyncio.get_running_loop()
        if after_a_failure:
            self.known_failure = await self._an_earlier_failure()
        if on_the_wire_seconds is not None:
            self.node.put_on_the_wire(on_the_wire_seconds)
        began, now = loop.time(), VirtualDatetime.now(UTC)
        ask = Dispatch(
            request=REQUEST,
            requested_at=now - timedelta(seconds=age_seconds),
            send_until=now + timedelta(seconds=-1 if too_late else 3_600),
            follow_seconds=FOLLOW_SECONDS,
            uncertain=uncertain,
            reserved=reserved,
            last_failed_index=self.known_failure,
            last_failed_at=self.failed_at,
            first_task=not uncertain and not after_a_failure and age_seconds == 0,
        )
        try:
            self.ending = await Dispatching(
                self.node, ask, ORDER, approval_above=approval_above, budgets=budgets
            ).run()
        except FulguriteError as error:
            self.error = error
        self.may_still_pay = self.node.may_still_pay
        self.took_seconds = loop.time() - began
        return self

    async def _an_earlier_failure(self) -> int:
        scripted = self.node.script
        self.node.script = Script([], [], [Fate(0, PaymentStatus.FAILED)], 0, 0)
        async with self.node.send(REQUEST, ORDER, None) as updates:
            failed = [update async for update in updates][-1]
        self.node.script = scripted
        self.failed_at = failed.created_at
        return failed.payment_index

    # What must be so.

    @property
    def nothing_moved(self) -> bool:
        """LND has nothing of this attempt, and nothing can still reach it."""
        truth = self.node.truth
        old = truth is not None and truth.payment_index == self.known_failure
        return (truth is None or old) and not self.may_still_pay

    def check(self) -> None:
        if self.error is not None:
            self._check_error(self.error)
            return
        assert self.ending is not None
        # Listening ends with the fast path; being sure may take the grace beyond it.
        assert self.took_seconds < FOLLOW_SECONDS + 2 * GRACE_SECONDS + 2
        if self.ending.outcome is not DispatchOutcome.FOLLOWED:
            assert self.nothing_moved, f"{self.ending} with LND at {self.node.truth}"
            return
        truth, told = self.node.truth, self.ending.payment
        assert truth is not None, f"{self.ending}, and LND has nothing"
        if told is not None and told.status is PaymentStatus.FAILED:
            assert not self.may_still_pay, f"FAILED, with LND at {truth}"
            assert truth.status is PaymentStatus.FAILED
            assert told.payment_index != self.known_failure
        if told is not None and told.status is PaymentStatus.SUCCEEDED:
            assert truth.status is PaymentStatus.SUCCEEDED

    def _check_error(self, error: FulguriteError) -> None:
        if isinstance(error, InvalidRequestError):
            assert self.nothing_moved, f"{error!r} with LND at {self.node.truth}"
            return
        assert isinstance(error, NodeError), error


def dispatched(script: Script, **circumstances: Any) -> Dispatched:
    with mock.patch.object(dispatching, "datetime", VirtualDatetime):
        return clock.run(Dispatched(script).run(**circumstances))


many = settings(max_examples=150)


@many
@given(scripts)
def test_a_first_dispatch_never_concludes_what_is_not_so(script: Script) -> None:
    dispatched(script).check()


# On its way for long, and then unseen for long: LND still says FAILED of the send before it.
ONE_AFTER_THE_OTHER = Script(
    [], [OnTrack.TOLD, OnTrack.LAGS], [Fate(0.05, PaymentStatus.FAILED)], 0, 2.0
)


@many
@given(
    script=scripts,
    on_the_wire_seconds=st.none() | moments,
    too_late=st.booleans(),
    after_a_failure=st.booleans(),
)
@example(script=ONE_AFTER_THE_OTHER, on_the_wire_seconds=2.0, too_late=False, after_a_failure=False)
def test_nor_does_one_after_an_answer_was_lost(
    script: Script, on_the_wire_seconds: float | None, too_late: bool, after_a_failure: bool
) -> None:
    dispatched(
        script,
        uncertain=True,
        on_the_wire_seconds=on_the_wire_seconds,
        age_seconds=12,
        too_late=too_late,
        after_a_failure=after_a_failure,
    ).check()


@many
@given(scripts, st.booleans(), st.sampled_from([None, Msat(1)]))
def test_nor_does_a_retry_after_a_failure(
    script: Script, too_late: bool, approval_above: Msat | None
) -> None:
    dispatched(
        script,
        age_seconds=60,
        too_late=too_late,
        approval_above=approval_above,
        after_a_failure=True,
    ).check()


@given(scripts, st.booleans())
def test_nothing_is_sent_when_it_is_too_late_or_a_person_must_say_yes(
    script: Script, too_late: bool
) -> None:
    done = dispatched(script, too_late=too_late, approval_above=None if too_late else Msat(1))

    done.check()
    assert done.node.asked_to_send == 0


@given(scripts, st.booleans())
def test_nothing_is_sent_before_every_budget_that_counts_it_has_granted_it(
    script: Script, uncertain: bool
) -> None:
    """Invariant 12. What LND has already is followed all the same."""
    done = dispatched(
        script, uncertain=uncertain, budgets=("daily", "weekly"), reserved=("weekly",)
    )

    done.check()
    assert done.node.asked_to_send == 0
    if done.ending:
        assert done.ending.outcome is DispatchOutcome.NEEDS_BUDGET
        assert "daily" in done.ending.because
        assert "weekly" not in done.ending.because


def test_a_person_is_asked_before_anything_is_reserved() -> None:
    done = dispatched(Script([], [], [], 0, 0), approval_above=Msat(1), budgets=("daily",))

    assert done.ending is not None
    assert done.ending.outcome is DispatchOutcome.NEEDS_APPROVAL


def test_what_every_budget_has_granted_is_sent() -> None:
    settles = [Fate(1, PaymentStatus.SUCCEEDED)]
    done = dispatched(Script([], [], settles, 0, 0), budgets=("daily",), reserved=("daily",))

    assert done.ending is not None
    assert done.ending.outcome is DispatchOutcome.FOLLOWED


@given(st.lists(st.sampled_from(OnTrack), max_size=4))
def test_what_lnd_has_already_is_not_sent_again(tracks: list[OnTrack]) -> None:
    script = Script([], tracks, [Fate(600, PaymentStatus.SUCCEEDED)], 0, 0)
    done = dispatched(script, uncertain=True, on_the_wire_seconds=0.0, age_seconds=12)

    done.check()
    assert len(done.node.taken) == 1


# The incidents, each as the plainest case of it.


def in_flight(seconds: float = 600) -> list[Fate]:
    return [Fate(seconds, PaymentStatus.SUCCEEDED)]


def test_a_node_that_cannot_be_asked_is_no_failure() -> None:
    """Incident A."""
    done = dispatched(Script([], [OnTrack.DOWN] * 60, [], 0, 0))

    assert isinstance(done.error, NodeError)


def test_nothing_is_sent_to_a_node_that_cannot_be_asked() -> None:
    """Incident A: who does not answer has not said that it knows nothing."""
    done = dispatched(Script([], [OnTrack.DOWN] * 3, in_flight(), 0, 0))

    assert done.node.asked_to_send == 1
    assert done.node.script.tracks == []


def test_a_send_without_an_answer_that_cannot_be_found_proves_nothing() -> None:
    """Incident A: the time of the fast path is over, and LND has said nothing at all."""
    done = dispatched(Script([OnSend.SLOW], [], in_flight(), FOLLOW_SECONDS + 1, 0))

    assert isinstance(done.error, NodeError)
    assert done.may_still_pay


def test_already_exists_is_believed_though_it_cannot_be_found_yet() -> None:
    """Incident C: LND's index lags behind its own answer."""
    script = Script([OnSend.TAKEN, OnSend.INVALID], [OnTrack.LAGS] * 60, in_flight(), 0, 600.0)
    done = dispatched(script, on_the_wire_seconds=0.0)

    assert done.ending is not None
    assert done.ending.outcome is DispatchOutcome.FOLLOWED
    assert done.node.asked_to_send == 1


def test_time_is_up_with_the_payment_in_flight_and_that_is_what_is_told() -> None:
    """Incident B."""
    done = dispatched(Script([], [], in_flight(), 0, 0))

    assert done.ending is not None
    assert done.ending.payment is None or done.ending.payment.status is PaymentStatus.IN_FLIGHT
    assert done.ending.outcome is DispatchOutcome.FOLLOWED


@pytest.mark.parametrize("how", [OnSend.CUT, OnSend.LATE])
def test_not_found_after_a_lost_answer_is_no_proof(how: OnSend) -> None:
    """Incident C: refused as expired on the second try, with the first one under way."""
    done = dispatched(
        Script([how, OnSend.INVALID], [OnTrack.TOLD] + [OnTrack.LAGS] * 2, in_flight(), 1.0, 0.4)
    )

    done.check()
    assert not isinstance(done.error, InvalidRequestError)


def test_a_reason_without_a_verdict_is_no_verdict() -> None:
    """Incident D: TIMEOUT is said while the last HTLC is out, and then it settles."""
    fate = Fate(2.0, PaymentStatus.SUCCEEDED, FailureReason.TIMEOUT)
    done = dispatched(Script([OnSend.CUT], [], [fate], 0, 0))

    assert done.ending is not None
    assert done.ending.payment is not None
    assert done.ending.payment.status is PaymentStatus.SUCCEEDED


@pytest.mark.parametrize("status", [PaymentStatus.SUCCEEDED, PaymentStatus.FAILED])
def test_a_stream_that_does_not_end_is_left_at_the_verdict(status: PaymentStatus) -> None:
    """Incident D, the other half."""
    done = dispatched(Script([OnSend.NEVER_ENDING], [], [Fate(0.5, status)], 0, 0))

    assert done.ending is not None
    assert done.ending.payment is not None
    assert done.ending.payment.status is status
    assert done.took_seconds < 1


def test_a_verdict_of_success_stands_whatever_the_stream_says_after_it() -> None:
    """Incident O."""
    done = dispatched(Script([OnSend.RECANTED], [], [], 0, 0))

    assert done.ending is not None
    assert done.ending.payment is not None
    assert done.ending.payment.status is PaymentStatus.SUCCEEDED
