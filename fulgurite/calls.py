"""What workflows ask of the world: an activity's name and the shapes it takes and gives.

Each lifecycle declares its own, in its `calls` module. Workflows and activities both import
those and never each other.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from fulgurite.model import Model

Takes = TypeVar("Takes", bound=Model)
Gives = TypeVar("Gives", bound=Model)


@dataclass(frozen=True)
class Call(Generic[Takes, Gives]):
    """An activity by its name, with the one model it takes and the one it gives."""

    name: str
    takes: type[Takes]
    gives: type[Gives]
