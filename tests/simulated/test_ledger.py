"""The ledger is a witness of its own: it contradicts an engine that is wrong."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from devnet.simulated.ledger import Ledger

HASH = b"\1" * 32
CHANNEL = 7


class Books:
    """An engine's balances, to be right or wrong with."""

    def __init__(self) -> None:
        self.owned_msat = {(CHANNEL, "alice"): 1_000, (CHANNEL, "bob"): 500}

    def __call__(self) -> dict[tuple[int, str], int]:
        return self.owned_msat

    def move(self, amount_msat: int) -> None:
        self.owned_msat[CHANNEL, "alice"] -= amount_msat
        self.owned_msat[CHANNEL, "bob"] += amount_msat


@pytest.fixture
def books() -> Books:
    return Books()


@pytest.fixture
def ledger(books: Books) -> Ledger:
    opened = Ledger(books)
    opened.channel_opened(CHANNEL, {"alice": 1_000, "bob": 500})
    return opened


def test_a_hop_moves_an_amount_and_books_it_twice(ledger: Ledger, books: Books) -> None:
    ledger.hop_settled(HASH, CHANNEL, "alice", "bob", 300)
    books.move(300)
    ledger.assert_balanced()
    assert (ledger.balance_msat("alice", CHANNEL), ledger.balance_msat("bob", CHANNEL)) == (
        700,
        800,
    )
    assert (ledger.sent_msat("alice", HASH), ledger.received_msat("bob", HASH)) == (300, 300)
    assert (ledger.spent_msat("alice"), ledger.spent_msat("bob")) == (300, 0)


@pytest.mark.parametrize(
    "wrong",
    [
        lambda ledger, _: ledger.hop_settled(HASH, CHANNEL, "alice", "bob", 1),
        lambda _, books: books.move(1),
    ],
    ids=["only the journal moved", "only the engine moved"],
)
def test_a_difference_of_one_msat_is_found(
    ledger: Ledger, books: Books, wrong: Callable[[Ledger, Books], None]
) -> None:
    wrong(ledger, books)
    with pytest.raises(AssertionError, match="but the journal says"):
        ledger.assert_balanced()


def test_a_hash_paid_twice_is_found_from_either_side(ledger: Ledger) -> None:
    for _ in range(2):
        send = ledger.send_accepted("alice", HASH)
        attempt = ledger.attempt_launched(send, 1, 300)
        ledger.attempt_ended(attempt, settled=True)
        ledger.send_ended(send)
    assert ledger.settled_payments(HASH) == 2
    with pytest.raises(AssertionError, match="was settled 2 times"):
        ledger.assert_settled_at_most_once()
    other = b"\2" * 32
    ledger.invoice_settled("bob", other, 300)
    ledger.invoice_settled("bob", other, 300)
    assert ledger.settled_payments(other) == 2


def test_a_send_before_the_end_of_the_last_is_found(ledger: Ledger) -> None:
    first = ledger.send_accepted("alice", HASH)
    ledger.send_ended(first)
    ledger.send_accepted("alice", HASH)
    ledger.assert_no_overlapping_sends()
    ledger.send_accepted("alice", HASH)
    with pytest.raises(AssertionError, match="was sent again before"):
        ledger.assert_no_overlapping_sends()
