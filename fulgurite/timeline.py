"""What an operator reads of a workflow's course, oldest first."""

from __future__ import annotations

from datetime import datetime
from typing import Final

# A timeline is for reading; what is older than this many lines is in the history.
LINES: Final = 40


def note(timeline: list[str], words: str, at: datetime) -> None:
    """Adds a line, and drops the oldest where there are too many."""
    timeline.append(f"{at.isoformat(timespec='milliseconds')} {words}")
    del timeline[:-LINES]
