"""A book of a hundred satoshis a day, and orders for it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from fulgurite.budgets.book import Book
from fulgurite.budgets.orders import (
    BudgetAnswer,
    BudgetOrder,
    BudgetSetting,
    Claim,
    OrderKind,
    Refusal,
    RefusalReason,
)
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.money import Msat

K, R = OrderKind, RefusalReason
NOON = datetime(2026, 3, 5, 12, 0, tzinfo=UTC)  # a Thursday
DAY = timedelta(days=1)
HUNDRED_A_DAY = BudgetPolicy(amount_sat=100)


def a_book(policy: BudgetPolicy | None = HUNDRED_A_DAY) -> Book:
    book = Book(name="daily")
    if policy:
        book.set(BudgetSetting(policy=policy, by="ada"), NOON)
    return book


def order(
    kind: OrderKind, holder: str, amount: int = 0, fee: int = 0, since: datetime = NOON
) -> BudgetOrder:
    """Amounts in sat."""
    return BudgetOrder(
        kind=kind,
        claim=Claim(holder=holder, since=since),
        amount_msat=Msat.from_sat(amount),
        fee_msat=Msat.from_sat(fee),
    )


def refusal(answer: BudgetAnswer) -> Refusal:
    assert answer.refusal is not None
    return answer.refusal


def free_sat(book: Book, at: datetime = NOON) -> int:
    free, _ = book.free(at)
    assert free is not None
    return free // 1_000
