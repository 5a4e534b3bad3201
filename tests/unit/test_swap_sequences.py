"""A sequence of swaps by itself: what a change, a failure and a key mean for it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from pydantic import ValidationError

from fulgurite.swaps.limits import Direction, Terms
from fulgurite.swaps.receipts import SwapReceipt
from fulgurite.swaps.sequence import Sequence, SequenceEvent, SequenceState
from fulgurite.swaps.sequence_requests import OnFailure, SequenceChange, SwapSequenceRequest
from fulgurite.swaps.states import SwapState

NOW = datetime(2026, 1, 1, tzinfo=UTC)
TERMS = Terms(min_sat=50_000, max_sat=600_000)


def _request(direction: Direction = Direction.OUT, **more: Any) -> SwapSequenceRequest:
    order = {
        "amount_sat": 100_000,
        "limits": {"total": {"sat": 20_000}},
        "total_cost_sat": 30_000,
        "on_failure": OnFailure.CARRY_ON,
    }
    fields = {"key": "k", "node": "alice", "direction": direction, "order": order}
    return SwapSequenceRequest.model_validate(fields | more)


def _planned(request: SwapSequenceRequest) -> Sequence:
    sequence = Sequence(began_at=NOW, order=request.order)
    sequence.fire(*sequence.plan(request, TERMS)[:1], NOW)
    assert sequence.state is SequenceState.SWAPPING
    return sequence


def _receipt(status: SwapState, **more: Any) -> SwapReceipt:
    return SwapReceipt(
        status=status,
        key="k.1",
        node="alice",
        direction=Direction.OUT,
        amount_sat=100_000,
        requested_at=NOW,
        completed_at=NOW,
        **more,
    )


def test_an_amount_that_is_raised_during_the_last_swap_is_swapped_too() -> None:
    request = _request()
    sequence = _planned(request)
    [piece] = sequence.to_come
    sequence.order = SequenceChange(by="ada", amount_sat=300_000).of(sequence.order)
    sequence.changed = True
    moved_by, _ = sequence.heard(piece, "k.1", _receipt(SwapState.SUCCEEDED))

    assert moved_by is SequenceEvent.SWAPPED
    assert sequence.plan(request, TERMS)[0] is SequenceEvent.WAITS
    assert sum(each.amount_sat for each in sequence.to_come) == 200_000


def test_what_a_failure_may_have_lost_is_not_there_for_the_next_one() -> None:
    sequence = _planned(_request())
    [piece] = sequence.to_come
    sequence.heard(piece, "k.1", _receipt(SwapState.FAILED, unseen_sat=1_337))

    assert (sequence.spent_sat, sequence.left_sat) == (1_337, 30_000 - 1_337)


def test_two_sequences_never_share_a_swap() -> None:
    """Its swaps are known by their keys, to us as to loopd: none is cut off to fit."""
    with pytest.raises(ValidationError, match="90"):
        _request(key="k" * 91)
    longest = _request(key="k" * 90)
    piece = _planned(longest).to_come[0]
    assert longest.swap(200, piece, longest.order, 1).key == "k" * 90 + ".200"


def test_an_amount_below_what_any_server_swaps_is_refused_and_not_asked_for() -> None:
    request = _request()
    sequence = Sequence(
        began_at=NOW, order=SequenceChange(by="ada", amount_sat=999).of(request.order)
    )

    assert sequence.plan(request, Terms(min_sat=1, max_sat=600_000))[0] is SequenceEvent.REFUSED
