"""The book through whatever may happen to it, in any order (invariants 4 and 12)."""

from __future__ import annotations

from datetime import datetime, timedelta

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from fulgurite.budgets.book import Book
from fulgurite.budgets.orders import (
    BudgetAnswer,
    BudgetOrder,
    BudgetSetting,
)
from fulgurite.budgets.policy import BudgetPolicy, Window
from fulgurite.budgets.receipts import view_of
from tests.budgets.books import HUNDRED_A_DAY, NOON, K, a_book, order


class Budgeting(RuleBasedStateMachine):
    """Many holders, whose words come twice, late, in any order and over many windows.

    The model keeps every settlement by the moment at which it was told, and every grant.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = NOON
        self.book = a_book()
        self.policy = HUNDRED_A_DAY
        self.granted: dict[str, tuple[int, int]] = {}  # by holder: total and fee, in msat
        self.settled: list[tuple[datetime, int, int]] = []
        self.over = (0, 0)  # by how much facts went beyond what was granted
        self.sent: list[BudgetOrder] = []
        self.count = 0

    def used(self) -> tuple[int, int]:
        """By the policy's own words, one settlement at a time."""
        rolling = self.policy.rolling
        begins = self.now - rolling if rolling else self.policy.fixed.begins(self.now)
        counting = [each for each in self.settled if each[0] > begins or not rolling]
        counting = [each for each in counting if each[0] >= begins]
        held = list(self.granted.values())
        return (
            sum(each[1] for each in counting) + sum(total for total, _ in held),
            sum(each[2] for each in counting) + sum(fee for _, fee in held),
        )

    def limits(self) -> tuple[int | None, int | None]:
        return self.policy.amount, self.policy.fee

    def tell(self, told: BudgetOrder) -> BudgetAnswer:
        self.sent.append(told)
        return self.book.take(told, self.now)

    @rule(amount=st.integers(0, 60), fee=st.integers(0, 20))
    def reserve(self, amount: int, fee: int) -> None:
        self.count += 1
        holder = f"payment/{self.count}"
        answer = self.tell(order(K.RESERVE, holder, amount, fee, self.now))
        if answer.refusal is None:
            self.granted[holder] = ((amount + fee) * 1_000, fee * 1_000)
            used = self.used()
            for had, limit in zip(used, self.limits(), strict=True):
                assert limit is None or had <= limit or (amount, fee) == (0, 0)
        else:
            # Fails closed, and not for nothing: a rolling window may count for a step too long.
            wanted = [
                had + more for had, more in zip(self.used(), (amount + fee, fee), strict=True)
            ]
            if self.policy.rolling is None:
                more = ((amount + fee) * 1_000, fee * 1_000)
                assert any(
                    limit is not None and had + asked > limit
                    for had, asked, limit in zip(self.used(), more, self.limits(), strict=True)
                ), wanted

    @precondition(lambda self: self.granted)
    @rule(data=st.data(), part=st.integers(0, 100), beyond=st.integers(0, 3))
    def settle(self, data: st.DataObject, part: int, beyond: int) -> None:
        """Mostly for less than was reserved; at times LND has paid more than it was allowed to."""
        holder = data.draw(st.sampled_from(sorted(self.granted)))
        total, fee = self.granted.pop(holder)
        paid_fee = fee // 1_000 * part // 100 + (beyond if part == 100 else 0)
        amount = (total - fee) // 1_000
        self.tell(order(K.COMMIT, holder, amount, paid_fee, self.now))
        self.settled.append((self.now, (amount + paid_fee) * 1_000, paid_fee * 1_000))

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        holder = data.draw(st.sampled_from(sorted(self.granted)))
        del self.granted[holder]
        self.tell(order(K.RELEASE, holder, since=self.now))

    @precondition(lambda self: self.granted)
    @rule(data=st.data())
    def released_and_settled_late(self, data: st.DataObject) -> None:
        """What must not happen, and counts all the same when it does (invariant 4)."""
        holder = data.draw(st.sampled_from(sorted(self.granted)))
        total, fee = self.granted.pop(holder)
        self.tell(order(K.RELEASE, holder, since=self.now))
        self.now += timedelta(hours=data.draw(st.integers(0, 30)))
        self.tell(order(K.COMMIT, holder, (total - fee) // 1_000, fee // 1_000, self.now))
        self.settled.append((self.now, total, fee))

    @precondition(lambda self: self.sent)
    @rule(data=st.data())
    def told_again(self, data: st.DataObject) -> None:
        """Any word of one who has ended, or a reservation that stands, as often as it likes."""
        again = data.draw(st.sampled_from(self.sent))
        if again.kind is K.RESERVE and again.claim.holder not in self.granted:
            # It was refused, or has ended: only what was refused may be granted now.
            refused_before = not any(
                each.claim.holder == again.claim.holder and each.kind is not K.RESERVE
                for each in self.sent
            )
            if refused_before:
                return
        if again.kind is K.COMMIT_RESERVED:
            return
        self.book.take(again, self.now)

    @rule(hours=st.integers(0, 60))
    def time_passes(self, hours: int) -> None:
        self.now += timedelta(hours=hours)

    @rule()
    def an_earlier_run_is_asked_for_again(self) -> None:
        """It knows of no reservation: what is not reserved is not its to count."""
        self.count += 1
        self.tell(order(K.COMMIT_RESERVED, f"payment/{self.count}", 50, 1, self.now))

    @rule(
        amount=st.none() | st.integers(0, 200),
        fee=st.none() | st.integers(0, 40),
        window=st.sampled_from([*Window]) | st.integers(1, 31 * 24).map(lambda h: h * 3_600),
    )
    def set_another(self, amount: int | None, fee: int | None, window: Window | int) -> None:
        """What was spent counts on under the new one, also where its window is longer."""
        if amount is None and fee is None:
            return
        when = {"window": window} if isinstance(window, Window) else {"rolling_seconds": window}
        self.policy = BudgetPolicy.model_validate({"amount_sat": amount, "fee_sat": fee} | when)
        self.book.set(BudgetSetting(policy=self.policy, by="bob"), self.now)

    @rule()
    def a_new_run(self) -> None:
        """Continue-as-new: all that counts travels."""
        self.book = Book.model_validate_json(self.book.model_dump_json())

    @invariant()
    def never_counts_less_than_there_is(self) -> None:
        used = self.book.settled(self.now).plus(self.book.reserved)
        total, fee = self.used()
        assert used.total >= total
        assert used.fee >= fee
        if self.policy.rolling is None:
            return
        # What it counts too long is of one step: a 60th of the window, and of an hour.
        assert self.book.reserved == (
            sum(each for each, _ in self.granted.values()),
            sum(each for _, each in self.granted.values()),
        )

    @invariant()
    def stays_small(self) -> None:
        assert len(self.book.spent) <= 31 * 24 + 70

    @invariant()
    def its_view_can_be_told(self) -> None:
        view = view_of(self.book, self.now)
        assert view.holders == len(self.granted)
        assert view.details()


TestBudgeting = Budgeting.TestCase
TestBudgeting.settings = settings(max_examples=60, stateful_step_count=40)
