"""The book of one budget: what is reserved, what was spent, and what is still free.

Invariant 4: what was spent in the window, and the worst of all that is under way, is never
more than the budget by anything that the book has granted. Only facts can go beyond it: a
settlement that comes late, of more than was reserved, or under a budget that was lowered.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from hashlib import blake2b
from itertools import takewhile
from typing import Final, NamedTuple

from pydantic import BaseModel, ConfigDict, PrivateAttr

from fulgurite.budgets.orders import (
    BudgetAnswer,
    BudgetOrder,
    BudgetRelease,
    BudgetSetting,
    Claim,
    OrderKind,
    Purpose,
    Refusal,
    RefusalReason,
)
from fulgurite.budgets.policy import LONGEST, BudgetName, BudgetPolicy, BudgetState
from fulgurite.money import MAX_MSAT, Msat

# A run begins with the whole book in one payload, of at most 2 MB.
HOLDERS_AT_MOST: Final = 8_000
# So many claims that have ended are known by name; of older ones a repeated word counts twice,
# which spends too little and never too much.
ENDED_AT_MOST: Final = 5_000
# A rolling window moves by so many steps: a settlement counts on for up to one step too long.
_STEPS: Final = 60
_COARSE: Final = timedelta(hours=1)


class Sum(NamedTuple):
    """Money by the two measures that a budget has, in msat."""

    total: int = 0  # amounts and fees
    fee: int = 0

    def plus(self, other: Sum) -> Sum:
        return Sum(self.total + other.total, self.fee + other.fee)

    def minus(self, other: Sum) -> Sum:
        return Sum(self.total - other.total, self.fee - other.fee)

    def at_least(self, other: Sum) -> Sum:
        return Sum(max(self.total, other.total), max(self.fee, other.fee))

    def fits(self, policy: BudgetPolicy) -> bool:
        return (policy.amount is None or self.total <= policy.amount) and (
            policy.fee is None or self.fee <= policy.fee
        )


class Held(NamedTuple):
    """A reservation. A tuple, because thousands travel from run to run."""

    since_ms: int
    total: int
    fee: int
    purpose: Purpose

    @property
    def sum(self) -> Sum:
        return Sum(self.total, self.fee)


class Ended(NamedTuple):
    """A claim that holds nothing any more."""

    since_ms: int
    settled: bool


class Spent(NamedTuple):
    """What was settled in one step of time, up to `last_ms`."""

    last_ms: int
    total: int
    fee: int

    @property
    def sum(self) -> Sum:
        return Sum(self.total, self.fee)


class Book(BaseModel):
    """Carried whole from one run to the next. Every moment that it is told is not before the last.

    A settlement counts from when the book is told of it: a window that is over is never
    written to, and no clock but one is trusted.
    """

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    name: BudgetName
    setting: BudgetSetting | None = None
    set_at: datetime | None = None
    configured: BudgetPolicy | None = None  # what a worker's configuration has said last
    held: dict[str, Held] = {}
    spent: list[Spent] = []
    ended: dict[str, Ended] = {}
    refused: int = 0

    _reserved: Sum = PrivateAttr(default=Sum())
    # What was settled in the window, at the moment that was asked last: orders come in batches.
    _settled: tuple[datetime, Sum] | None = PrivateAttr(default=None)

    def model_post_init(self, _: object) -> None:
        """The sum of what is held is kept beside it: it is asked for every order."""
        for held in self.held.values():
            self._reserved = self._reserved.plus(held.sum)

    # What it is told.

    def set(self, setting: BudgetSetting, at: datetime) -> None:
        """How much may be spent from now on. The same configuration told again changes nothing."""
        if setting.configured:
            if setting.policy == self.configured:
                return
            self.configured = setting.policy
        self.setting, self.set_at = setting, at
        self._settled = None
        self._tidy(at)

    def take(self, order: BudgetOrder, at: datetime) -> BudgetAnswer:
        """Carries out an order, once however often it comes."""
        claim = order.claim
        money = _sum(order)
        match order.kind:
            case OrderKind.RESERVE:
                refusal = self._reserve(claim, money, at)
                self.refused += refusal is not None
                return BudgetAnswer(refusal=refusal)
            case OrderKind.COMMIT:
                self._commit(claim, money, at, must_be_reserved=False)
            case OrderKind.COMMIT_RESERVED:
                self._commit(claim, money, at, must_be_reserved=True)
            case OrderKind.RELEASE:
                self._release(claim)
        return BudgetAnswer()

    def release(self, word: BudgetRelease, at: datetime) -> None:
        """Frees what a holder has reserved, whenever that was, and counts what has left.

        Nothing where it holds nothing: a word that is told again counts once.
        """
        claim, money = Claim(holder=word.holder, since=at), _sum(word)
        if held := self._let_go(claim):
            if money != Sum():
                self._debit(money, at)
            # A settlement that comes late is known by what was said of it.
            self._end(claim, held, settled=money != Sum())

    def _reserve(self, claim: Claim, money: Sum, at: datetime) -> Refusal | None:
        since_ms = _ms(claim.since)
        held = self.held.get(claim.holder)
        if held and since_ms <= held.since_ms:
            return None  # told again
        ended = self._ended(claim)
        if held is None and ended and since_ms <= ended.since_ms:
            return self._refusal(RefusalReason.ENDED, f"{claim.holder} has ended already", None)
        if held is None and len(self.held) >= HOLDERS_AT_MOST:
            words = f"{HOLDERS_AT_MOST:,} reservations are open, and no more are kept"
            return self._refusal(RefusalReason.TOO_MANY, words, None)
        # A later intent of the same holder takes over what the earlier one has left behind.
        before = held.sum if held else Sum()
        wanted = money.at_least(before)
        if refusal := self._no_room(wanted.minus(before), at):
            return refusal
        self.held[claim.holder] = Held(since_ms, wanted.total, wanted.fee, claim.purpose)
        self._reserved = self._reserved.minus(before).plus(wanted)
        return None

    def _commit(self, claim: Claim, money: Sum, at: datetime, *, must_be_reserved: bool) -> None:
        since_ms, ended = _ms(claim.since), self._ended(claim)
        told_before = ended is not None and since_ms <= ended.since_ms
        held = self.held.get(claim.holder)
        if held and told_before and since_ms < held.since_ms:
            held = None  # reserved by a later intent, after this one had ended: not its to free
        if held is None:
            settled = ended is not None and ended.settled
            if must_be_reserved and not told_before:
                self._end(claim, None, settled=settled)  # its reservation can come yet, too late
            if must_be_reserved or (told_before and settled):
                return
        else:
            self._let_go(claim)
        self._debit(money, at)
        self._end(claim, held, settled=True)

    def _release(self, claim: Claim) -> None:
        held = self.held.get(claim.holder)
        if held and _ms(claim.since) < held.since_ms:
            return  # by an intent whose reservation a later one has taken over
        ended = self._ended(claim)
        if held is None and ended and _ms(claim.since) <= ended.since_ms:
            return
        self._end(claim, self._let_go(claim), settled=False)

    def _let_go(self, claim: Claim) -> Held | None:
        held = self.held.pop(claim.holder, None)
        if held:
            self._reserved = self._reserved.minus(held.sum)
        return held

    def _end(self, claim: Claim, held: Held | None, *, settled: bool) -> None:
        """Remembers it, so that what comes again, or too late, is known."""
        since_ms = max(_ms(claim.since), held.since_ms if held else 0)
        key = _short(claim.holder)
        self.ended.pop(key, None)
        self.ended[key] = Ended(since_ms, settled)
        while len(self.ended) > ENDED_AT_MOST:
            del self.ended[next(iter(self.ended))]

    def _ended(self, claim: Claim) -> Ended | None:
        return self.ended.get(_short(claim.holder))

    def _debit(self, money: Sum, at: datetime) -> None:
        at_ms = _ms(at)
        settled = self.settled(at).plus(money)
        last = self.spent[-1] if self.spent else None
        if last and self._step(last.last_ms) == self._step(at_ms):
            # It counted, and with this one the whole step counts from now.
            money = money.plus(self.spent.pop().sum)
        else:
            self._tidy(at)
        self.spent.append(Spent(at_ms, money.total, money.fee))
        self._settled = (at, settled)

    def _step(self, at_ms: int) -> int:
        """Settlements of one step are kept as one, and count until the last of them does not."""
        policy = self.policy
        span = policy.rolling if policy and policy.rolling else _COARSE * _STEPS
        return at_ms * _STEPS // max(1, round(span.total_seconds() * 1_000))

    def _tidy(self, at: datetime) -> None:
        """What no longer counts is kept coarsely, for a window that may become longer."""
        begins_ms = _ms(self.policy.counts_from(at)) if self.policy else _ms(at)
        hour_ms = round(_COARSE.total_seconds() * 1_000)
        kept: list[Spent] = []
        for each in self.spent:
            if each.last_ms <= _ms(at - LONGEST):
                continue
            last = kept[-1] if kept else None
            old = last and each.last_ms < begins_ms
            if last and old and last.last_ms // hour_ms == each.last_ms // hour_ms:
                money = kept.pop().sum.plus(each.sum)
                kept.append(Spent(each.last_ms, money.total, money.fee))
            else:
                kept.append(each)
        self.spent = kept

    # What it knows.

    @property
    def policy(self) -> BudgetPolicy | None:
        return self.setting.policy if self.setting else None

    @property
    def reserved(self) -> Sum:
        """The worst of all that is under way."""
        return self._reserved

    def settled(self, at: datetime) -> Sum:
        """What was spent in the window."""
        if self._settled is None or self._settled[0] != at:
            counting = self._counting(at)
            total = Sum(sum(each.total for each in counting), sum(each.fee for each in counting))
            self._settled = (at, total)
        return self._settled[1]

    def _counting(self, at: datetime) -> list[Spent]:
        """The oldest first."""
        policy = self.policy
        if policy is None:
            return []
        # A rolling window is open at its begin, one by the clock is closed there.
        begins_ms = _ms(policy.counts_from(at)) + (policy.rolling is not None)
        newest_first = takewhile(lambda each: each.last_ms >= begins_ms, reversed(self.spent))
        return list(newest_first)[::-1]

    def free(self, at: datetime) -> tuple[Msat | None, Msat | None]:
        """Of the whole, and of fees; None where nothing limits it."""
        policy = self.policy
        if policy is None:
            return Msat(0), Msat(0)
        used = self.settled(at).plus(self.reserved)
        return _left(policy.amount, used.total), _left(policy.fee, used.fee)

    def state(self, at: datetime) -> BudgetState:
        policy = self.policy
        if policy is None:
            return BudgetState.NOT_SET
        total, fee = self.free(at)
        frees = [(total, policy.amount), (fee, policy.fee)]
        known = [(free, limit) for free, limit in frees if free is not None and limit is not None]
        if any(free == 0 for free, _ in known):
            return BudgetState.SPENT
        low = any(free * 10 < limit for free, limit in known)
        return BudgetState.LOW if low else BudgetState.OPEN

    def changes_at(self, at: datetime) -> datetime | None:
        """When something that was spent ceases to count, if nothing else happens."""
        counting = self._counting(at)
        if self.policy is None or not counting:
            return None
        return self._ceases(self.policy, counting[0], at)

    def _no_room(self, more: Sum, at: datetime) -> Refusal | None:
        policy = self.policy
        if policy is None:
            words = "nobody has said how much it allows: fulgurite budget set"
            return self._refusal(RefusalReason.NOT_SET, words, None)
        # What asks for nothing more is counted already, also where a budget was lowered since.
        if more == Sum() or self.settled(at).plus(self.reserved).plus(more).fits(policy):
            return None
        asked = f"{told(more.total)} at worst, {told(more.fee)} of it fees, of {policy}"
        if not more.fits(policy):
            words = f"{asked}: more than the whole budget"
            return self._refusal(RefusalReason.TOO_MUCH, words, None)
        total, fee = self.free(at)
        left = [f"{total}"] if total is not None else []
        left += [f"{fee} of fees"] if fee is not None else []
        frees_at = self._frees_at(policy, more, at)
        later = (
            f"there is room at {frees_at.isoformat(timespec='seconds')}"
            if frees_at
            else "there is room when what is under way has ended for less"
        )
        words = f"{asked}: {' and '.join(left)} is free; {later}"
        return self._refusal(RefusalReason.NO_ROOM, words, frees_at)

    def _frees_at(self, policy: BudgetPolicy, more: Sum, at: datetime) -> datetime | None:
        """When the window has moved far enough, with everything that is reserved still there."""
        wanted = self.settled(at).plus(self.reserved).plus(more)
        for each in self._counting(at):
            wanted = wanted.minus(each.sum)
            if wanted.fits(policy):
                return self._ceases(policy, each, at)
        return None

    def _ceases(self, policy: BudgetPolicy, spent: Spent, at: datetime) -> datetime:
        """When it counts no more. By the clock, all of a window ceases at its end."""
        if policy.rolling is None:
            return policy.fixed.ends(at)
        return datetime.fromtimestamp(spent.last_ms / 1_000, tz=UTC) + policy.rolling

    def _refusal(self, reason: RefusalReason, words: str, frees_at: datetime | None) -> Refusal:
        return Refusal(
            budget=self.name,
            reason=reason,
            words=f"budget {self.name}: {words}",
            frees_at=frees_at,
        )


def told(msat: int) -> Msat:
    """A sum as it is told. What others say they have spent can be more than there is."""
    return Msat(min(msat, MAX_MSAT))


def _sum(order: BudgetOrder | BudgetRelease) -> Sum:
    return Sum(int(order.amount_msat) + order.fee_msat, int(order.fee_msat))


def _left(limit: Msat | None, used: int) -> Msat | None:
    return None if limit is None else Msat(max(0, int(limit) - used))


def _ms(at: datetime) -> int:
    return round(at.timestamp() * 1_000)


def _short(holder: str) -> str:
    """Enough to know it again by."""
    return blake2b(holder.encode(), digest_size=8).hexdigest()
