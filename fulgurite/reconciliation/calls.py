"""What a reconciliation starts with, and what its workflow asks of the world."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final

from pydantic import Field

from fulgurite.calls import Call
from fulgurite.identity import NodeName
from fulgurite.model import Model
from fulgurite.reconciliation.differences import Book, Counts, Difference, DifferenceKind

# With so many differences a comparison hands over: with those of the page that it is at, they
# are no more than a heartbeat may be long.
HANDED_OVER_AT: Final = 50


class Reconciliation(Model):
    """Compare all that a node and we know: payments, invoices, and what it has besides."""

    node: NodeName
    grace_seconds: int = Field(
        default=60,
        ge=0,
        le=86_400,
        description="what changed within so long is left to the next time: news are on their way",
    )


class Stage(StrEnum):
    """Where a comparison is. Each stage is resumable by its own cursor."""

    THEIRS = "THEIRS"  # what the node lists, held against what we know
    OURS = "OURS"  # what is under way here, held against what the node knows
    DONE = "DONE"


class Tally(Model):
    """How far one comparison is. Small, whatever the number of records: it rides on heartbeats."""

    stage: Stage = Stage.THEIRS
    after_index: int = Field(default=0, description="the node's number of the last record seen")
    page_token: str = Field(
        default="", description="of Temporal's list; of leases the last key; hex"
    )
    counts: Counts = Counts()
    kinds: dict[DifferenceKind, int] = Field(default_factory=dict)
    differences: tuple[Difference, ...] = Field(
        default=(), description="those of the last pages, which are not handed over yet"
    )

    def plus(self, counts: Counts, differences: list[Difference]) -> Tally:
        kinds = dict(self.kinds)
        for each in differences:
            kinds[each.kind] = kinds.get(each.kind, 0) + 1
        return self.model_copy(
            update={
                "counts": self.counts + counts,
                "kinds": kinds,
                "differences": (*self.differences, *differences),
            }
        )

    def handed_over(self) -> Tally:
        """The same, once somebody has all of its differences."""
        return self.model_copy(update={"differences": ()})


class Compare(Reconciliation):
    """Go on comparing for a while."""

    began_at: datetime
    so_far: Tally
    at_most: timedelta


class FindBooks(Model):
    """Ask what there is to compare of a node, beside its payments and invoices."""

    node: NodeName


class Books(Model):
    """Those that the node has: by this worker's configuration, or by Temporal's index."""

    books: tuple[Book, ...]


FIND_BOOKS = Call("reconciliation.books", FindBooks, Books)
COMPARE_INVOICES = Call("reconciliation.invoices", Compare, Tally)
COMPARE_PAYMENTS = Call("reconciliation.payments", Compare, Tally)
COMPARE_SWAPS = Call("reconciliation.swaps", Compare, Tally)
COMPARE_REBALANCES = Call("reconciliation.rebalances", Compare, Tally)
COMPARE_LEASES = Call("reconciliation.leases", Compare, Tally)
