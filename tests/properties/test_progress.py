"""What LND says becomes a state and a receipt that say the same."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulgurite.identity import ChannelPoint
from fulgurite.money import Msat
from fulgurite.payments.progress import Progress
from fulgurite.payments.receipts import OnChain, PaymentUpdate
from fulgurite.payments.requests import understand
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
from tests.unit.invoices import written
from tests.unit.test_requests import a_request

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
REQUEST = a_request(invoice=written(created_at=int(NOW.timestamp())), fee_limit={"msat": 1_000})
ORDER = understand(REQUEST)
POINT = ChannelPoint("c1" * 32 + ":0")
LAST_MOMENT = NOW + timedelta(hours=1)

updates = st.builds(
    PaymentUpdate,
    status=st.sampled_from(PaymentStatus),
    failure_reason=st.sampled_from(FailureReason),
    payment_index=st.integers(1, 5),
    amount_msat=st.just(ORDER.amount),
    fee_msat=st.integers(0, 2_000).map(Msat),
    parts=st.integers(0, 3),
    attempts=st.integers(0, 9),
)
instants = st.timedeltas(timedelta(0), timedelta(hours=2)).map(lambda after: NOW + after)
words = st.lists(st.tuples(updates, instants), max_size=12)


def under_way(*, cancel_requested: bool = False) -> Progress:
    progress = Progress(requested_at=NOW, cancel_requested=cancel_requested, initiated=True)
    progress.fire(PaymentEvent.DISPATCHED, NOW)
    return progress


def hear(
    progress: Progress,
    update: PaymentUpdate,
    at: datetime,
    wait_for_liquidity_seconds: int | None = None,
) -> PaymentEvent | None:
    heard = progress.heard(update, at, LAST_MOMENT, wait_for_liquidity_seconds)
    if heard:
        progress.fire(heard[0], at, heard[1])
    return heard[0] if heard else None


def failed(reason: FailureReason) -> PaymentUpdate:
    return PaymentUpdate(status=PaymentStatus.FAILED, failure_reason=reason, payment_index=1)


@given(updates, instants, st.booleans())
def test_only_the_status_decides(update: PaymentUpdate, at: datetime, canceled: bool) -> None:
    event = hear(under_way(cancel_requested=canceled), update, at)

    match update.status:
        case PaymentStatus.SUCCEEDED:
            assert event is PaymentEvent.SETTLED
        case PaymentStatus.IN_FLIGHT:
            assert event is PaymentEvent.ACCEPTED
        case PaymentStatus.FAILED:
            assert event in {
                PaymentEvent.FAILED,
                PaymentEvent.FAILED_FOR_NOW,
                PaymentEvent.GIVEN_UP,
            }


@given(words, st.booleans())
def test_state_and_receipt_say_what_lnd_said_last(
    said: list[tuple[PaymentUpdate, datetime]], canceled: bool
) -> None:
    """Over any number of attempts, whatever LND says and whenever."""
    progress = under_way(cancel_requested=canceled)
    for update, at in said:
        hear(progress, update, at)
        if progress.state is PaymentState.BACKING_OFF:
            assert not canceled
            assert at + pause_before_attempt(progress.failures) < LAST_MOMENT
            progress.fire(PaymentEvent.DISPATCHED, at)
        if progress.state in PAYMENT.terminal:
            break

    if progress.state not in PAYMENT.terminal:
        return
    assert progress.update is not None
    receipt = progress.receipt(REQUEST, ORDER, NOW)
    assert receipt.status.value == progress.update.status.value
    if receipt.status is PaymentState.SUCCEEDED:
        assert receipt.fee_msat == progress.update.fee_msat
        assert receipt.failure_reason is FailureReason.NONE
        assert (receipt.warnings == ("FEE_LIMIT_EXCEEDED",)) == (receipt.fee_msat > 1_000)
    else:
        assert receipt.fee_msat == 0
        assert receipt.advice == ADVICE[receipt.failure_reason]


@given(words, st.integers(1, 7_200))
def test_liquidity_is_waited_for_after_a_verdict_alone_and_within_every_limit(
    said: list[tuple[PaymentUpdate, datetime]], seconds: int
) -> None:
    """Invariant 3, with a caller who waits: LND has failed it each time that it waits."""
    request = REQUEST.model_copy(update={"wait_for_liquidity_seconds": seconds})
    progress, since = under_way(), None
    for update, at in sorted(said, key=lambda each: each[1]):
        event = hear(progress, update, at, seconds)
        if event is PaymentEvent.NEEDS_LIQUIDITY:
            since = since or at
            assert (update.status, at < LAST_MOMENT) == (PaymentStatus.FAILED, True)
            assert liquidity_may_help(update.failure_reason)
            assert at < since + timedelta(seconds=seconds)
            until = progress.view(request, ORDER).waits_until
            last = progress.last_moment(request, ORDER)
            assert until == min(since + timedelta(seconds=seconds), last)
        if progress.state in {PaymentState.BACKING_OFF, PaymentState.AWAITING_LIQUIDITY}:
            progress.fire(PaymentEvent.DISPATCHED, at)
        assert progress.view(request, ORDER).waits_until is None
        if progress.state in PAYMENT.terminal:
            break

    assert Progress.model_validate_json(progress.model_dump_json()) == progress


@pytest.mark.parametrize("reason", list(FailureReason))
def test_only_for_want_of_liquidity_is_a_remedy_waited_for(reason: FailureReason) -> None:
    event = hear(under_way(), failed(reason), NOW, 600)

    helps = reason in {FailureReason.NO_ROUTE, FailureReason.INSUFFICIENT_BALANCE}
    assert liquidity_may_help(reason) == helps
    assert (event is PaymentEvent.NEEDS_LIQUIDITY) == helps
    if not helps:
        assert event is hear(under_way(), failed(reason), NOW)


def test_when_the_time_for_a_remedy_is_over_each_reason_goes_the_usual_way() -> None:
    for reason, after in (
        (FailureReason.INSUFFICIENT_BALANCE, PaymentEvent.FAILED),
        (FailureReason.NO_ROUTE, PaymentEvent.FAILED_FOR_NOW),
    ):
        progress = under_way()
        assert hear(progress, failed(reason), NOW, 60) is PaymentEvent.NEEDS_LIQUIDITY
        progress.fire(PaymentEvent.DISPATCHED, NOW)
        assert hear(progress, failed(reason), NOW + timedelta(seconds=60), 60) is after


def test_the_receipt_says_that_no_remedy_came() -> None:
    progress = under_way()
    hear(progress, failed(FailureReason.INSUFFICIENT_BALANCE), NOW, 60)
    progress.fire(PaymentEvent.GIVEN_UP, NOW)

    receipt = progress.receipt(REQUEST, ORDER, NOW)

    assert receipt.failure_reason is FailureReason.INSUFFICIENT_BALANCE
    assert receipt.advice.startswith(ADVICE[FailureReason.INSUFFICIENT_BALANCE])
    assert receipt.advice.endswith("It waited for a remedy since 2026-01-02 03:04:05 UTC, in vain.")


@given(updates.filter(lambda update: update.status is PaymentStatus.IN_FLIGHT), instants)
def test_in_flight_is_news_once_and_never_an_end(update: PaymentUpdate, at: datetime) -> None:
    progress = under_way(cancel_requested=True)
    assert hear(progress, update, at) is PaymentEvent.ACCEPTED
    assert hear(progress, update, LAST_MOMENT + timedelta(days=30)) is None
    progress.fire(PaymentEvent.OVERDUE, at)
    assert hear(progress, update, at) is None
    assert progress.state is PaymentState.STUCK


@pytest.mark.parametrize("reason", list(FailureReason))
def test_a_failure_is_tried_again_only_where_that_can_help(reason: FailureReason) -> None:
    event = hear(under_way(), failed(reason), NOW)

    helps = reason in {FailureReason.NO_ROUTE, FailureReason.TIMEOUT, FailureReason.CANCELED}
    assert worth_another_attempt(reason) == helps
    assert event is (PaymentEvent.FAILED_FOR_NOW if helps else PaymentEvent.FAILED)


def test_after_a_cancel_or_the_last_moment_the_verdict_stands() -> None:
    no_route = failed(FailureReason.NO_ROUTE)

    for waits in (None, 7_200):
        canceled = under_way(cancel_requested=True)
        assert hear(canceled, no_route, NOW, waits) is PaymentEvent.GIVEN_UP
        assert hear(under_way(), no_route, LAST_MOMENT, waits) is PaymentEvent.GIVEN_UP


def test_each_reason_comes_with_advice() -> None:
    assert set(ADVICE) == set(FailureReason)
    assert all(ADVICE.values())


@pytest.mark.parametrize("reason", list(FailureReason))
def test_what_the_chain_has_decided_is_told_as_that_and_not_by_the_last_route(
    reason: FailureReason,
) -> None:
    """No liquidity that is moved helps against a peer who is gone."""
    progress = under_way(cancel_requested=True)
    progress.on_chain = OnChain(channel_points=(POINT,), cost_sat=987, complete=False)
    hear(progress, failed(reason), LAST_MOMENT)

    receipt = progress.receipt(REQUEST, ORDER, NOW)

    assert (receipt.status, receipt.failure_reason) == (PaymentState.FAILED, reason)
    assert receipt.advice not in ADVICE.values()
    assert "the HTLC timed out" in receipt.advice


def test_what_somebody_else_paid_above_this_limit_is_not_this_runs_fault() -> None:
    update = PaymentUpdate(status=PaymentStatus.SUCCEEDED, fee_msat=Msat(5_000))
    for initiated in (True, False):
        progress = under_way()
        progress.initiated = initiated
        hear(progress, update, NOW)
        assert bool(progress.receipt(REQUEST, ORDER, NOW).warnings) is initiated


@given(st.integers(1, 10_000))
def test_pauses_grow_from_five_seconds_to_five_minutes(failures: int) -> None:
    pause = pause_before_attempt(failures)

    assert timedelta(seconds=5) <= pause <= timedelta(minutes=5)
    assert pause <= pause_before_attempt(failures + 1)


@given(words)
def test_progress_survives_being_carried_to_a_new_run(
    said: list[tuple[PaymentUpdate, datetime]],
) -> None:
    progress = under_way()
    for update, at in said:
        if progress.state not in PAYMENT.terminal | {PaymentState.BACKING_OFF}:
            hear(progress, update, at)

    assert Progress.model_validate_json(progress.model_dump_json()) == progress


def test_the_timeline_does_not_grow_without_end() -> None:
    progress = under_way()
    for number in range(1_000):
        progress.note(f"note {number}", NOW)

    assert len(progress.timeline) == 40
    assert progress.timeline[-1].endswith("note 999")
