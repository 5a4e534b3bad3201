"""The book alone: what it grants never adds up to more than the budget (invariants 4 and 12)."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from pydantic import ValidationError

from fulgurite.budgets import book as books
from fulgurite.budgets.book import Book, Ended, Held, Spent
from fulgurite.budgets.orders import (
    BudgetOrder,
    BudgetRelease,
    BudgetSetting,
    Claim,
    OrderKind,
    Purpose,
)
from fulgurite.budgets.policy import BudgetPolicy, BudgetState, Window
from fulgurite.budgets.receipts import view_of
from fulgurite.money import MAX_MSAT, Msat
from tests.budgets.books import DAY, HUNDRED_A_DAY, NOON, K, R, a_book, free_sat, order, refusal
from workflows import rebalance_budget


def test_concurrent_reservations_never_add_up_to_more_than_the_budget() -> None:
    book = a_book()
    answers = [book.take(order(K.RESERVE, f"payment/{n}", 9, 1), NOON) for n in range(1_000)]
    assert sum(answer.refusal is None for answer in answers) == 10
    assert free_sat(book) == 0
    assert book.state(NOON) is BudgetState.SPENT


def test_the_fee_limit_is_reserved_with_the_amount() -> None:
    book = a_book()
    assert book.take(order(K.RESERVE, "payment/a", 99, 2), NOON).refusal is not None
    assert book.take(order(K.RESERVE, "payment/a", 98, 2), NOON).refusal is None


def test_fees_have_a_limit_of_their_own() -> None:
    book = a_book(BudgetPolicy(fee_sat=10))
    assert book.take(order(K.RESERVE, "rebalance/a", 5_000, 6), NOON).refusal is None
    why = refusal(book.take(order(K.RESERVE, "rebalance/b", 0, 5), NOON))
    assert why.reason is R.NO_ROOM
    assert "4 sat of fees is free" in why.words


def test_what_is_in_flight_counts_in_every_window_until_its_verdict() -> None:
    """Incident G: a payment that takes longer than the window frees nothing by that."""
    book = a_book()
    book.take(order(K.RESERVE, "payment/slow", 80), NOON)
    for days in range(1, 40):
        later = NOON + days * DAY
        assert free_sat(book, later) == 20
        assert book.take(order(K.RESERVE, f"payment/{days}", 21), later).refusal is not None
    # It settles late: it has left in the window in which that is known.
    book.take(order(K.COMMIT, "payment/slow", 80), later)
    assert free_sat(book, later) == 20
    assert free_sat(book, later + DAY) == 100


def test_a_settlement_debits_though_the_reservation_was_released() -> None:
    book = a_book()
    book.take(order(K.RESERVE, "payment/a", 80), NOON)
    book.take(order(K.RELEASE, "payment/a"), NOON)
    book.take(order(K.RESERVE, "payment/b", 90), NOON)
    book.take(order(K.COMMIT, "payment/a", 80), NOON)
    book.take(order(K.COMMIT, "payment/a", 80), NOON)
    assert book.settled(NOON).total == 80_000
    assert free_sat(book) == 0
    assert book.take(order(K.RESERVE, "payment/c", 1), NOON).refusal is not None


def test_more_than_there_is_is_refused_and_told_and_breaks_nothing() -> None:
    book = a_book()
    most = MAX_MSAT // 1_000
    why = refusal(book.take(order(K.RESERVE, "payment/a", most, most), NOON))
    assert why.reason is R.TOO_MUCH
    for number in range(2):
        book.take(order(K.COMMIT, f"swap/{number}", most, most), NOON)
    assert view_of(book, NOON).spent_msat == MAX_MSAT
    assert free_sat(book) == 0


def test_what_is_reserved_is_so_in_the_next_run_too() -> None:
    book = a_book()
    book.take(order(K.RESERVE, "payment/a", 80), NOON)
    carried = Book.model_validate_json(book.model_dump_json())
    assert carried.take(order(K.RESERVE, "payment/b", 21), NOON).refusal is not None
    carried.take(order(K.COMMIT, "payment/a", 80), NOON)
    assert free_sat(carried) == 20


def test_less_than_reserved_is_given_back() -> None:
    book = a_book()
    book.take(order(K.RESERVE, "payment/a", 80, 20), NOON)
    book.take(order(K.COMMIT, "payment/a", 80, 3), NOON)
    assert free_sat(book) == 17


def test_a_reservation_that_comes_after_its_end_holds_nothing() -> None:
    book = a_book()
    for end in (K.COMMIT, K.RELEASE):
        holder = f"payment/{end}"
        book.take(order(K.RESERVE, holder, 10), NOON)
        book.take(order(end, holder, 10), NOON)
        why = refusal(book.take(order(K.RESERVE, holder, 10), NOON))
        assert why.reason is R.ENDED
    assert book.reserved.total == 0


def test_the_same_holder_may_ask_for_another_intent_later() -> None:
    book = a_book()
    book.take(order(K.RESERVE, "payment/a", 10), NOON)
    book.take(order(K.RELEASE, "payment/a"), NOON)
    later = NOON + timedelta(seconds=1)
    assert book.take(order(K.RESERVE, "payment/a", 10, since=later), later).refusal is None
    # A release that was meant for the first is late, and frees nothing of the second.
    book.take(order(K.RELEASE, "payment/a"), later)
    assert book.reserved.total == 10_000


@pytest.mark.parametrize("kind", [K.COMMIT, K.COMMIT_RESERVED])
def test_a_settlement_told_again_late_frees_nothing_of_a_later_intent(kind: OrderKind) -> None:
    """As when its first answer was lost, and the order comes once more by a slower way."""
    book = a_book()
    book.take(order(K.RESERVE, "rebalance/a", 10), NOON)
    book.take(order(kind, "rebalance/a", 10), NOON)
    later = NOON + timedelta(seconds=1)
    assert book.take(order(K.RESERVE, "rebalance/a", 60, since=later), later).refusal is None
    book.take(order(kind, "rebalance/a", 10), later)
    assert (book.reserved.total, book.settled(later).total) == (60_000, 10_000)


def test_what_settles_after_its_release_frees_nothing_of_a_later_intent() -> None:
    book = a_book()
    book.take(order(K.RESERVE, "payment/a", 10), NOON)
    book.take(order(K.RELEASE, "payment/a"), NOON)
    later = NOON + timedelta(seconds=1)
    book.take(order(K.RESERVE, "payment/a", 60, since=later), later)
    for _ in range(2):
        book.take(order(K.COMMIT, "payment/a", 10), later)
    assert (book.reserved.total, book.settled(later).total) == (60_000, 10_000)


def test_who_has_ended_without_a_reservation_is_granted_none_late() -> None:
    """Cut off while it asked: its order can arrive after its last word."""
    book = a_book()
    book.take(order(K.COMMIT_RESERVED, "rebalance/a"), NOON)
    why = refusal(book.take(order(K.RESERVE, "rebalance/a", 60), NOON))
    assert why.reason is R.ENDED
    # An earlier intent's settlement, told again, still counts once.
    book.take(order(K.COMMIT, "rebalance/b", 20), NOON)
    later = NOON + timedelta(hours=1)
    book.take(order(K.COMMIT_RESERVED, "rebalance/b", since=later), later)
    book.take(order(K.COMMIT, "rebalance/b", 20), later)
    assert free_sat(book, later) == 80


def test_what_a_rebalance_found_is_told_before_it_asks_for_itself_whatever_the_moment() -> None:
    book = a_book()
    for number in range(1_000):
        since = NOON + timedelta(microseconds=500 * number)
        earlier, holder = since - rebalance_budget._A_MOMENT, f"rebalance/{number}"
        book.take(order(K.COMMIT_RESERVED, holder, since=earlier), NOON)
        assert book.take(order(K.RESERVE, holder, since=since), NOON).refusal is None


def test_a_later_run_takes_over_what_one_that_was_ended_by_force_left_reserved() -> None:
    book = a_book()
    book.take(order(K.RESERVE, "payment/a", 60), NOON)
    later = NOON + timedelta(hours=1)
    assert book.take(order(K.RESERVE, "payment/a", 60, since=later), later).refusal is None
    assert book.reserved.total == 60_000
    more = later + timedelta(hours=1)
    refused = book.take(order(K.RESERVE, "payment/a", 101, since=more), more)
    assert refused.refusal is not None
    assert book.reserved.total == 60_000
    book.take(order(K.COMMIT_RESERVED, "payment/a", 60, since=more), more)
    assert free_sat(book, more) == 40


def test_a_persons_word_frees_whatever_is_held_and_counts_what_has_left_once() -> None:
    book = a_book()
    ahead = NOON + timedelta(hours=1)  # by the clock of the one who reserved
    book.take(order(K.RESERVE, "swap/a", 60, since=ahead), NOON)
    book.take(order(K.RESERVE, "swap/b", 30), NOON)
    for _ in range(2):
        book.release(BudgetRelease(holder="swap/a", amount_msat=Msat.from_sat(20)), NOON)
        book.release(BudgetRelease(holder="swap/b"), NOON)
    assert free_sat(book) == 80
    # Of the first a person has said what it was; the second has left after all.
    book.take(order(K.COMMIT, "swap/a", 60, since=ahead), NOON)
    book.take(order(K.COMMIT, "swap/b", 30), NOON)
    assert free_sat(book) == 50
    assert refusal(book.take(order(K.RESERVE, "swap/a", 1, since=ahead), NOON)).reason is R.ENDED


@pytest.mark.parametrize(
    "since", ["9999-12-31T23:59:59-12:00", "0001-01-01T00:00:00+12:00", "2026-01-01T00:00:00"]
)
def test_a_moment_that_not_every_zone_has_is_refused(since: str) -> None:
    with pytest.raises(ValidationError):
        Claim.model_validate({"holder": "payment/a", "since": since})


@pytest.mark.parametrize("since", ["9000-01-01T00:00:00Z", "1971-01-01T00:00:00Z"])
def test_whatever_moment_a_claim_may_name_can_be_shown(since: str) -> None:
    book = a_book()
    claim = Claim.model_validate({"holder": "payment/a", "since": since})
    book.take(BudgetOrder(kind=K.RESERVE, claim=claim), NOON)
    [shown] = view_of(book, NOON).oldest
    assert shown.since == claim.since


def test_who_has_reserved_nothing_does_not_count_a_payment_twice() -> None:
    book = a_book()
    book.take(order(K.RESERVE, "payment/a", 60), NOON)
    book.take(order(K.COMMIT, "payment/a", 60), NOON)
    again = NOON + timedelta(hours=1)
    book.take(order(K.COMMIT_RESERVED, "payment/a", 60, since=again), again)
    assert free_sat(book, again) == 40


def test_a_budget_that_nobody_has_set_grants_nothing_and_keeps_what_is_debited() -> None:
    book = a_book(None)
    assert book.state(NOON) is BudgetState.NOT_SET
    why = refusal(book.take(order(K.RESERVE, "payment/a"), NOON))
    assert (why.reason, why.may_pass) == (R.NOT_SET, False)
    book.take(order(K.COMMIT, "payment/b", 30), NOON)
    book.set(BudgetSetting(policy=HUNDRED_A_DAY, by="ada"), NOON)
    assert free_sat(book) == 70


def test_a_limit_of_nothing_stops_everything() -> None:
    book = a_book(BudgetPolicy(amount_sat=0))
    why = refusal(book.take(order(K.RESERVE, "payment/a", 1), NOON))
    assert why.reason is R.TOO_MUCH


def test_a_budget_that_is_lowered_below_what_is_used_grants_nothing_more() -> None:
    book = a_book()
    book.take(order(K.RESERVE, "payment/a", 80), NOON)
    book.set(BudgetSetting(policy=BudgetPolicy(amount_sat=50), by="ada"), NOON)
    assert free_sat(book) == 0
    assert book.take(order(K.RESERVE, "payment/b", 1), NOON).refusal is not None
    # What holds already is told so again.
    assert book.take(order(K.RESERVE, "payment/a", 80), NOON).refusal is None


def test_the_configuration_told_at_every_start_leaves_a_persons_word() -> None:
    book = a_book(None)
    configured = BudgetSetting(policy=HUNDRED_A_DAY, by="the configuration", configured=True)
    book.set(configured, NOON)
    book.set(BudgetSetting(policy=BudgetPolicy(amount_sat=7), by="ada"), NOON)
    book.set(configured, NOON)
    assert free_sat(book) == 7
    raised = configured.model_copy(update={"policy": BudgetPolicy(amount_sat=9)})
    book.set(raised, NOON)
    assert free_sat(book) == 9


def test_a_refusal_says_when_there_is_room() -> None:
    book = a_book(BudgetPolicy(amount_sat=100, rolling_seconds=3_600))
    for minute, amount in ((0, 50), (10, 30), (20, 20)):
        at = NOON + timedelta(minutes=minute)
        book.take(order(K.COMMIT, f"payment/{minute}", amount), at)
    why = refusal(book.take(order(K.RESERVE, "payment/x", 70), at))
    assert why.frees_at == NOON + timedelta(minutes=70)
    assert book.take(order(K.RESERVE, "payment/x", 70), why.frees_at).refusal is None
    assert "0 sat is free" in why.words
    by_the_clock = a_book()
    by_the_clock.take(order(K.COMMIT, "payment/a", 90), NOON)
    why = refusal(by_the_clock.take(order(K.RESERVE, "payment/b", 20), NOON))
    assert why.frees_at == datetime(2026, 3, 6, tzinfo=UTC)
    by_the_clock.take(order(K.RESERVE, "payment/c", 10), NOON)
    by_the_clock.take(order(K.RESERVE, "payment/d", 85), why.frees_at)
    assert (
        refusal(by_the_clock.take(order(K.RESERVE, "payment/e", 6), why.frees_at)).frees_at is None
    )


@pytest.mark.parametrize(
    ("window", "begins", "ends"),
    [
        (Window.HOUR, datetime(2026, 3, 5, 12, tzinfo=UTC), datetime(2026, 3, 5, 13, tzinfo=UTC)),
        (Window.DAY, datetime(2026, 3, 5, tzinfo=UTC), datetime(2026, 3, 6, tzinfo=UTC)),
        (Window.WEEK, datetime(2026, 3, 2, tzinfo=UTC), datetime(2026, 3, 9, tzinfo=UTC)),
        (Window.MONTH, datetime(2026, 3, 1, tzinfo=UTC), datetime(2026, 4, 1, tzinfo=UTC)),
    ],
)
def test_a_window_begins_and_ends_by_the_clock(
    window: Window, begins: datetime, ends: datetime
) -> None:
    for at in (begins, NOON + timedelta(minutes=31), ends - timedelta(microseconds=1)):
        assert (window.begins(at), window.ends(at)) == (begins, ends)
    assert window.begins(ends) == ends


def test_no_more_are_held_than_one_run_can_hand_to_the_next(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hours = [NOON + timedelta(hours=hour) for hour in range(31 * 24)]
    full = Book(
        name="full",
        held={
            f"payment/{number:064x}": Held(number, 10**12, 10**9, Purpose.PAYMENT)
            for number in range(books.HOLDERS_AT_MOST)
        },
        ended={
            f"{number:016x}": Ended(10**12, settled=True) for number in range(books.ENDED_AT_MOST)
        },
        spent=[Spent(round(at.timestamp() * 1_000), 10**12, 10**9) for at in hours],
    )
    assert len(full.model_dump_json()) < 1_600_000  # Temporal takes 2 MB

    monkeypatch.setattr(books, "HOLDERS_AT_MOST", 1)
    monkeypatch.setattr(books, "ENDED_AT_MOST", 2)
    small = a_book()
    small.take(order(K.RESERVE, "payment/a", 1), NOON)
    why = refusal(small.take(order(K.RESERVE, "payment/b", 1), NOON))
    assert (why.reason, why.may_pass) == (R.TOO_MANY, True)
    small.take(order(K.RELEASE, "payment/a"), NOON)
    assert small.take(order(K.RESERVE, "payment/b", 1), NOON).refusal is None
    for number in range(5):
        small.take(order(K.RELEASE, f"payment/{number}"), NOON)
    assert len(small.ended) == 2


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"window": "day"},
        {"amount_sat": -1},
        {"amount_sat": 1.5},
        {"amount_sat": True},
        {"amount_sat": 1, "window": "year"},
        {"amount_sat": 1, "window": "day", "rolling_seconds": 60},
        {"amount_sat": 1, "rolling_seconds": 32 * 86_400},
    ],
)
def test_a_policy_that_says_nothing_or_two_things_is_none(fields: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        BudgetPolicy.model_validate(fields)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"amount_sat": 1_000_000}, "1,000,000 sat a day"),
        ({"fee_sat": 10, "window": "hour"}, "10 sat of fees an hour"),
        (
            {"amount_sat": 5, "fee_sat": 1, "rolling_seconds": 7 * 86_400},
            "5 sat and 1 sat of fees in 7 days",
        ),
    ],
)
def test_a_policy_in_words(fields: dict[str, object], words: str) -> None:
    assert str(BudgetPolicy.model_validate(fields)) == words
