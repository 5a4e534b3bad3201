"""When a schedule runs, as people write it and as Temporal has it.

Temporal turns cron lines into calendars and forgets the line, so that it could not be told
whether a line has changed. They are turned here, and read back for people.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Annotated, Final

from pydantic import AfterValidator, StringConstraints
from temporalio.client import (
    ScheduleCalendarSpec,
    ScheduleIntervalSpec,
    ScheduleRange,
    ScheduleSpec,
)

_UNITS: Final = {"d": 86_400, "h": 3_600, "m": 60, "s": 1}
_PART: Final = re.compile(r"(\*|(?P<first>\d+)(-(?P<last>\d+))?)(/(?P<step>\d+))?")
# minute, hour, day of month, month, day of week
_FULL: Final = (
    ScheduleRange(0, 59),
    ScheduleRange(0, 23),
    ScheduleRange(1, 31),
    ScheduleRange(1, 12),
    ScheduleRange(0, 6),
)


def span(text: str) -> timedelta:
    """`90s`, `15m`, `1h` or `2d`."""
    return timedelta(seconds=int(text[:-1]) * _UNITS[text[-1]])


def span_in_words(time: timedelta) -> str:
    seconds = int(time.total_seconds())
    unit = next(unit for unit, size in _UNITS.items() if seconds % size == 0)
    return f"{seconds // _UNITS[unit]}{unit}" if seconds else "0s"


def calendar(cron: str) -> ScheduleCalendarSpec:
    """Five fields of numbers, UTC: `30 3 * * 1-5`. Raises ValueError.

    Unlike in crontab, a day must be right by the month *and* by the week.
    """
    fields = cron.split()
    if len(fields) != len(_FULL):
        raise ValueError("a cron line has five fields: minute hour day month weekday")
    minute, hour, day, month, weekday = (
        _ranges(field, full) for field, full in zip(fields, _FULL, strict=True)
    )
    return ScheduleCalendarSpec(
        minute=minute, hour=hour, day_of_month=day, month=month, day_of_week=weekday
    )


def times(every: str | None, cron: str | None, jitter: str | None) -> ScheduleSpec:
    return ScheduleSpec(
        intervals=[ScheduleIntervalSpec(every=span(every))] if every else [],
        calendars=[calendar(cron)] if cron else [],
        jitter=span(jitter) if jitter else None,
    )


def in_words(spec: ScheduleSpec) -> str:
    """Everything in it, also what somebody else has put there."""
    words = [
        f"every {span_in_words(each.every)}"
        + (f" plus {span_in_words(each.offset)}" if each.offset else "")
        for each in spec.intervals
    ]
    words += [f"cron {_cron(each)}" for each in spec.calendars]
    words += [f"not cron {_cron(each)}" for each in spec.skip]
    if spec.jitter:
        words.append(f"up to {span_in_words(spec.jitter)} late")
    if spec.start_at:
        words.append(f"from {spec.start_at.isoformat()}")
    if spec.end_at:
        words.append(f"until {spec.end_at.isoformat()}")
    if spec.time_zone_name not in {None, "", "UTC"}:
        words.append(f"in {spec.time_zone_name}")
    return ", ".join(words) or "never"


def _checked(cron: str) -> str:
    calendar(cron)
    return cron


Span = Annotated[
    str,
    StringConstraints(pattern=r"^[1-9][0-9]{0,5}[smhd]$"),
]
Cron = Annotated[str, StringConstraints(max_length=200), AfterValidator(_checked)]


def _ranges(field: str, full: ScheduleRange) -> Sequence[ScheduleRange]:
    return tuple(_range(part, full) for part in field.split(","))


def _range(part: str, full: ScheduleRange) -> ScheduleRange:
    found = _PART.fullmatch(part)
    if not found:
        raise ValueError(f"{part!r} is no cron field: use numbers, *, 1-5, */15 and commas")
    step = int(found["step"] or 1)
    first = full.start if found["first"] is None else int(found["first"])
    alone = found["first"] is not None and found["last"] is None and found["step"] is None
    last = first if alone else int(found["last"] or full.end)
    if not (full.start <= first <= last <= full.end and step > 0):
        raise ValueError(f"{part!r} is outside {full.start}-{full.end}")
    return ScheduleRange(first, last, step)


def _cron(spec: ScheduleCalendarSpec) -> str:
    fields = (spec.minute, spec.hour, spec.day_of_month, spec.month, spec.day_of_week)
    line = " ".join(
        ",".join(_part(each, full) for each in ranges)
        for ranges, full in zip(fields, _FULL, strict=True)
    )
    seconds = "" if tuple(spec.second) == (ScheduleRange(0),) else f" second {list(spec.second)}"
    years = f" year {list(spec.year)}" if spec.year else ""
    return f"`{line}`{seconds}{years}"


def _part(each: ScheduleRange, full: ScheduleRange) -> str:
    step = f"/{each.step}" if each.step > 1 else ""
    if (each.start, each.end) == (full.start, full.end):
        return f"*{step}"
    return str(each.start) if each.start == each.end else f"{each.start}-{each.end}{step}"
