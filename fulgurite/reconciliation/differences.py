"""What can differ between what we say and what a node says, and what is done about it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final

from pydantic import Field

from fulgurite.identity import NodeName, PaymentHash
from fulgurite.model import Model

# So many the report lists; of more it has the count. All of them are events.
MOST_LISTED: Final = 100


class DifferenceKind(StrEnum):
    """How the two books differ."""

    MISSED_SETTLEMENT = "MISSED_SETTLEMENT"  # the node settled an invoice; ours waits
    MISSED_HOLD = "MISSED_HOLD"  # the node holds a payment for an invoice; ours waits
    STALE_INVOICE = "STALE_INVOICE"  # the node ended an invoice unpaid; ours waits
    STALE_IN_FLIGHT = "STALE_IN_FLIGHT"  # the node has a verdict; our payment waits
    UNFOLLOWED_PAYMENT = "UNFOLLOWED_PAYMENT"  # ours was ended by force; the node still has it
    UNFOLLOWED_INVOICE = "UNFOLLOWED_INVOICE"  # the same, and it was or can be paid
    STATE_DIFFERS = "STATE_DIFFERS"  # ours has ended, and not as the node says
    AMOUNT_DIFFERS = "AMOUNT_DIFFERS"  # the same payment or invoice over another amount
    UNKNOWN_TO_NODE = "UNKNOWN_TO_NODE"  # ours is open; the node knows nothing of it
    UNFOLLOWED_SWAP = "UNFOLLOWED_SWAP"  # loopd has one under our label; no workflow tells of it
    STALE_SWAP = "STALE_SWAP"  # loopd has said its last word on a swap; ours waits
    UNFOLLOWED_REBALANCE = "UNFOLLOWED_REBALANCE"  # LND has paid parts that no receipt tells
    UNFOLLOWED_LEASE = "UNFOLLOWED_LEASE"  # poold has a live bid of ours; no workflow follows it
    COST_DIFFERS = "COST_DIFFERS"  # the receipt tells another cost, or fee, than the node
    ACCOUNT_EXPIRING = "ACCOUNT_EXPIRING"  # poold's account ends soon, and no lease looks after it


_K = DifferenceKind

# What a workflow that runs can be told, it is told: LND's word, which it would have heard
# itself. Nothing else is touched.
DONE: Final[dict[DifferenceKind, str]] = {
    _K.MISSED_SETTLEMENT: "delivered to its workflow",
    _K.MISSED_HOLD: "its workflow was told",
    _K.STALE_INVOICE: "its workflow was told",
    _K.STALE_IN_FLIGHT: "its workflow was asked to look again",
}

TO_DO: Final[dict[DifferenceKind, str]] = {
    _K.UNFOLLOWED_PAYMENT: "Ask for the same payment again: it is found in the node and "
    "followed, and nothing is paid twice.",
    _K.UNFOLLOWED_INVOICE: "Create it again with the same key and request: the same invoice is "
    "watched again, and what was paid is told.",
    _K.STATE_DIFFERS: "Believe the node about the money, and do not pay again. Find out who "
    "acted beside us, or report a defect.",
    _K.AMOUNT_DIFFERS: "Believe the node about the money. Find out who acted beside us, or "
    "report a defect.",
    _K.UNKNOWN_TO_NODE: "Is this the node that it was? Its database may be another one, older, "
    "or pruned. Do not pay again before you know.",
    _K.UNFOLLOWED_SWAP: "Ask for the same swap again, with the same key: it is found in loopd by "
    "its label and followed, and none is begun beside it. If nobody of yours asked for it, find "
    "out who used our label.",
    _K.STALE_SWAP: "Its workflow asks loopd every few seconds, if a worker does: look at its "
    "pending activities, and at the worker that holds the node's loop credential.",
    _K.UNFOLLOWED_REBALANCE: "Ask for the same rebalance again, with the same key: what has moved "
    "is found and counted, and not moved twice.",
    _K.UNFOLLOWED_LEASE: "Ask for the same lease again, with the same key: its bid is found in "
    "poold by its mark and followed, and no other is made.",
    _K.COST_DIFFERS: "Believe the node about the money: budgets have counted what the receipt "
    "says. Find out why they differ, or report a defect.",
    _K.ACCOUNT_EXPIRING: "Renew it (`pool accounts renew`) or close it: an expired account is "
    "matched no more, and what is in it waits for you.",
}


class Difference(Model):
    """One line of a reconciliation that does not agree."""

    kind: DifferenceKind
    node: NodeName
    payment_hash: PaymentHash | None = Field(
        default=None, description="of a swap: loopd's name for it; null: it is about no single one"
    )
    resource: str = Field(
        description="the workflow: `payment/<payment hash>`, `invoice/…`, `swap/<key>`, "
        "`rebalance/…`, `lease/…`; or poold's `account/<key>`"
    )
    ours: str = Field(description="what the workflow says")
    theirs: str = Field(description="what the node says")
    action: str = Field(description="what was done about it, or what to do")

    @property
    def subject(self) -> str:
        """What makes it the same difference, found again: in the form that an event's id takes.

        Two nodes can have the same key or hash, and an invoice and a payment the same hash.
        """
        where = hashlib.sha256(f"{self.node} {self.resource}".encode()).hexdigest()[:32]
        about = f"{self.payment_hash}-{where}" if self.payment_hash else where
        return f"{about}-{self.kind.lower()}"


class Book(StrEnum):
    """What is compared, each for itself."""

    INVOICES = "INVOICES"
    PAYMENTS = "PAYMENTS"
    SWAPS = "SWAPS"
    REBALANCES = "REBALANCES"
    LEASES = "LEASES"


class Counts(Model):
    """How many records were compared."""

    ours: int = Field(default=0, description="a workflow of ours is known: agreeing or differing")
    not_ours: int = Field(
        default=0,
        description="made by somebody else, or longer ago than Temporal retains; of payments and "
        "invoices also those of rebalances and swaps, which are compared by themselves",
    )
    agreeing: int = 0
    differing: int = 0
    too_young: int = Field(default=0, description="changed a moment ago: left to the next time")

    def __add__(self, more: Counts) -> Counts:
        return Counts(
            **{name: getattr(self, name) + getattr(more, name) for name in Counts.model_fields}
        )

    def cells(self) -> tuple[str, ...]:
        """In the order of the report's columns."""
        figures = (self.ours, self.agreeing, self.differing, self.not_ours, self.too_young)
        return tuple(f"{figure:,}" for figure in figures)

    @property
    def all(self) -> int:
        return self.ours + self.not_ours + self.too_young


