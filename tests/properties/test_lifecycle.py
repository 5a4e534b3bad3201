"""The table of a payment, against what must be so of money and not of the table."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fulgurite.lifecycle import Edge, ImpossibleTransitionError, Lifecycle
from fulgurite.payments.states import PAYMENT, PaymentEvent, PaymentState

S, E = PaymentState, PaymentEvent
events = st.lists(st.sampled_from(PaymentEvent), max_size=25)

# Said by LND, each of them: what an attempt came to.
FAILURES = {E.FAILED, E.FAILED_FOR_NOW, E.NEEDS_LIQUIDITY, E.GIVEN_UP}
WITH_LND = {S.IN_FLIGHT, S.STUCK, S.RESOLVING_ON_CHAIN}
NOTHING_MOVED = {S.REJECTED, S.OVER_BUDGET, S.EXPIRED, S.CANCELED, S.REFUSED}


class Reference:
    """A payment told in three facts, from which the table was not made."""

    def __init__(self) -> None:
        self.lnd_has_it = False
        self.verdict: PaymentEvent | None = None
        self.over = False

    def hear(self, event: PaymentEvent, state: PaymentState) -> None:
        if event is E.DISPATCHED:
            self.verdict = None
        if event in {E.ACCEPTED, E.OVERDUE, E.WENT_ON_CHAIN}:
            self.lnd_has_it = True
        if event is E.SETTLED or event in FAILURES:
            self.lnd_has_it, self.verdict = False, event
        self.over = state in PAYMENT.terminal


def walked(sequence: list[PaymentEvent]) -> list[tuple[PaymentState, PaymentEvent, PaymentState]]:
    """The steps that the table allows of a random sequence; the others leave it alone."""
    state, steps = PAYMENT.start, []
    for event in sequence:
        try:
            after = PAYMENT.fire(state, event)
        except ImpossibleTransitionError:
            continue
        steps.append((state, event, after))
        state = after
    return steps


def test_every_state_can_be_reached_and_every_event_is_used() -> None:
    reached, pending = {PAYMENT.start}, [PAYMENT.start]
    while pending:
        here = pending.pop()
        onward = {edge.target for edge in PAYMENT.edges if edge.source is here} - reached
        reached |= onward
        pending += onward

    assert reached == set(PaymentState) == PAYMENT.states
    assert {edge.event for edge in PAYMENT.edges} == set(PaymentEvent)


def test_an_end_is_reached_from_everywhere_and_never_left() -> None:
    assert PAYMENT.terminal == {S.SUCCEEDED, S.FAILED} | NOTHING_MOVED
    for state in PAYMENT.states - PAYMENT.terminal:
        ends, pending = set(), [state]
        seen = {state}
        while pending:
            here = pending.pop()
            onward = {edge.target for edge in PAYMENT.edges if edge.source is here} - seen
            seen |= onward
            ends |= onward & PAYMENT.terminal
            pending += onward
        assert ends, state
    for state in PAYMENT.terminal:
        for event in PaymentEvent:
            with pytest.raises(ImpossibleTransitionError):
                PAYMENT.fire(state, event)


def test_success_is_lnds_word_and_so_is_failure() -> None:
    for edge in PAYMENT.edges:
        assert (edge.target is S.SUCCEEDED) == (edge.event is E.SETTLED), edge
        if edge.target is S.FAILED:
            assert edge.event in {E.FAILED, E.GIVEN_UP}, edge


def test_what_lnd_has_ends_by_lnds_word_alone() -> None:
    """Invariant 2: no time, cancel, person or mistake ends a payment that is in flight."""
    for edge in PAYMENT.edges:
        if edge.source in WITH_LND and edge.target not in WITH_LND:
            assert edge.event in {E.SETTLED, *FAILURES}, edge


def test_what_went_on_chain_is_not_tried_again() -> None:
    after = {e.event: e.target for e in PAYMENT.edges if e.source is S.RESOLVING_ON_CHAIN}

    assert after == {E.SETTLED: S.SUCCEEDED, E.FAILED: S.FAILED}


def test_another_attempt_begins_only_where_the_last_one_has_failed() -> None:
    """Invariant 3."""
    into_dispatching = {edge.source for edge in PAYMENT.edges if edge.target is S.DISPATCHING}

    after_a_failure = {S.BACKING_OFF: E.FAILED_FOR_NOW, S.AWAITING_LIQUIDITY: E.NEEDS_LIQUIDITY}
    at_the_beginning = {S.REQUESTED, S.AWAITING_APPROVAL, S.RESERVING}
    assert into_dispatching == at_the_beginning | after_a_failure.keys()
    # A budget is asked for what LND does not know, and a person before it.
    assert [(e.source, e.event) for e in PAYMENT.edges if e.target is S.RESERVING] == [
        (S.DISPATCHING, E.NEEDS_BUDGET)
    ]
    for state, failed in after_a_failure.items():
        assert {e.event for e in PAYMENT.edges if e.target is state} == {failed}


def test_each_edge_says_why() -> None:
    assert all(edge.because for edge in PAYMENT.edges)


@given(events)
def test_no_course_of_events_loses_a_payment_that_lnd_has(sequence: list[PaymentEvent]) -> None:
    reference = Reference()
    for before, event, after in walked(sequence):
        had = reference.lnd_has_it
        reference.hear(event, after)
        if reference.lnd_has_it:
            assert after in WITH_LND, (before, event, after)
        if had and after in PAYMENT.terminal:
            assert event in {E.SETTLED, *FAILURES}
        if after is S.SUCCEEDED:
            assert reference.verdict is E.SETTLED
        if after in NOTHING_MOVED:
            assert not had


@given(events)
def test_a_course_of_events_ends_once(sequence: list[PaymentEvent]) -> None:
    steps = walked(sequence)

    assert all(before is earlier[2] for earlier, (before, _, _) in pairwise(steps))
    assert sum(after in PAYMENT.terminal for _, _, after in steps) <= 1


def test_a_table_that_contradicts_itself_is_no_table() -> None:
    twice = [
        Edge(S.REQUESTED, E.REFUSED, S.REFUSED, "one"),
        Edge(S.REQUESTED, E.REFUSED, S.FAILED, "other"),
    ]
    with pytest.raises(ValueError, match="two edges"):
        Lifecycle(S.REQUESTED, twice)


def test_the_picture_shows_every_edge() -> None:
    picture = PAYMENT.mermaid()

    for edge in PAYMENT.edges:
        assert f"    {edge.source} --> {edge.target}: {edge.event}" in picture.splitlines()
    assert picture.count("--> [*]") == len(PAYMENT.terminal)
