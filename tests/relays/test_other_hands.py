"""Who calls a relay off, takes upstream back, or pays the same hash: nothing more is sent then."""

from __future__ import annotations

from typing import Any

import pytest

from fulgurite.payments.states import PaymentStatus
from fulgurite.relays.receipts import RelayReceipt, RelayWarning
from fulgurite.relays.states import RelayState
from tests.relays.model_temporal import run
from tests.relays.model_world import ModelWorld, Run
from tests.relays.test_orders import Course, a_script

ANOTHER_FAILS = {"runs": [Run.ANOTHERS], "fates": [(60.0, False), (1.0, True)]}
# The payment's node is away for a minute, so that it would be sent only then.
AWAY = {"answer_seconds": [0.1] * 5 + [60.0]}
FORCED = {"runs": [Run.FORCED], "fates": [(3.0, False)]}


def course(**what: Any) -> tuple[RelayReceipt, ModelWorld]:
    lived = Course(a_script(**what))
    receipt = run(lived.run())
    assert receipt is not None
    assert not lived.world.outcries
    return receipt, lived.world


def assert_nothing_sent(receipt: RelayReceipt, world: ModelWorld, *, sends: int) -> None:
    assert (receipt.status, receipt.kept_msat) == (RelayState.CANCELED, 0)
    assert world.sends == sends
    assert not world.paid


@pytest.mark.parametrize(("before", "sends"), [(ANOTHER_FAILS, 0), (AWAY, 0), (FORCED, 1)])
def test_nothing_is_sent_once_upstream_is_known_to_be_gone(
    before: dict[str, Any], sends: int
) -> None:
    receipt, world = course(taken_back_after_seconds=20.0, **before)

    assert_nothing_sent(receipt, world, sends=sends)
    assert RelayWarning.LOSS_POSSIBLE in receipt.warnings


@pytest.mark.parametrize(("before", "sends"), [(ANOTHER_FAILS, 0), (AWAY, 0), (FORCED, 1)])
def test_nothing_is_sent_once_it_is_called_off(before: dict[str, Any], sends: int) -> None:
    receipt, world = course(canceled_after_seconds=20.0, **before)

    assert_nothing_sent(receipt, world, sends=sends)


@pytest.mark.parametrize("how", ["taken_back_after_seconds", "canceled_after_seconds"])
def test_a_payment_that_an_earlier_run_has_begun_is_told_too(how: str) -> None:
    """It would send in a minute; the present run did not begin it, and has heard enough."""
    receipt, world = course(**{how: 40.0}, new_run_after_steps=[6], **AWAY)

    assert world.relay_run == 1
    assert_nothing_sent(receipt, world, sends=0)


@pytest.mark.parametrize("how", [Run.ELSEWHERE, Run.ELSEWHERE_FORCED])
@pytest.mark.parametrize("settles", [True, False])
def test_who_pays_from_another_node_is_waited_for_and_asked(how: Run, settles: bool) -> None:
    """A verdict of our own node would be none about that one's."""
    receipt, world = course(runs=[how], fates=[(20.0, settles), (1.0, True)])

    assert receipt.status is RelayState.SETTLED
    assert world.elsewhere.word is (PaymentStatus.SUCCEEDED if settles else PaymentStatus.FAILED)
    # Where that one has failed, the relay pays after all.
    assert world.sends == (0 if settles else 1)
    assert receipt.warnings == ((RelayWarning.PAID_BY_ANOTHER,) if settles else ())
