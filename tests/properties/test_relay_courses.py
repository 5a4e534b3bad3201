"""The courses of a relay in which others have lost money, each by itself and to its end.

`tests.relays.test_orders` has every other one. The world asserts, at each order, that it may
be given at that moment.
"""

from __future__ import annotations

from typing import Any
from unittest import mock

import pytest
from temporalio.exceptions import ApplicationError

from fulgurite.events.catalogue import EventType
from fulgurite.invoices.requests import Verdict
from fulgurite.payments.states import PaymentStatus
from fulgurite.relays.receipts import RelayReceipt
from fulgurite.relays.states import RelayState
from tests.relays.model_temporal import run
from tests.relays.model_world import ModelWorld, Order, Run, Script
from tests.relays.test_orders import PLAN, Course

HOUR, DAY = 3_600.0, 86_400.0


def course(**script: Any) -> tuple[RelayReceipt, ModelWorld]:
    """What becomes of it, where all that is not in the script works."""
    works: dict[str, Any] = {
        "held_after_seconds": 1.0,
        "fates": [],
        "runs": [],
        "orders": [],
        "other_orders": Order.OBEYED,
        "nudges": [],
        "answer_seconds": [],
        "local_fails": [],
        "taken_back_after_seconds": None,
        "canceled_after_seconds": None,
        "ended_after_seconds": None,
        "gone_seconds": 10.0,
        "blocks_meanwhile": 0,
        "new_run_after_steps": [],
    }
    lived = Course(Script(**(works | script)))
    receipt = run(lived.run())
    assert receipt is not None
    return receipt, lived.world


def assert_taken(receipt: RelayReceipt, world: ModelWorld) -> None:
    assert (receipt.status, receipt.warnings) == (RelayState.SETTLED, ())
    assert world.downstream is PaymentStatus.SUCCEEDED
    assert world.sends == 1


SETTLES_LATE = {"fates": [(5 * HOUR, True)]}


@pytest.mark.parametrize("how", [Run.FORCED, Run.MUTE, Run.NODE_UNKNOWN])
def test_a_payment_that_ended_without_a_verdict_gives_nothing_back(how: Run) -> None:
    """Incident I. What it sent goes on, and settles."""
    runs = [Run.FORCED, how] if how is Run.NODE_UNKNOWN else [how]
    assert_taken(*course(runs=runs, **SETTLES_LATE))


def test_what_somebody_else_pays_meanwhile_is_waited_for() -> None:
    receipt, world = course(runs=[Run.ANOTHERS], fates=[(HOUR, True)])

    assert (receipt.status, world.sends) == (RelayState.SETTLED, 0)
    assert world.downstream is PaymentStatus.SUCCEEDED


def test_who_calls_it_off_in_flight_stops_nothing_that_is_sent() -> None:
    assert_taken(*course(canceled_after_seconds=30.0, **SETTLES_LATE))


@pytest.mark.parametrize("steps", range(1, 9))
def test_a_new_run_while_it_pays_loses_nothing(steps: int) -> None:
    assert_taken(*course(new_run_after_steps=[steps], **SETTLES_LATE))


def test_a_new_run_has_the_preimage_that_the_one_before_it_had() -> None:
    """The history is full just when LND, which is to take the money, is away."""
    settle, away = ModelWorld._invoice_settle, ApplicationError("the node is away")
    fails = [away]

    def fails_once(world: ModelWorld, ask: Any) -> Any:
        if fails:
            world.script.new_run_after_steps.append(0)
            raise fails.pop()
        return settle(world, ask)

    with mock.patch.object(ModelWorld, "_invoice_settle", fails_once):
        receipt, world = course(orders=[Order.GONE] * 3)

    assert fails == []
    assert world.relay_run == 1
    assert_taken(receipt, world)


@pytest.mark.parametrize("order", [Order.IGNORED, Order.GONE])
def test_the_preimage_takes_what_is_held_also_without_the_invoices_workflow(order: Order) -> None:
    assert_taken(*course(orders=[order]))


def test_a_relay_that_is_asked_for_again_finds_what_the_first_one_sent() -> None:
    assert_taken(*course(ended_after_seconds=30.0, **SETTLES_LATE))


def test_what_goes_out_ends_long_before_what_came_in() -> None:
    """Downstream times out on chain at its very last block: upstream is still there."""
    receipt, world = course(fates=[(30 * DAY, True)])

    assert (receipt.status, receipt.warnings) == (RelayState.CANCELED, ())
    assert world.downstream is PaymentStatus.FAILED
    assert world.downstream_ends_at is not None
    assert world.expiry_height is not None
    assert world.downstream_ends_at <= world.expiry_height - 24


def test_blocks_that_were_counted_long_ago_send_nothing() -> None:
    """The node of the payment was away for as long as some blocks take."""
    before_the_payment = [0.1] * 5
    receipt, world = course(answer_seconds=[*before_the_payment, 2 * HOUR])

    assert (receipt.status, world.sends) == (RelayState.CANCELED, 0)


def test_who_takes_upstream_back_in_flight_is_told_of_and_downstream_followed() -> None:
    receipt, world = course(taken_back_after_seconds=30.0, **SETTLES_LATE)

    assert receipt.status is RelayState.LOST
    assert world.events == [EventType.RELAY_LOSS_POSSIBLE, EventType.RELAY_LOST]
    assert world.downstream is PaymentStatus.SUCCEEDED


def test_its_invoice_is_never_sent_back_by_a_default_of_its_own() -> None:
    """Only the relay knows whether what went out has certainly failed."""
    hold = PLAN.invoice.hold
    assert hold is not None
    assert hold.default is Verdict.KEEP
    assert hold.payment_hash == PLAN.payment_hash
