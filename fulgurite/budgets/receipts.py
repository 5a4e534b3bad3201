"""A budget at one moment, for those who watch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from pydantic import Field

from fulgurite.budgets.book import Book, Held, told
from fulgurite.budgets.orders import Holder, Purpose
from fulgurite.budgets.policy import BudgetName, BudgetPolicy, BudgetState
from fulgurite.model import Model
from fulgurite.money import Msat

# Those that hold for longest: what an operator asks about is among them.
_SHOWN: Final = 20


class Reservation(Model):
    """What one holder may spend, and has not settled yet."""

    holder: Holder
    purpose: Purpose
    amount_msat: Msat
    fee_msat: Msat = Field(description="beside the amount, at worst")
    since: datetime


class BudgetView(Model):
    """A budget at one moment. Amounts and fees are together in `…_msat`; fees alone beside it."""

    name: BudgetName
    state: BudgetState
    policy: BudgetPolicy | None = Field(description="null: nobody has set it, nothing is granted")
    set_by: str | None
    set_at: datetime | None
    at: datetime
    counts_from: datetime | None = Field(description="what was spent before it does not count")
    changes_at: datetime | None = Field(description="when something spent ceases to count")
    spent_msat: Msat
    spent_fee_msat: Msat
    reserved_msat: Msat
    reserved_fee_msat: Msat
    free_msat: Msat | None = Field(description="null: only fees are limited")
    free_fee_msat: Msat | None = Field(description="null: fees are not limited apart")
    holders: int = Field(description="reservations that are open")
    oldest: tuple[Reservation, ...] = Field(description=f"of these, the {_SHOWN} oldest")
    refused: int = Field(description="orders refused, ever")

    def details(self) -> str:
        """Markdown for the Temporal UI."""
        holders = f"by {self.holders:,}"
        lines = [
            f"### {self.state}",
            f"**{self.name}**: {self.policy or 'nobody has set it'}",
            "",
            f"- spent {self.spent_msat}, {self.spent_fee_msat} of it fees",
            f"- reserved {self.reserved_msat}, {self.reserved_fee_msat} of it fees, {holders}",
        ]
        lines += [f"- free {self.free_msat}"] if self.free_msat is not None else []
        lines += [f"- free for fees {self.free_fee_msat}"] if self.free_fee_msat is not None else []
        lines += [f"- refused {self.refused:,} times"]
        if self.set_at:
            lines.append(f"- set by {self.set_by} at {self.set_at.isoformat(timespec='seconds')}")
        return "\n".join(lines)


def view_of(book: Book, at: datetime) -> BudgetView:
    """What the book says at this moment."""
    policy, settled, reserved = book.policy, book.settled(at), book.reserved
    free, free_fee = book.free(at)
    oldest = sorted(book.held.items(), key=lambda item: (item[1].since_ms, item[0]))[:_SHOWN]
    return BudgetView(
        name=book.name,
        state=book.state(at),
        policy=policy,
        set_by=book.setting.by if book.setting else None,
        set_at=book.set_at,
        at=at,
        counts_from=policy.counts_from(at) if policy else None,
        changes_at=book.changes_at(at),
        spent_msat=told(settled.total),
        spent_fee_msat=told(settled.fee),
        reserved_msat=told(reserved.total),
        reserved_fee_msat=told(reserved.fee),
        free_msat=free,
        free_fee_msat=free_fee,
        holders=len(book.held),
        oldest=tuple(_reservation(holder, held) for holder, held in oldest),
        refused=book.refused,
    )


def _reservation(holder: str, held: Held) -> Reservation:
    return Reservation(
        holder=holder,
        purpose=held.purpose,
        amount_msat=told(held.total - held.fee),
        fee_msat=told(held.fee),
        since=datetime.fromtimestamp(held.since_ms / 1_000, tz=UTC),
    )
