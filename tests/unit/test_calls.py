"""Workflows and activities never import each other: what joins them is held here."""

from __future__ import annotations

import inspect
from typing import Any, get_type_hints

import pytest
from temporalio.activity import _Definition

from activities.heartbeats import HEARTBEAT_TIMEOUT
from activities.payments import PaymentActivities
from fulgurite import calls
from fulgurite.calls import Call
from workflows import calling

IMPLEMENTED = {
    definition.name: method
    for _, method in inspect.getmembers(PaymentActivities, inspect.isfunction)
    if (definition := _Definition.from_callable(method))
}


@pytest.mark.parametrize("call", calls.CALLS, ids=lambda call: call.name)
def test_each_call_is_carried_out_with_exactly_its_types(call: Call[Any, Any]) -> None:
    activity = IMPLEMENTED[call.name]
    hints = get_type_hints(activity)
    parameters = [name for name in inspect.signature(activity).parameters if name != "self"]

    assert [hints[name] for name in parameters] == [call.takes]
    assert hints["return"] is call.gives
    assert inspect.iscoroutinefunction(activity)


def test_every_call_is_listed_and_every_activity_is_a_call() -> None:
    declared = {call.name for call in vars(calls).values() if isinstance(call, Call)}

    assert declared == {call.name for call in calls.CALLS} == set(IMPLEMENTED)


def test_both_sides_mean_the_same_by_a_heartbeat_that_is_late() -> None:
    assert calling._HEARTBEAT_TIMEOUT == HEARTBEAT_TIMEOUT
