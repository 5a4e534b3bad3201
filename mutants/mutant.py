"""What a defect is: a few lines of one product file, what they would cost, and who must notice."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """A defect: in `path`, `old` (which occurs there exactly once) becomes `new`.

    `incident` is a letter of the incidents that other Lightning software had, or the number of
    an invariant of ours. `killers` are the pytest node ids that must notice, the fastest first.
    """

    name: str
    incident: str
    harm: str
    path: str
    old: str
    new: str
    killers: tuple[str, ...]
