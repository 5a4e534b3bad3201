"""What can differ between what we say and what a node says, and what is done about it."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from enum import StrEnum
from typing import Final

from pydantic import Field

from fulgurite.identity import NodeName, PaymentHash
from fulgurite.model import Model

# So many are told one by one; of more there is the count.
MOST_TOLD: Final = 100


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
}


class Difference(Model):
    """One line of a reconciliation that does not agree."""

    kind: DifferenceKind
    node: NodeName
    payment_hash: PaymentHash
    resource: str = Field(description="the workflow, `payment/<payment hash>` or `invoice/…`")
    ours: str = Field(description="what the workflow says")
    theirs: str = Field(description="what the node says")
    action: str = Field(description="what was done about it, or what to do")


class Counts(Model):
    """How many records were compared."""

    ours: int = Field(default=0, description="a workflow of ours is known: agreeing or differing")
    not_ours: int = Field(
        default=0, description="made by somebody else, or longer ago than Temporal retains"
    )
    agreeing: int = 0
    differing: int = 0
    too_young: int = Field(default=0, description="changed a moment ago: left to the next time")

    def __add__(self, more: Counts) -> Counts:
        return Counts(
            **{name: getattr(self, name) + getattr(more, name) for name in Counts.model_fields}
        )

    @property
    def all(self) -> int:
        return self.ours + self.not_ours + self.too_young


class ReconciliationState(StrEnum):
    """How a reconciliation stands."""

    COMPARING = "COMPARING"
    AGREES = "AGREES"
    DIFFERS = "DIFFERS"
    INCOMPLETE = "INCOMPLETE"  # no worker came to compare the payments, or the invoices


class ReconciliationReport(Model):
    """The result of one reconciliation, and the answer to its query."""

    node: NodeName
    state: ReconciliationState
    began_at: datetime
    ended_at: datetime | None = Field(default=None, description="null: it is still comparing")
    invoices: Counts | None = Field(default=None, description="null: they were not all compared")
    payments: Counts | None = Field(default=None, description="null: they were not all compared")
    kinds: dict[DifferenceKind, int] = Field(
        default_factory=dict, description="how many differences of each kind, all of them"
    )
    differences: tuple[Difference, ...] = Field(
        default=(),
        max_length=MOST_TOLD,
        description="the first hundred, each of which is an event too",
    )

    def details(self) -> str:
        """Markdown for the Temporal UI."""
        lines = [f"### {self.state}", f"**{self.node}**, since {_when(self.began_at)}"]
        lines += [
            "",
            "| | ours | agree | differ | not ours | too young |",
            "|---|--:|--:|--:|--:|--:|",
        ]
        lines += [_row("invoices", self.invoices), _row("payments", self.payments)]
        if self.kinds:
            lines += ["", *(f"- {kind}: {count:,}" for kind, count in sorted(self.kinds.items()))]
        if self.differences:
            lines += ["", "| difference | workflow | ours | the node | |", "|---|---|---|---|---|"]
            lines += map(_line, self.differences)
        if (left := sum(self.kinds.values()) - len(self.differences)) > 0:
            lines += ["", f"and {left:,} more"]
        return "\n".join(lines)


def most_pressing(differences: Iterable[Difference]) -> tuple[Difference, ...]:
    """As many as are told one by one: first those that somebody must act on."""
    return tuple(sorted(differences, key=lambda each: each.kind in DONE)[:MOST_TOLD])


def _when(at: datetime) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _row(what: str, counts: Counts | None) -> str:
    if counts is None:
        return f"| {what} | *not all compared: no worker took it* | | | | |"
    cells = (counts.ours, counts.agreeing, counts.differing, counts.not_ours, counts.too_young)
    return f"| {what} | {' | '.join(f'{cell:,}' for cell in cells)} |"


def _line(each: Difference) -> str:
    cells = (each.kind, f"`{each.resource}`", each.ours, each.theirs, each.action)
    return f"| {' | '.join(cells)} |"
