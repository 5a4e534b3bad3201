"""What is asked of a node's turns, and what is granted."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from pydantic import AwareDatetime, Field, StringConstraints, field_validator

from fulgurite.identity import ChannelPoint, NodeName
from fulgurite.model import Line, Model

# Temporal's own limit for a workflow id is a thousand bytes.
Holder = Annotated[str, StringConstraints(min_length=1, max_length=1_000)]

LONGEST_SECONDS = 7 * 86_400
_CHANNELS_AT_MOST = 100


class Ask(Model):
    """Whoever signs as `holder` wants all of these channels for itself at the same time."""

    holder: Holder = Field(description="the id of the workflow that is told, and has one turn")
    ask_id: Line = Field(description="tells the answer to this from the answer to an older one")
    channels: tuple[ChannelPoint, ...] = Field(min_length=1, max_length=_CHANNELS_AT_MOST)
    seconds: int = Field(
        ge=1,
        le=LONGEST_SECONDS,
        description="the turn ends so long after it was granted or renewed",
    )
    urgent: bool = Field(default=False, description="goes before those who wait and are not")

    @field_validator("channels")
    @classmethod
    def _as_a_set(cls, channels: tuple[ChannelPoint, ...]) -> tuple[ChannelPoint, ...]:
        return tuple(sorted(set(channels)))


class Turn(Model):
    """Granted: until then nobody else of ours touches these channels."""

    ask: Ask
    since: AwareDatetime
    until: AwareDatetime

    def over(self, at: datetime) -> bool:
        return self.until <= at


class Wanted(Model):
    """Said to a holder: somebody waits for a channel of its turn."""

    by: Holder
    urgent: bool = False


class TurnsView(Model):
    """Who has which channels of a node, and who waits for them, in order."""

    node: NodeName
    held: tuple[Turn, ...] = ()
    waiting: tuple[Ask, ...] = ()
