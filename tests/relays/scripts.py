"""What the model's world has in store for one relay."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum


class Run(StrEnum):
    """What becomes of one run of the payment's workflow."""

    HONEST = "honest"  # asks LND, sends where it may, and tells the verdict
    FORCED = "forced"  # somebody ends it by force; what it sent goes on
    FORCED_SENDING = "forced while sending"  # the same, and what it sends arrives only then
    REFUSED = "refused"  # found wrong after LND was asked
    NODE_UNKNOWN = "node unknown"  # nobody could ask LND
    MUTE = "mute"  # SUCCEEDED, and no preimage comes with it
    ANOTHERS = "another's"  # it is not ours: somebody else pays this hash
    ELSEWHERE = "elsewhere"  # the same, and from another node
    ELSEWHERE_FORCED = "elsewhere, forced"  # and ended by force; what it sends arrives only then


class Order(StrEnum):
    """What becomes of one order to the invoice's workflow."""

    OBEYED = "obeyed"
    IGNORED = "ignored"
    GONE = "gone"


@dataclass
class Script:
    """What will happen. Lists are used up in turn; then everything works."""

    held_after_seconds: float | None  # None: nobody pays upstream
    fates: list[tuple[float, bool]]  # of each send: after how long, and whether it settles
    runs: list[Run]
    orders: list[Order]
    other_orders: Order  # what becomes of every later one
    nudges: list[bool]  # whether the relay hears of what moved upstream
    answer_seconds: list[float]  # how long LND takes
    local_fails: list[bool]
    taken_back_after_seconds: float | None  # somebody has LND cancel upstream
    canceled_after_seconds: float | None  # somebody calls the relay off
    ended_after_seconds: float | None  # somebody ends the relay by force, and asks for it again
    gone_seconds: float  # so long there is no relay then
    blocks_meanwhile: int  # beyond those that this time brings
    new_run_after_steps: list[int]
