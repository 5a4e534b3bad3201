"""What a workflow of a caller's key says of itself: one side of each comparison by key."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

from fulgurite.model import Model
from fulgurite.reconciliation.comparing import Execution

Receipt = TypeVar("Receipt", bound=Model)


@dataclass(frozen=True)
class Said(Generic[Receipt]):
    """How it stands; and its receipt, once it has come to its own end."""

    execution: Execution
    state: str
    receipt: Receipt | None = None
    run_id: str = ""  # Temporal's name for the run that says so

    @property
    def by_force(self) -> bool:
        """It was ended from outside, or its request was refused: nobody has its last word."""
        return self.execution not in {Execution.RUNNING, Execution.COMPLETED}

    def words(self, more: str = "") -> str:
        forced = f"workflow {self.execution}" if self.by_force else ""
        return ", ".join(filter(None, (self.state, forced, more)))
