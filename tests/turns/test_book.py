"""The book of turns against a model: never two on a channel, and everybody served in order."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from pydantic import ValidationError

from fulgurite.identity import ChannelPoint
from fulgurite.turns.book import Book
from fulgurite.turns.requests import Ask, Turn
from tests.properties.clock import EPOCH

POINTS = [ChannelPoint(f"{number:064x}:0") for number in range(5)]
HOLDERS = [f"rebalance/{name}" for name in "abcdef"]


def ask(
    holder: str, *points: int, seconds: int = 60, urgent: bool = False, ask_id: str = ""
) -> Ask:
    return Ask(
        holder=holder,
        ask_id=ask_id,
        channels=tuple(POINTS[point] for point in points),
        seconds=seconds,
        urgent=urgent,
    )


class Turns(RuleBasedStateMachine):
    """Anybody asks, gives back, renews, or dies without a word, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.book = Book()
        self.now = EPOCH
        self.asks = 0
        self.came: dict[str, int] = {}  # who waits, by when it came

    @rule(
        holder=st.sampled_from(HOLDERS),
        points=st.sets(st.sampled_from(range(5)), min_size=1, max_size=3),
        seconds=st.sampled_from([10, 60]),
        urgent=st.booleans(),
    )
    def asks_for(self, holder: str, points: set[int], seconds: int, urgent: bool) -> None:
        wanted = ask(holder, *points, seconds=seconds, urgent=urgent)
        keeps_its_place = any(
            (each.holder, each.channels, each.urgent) == (holder, wanted.channels, urgent)
            for each in self.book.waiting
        )
        renewed = self.book.ask(wanted, self.now)
        self.asks += 1
        if renewed:
            assert renewed.until == self.now + timedelta(seconds=seconds)
            self.came.pop(holder, None)
        elif not keeps_its_place:
            self.came[holder] = self.asks
        self.serve()

    @rule(holder=st.sampled_from(HOLDERS))
    def gives_back(self, holder: str) -> None:
        self.book.give_back(holder)
        self.came.pop(holder, None)
        self.serve()

    @rule(seconds=st.integers(min_value=1, max_value=30))
    def time_passes(self, seconds: int) -> None:
        self.now += timedelta(seconds=seconds)
        self.serve()

    @rule()
    def continues_as_new(self) -> None:
        self.book = Book.model_validate_json(self.book.model_dump_json())

    def serve(self) -> None:
        urgent = {each.holder: each.urgent for each in self.book.waiting}
        channels = {each.holder: set(each.channels) for each in self.book.waiting}
        for turn in self.book.grant(self.now):
            mine = turn.ask.holder
            passed = [
                other.holder
                for other in self.book.waiting
                if channels[other.holder] & channels[mine]
                and self.came[other.holder] < self.came[mine]
                and (not urgent[mine] or urgent[other.holder])
            ]
            assert not passed, f"{mine} came after {passed}, and was served before"
            del self.came[mine]

    @invariant()
    def no_channel_has_two(self) -> None:
        taken = [point for turn in self.book.held.values() for point in turn.ask.channels]
        assert len(taken) == len(set(taken))

    @invariant()
    def nobody_is_twice_in_the_book(self) -> None:
        named = [*self.book.held, *(each.holder for each in self.book.waiting)]
        assert len(named) == len(set(named))

    @invariant()
    def nobody_waits_for_nothing(self) -> None:
        """Whoever waits does so for a channel that is held, or that an earlier one waits for."""
        taken = {point for turn in self.book.held.values() for point in turn.ask.channels}
        for each in self.book.waiting:
            assert taken & set(each.channels)
            taken |= set(each.channels)

    @invariant()
    def nobody_holds_beyond_its_time(self) -> None:
        assert all(turn.until > self.now for turn in self.book.held.values())

    @precondition(lambda self: self.book.waiting)
    @rule()
    def everybody_is_served_in_the_end(self) -> None:
        """Nobody starves, also where every holder has died without a word."""
        waiting = {each.holder for each in self.book.waiting}
        served: set[str] = set()
        at = self.now
        left = self.book.model_copy(deep=True)
        for _ in HOLDERS:
            at += timedelta(seconds=60)
            served |= {turn.ask.holder for turn in left.grant(at)}
        assert served == waiting


def test_never_two_on_a_channel_and_everybody_in_order() -> None:
    run_state_machine_as_test(Turns, settings=settings(max_examples=60, stateful_step_count=30))


def granted(book: Book, at: datetime = EPOCH) -> list[str]:
    return [turn.ask.holder for turn in book.grant(at)]


def test_who_wants_many_channels_is_not_passed_for_ever_by_those_who_want_one() -> None:
    book = Book()
    for each in (ask("a", 0), ask("many", 0, 1), ask("b", 1)):
        book.ask(each, EPOCH)

    assert granted(book) == ["a"]  # and not b, though its channel is free
    book.give_back("a")
    assert granted(book) == ["many"]
    book.give_back("many")
    assert granted(book) == ["b"]


def test_the_same_ask_once_more_is_answered_and_takes_no_second_turn() -> None:
    book = Book()
    book.ask(ask("a", 0), EPOCH)
    book.grant(EPOCH)
    later = EPOCH + timedelta(seconds=40)
    renewed = book.ask(ask("a", 0, ask_id="again"), later)

    assert isinstance(renewed, Turn)
    assert (renewed.since, renewed.until) == (EPOCH, later + timedelta(seconds=60))
    assert renewed.ask.ask_id == "again"


def test_a_holder_is_told_who_waits_the_most_urgent_first() -> None:
    book = Book()
    book.ask(ask("a", 0, 1), EPOCH)
    book.grant(EPOCH)
    book.ask(ask("b", 1, 2), EPOCH)
    book.ask(ask("close", 0, urgent=True), EPOCH)

    assert {holder: word.by for holder, word in book.in_the_way().items()} == {"a": "close"}


def test_an_ask_for_no_channel_or_for_ever_is_refused() -> None:
    for change in ({"channels": ()}, {"seconds": 10**7}, {"holder": ""}):
        with pytest.raises(ValidationError):
            Ask.model_validate({**ask("a", 0).model_dump(), **change})
