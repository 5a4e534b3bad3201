"""What people have said to a swap, and nobody has carried out yet."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict

from fulgurite.swaps.requests import Abandonment, Adoption, Word


class Orders(BaseModel):
    """Taken by an update, carried out by the next step. Survives with the swap that it is for."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)

    pausing: bool = False
    resuming: bool = False
    canceling: bool = False
    again: Word | None = None
    adopting: Adoption | None = None
    giving_up: Word | None = None
    abandoning: Abandonment | None = None
