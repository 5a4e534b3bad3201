"""What a node's invoice stream must not forget.

An index is a hint and the list is the truth: settle_index has been seen reset by a
migration, add_index has gaps, and a cursor that is ahead of the node makes lnd drop what is
new. So what is listed moves the cursor, and what is streamed never does.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final

from pydantic import Field

from fulgurite.calls import Call
from fulgurite.identity import NodeName
from fulgurite.model import Model

# How far LND's clock and ours may differ, and how long a scan may take: so far back
# settlements are looked at again by one who begins to listen.
OVERLAP: Final = timedelta(hours=1)

# So many of the newest invoices are always listed again: a database can show an invoice
# later than one with a higher add_index, because they were written at the same time.
RECENT_INVOICES: Final = 500

# Within so much, two of LND's own times say nothing about which was first.
_CLOCK_STEPS: Final = timedelta(minutes=1)

NEVER: Final = datetime.fromtimestamp(0, tz=UTC)


class Mark(Model):
    """The highest index of one kind that LND has told, and LND's time for it."""

    index: int = 0
    at: datetime = NEVER

    def seen(self, index: int, at: datetime) -> Mark:
        """The mark that also knows of this one."""
        return Mark(index=index, at=at) if index > self.index else self

    def given_anew(self, index: int, at: datetime) -> bool:
        """Whether LND has given this very number to something else."""
        return index == self.index and at != self.at

    def passed_by(self, index: int, at: datetime) -> bool:
        """Whether this one, just told as new, has a lower number and a later time."""
        return index < self.index and at > self.at + _CLOCK_STEPS


class Cursor(Model):
    """How far a node's invoices are known. Carried by heartbeats and by continue-as-new."""

    added: Mark = Mark()
    settled: Mark = Mark()
    complete: bool = Field(default=False, description="everything on the node was listed once")
    pending_from: int = Field(
        default=1, description="below this add_index every invoice has ended and was told"
    )
    listed_to: int = Field(
        default=0, description="while not complete: the first listing has come so far"
    )
    settled_through: datetime = Field(
        description="settlements before this have been told, but for clocks that differ"
    )
    news_from: datetime = Field(
        default=NEVER, description="what others were paid before this was before our time"
    )

    @classmethod
    def at(cls, beginning: datetime) -> Cursor:
        """The cursor of a stream that begins."""
        return cls(settled_through=beginning, news_from=beginning - OVERLAP)

    @property
    def told_before(self) -> datetime:
        """What settled before this, by LND's clock, was told by those who listened before."""
        return self.settled_through - OVERLAP

    @property
    def scan_from(self) -> int:
        """The add_index after which a scan begins."""
        return self.pending_from - 1 if self.complete else self.listed_to

    def partly_listed(self, *, first_pending: int | None, last_index: int) -> Cursor:
        """After a page of the first listing, when nothing in it is left to tell."""
        return self.model_copy(
            update={
                "listed_to": last_index,
                "pending_from": _pending_from(first_pending, last_index),
            }
        )

    def listed(
        self,
        *,
        began_at: datetime,
        first_pending: int | None,
        last_index: int,
        last_settled_at: datetime,
    ) -> Cursor:
        """After a scan to the last page, when nothing in it is left to tell.

        `first_pending`: the lowest add_index that can still settle; None: there is none.
        `settled_through` is by LND's clock; by ours only where LND's is ahead.
        """
        through = min(max(self.settled.at, last_settled_at), began_at)
        return self.model_copy(
            update={
                "complete": True,
                "listed_to": 0,
                "pending_from": max(self.pending_from, _pending_from(first_pending, last_index)),
                "settled_through": max(self.settled_through, through) if self.complete else through,
            }
        )

    def went_back(self) -> Cursor:
        """After a reset: what was known by the node's numbers holds no more."""
        return self.model_copy(update={"complete": False, "pending_from": 1, "listed_to": 0})


def _pending_from(first_pending: int | None, last_index: int) -> int:
    recent = max(1, last_index + 1 - RECENT_INVOICES)
    return recent if first_pending is None else min(recent, first_pending)


class StreamState(StrEnum):
    """How a node's stream is."""

    DISCONNECTED = "DISCONNECTED"  # the node is away; it is asked again and again
    CATCHING_UP = "CATCHING_UP"  # connected; what was missed is being listed
    LISTENING = "LISTENING"  # nothing is missing, and news are told as they come


class Listened(Model):
    """How far it came, and what happened on the way. Counts are since the stream's beginning."""

    cursor: Cursor
    state: StreamState = StreamState.DISCONNECTED
    settlements: int = Field(default=0, description="told; duplicates are not counted")
    reconnections: int = Field(default=0, description="connections that were lost")
    resets: int = Field(default=0, description="times that the node's indices went back")
    untold: int = Field(
        default=0, description="found by the last scan, and could not be told; tried again"
    )
    connected_since: datetime | None = None
    last_settlement_at: datetime | None = Field(default=None, description="by LND's clock")
    scanned_at: datetime | None = Field(
        default=None, description="when the last scan began that left nothing untold"
    )
    silent_since: datetime | None = Field(
        default=None, description="since then news may be missing; null: none are"
    )
    last_silence_seconds: float = Field(
        default=0.0, description="how long news may have been missing, the last time"
    )
    problem: str = Field(default="", description="what is wrong; empty: nothing")

    def interrupted(self) -> Listened:
        """What is known when whoever listened is gone, nobody knows since when."""
        return self.model_copy(
            update={
                "state": StreamState.DISCONNECTED,
                "connected_since": None,
                "silent_since": self.silent_since or self.scanned_at,
            }
        )


class Listen(Model):
    """Listen to a node's invoices until `until`.

    It ends earlier when the stream's state is for some time another one than in `so_far`, so
    that operators see it.
    """

    node: NodeName
    so_far: Listened
    until: datetime


class StreamView(Model):
    """A node's stream, for those who watch."""

    node: NodeName
    began_at: datetime
    rounds: int = Field(default=0, description="times that it began to listen anew")
    listened: Listened

    def details(self) -> str:
        """Markdown for the Temporal UI."""
        told = self.listened
        lines = [
            f"### {told.state}",
            f"invoices of **{self.node}** since {_when(self.began_at)}",
            "",
        ]
        if told.connected_since:
            lines.append(f"- connected since {_when(told.connected_since)}")
        if told.silent_since:
            lines.append(f"- **news may be missing since {_when(told.silent_since)}**")
        if told.problem:
            lines.append(f"- {told.problem}")
        if told.untold:
            lines.append(f"- **{told.untold} could not be told yet**: see the worker's log")
        lines.append(f"- {told.settlements} settlements told, the last {_when_or_never(told)}")
        lines.append(f"- {told.reconnections} reconnections, {told.resets} resets of its indices")
        if told.last_silence_seconds:
            lines.append(f"- the last silence was {told.last_silence_seconds:.1f} s long")
        return "\n".join(lines)


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def _when_or_never(told: Listened) -> str:
    return f"at {_when(told.last_settlement_at)}" if told.last_settlement_at else "never"


LISTEN = Call("invoices.listen", Listen, Listened)
