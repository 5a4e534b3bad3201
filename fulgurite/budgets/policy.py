"""What a budget allows, and in which time."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Annotated, Final, Self

from pydantic import Field, StringConstraints, model_validator

from fulgurite.model import Model
from fulgurite.money import MAX_MSAT, MSAT_PER_SAT, Msat

# What a budget is called in the configuration, and in every request that is counted by it.
BudgetName = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_-]{0,59}$")]


def payments_of(node: str) -> BudgetName:
    """The budget that a node's own policy makes."""
    return f"{node}-payments"


LONGEST: Final = timedelta(days=31)
_MAX_SAT = MAX_MSAT // MSAT_PER_SAT


class Window(StrEnum):
    """A time that begins anew by the clock, in UTC."""

    HOUR = "hour"  # from minute 0
    DAY = "day"  # from midnight
    WEEK = "week"  # from Monday, midnight
    MONTH = "month"  # from the first, midnight

    def begins(self, at: datetime) -> datetime:
        """When the window that holds `at` began."""
        hour = at.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
        day = hour.replace(hour=0)
        match self:
            case Window.HOUR:
                return hour
            case Window.DAY:
                return day
            case Window.WEEK:
                return day - timedelta(days=day.weekday())
            case Window.MONTH:
                return day.replace(day=1)

    def ends(self, at: datetime) -> datetime:
        """When the next one begins."""
        begins = self.begins(at)
        match self:
            case Window.HOUR:
                return begins + timedelta(hours=1)
            case Window.DAY:
                return begins + timedelta(days=1)
            case Window.WEEK:
                return begins + timedelta(weeks=1)
            case Window.MONTH:
                return self.begins(begins + LONGEST)


class BudgetPolicy(Model):
    """The most that may leave in a window. Amounts in sat; at least one of the two limits.

    0 allows nothing: that is how spending is stopped.
    """

    amount_sat: int | None = Field(
        default=None,
        strict=True,
        ge=0,
        le=_MAX_SAT,
        description="of everything that leaves: amounts and their fees together",
    )
    fee_sat: int | None = Field(
        default=None, strict=True, ge=0, le=_MAX_SAT, description="of fees alone"
    )
    window: Window | None = Field(
        default=None, description="begins anew by the clock, in UTC; day, if neither is given"
    )
    rolling_seconds: int | None = Field(
        default=None,
        strict=True,
        ge=1,
        le=int(LONGEST.total_seconds()),
        description="instead of `window`: at every moment, of so long before it",
    )

    @model_validator(mode="after")
    def _says_how_much_and_when(self) -> Self:
        if self.amount_sat is None and self.fee_sat is None:
            raise ValueError('give "amount_sat", "fee_sat" or both')
        if self.window and self.rolling_seconds:
            raise ValueError('give "window" or "rolling_seconds", not both')
        return self

    @property
    def amount(self) -> Msat | None:
        return None if self.amount_sat is None else Msat.from_sat(self.amount_sat)

    @property
    def fee(self) -> Msat | None:
        return None if self.fee_sat is None else Msat.from_sat(self.fee_sat)

    @property
    def rolling(self) -> timedelta | None:
        return None if self.rolling_seconds is None else timedelta(seconds=self.rolling_seconds)

    @property
    def fixed(self) -> Window:
        """Only where it does not roll."""
        return self.window or Window.DAY

    def counts_from(self, at: datetime) -> datetime:
        """What was spent before it no longer counts at `at`."""
        return at - self.rolling if self.rolling else self.fixed.begins(at)

    @property
    def span(self) -> str:
        """For people: `a day`, `in 36 h`."""
        if self.rolling_seconds is None:
            return f"{'an' if self.fixed is Window.HOUR else 'a'} {self.fixed}"
        for unit, size in (("days", 86_400), ("h", 3_600), ("min", 60)):
            if self.rolling_seconds % size == 0:
                return f"in {self.rolling_seconds // size} {unit}"
        return f"in {self.rolling_seconds} s"

    def __str__(self) -> str:
        limits = [str(self.amount)] if self.amount is not None else []
        limits += [f"{self.fee} of fees"] if self.fee is not None else []
        return f"{' and '.join(limits)} {self.span}"


class BudgetState(StrEnum):
    """Where a budget stands."""

    NOT_SET = "NOT_SET"  # nobody has said how much: nothing is granted
    OPEN = "OPEN"  # there is room
    LOW = "LOW"  # less than a tenth of a limit is free
    SPENT = "SPENT"  # nothing is free
