"""A cursor never says that something was told which was not, and heartbeats can carry it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activities.remembering import Ended, Recent
from fulgurite.identity import PaymentHash
from fulgurite.invoices.stream import (
    OVERLAP,
    RECENT_INVOICES,
    Cursor,
    Listened,
    Mark,
    StreamState,
    StreamView,
)

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
MINUTE = timedelta(minutes=1)

indices = st.integers(1, 10_000)


def hash_of(number: int) -> PaymentHash:
    return PaymentHash(f"{number:064x}"[::-1])


@given(last=indices, pending=st.none() | indices, before=indices)
def test_what_is_pending_or_recent_is_never_passed(
    last: int, pending: int | None, before: int
) -> None:
    cursor = Cursor.at(NOW).model_copy(update={"pending_from": before, "complete": True})
    listed = cursor.listed(
        began_at=NOW, first_pending=pending, last_index=last, last_settled_at=NOW
    )

    assert listed.pending_from >= before
    if listed.pending_from > before:
        assert pending is None or listed.pending_from <= pending
        assert listed.pending_from <= max(1, last - RECENT_INVOICES + 1)


def test_only_a_complete_listing_is_known_and_by_lnds_clock() -> None:
    hours_ago = NOW - timedelta(hours=9)
    first = Cursor.at(NOW)
    part = first.partly_listed(first_pending=None, last_index=700)
    whole = part.listed(began_at=NOW, first_pending=None, last_index=900, last_settled_at=hours_ago)

    assert (first.scan_from, part.scan_from) == (0, 700)
    assert (part.complete, part.settled_through) == (False, NOW)
    assert (whole.complete, whole.settled_through) == (True, hours_ago)
    assert whole.scan_from == whole.pending_from - 1 == 900 - RECENT_INVOICES
    assert whole.told_before == hours_ago - OVERLAP
    assert whole.went_back().scan_from == 0


def test_a_settlement_of_the_future_moves_nothing_beyond_the_present() -> None:
    listed = Cursor.at(NOW).listed(
        began_at=NOW + MINUTE, first_pending=None, last_index=1, last_settled_at=NOW + OVERLAP
    )

    assert listed.settled_through == NOW + MINUTE


@pytest.mark.parametrize(
    ("index", "at", "anew", "passed"),
    [
        (10, NOW, False, False),  # the very same
        (11, NOW + OVERLAP, False, False),
        (11, NOW - OVERLAP, False, False),  # clocks are set back
        (10, NOW + MINUTE, True, False),
        (9, NOW + MINUTE, False, False),  # two at the same time, told in another order
        (9, NOW + 2 * MINUTE, False, True),
        (9, NOW - OVERLAP, False, False),
    ],
)
def test_a_mark_tells_when_numbers_went_back(
    index: int, at: datetime, anew: bool, passed: bool
) -> None:
    mark = Mark(index=10, at=NOW)

    assert (mark.given_anew(index, at), mark.passed_by(index, at)) == (anew, passed)
    assert mark.seen(index, at).index == max(10, index)


def test_heartbeats_bring_back_the_same() -> None:
    listened = Listened(cursor=Cursor.at(NOW), state=StreamState.LISTENING, settlements=3)

    assert Listened.model_validate(listened.model_dump(mode="json")) == listened


def test_who_was_interrupted_counts_the_silence_from_the_last_scan() -> None:
    listened = Listened(cursor=Cursor.at(NOW), state=StreamState.LISTENING, scanned_at=NOW)
    interrupted = listened.interrupted()

    assert (interrupted.state, interrupted.silent_since) == (StreamState.DISCONNECTED, NOW)
    earlier = listened.model_copy(update={"silent_since": NOW - MINUTE}).interrupted()
    assert earlier.silent_since == NOW - MINUTE


def test_operators_read_what_is_wrong() -> None:
    well = Listened(
        cursor=Cursor.at(NOW),
        state=StreamState.LISTENING,
        settlements=3,
        connected_since=NOW,
        last_settlement_at=NOW,
    )
    ill = well.interrupted().model_copy(
        update={"problem": "connection refused", "untold": 2, "silent_since": NOW}
    )
    said = StreamView(node="alice", began_at=NOW, listened=well).details()
    warned = StreamView(node="alice", began_at=NOW, listened=ill).details()

    assert said.startswith("### LISTENING")
    assert "3 settlements told, the last at 2026-01-02 03:04:05 UTC" in said
    assert "**" not in said.replace("**alice**", "")
    assert warned.startswith("### DISCONNECTED")
    assert all(
        words in warned
        for words in ("connection refused", "**2 could not be told", "**news may be missing since")
    )


# Memories.


@given(st.lists(indices, max_size=50), indices)
def test_what_has_ended_is_remembered_until_it_is_below(added: list[int], below: int) -> None:
    ended = Ended()
    for index in added:
        ended.add(index, hash_of(index))
    ended.forget_below(below)

    kept = [index for index in added if index >= below]
    assert all(ended.has(index, hash_of(index)) for index in kept)
    assert not any(ended.has(index, hash_of(index + 1)) for index in kept)
    assert not ended.has(max(added, default=0) + 1, hash_of(1))


def test_little_is_kept_of_what_has_ended() -> None:
    ended = Ended()
    for index in range(100_000):
        ended.add(index, hash_of(index + 1))
    assert sum(map(len, ended._chunks.values())) < 500_000
    ended.forget_below(100_000)

    assert len(ended._chunks) == 1


def test_a_hash_that_begins_with_zeroes_is_remembered_too() -> None:
    zeroes = PaymentHash("00" * 8 + "ff" * 24)
    ended = Ended()
    assert not ended.has(1, zeroes)
    ended.add(1, zeroes)

    assert ended.has(1, zeroes)


def test_the_oldest_is_forgotten_first() -> None:
    recent: Recent[int] = Recent(3)
    for number in (1, 2, 3, 1, 4):
        recent.add(number)

    assert [number in recent for number in (1, 2, 3, 4)] == [True, False, True, True]
    recent.discard(1)
    assert 1 not in recent
