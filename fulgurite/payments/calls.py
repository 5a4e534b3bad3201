"""What a payment's workflow asks of the world."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum

from pydantic import Field

from fulgurite.budgets.policy import BudgetName
from fulgurite.calls import Call
from fulgurite.identity import NodeName, PaymentHash
from fulgurite.model import Model
from fulgurite.payments.receipts import PaymentUpdate
from fulgurite.payments.requests import PaymentRequest


class _AfterAFailure(Model):
    """An attempt that may follow a FAILED of the same hash."""

    last_failed_index: int | None = Field(
        default=None, description="the FAILED that this attempt follows: not news any more"
    )
    last_failed_at: datetime | None = None

    def is_last_failure(self, index: int, created_at: datetime | None) -> bool:
        """Whether that FAILED is the one that this attempt follows.

        By number and time, and never by order: an LND on native SQLite gives the number of a
        failed send to the next send of the hash.
        """
        return (index, created_at) == (self.last_failed_index, self.last_failed_at)


class Dispatch(_AfterAFailure):
    """Track the hash; send it if LND does not know it; follow it for a while."""

    request: PaymentRequest
    requested_at: datetime
    send_until: datetime
    follow_seconds: float
    approved: bool = False
    reserved: tuple[BudgetName, ...] = Field(
        default=(), description="the budgets that have granted its worst case"
    )
    uncertain: bool = Field(
        default=False, description="an earlier dispatch may have reached LND: never conclude fast"
    )
    first_task: bool = Field(
        default=False, description="no worker can have dispatched this payment before"
    )


class DispatchOutcome(StrEnum):
    """How a dispatch ended."""

    FOLLOWED = "FOLLOWED"  # LND has it: `update` is its last word
    NEEDS_APPROVAL = "NEEDS_APPROVAL"  # LND has nothing; the node's threshold wants a person
    NEEDS_BUDGET = "NEEDS_BUDGET"  # LND has nothing; one of `budgets` has not granted it
    LAPSED = "LAPSED"  # LND has nothing, and it is too late to send
    NOT_HERE = "NOT_HERE"  # this worker holds no pay credential: ask on the node's queue
    UNCERTAIN = "UNCERTAIN"  # LND may have it; nobody could be asked


class Dispatched(Model):
    """What is known after a dispatch."""

    outcome: DispatchOutcome
    update: PaymentUpdate | None = None
    sent: bool = Field(default=False, description="LND accepted a send from this dispatch")
    because: str = ""
    announce: bool = Field(default=False, description="somebody wants to be told of this payment")
    budgets: tuple[BudgetName, ...] = Field(
        default=(), description="all that count it: the request's and the node's"
    )


class Follow(_AfterAFailure):
    """Follow a payment that LND has, until its verdict or until the time is over."""

    node: NodeName
    payment_hash: PaymentHash
    until: datetime
    patient: bool = Field(
        default=False, description="it hangs for long already: many such must not ask all the time"
    )


DISPATCH_PAYMENT = Call("payment.dispatch", Dispatch, Dispatched)
FOLLOW_PAYMENT = Call("payment.follow", Follow, PaymentUpdate)
