"""How far the ladder may climb by itself."""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import Field, model_validator

from fulgurite.channels.requests import FeeBudget
from fulgurite.model import Model


class ForceCloseBy(StrEnum):
    """Who may order a force close.

    A payment that can still be resolved off chain is never taken to the chain (invariant 9),
    unless its expiry is near or a person orders it.
    """

    NOBODY = "NOBODY"  # LND itself goes to the chain when the HTLC expires; we follow
    PERSON = "PERSON"  # asked for, and waited for
    EXPIRY = "EXPIRY"  # by itself, so many blocks before the first HTLC expires
    TIME = "TIME"  # by itself, after so long in flight, while the peer cannot be reached


class LadderPolicy(Model):
    """The rungs, and when each is climbed. A person can order the force close under any."""

    force_close_by: ForceCloseBy = ForceCloseBy.PERSON
    reconnect_seconds: int = Field(
        default=300, ge=0, le=30 * 86_400, description="for the peer to come back, before more"
    )
    blocks_before_expiry: int | None = Field(
        default=None, ge=1, le=72, description="with EXPIRY: how near it must be"
    )
    after_seconds: int | None = Field(
        default=None, ge=60, le=30 * 86_400, description="with TIME: since the ladder began"
    )
    fees: FeeBudget = FeeBudget()

    @model_validator(mode="after")
    def _has_its_number(self) -> Self:
        expiry = self.force_close_by is ForceCloseBy.EXPIRY
        time = self.force_close_by is ForceCloseBy.TIME
        if expiry != (self.blocks_before_expiry is not None):
            raise ValueError('"blocks_before_expiry" belongs to "EXPIRY", and to it only')
        if time != (self.after_seconds is not None):
            raise ValueError('"after_seconds" belongs to "TIME", and to it only')
        return self
