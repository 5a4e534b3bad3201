"""Money is integers all the way, and a limit is never forgotten."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError

from fulgurite.money import MAX_MSAT, FeeLimit, Msat

amounts = st.integers(min_value=0, max_value=MAX_MSAT)
AS_JSON: TypeAdapter[Msat] = TypeAdapter(Msat)


@pytest.mark.parametrize("value", [1.0, 0.1, True, False, "1", Decimal(1), None])
def test_only_integers_are_amounts(value: Any) -> None:
    with pytest.raises(TypeError, match="integer number of msat"):
        Msat(value)
    with pytest.raises(TypeError, match="integer number of sat"):
        Msat.from_sat(value)


@pytest.mark.parametrize("value", [-1, MAX_MSAT + 1])
def test_an_amount_is_within_what_can_exist(value: int) -> None:
    with pytest.raises(ValueError, match="outside"):
        Msat(value)


@pytest.mark.parametrize("json", ["1.0", "1.5", "true", '"1"', "-1", "null", str(MAX_MSAT + 1)])
def test_json_that_is_no_amount_is_refused(json: str) -> None:
    with pytest.raises(ValidationError):
        AS_JSON.validate_json(json)


@given(amounts)
def test_an_amount_survives_json(value: int) -> None:
    read = AS_JSON.validate_json(AS_JSON.dump_json(Msat(value)))

    assert (type(read), read) == (Msat, value)


@given(amounts, amounts)
def test_sums_and_differences_stay_amounts_or_are_refused(one: int, other: int) -> None:
    if one + other <= MAX_MSAT:
        assert type(Msat(one) + Msat(other)) is Msat
    larger, smaller = max(one, other), min(one, other)
    assert Msat(larger) - Msat(smaller) == larger - smaller
    if larger > smaller:
        with pytest.raises(ValueError, match="outside"):
            Msat(smaller) - Msat(larger)


def test_adding_a_float_is_refused() -> None:
    with pytest.raises(TypeError):
        Msat(1) + 0.5


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0 sat"),
        (1, "1 msat"),
        (999, "999 msat"),
        (1_000, "1 sat"),
        (1_234_567_000, "1,234,567 sat"),
    ],
)
def test_people_read_satoshis_where_they_are_whole(value: int, text: str) -> None:
    assert str(Msat(value)) == text
    assert f"{Msat(value)}" == text


def test_programmers_read_msat() -> None:
    assert repr(Msat(1_500)) == "Msat(1500)"


@given(amounts, st.integers(min_value=0, max_value=1_000_000))
def test_a_limit_in_ppm_rounds_down_and_never_up(amount: int, ppm: int) -> None:
    limit = int(FeeLimit(ppm=ppm).of(Msat(amount)))

    assert limit * 1_000_000 <= amount * ppm < (limit + 1) * 1_000_000


def test_a_limit_in_sat_or_msat_does_not_depend_on_the_amount() -> None:
    assert FeeLimit(sat=3).of(Msat(1)) == 3_000
    assert FeeLimit(msat=Msat(3)).of(Msat(10**9)) == 3


def test_a_limit_of_zero_means_zero() -> None:
    for limit in (FeeLimit(sat=0), FeeLimit(msat=Msat(0)), FeeLimit(ppm=0)):
        assert limit.of(Msat(10**12)) == 0


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"sat": 1, "ppm": 1},
        {"sat": 0, "msat": 0},
        {"sat": -1},
        {"ppm": 1_000_001},
        {"sat": 1.0},
    ],
)
def test_a_limit_is_given_exactly_once_and_sensibly(fields: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        FeeLimit.model_validate(fields)
