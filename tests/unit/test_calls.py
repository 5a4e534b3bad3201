"""Workflows and activities never import each other: what joins them is held here."""

from __future__ import annotations

import inspect
from datetime import UTC, datetime, timedelta
from typing import Any, get_type_hints

import pytest
from temporalio.activity import _Definition

from activities.events import EventActivities
from activities.heartbeats import HEARTBEAT_TIMEOUT
from activities.invoices import InvoiceActivities
from activities.listening import InvoiceListening
from activities.other_books import OtherBooksActivities
from activities.payments import PaymentActivities
from activities.reconciliation import ReconciliationActivities
from activities.relays import RelayActivities
from fulgurite.calls import Call
from fulgurite.events import calls as events
from fulgurite.identity import PaymentHash
from fulgurite.invoices import calls as invoices
from fulgurite.invoices import stream
from fulgurite.payments import calls as payments
from fulgurite.payments.calls import Follow
from fulgurite.reconciliation import calls as reconciliation
from fulgurite.relays import calls as relays
from workflows import calling

HANDS = (
    PaymentActivities,
    InvoiceActivities,
    InvoiceListening,
    RelayActivities,
    EventActivities,
    ReconciliationActivities,
    OtherBooksActivities,
)
IMPLEMENTED = {
    definition.name: method
    for hands in HANDS
    for _, method in inspect.getmembers(hands, inspect.isfunction)
    if (definition := _Definition.from_callable(method)) and definition.name
}
DECLARED = [
    call
    for module in (payments, invoices, stream, relays, events, reconciliation)
    for call in vars(module).values()
    if isinstance(call, Call)
]


@pytest.mark.parametrize("call", DECLARED, ids=lambda call: call.name)
def test_each_call_is_carried_out_with_exactly_its_types(call: Call[Any, Any]) -> None:
    activity = IMPLEMENTED[call.name]
    hints = get_type_hints(activity)
    parameters = [name for name in inspect.signature(activity).parameters if name != "self"]

    assert [hints[name] for name in parameters] == [call.takes]
    assert hints["return"] is call.gives
    assert inspect.iscoroutinefunction(activity)


def test_every_activity_is_a_declared_call_and_no_two_share_a_name() -> None:
    names = [call.name for call in DECLARED]

    assert sorted(names) == sorted(IMPLEMENTED)


def test_both_sides_mean_the_same_by_a_heartbeat_that_is_late() -> None:
    assert calling._HEARTBEAT_TIMEOUT == HEARTBEAT_TIMEOUT


def test_a_failure_is_known_by_number_and_time_and_never_by_order() -> None:
    failed_at = datetime(2026, 11, 22, tzinfo=UTC)
    follow = Follow(
        node="alice",
        payment_hash=PaymentHash("00" * 32),
        until=failed_at,
        last_failed_index=7,
        last_failed_at=failed_at,
    )
    assert follow.is_last_failure(7, failed_at)
    # An LND on native SQLite gives the number of a failed send to the next one.
    assert not follow.is_last_failure(7, failed_at + timedelta(seconds=5))
    assert not follow.is_last_failure(6, failed_at)
