"""Money is an integer number of millisatoshi, never negative, never a float, never a bool."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, GetCoreSchemaHandler, model_validator
from pydantic_core import CoreSchema, core_schema

from fulgurite.model import Model

MSAT_PER_SAT = 1_000

# Every bitcoin there will ever be (BOLT 3 counts amounts in 64 bits; this is far below).
MAX_MSAT = 21_000_000 * 100_000_000 * MSAT_PER_SAT


class Msat(int):
    """An amount in millisatoshi, 0 … 21 million bitcoin.

    Sums stay Msat; a difference below zero raises ValueError, because an amount that went
    negative is a mistake in bookkeeping and must not travel on.
    """

    __slots__ = ()

    def __new__(cls, value: int) -> Self:
        if isinstance(value, bool) or not isinstance(value, int):
            raise TypeError(f"an amount is an integer number of msat, not {type(value).__name__}")
        if not 0 <= value <= MAX_MSAT:
            raise ValueError(f"{value} msat is outside 0 … {MAX_MSAT}")
        return super().__new__(cls, value)

    @classmethod
    def from_sat(cls, sat: int) -> Self:
        if isinstance(sat, bool) or not isinstance(sat, int):
            raise TypeError(f"an amount is an integer number of sat, not {type(sat).__name__}")
        return cls(sat * MSAT_PER_SAT)

    def __add__(self, other: int) -> Msat:
        return Msat(int(self) + other)

    def __sub__(self, other: int) -> Msat:
        return Msat(int(self) - other)

    def __repr__(self) -> str:
        return f"Msat({int(self)})"

    def __str__(self) -> str:
        """For people: whole satoshis where they are whole, msat where they are not."""
        sat, msat = divmod(int(self), MSAT_PER_SAT)
        return f"{int(self):,} msat" if msat else f"{sat:,} sat"

    @classmethod
    def __get_pydantic_core_schema__(cls, _: Any, __: GetCoreSchemaHandler) -> CoreSchema:
        return core_schema.no_info_after_validator_function(
            cls, core_schema.int_schema(strict=True, ge=0, le=MAX_MSAT)
        )


class FeeLimit(Model):
    """The most that may be paid in routing fees: exactly one of msat, sat or ppm.

    There is no default of "any": 0 means that only free routes will do, as in LND.
    """

    msat: Msat | None = None
    sat: int | None = Field(default=None, strict=True, ge=0, le=MAX_MSAT // MSAT_PER_SAT)
    ppm: int | None = Field(
        default=None, strict=True, ge=0, le=1_000_000, description="of the amount, rounded down"
    )

    @model_validator(mode="after")
    def _exactly_one(self) -> Self:
        if sum(limit is not None for limit in (self.msat, self.sat, self.ppm)) != 1:
            raise ValueError('give the fee limit once: as "msat", as "sat" or as "ppm"')
        return self

    def of(self, amount: Msat) -> Msat:
        """The limit for a payment of `amount`."""
        if self.msat is not None:
            return self.msat
        if self.sat is not None:
            return Msat.from_sat(self.sat)
        assert self.ppm is not None
        return Msat(int(amount) * self.ppm // 1_000_000)
