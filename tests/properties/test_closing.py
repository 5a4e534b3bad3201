"""The table of a closing, and the course of one, against what must be so of money."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from fulgurite.channels.bumping import BumpOrder
from fulgurite.channels.calls import Bumped
from fulgurite.channels.closing import (
    CloseOutput,
    ClosePhase,
    Closing,
    OutputKind,
    OutputOutcome,
)
from fulgurite.channels.progress import CloseProgress
from fulgurite.channels.requests import CloseKind, CloseRequest, FeeBudget
from fulgurite.channels.states import CLOSE, CloseEvent, CloseState
from fulgurite.events.catalogue import EventType
from fulgurite.identity import ChannelPoint, Outpoint, PaymentHash
from tests.properties.clock import EPOCH
from tests.unit.test_chain_workflow import block

S, E = CloseState, CloseEvent
POINT = ChannelPoint("ab" * 32 + ":0")
OUTPOINTS = [Outpoint("cd" * 32 + f":{number}") for number in range(4)]
HASHES = [PaymentHash(f"{number:064x}") for number in range(3)]
NOTHING_DONE = {S.CALLED_OFF, S.REFUSED}
ON_CHAIN = {S.WAITING_CLOSE, S.FORCE_CLOSING, S.CLOSED}


def test_every_state_can_be_reached_and_every_event_is_used() -> None:
    reached, pending = {CLOSE.start}, [CLOSE.start]
    while pending:
        here = pending.pop()
        onward = {edge.target for edge in CLOSE.edges if edge.source is here} - reached
        reached |= onward
        pending += onward

    assert reached == set(CloseState) == CLOSE.states
    assert {edge.event for edge in CLOSE.edges} == set(CloseEvent)
    assert CLOSE.terminal == {S.CLOSED} | NOTHING_DONE


def test_what_is_on_chain_ends_only_when_the_last_output_is_resolved() -> None:
    """Neither a refusal nor a reason that is gone takes back a published transaction."""
    for edge in CLOSE.edges:
        if edge.source in ON_CHAIN:
            assert edge.target in ON_CHAIN, edge
        if edge.target is S.CLOSED:
            assert edge.event is E.RESOLVED, edge
        if edge.target in NOTHING_DONE:
            assert edge.source in {S.REQUESTED, S.CLOSING}, edge


def test_lnd_is_asked_only_where_nothing_is_on_chain() -> None:
    assert {e.source for e in CLOSE.edges if e.target is S.CLOSING} == {S.REQUESTED}


def test_each_edge_says_why() -> None:
    assert all(edge.because for edge in CLOSE.edges)


outputs = st.lists(
    st.builds(
        CloseOutput,
        kind=st.sampled_from(OutputKind),
        outpoint=st.sampled_from(OUTPOINTS),
        amount_sat=st.integers(330, 100_000),
        outcome=st.sampled_from(OutputOutcome),
        stage=st.integers(0, 2),
        maturity_height=st.one_of(st.none(), st.integers(90, 200)),
    ),
    max_size=4,
    unique_by=lambda each: each.outpoint,
).map(tuple)

closings = st.builds(
    Closing,
    phase=st.sampled_from(ClosePhase),
    tip=st.builds(block, st.integers(95, 200), st.sampled_from("ab")),
    channel_point=st.just(POINT),
    close_height=st.one_of(st.none(), st.integers(95, 200)),
    htlcs_expire_at=st.one_of(st.none(), st.integers(95, 200)),
    htlcs_sat=st.integers(0, 20_000),
    limbo_sat=st.integers(0, 100_000),
    outputs=outputs,
)

fees = st.builds(
    FeeBudget,
    budget_sat=st.integers(0, 50_000),
    blocks_before_deadline=st.integers(1, 144),
)

orders = st.builds(
    CloseRequest,
    node=st.just("alice"),
    channel_point=st.just(POINT),
    kind=st.sampled_from([CloseKind.FOLLOW, CloseKind.FORCE]),
    fees=fees,
    for_payments=st.lists(st.sampled_from(HASHES), unique=True, max_size=3).map(tuple),
)

answers = st.sampled_from([True, False, None])


def worth(closing: Closing, outpoint: Outpoint | None) -> int:
    if outpoint is None:
        return closing.limbo_sat + closing.htlcs_sat
    return max(each.amount_sat for each in closing.outputs if each.outpoint == outpoint)


# A machine that does much else is no reason to fail.


@given(orders, st.lists(st.tuples(closings, answers), max_size=30))
def test_no_course_spends_more_than_the_budget_or_than_what_it_rescues(
    order: CloseRequest, course: list[tuple[Closing, bool | None]]
) -> None:
    """Incident T."""
    progress = CloseProgress(requested_at=EPOCH, request=order)
    for closing, taken in course:
        progress.heard(closing)
        for bump in progress.bumps_due():
            assert progress.closing is not None
            assert 0 < bump.budget_sat <= worth(progress.closing, bump.outpoint)
            assert bump.deadline_height > closing.tip.height
            if taken is not None:
                progress.bumped(bump.outpoint, Bumped(taken=taken))
        assert progress.bumped_sat <= order.fees.budget_sat
        # Whoever asks again without a new block asks for nothing that was asked for.
        assert progress.bumps_due() == []


@given(orders, st.lists(closings, max_size=30))
def test_a_course_of_looks_never_leaves_the_table_and_tells_each_thing_once(
    order: CloseRequest, looks: list[Closing]
) -> None:
    progress = CloseProgress(requested_at=EPOCH, request=order)
    told: list[EventType] = []
    for closing in looks:
        if progress.state in CLOSE.terminal:
            break
        before = progress.state
        if move := progress.heard(closing):
            progress.fire(move[0], EPOCH, move[1])
            told += [event.type for event in progress.news(EPOCH)]
        assert progress.wake_height() > closing.tip.height
        if before in ON_CHAIN:
            assert progress.state in ON_CHAIN
        if closing.phase in {ClosePhase.OPEN, ClosePhase.UNKNOWN}:
            assert progress.state is before
    expected = [EventType.CHANNEL_CLOSING] * (progress.state in ON_CHAIN)
    expected += [EventType.CHANNEL_CLOSED] * (progress.state is S.CLOSED)
    assert told == expected


@given(st.lists(orders, min_size=1, max_size=6), st.data())
def test_joined_orders_are_worth_what_all_of_them_are(
    joined: list[CloseRequest], data: st.DataObject
) -> None:
    progress = CloseProgress(requested_at=EPOCH, request=joined[0])
    for other in data.draw(st.permutations(joined[1:])):
        progress.joined(other)
    result, forced = progress.request, [each for each in joined if each.kind is CloseKind.FORCE]

    assert result.kind is (CloseKind.FORCE if forced else CloseKind.FOLLOW)
    assert result.fees.budget_sat == max(each.fees.budget_sat for each in joined)
    if forced:
        # One that has no condition needs none of the others'.
        free = any(not each.for_payments for each in forced)
        hashes = {payment for each in forced for payment in each.for_payments}
        assert set(result.for_payments) == (set() if free else hashes)
    assert not any(progress.joined(each) for each in joined), "said again, nothing is another"


def test_what_lnd_took_stays_reserved() -> None:
    """It may have been spent: that LND says no to the same order later gives nothing back."""
    fees = FeeBudget(budget_sat=5_000)
    order = CloseRequest(node="alice", channel_point=POINT, kind=CloseKind.FORCE, fees=fees)
    progress = CloseProgress(requested_at=EPOCH, request=order)
    progress.bumps = [
        BumpOrder(outpoint=None, budget_sat=5_000, deadline_height=100, asked_at_height=90)
    ]
    progress.bumped(None, Bumped(taken=True))
    progress.bumped(None, Bumped(taken=False, because="it is confirmed"))

    assert progress.bumped_sat == 5_000