class ReconciliationState(StrEnum):
    """How a reconciliation stands."""

    COMPARING = "COMPARING"
    AGREES = "AGREES"
    DIFFERS = "DIFFERS"
    INCOMPLETE = "INCOMPLETE"  # nothing differs of what was compared, and not all was


_OF_OTHERS = "null: the node has none, or `not_compared` says why"


class ReconciliationReport(Model):
    """The result of one reconciliation, and the answer to its query."""

    node: NodeName
    state: ReconciliationState
    began_at: datetime
    ended_at: datetime | None = Field(default=None, description="null: it is still comparing")
    invoices: Counts | None = Field(default=None, description="null: they were not all compared")
    payments: Counts | None = Field(default=None, description="null: they were not all compared")
    swaps: Counts | None = Field(default=None, description=_OF_OTHERS)
    rebalances: Counts | None = Field(default=None, description=_OF_OTHERS)
    leases: Counts | None = Field(default=None, description=_OF_OTHERS)
    not_compared: dict[Book, str] = Field(
        default_factory=dict, description="what was not all compared, and why not"
    )
    kinds: dict[DifferenceKind, int] = Field(
        default_factory=dict, description="how many differences of each kind, all of them"
    )
    differences: tuple[Difference, ...] = Field(
        default=(),
        max_length=MOST_LISTED,
        description="the hundred most pressing; every difference is an event too",
    )

    def details(self) -> str:
        """Markdown for the Temporal UI."""
        lines = [f"### {self.state}", f"**{self.node}**, since {_when(self.began_at)}"]
        lines += [
            "",
            "| | ours | agree | differ | not ours | too young |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        lines += [
            f"| {book.lower()} | {' | '.join(cells)} |" for book, cells in self.cells().items()
        ]
        if self.kinds:
            lines += ["", *(f"- {kind}: {count:,}" for kind, count in sorted(self.kinds.items()))]
        if self.differences:
            lines += ["", "| difference | workflow | ours | the node | |", "|---|---|---|---|---|"]
            lines += map(_line, self.differences)
        if (left := sum(self.kinds.values()) - len(self.differences)) > 0:
            lines += ["", f"and {left:,} more"]
        return "\n".join(lines)

    def counts(self) -> Mapping[Book, Counts]:
        """Of what was all compared, or is under way."""
        every = {
            Book.INVOICES: self.invoices,
            Book.PAYMENTS: self.payments,
            Book.SWAPS: self.swaps,
            Book.REBALANCES: self.rebalances,
            Book.LEASES: self.leases,
        }
        return {book: counts for book, counts in every.items() if counts is not None}

    def cells(self) -> Mapping[Book, tuple[str, ...]]:
        """A row for each book that the node has: five figures, or why there are none."""
        known = self.counts()
        rows: dict[Book, tuple[str, ...]] = {}
        for book in Book:
            if why := self.not_compared.get(book):
                rows[book] = (f"not all compared: {why}", "", "", "", "")
            elif counts := known.get(book):
                rows[book] = counts.cells()
        return rows


def most_pressing(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    """As many as the report lists: first those that somebody must act on. None twice."""
    different = dict.fromkeys(differences)
    return tuple(sorted(different, key=lambda each: each.kind in DONE)[:MOST_LISTED])


def _when(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _line(each: Difference) -> str:
    cells = (each.kind, f"`{each.resource}`", each.ours, each.theirs, each.action)
    return f"| {' | '.join(cells)} |"
