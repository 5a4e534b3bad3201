"""When a close's fees are raised, and by how much at most.

LND raises fees by itself, by its own budgets. What is decided here is more than that, paid
from a budget of the operator's, and only shortly before a deadline: never more than what is
rescued is worth, and never more than the budget, however often it is asked again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from pydantic import Field

from fulgurite.channels.closing import (
    CloseOutput,
    ClosePhase,
    Closing,
    OutputKind,
    OutputOutcome,
)
from fulgurite.channels.requests import FeeBudget
from fulgurite.identity import Outpoint
from fulgurite.model import Line, Model

# Where nothing is lost by waiting, money is wanted back within so many blocks all the same.
PATIENCE_BLOCKS: Final = 24
# LND took the order not at all: there may have been nothing to raise yet.
_TRY_AGAIN_BLOCKS: Final = 6
# Past its deadline, as soon as a transaction can be.
_AT_ONCE_BLOCKS: Final = 2


class BumpOrder(Model):
    """What may be spent on one transaction. Written down before LND is asked."""

    outpoint: Outpoint | None = Field(description="null: the closing transaction")
    budget_sat: int
    deadline_height: int
    asked_at_height: int
    again: bool = Field(default=False, description="the same was asked for before")
    taken: bool | None = Field(default=None, description="null: nobody knows; it counts as taken")
    because: Line = ""

    @property
    def reserved_sat(self) -> int:
        return 0 if self.taken is False else self.budget_sat


@dataclass(frozen=True)
class _Slow:
    """Something unconfirmed, by when it should be, and what it is worth."""

    outpoint: Outpoint | None
    deadline_height: int
    worth_sat: int


def reserved_sat(orders: Sequence[BumpOrder]) -> int:
    """Of the budget, what these may spend."""
    return sum(order.reserved_sat for order in orders)


def next_orders(
    closing: Closing, fees: FeeBudget, orders: Sequence[BumpOrder], waiting_since: int | None
) -> list[BumpOrder]:
    """What LND is to be asked now, after `orders`, one a transaction, were asked before.

    `waiting_since`: the height at which the closing transaction was first seen unconfirmed. LND
    lists a channel as waiting for some blocks more, until its confirmation is final.
    """
    known = {order.outpoint: order for order in orders}
    tip = closing.tip.height
    due = [
        slow
        for slow in _slow(closing, waiting_since)
        if tip >= slow.deadline_height - fees.blocks_before_deadline
    ]
    left = fees.budget_sat - reserved_sat(orders)
    wanted = []
    for number, slow in enumerate(due):
        before = known.get(slow.outpoint)
        order = _order(slow, before, tip, left // (len(due) - number))
        if order is not None:
            left -= order.budget_sat - (before.reserved_sat if before else 0)
            wanted.append(order)
    return wanted


def _order(slow: _Slow, before: BumpOrder | None, tip: int, share_sat: int) -> BumpOrder | None:
    """What LND is asked for one transaction now; None: nothing."""
    given_sat = before.reserved_sat if before else 0
    budget_sat = min(slow.worth_sat, given_sat + share_sat)
    if before and tip < before.asked_at_height + _pause(before, tip):
        return None
    holds = before is not None and before.taken is not False and tip < before.deadline_height
    if before and holds and before.budget_sat <= slow.worth_sat:
        # Said again at every block: LND forgets it when it restarts, and once more is no harm.
        return before.model_copy(update={"asked_at_height": tip, "again": True})
    if budget_sat <= 0:
        return None
    return BumpOrder(
        outpoint=slow.outpoint,
        budget_sat=max(budget_sat, min(given_sat, slow.worth_sat)),
        deadline_height=max(slow.deadline_height, tip + _AT_ONCE_BLOCKS),
        asked_at_height=tip,
        again=budget_sat <= given_sat,
    )


def _pause(order: BumpOrder, tip: int) -> int:
    """How many blocks after an order there may be another one."""
    if order.taken is False or (order.again and tip >= order.deadline_height):
        return _TRY_AGAIN_BLOCKS
    return 1


def is_slow(closing: Closing, fees: FeeBudget, waiting_since: int | None) -> bool:
    """Whether anything is unconfirmed so shortly before its deadline, or after it."""
    tip = closing.tip.height
    return any(
        tip >= slow.deadline_height - fees.blocks_before_deadline
        for slow in _slow(closing, waiting_since)
    )


def next_height(closing: Closing, fees: FeeBudget) -> int | None:
    """The height at which something that only waits now comes near to its deadline."""
    heights = [slow.deadline_height - fees.blocks_before_deadline for slow in _slow(closing, None)]
    return min((height for height in heights if height > closing.tip.height), default=None)


def _slow(closing: Closing, waiting_since: int | None) -> list[_Slow]:
    tip = closing.tip.height
    match closing.phase:
        case ClosePhase.WAITING_CLOSE if closing.close_height is None:
            patience = (tip if waiting_since is None else waiting_since) + PATIENCE_BLOCKS
            expiry = closing.htlcs_expire_at
            deadline = patience if expiry is None else min(expiry, patience)
            return [_Slow(None, deadline, closing.limbo_sat + closing.htlcs_sat)]
        case ClosePhase.FORCE_CLOSING:
            outputs = [_slow_output(each, closing) for each in closing.outputs]
            return [each for each in outputs if each is not None]
        case _:
            return []


def _slow_output(output: CloseOutput, closing: Closing) -> _Slow | None:
    if output.outcome is not OutputOutcome.PENDING or output.kind is OutputKind.ANCHOR:
        return None
    if output.forgotten:
        return None  # there is no sweep whose fee could be raised
    matures = output.maturity_height
    if output.kind is OutputKind.INCOMING_HTLC and output.stage == 1 and matures is not None:
        # The other way round: from that height on it is the peer's too.
        return _Slow(output.outpoint, matures, output.amount_sat)
    if matures is not None and matures > closing.tip.height:
        return None
    since = matures or closing.close_height or closing.tip.height
    return _Slow(output.outpoint, since + PATIENCE_BLOCKS, output.amount_sat)
