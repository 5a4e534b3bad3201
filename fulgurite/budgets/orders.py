"""What a budget is told by those who spend, and what it answers."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Final

from pydantic import AwareDatetime, Field

from fulgurite.budgets.policy import BudgetName, BudgetPolicy
from fulgurite.calls import Call
from fulgurite.identity import NodeName
from fulgurite.model import Line, Model
from fulgurite.money import Msat

# Every zone has these moments: what lies beyond them could not be shown.
_EARLIEST: Final = datetime(1971, 1, 1, tzinfo=UTC)
_LATEST: Final = datetime(9000, 1, 1, tzinfo=UTC)


class Purpose(StrEnum):
    """What money is reserved for."""

    PAYMENT = "PAYMENT"
    REBALANCE = "REBALANCE"  # the amount comes back: only its fee is reserved
    SWAP = "SWAP"
    LEASE = "LEASE"


Holder = Annotated[
    str,
    Field(
        min_length=1,
        max_length=200,
        description="the workflow that spends, with its node: payment/<hash>@<node>",
    ),
]


def holder_at(node: NodeName, workflow_id: str) -> Holder:
    """Who spends. Two nodes can have the same hash or key under way, each its own."""
    return f"{workflow_id}@{node}"


class Claim(Model):
    """Who spends: one intent. It reserves once, and is settled or released once."""

    holder: Holder
    since: AwareDatetime = Field(
        ge=_EARLIEST,
        le=_LATEST,
        description="when the intent began; tells it from an earlier one of the same holder",
    )
    purpose: Purpose = Purpose.PAYMENT


class OrderKind(StrEnum):
    """What a budget is told."""

    RESERVE = "RESERVE"  # may so much leave, at worst?
    COMMIT = "COMMIT"  # so much has left: it counts, reserved or not
    COMMIT_RESERVED = "COMMIT_RESERVED"  # so much has left; of no account if nothing is reserved
    RELEASE = "RELEASE"  # certainly nothing has left, and nothing will


class BudgetOrder(Model):
    """One order of one claim. Told again it changes nothing."""

    kind: OrderKind
    claim: Claim
    amount_msat: Msat = Msat(0)
    fee_msat: Msat = Field(default=Msat(0), description="beside the amount; to reserve: at worst")


class RefusalReason(StrEnum):
    """Why nothing was reserved."""

    NO_ROOM = "NO_ROOM"  # not now
    TOO_MUCH = "TOO_MUCH"  # more than the whole budget: never
    NOT_SET = "NOT_SET"  # nobody has said how much the budget allows
    TOO_MANY = "TOO_MANY"  # too many reservations are open
    ENDED = "ENDED"  # the claim was settled or released before


class Refusal(Model):
    """Nothing was reserved, and so nothing may be sent."""

    budget: BudgetName
    reason: RefusalReason
    words: str
    frees_at: datetime | None = Field(
        default=None,
        description="when there is room if nobody else takes it; null: that depends on others",
    )

    @property
    def may_pass(self) -> bool:
        """Whether there can be room later without anybody deciding anything."""
        return self.reason in {RefusalReason.NO_ROOM, RefusalReason.TOO_MANY}


class BudgetAnswer(Model):
    """What came of one order."""

    refusal: Refusal | None = None


class BudgetOrders(Model):
    """Many at once: one update carries what many callers ask at the same time."""

    orders: tuple[BudgetOrder, ...]


class BudgetAnswers(Model):
    """One an order, in their order."""

    answers: tuple[BudgetAnswer, ...]


class BudgetRelease(Model):
    """A person's word on what one ended by force has left reserved: what of it has left."""

    holder: Holder
    amount_msat: Msat = Msat(0)
    fee_msat: Msat = Field(default=Msat(0), description="beside the amount")


class TellBudget(Model):
    """One order for one budget."""

    budget: BudgetName
    order: BudgetOrder


class BudgetSetting(Model):
    """How much a budget allows from now on. What was spent in the window counts on."""

    policy: BudgetPolicy
    by: Line = Field(min_length=1, description="who; shown beside the budget")
    configured: bool = Field(
        default=False,
        description="from a worker's configuration, which says the same at every start: only "
        "a change of it replaces what a person has set since",
    )


TELL_BUDGET = Call("budget.tell", TellBudget, BudgetAnswer)
