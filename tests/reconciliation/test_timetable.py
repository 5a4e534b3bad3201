"""When a schedule runs, as people write it and read it."""

from __future__ import annotations

from datetime import timedelta

import pytest
from pydantic import ValidationError
from temporalio.client import ScheduleRange

from fulgurite.model import mistakes
from starter.schedules import ScheduleEntry
from starter.timetable import calendar, in_words, span, span_in_words, times


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("15m", 900), ("36h", 129_600), ("2d", 172_800)]
)
def test_a_span_is_read_and_told_in_the_same_words(text: str, seconds: int) -> None:
    assert span(text) == timedelta(seconds=seconds)
    assert span_in_words(span(text)) == text


def test_a_span_is_told_in_its_largest_unit() -> None:
    assert span_in_words(timedelta(seconds=7_200)) == "2h"
    assert span_in_words(timedelta(0)) == "0s"


@pytest.mark.parametrize(
    "line",
    ["* * * * *", "30 3 * * *", "*/15 * * * *", "0 8-18/2 * * 1-5", "0,30 0 1,15 6 *"],
)
def test_a_cron_line_is_read_and_told_in_the_same_words(line: str) -> None:
    assert in_words(times(None, line, None)) == f"cron `{line}`"


def test_a_cron_line_means_what_it_says() -> None:
    spec = calendar("5-20/5 3 1 */6 0")
    assert spec.minute == (ScheduleRange(5, 20, 5),)
    assert spec.hour == (ScheduleRange(3),)
    assert spec.day_of_month == (ScheduleRange(1),)
    assert spec.month == (ScheduleRange(1, 12, 6),)
    assert spec.day_of_week == (ScheduleRange(0),)
    assert calendar("5/20 * * * *").minute == (ScheduleRange(5, 59, 20),)


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        ({}, "one of them"),
        ({"every": "15m", "cron": "0 3 * * *"}, "one of them"),
        ({"every": "15 minutes"}, "every"),
        ({"every": "0s"}, "every"),
        ({"cron": "0 3 * *"}, "five fields"),
        ({"cron": "60 3 * * *"}, "outside 0-59"),
        ({"cron": "0 3 * * 7"}, "outside 0-6"),
        ({"cron": "0 3 0 * *"}, "outside 1-31"),
        ({"cron": "*/0 3 * * *"}, "outside"),
        ({"cron": "0 3 * * MON"}, "no cron field"),
        ({"every": "15m", "node": "Alice!"}, "node"),
        ({"every": "15m", "workflow": "pay"}, "workflow"),
        ({"every": "15m", "colour": "red"}, "colour"),
    ],
)
def test_what_cannot_be_meant_is_refused(fields: dict[str, str], why: str) -> None:
    with pytest.raises(ValidationError) as refused:
        ScheduleEntry.model_validate({"workflow": "reconcile", "node": "alice"} | fields)
    assert why in mistakes(refused.value)
