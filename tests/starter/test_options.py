"""Times, as people write them on the command line."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from fulgurite.errors import InvalidRequestError
from starter.cli.options import moment, seconds
from starter.cli.rendering import span


@pytest.mark.parametrize(
    ("text", "wanted"),
    [("90", 90), ("90s", 90), ("15m", 900), ("1h", 3_600), ("2D", 172_800), (" 0s ", 0)],
)
def test_a_length_of_time_is_a_number_and_its_unit(text: str, wanted: int) -> None:
    assert seconds("--expiry", text) == wanted


@pytest.mark.parametrize("text", ["", "soon", "-5m", "1.5h", "1h30m", "5w", "1" * 12])
def test_what_is_no_length_of_time_is_refused_by_its_option(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="--expiry is a time such as"):
        seconds("--expiry", text)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("2026-01-31", datetime(2026, 1, 31, tzinfo=UTC)),
        ("2026-01-31T12:00", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00Z", datetime(2026, 1, 31, 12, tzinfo=UTC)),
        ("2026-01-31T12:00+02:00", datetime(2026, 1, 31, 10, tzinfo=UTC)),
    ],
)
def test_a_moment_is_in_utc_unless_it_says_otherwise(text: str, wanted: datetime) -> None:
    assert moment("--since", text) == wanted


def test_a_moment_can_be_so_long_ago() -> None:
    before = datetime.now(UTC)
    at = moment("--since", "2h")
    assert at is not None
    assert before <= at + timedelta(hours=2) <= datetime.now(UTC)


@pytest.mark.parametrize("text", ["", "yesterday", "2026-13-01", "2 hours"])
def test_what_is_no_moment_is_refused_by_its_option(text: str) -> None:
    with pytest.raises(InvalidRequestError, match="--since is a time such as"):
        moment("--since", text)


def test_what_is_not_given_is_not_made_up() -> None:
    assert seconds("--expiry", None) is None
    assert moment("--since", None) is None


@pytest.mark.parametrize(
    ("length", "words"),
    [(0, "0 s"), (59, "59 s"), (90, "1 min 30 s"), (3_600, "1 h"), (90_061, "1 d 1 h")],
)
def test_a_length_of_time_is_told_by_its_two_largest_units(length: float, words: str) -> None:
    assert span(length) == words
