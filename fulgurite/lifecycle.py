"""Lifecycles as data: state × event → state, with the reason beside each edge.

A workflow fires events at its table; an event that the table does not know in a state is
a defect of ours, and stopping there is better than a state that lies.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from typing import Generic, TypeVar

State = TypeVar("State", bound=StrEnum)
Event = TypeVar("Event", bound=StrEnum)


class ImpossibleTransitionError(Exception):
    """The table has no such edge: a defect, to be mended in code."""


@dataclass(frozen=True)
class Edge(Generic[State, Event]):
    """In `source`, `event` leads to `target`, `because`."""

    source: State
    event: Event
    target: State
    because: str


class Lifecycle(Generic[State, Event]):
    """A complete transition table. Every state but the last ones has a way out."""

    def __init__(self, start: State, edges: Iterable[Edge[State, Event]]) -> None:
        self.start = start
        self.edges = tuple(edges)
        self._targets = {(edge.source, edge.event): edge.target for edge in self.edges}
        if len(self._targets) != len(self.edges):
            raise ValueError("two edges leave one state by one event")
        self.states = frozenset(
            {start, *(e.source for e in self.edges), *(e.target for e in self.edges)}
        )
        self.terminal = self.states - {edge.source for edge in self.edges}

    def fire(self, state: State, event: Event) -> State:
        """The state that follows; raises ImpossibleTransitionError where none does."""
        try:
            return self._targets[state, event]
        except KeyError:
            raise ImpossibleTransitionError(f"{event} cannot happen in {state}") from None

    def mermaid(self) -> str:
        """The table as a Mermaid state diagram, sorted, for the docs."""
        lines = ["stateDiagram-v2", f"    [*] --> {self.start}"]
        lines += sorted(f"    {e.source} --> {e.target}: {e.event}" for e in self.edges)
        lines += sorted(f"    {state} --> [*]" for state in self.terminal)
        return "\n".join(lines)
