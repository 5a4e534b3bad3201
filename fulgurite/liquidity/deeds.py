"""What earlier plans have begun, so that a plan never fights another."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import Field

from fulgurite.identity import ChannelPoint
from fulgurite.liquidity.policy import Remedy
from fulgurite.model import Line, Model


class DeedState(StrEnum):
    """How a remedy that was begun stands."""

    UNDER_WAY = "UNDER_WAY"
    DONE = "DONE"  # it has moved liquidity
    FAILED = "FAILED"  # it has come to its end, and has moved nothing
    UNKNOWN = "UNKNOWN"  # nobody can say: it counts as under way, and as done


class Deed(Model):
    """A remedy that a plan began: what it was to move, and what became of it."""

    workflow_id: Line
    remedy: Remedy
    channel: ChannelPoint = Field(description="the one that wanted it")
    fills: bool = Field(description="its local balance grows; false: its remote one")
    partner: ChannelPoint | None = Field(
        default=None, description="of a rebalance, the other channel, which moves the other way"
    )
    amount_sat: int = Field(ge=0)
    limit_msat: int = Field(ge=0, description="the most that it may cost")
    began_at: datetime
    state: DeedState = DeedState.UNDER_WAY
    ended_at: datetime | None = Field(
        default=None, description="of a lease, when its channels were first seen open"
    )
    cost_msat: int | None = Field(default=None, description="null: not over, or not told")
    brought: tuple[ChannelPoint, ...] = Field(
        default=(), description="of a lease: the channels that it has won, until its term is over"
    )
    because: Line = ""

    @property
    def channels(self) -> tuple[ChannelPoint, ...]:
        """All that it touches."""
        return (self.channel, self.partner) if self.partner else (self.channel,)

    def filled(self) -> ChannelPoint | None:
        """The channel whose local balance it makes grow; a lease is a channel of its own."""
        if self.remedy is Remedy.LEASE:
            return None
        return self.channel if self.fills else self.partner

    def emptied(self) -> ChannelPoint | None:
        if self.remedy is Remedy.LEASE:
            return None
        return self.partner if self.fills else self.channel


@dataclass(frozen=True)
class Memory:
    """What counts of the deeds at one moment."""

    deeds: tuple[Deed, ...]
    now: datetime
    backoff: timedelta

    @classmethod
    def of(cls, deeds: Iterable[Deed], now: datetime, backoff_hours: int) -> Memory:
        return cls(tuple(deeds), now, timedelta(hours=backoff_hours))

    def under_way(self) -> list[Deed]:
        """An unknown one counts for as long as a failed one would."""
        return [
            deed
            for deed in self.deeds
            if deed.state is DeedState.UNDER_WAY
            or (deed.state is DeedState.UNKNOWN and self._recent(deed))
        ]

    def on(self, channel: ChannelPoint) -> Deed | None:
        """What is under way on a channel."""
        return next((deed for deed in self.under_way() if channel in deed.channels), None)

    def failed(self, channel: ChannelPoint) -> Deed | None:
        """The failure that a channel still recovers from."""
        return next(
            (
                deed
                for deed in self.deeds
                if deed.state is DeedState.FAILED and deed.channel == channel and self._recent(deed)
            ),
            None,
        )

    def filled(self, channel: ChannelPoint) -> Deed | None:
        """What has filled a channel lately: none of it is to be taken away again."""
        return next((deed for deed in self._moving() if deed.filled() == channel), None)

    def emptied(self, channel: ChannelPoint) -> Deed | None:
        """What has emptied a channel lately: it is not to be filled again."""
        return next((deed for deed in self._moving() if deed.emptied() == channel), None)

    def leased(self, channel: ChannelPoint) -> Deed | None:
        """The lease that a channel is in the term of: room to receive that is paid for."""
        return next((deed for deed in self.deeds if channel in deed.brought), None)

    def leased_for(self, channel: ChannelPoint) -> Deed | None:
        """The lease that has brought room lately where this channel had none; it has none yet."""
        return next(
            (
                deed
                for deed in self.deeds
                if deed.remedy is Remedy.LEASE
                and deed.state is DeedState.DONE
                and deed.channel == channel
                and self._recent(deed)
            ),
            None,
        )

    def _moving(self) -> list[Deed]:
        return [
            deed
            for deed in self.deeds
            if deed.state is not DeedState.FAILED
            and (deed.state is DeedState.UNDER_WAY or self._recent(deed))
        ]

    def _recent(self, deed: Deed) -> bool:
        return self.now - (deed.ended_at or deed.began_at) < self.backoff


def newest(*several: Iterable[Deed]) -> tuple[Deed, ...]:
    """One of each, the later source's word counting, oldest first."""
    known = {deed.workflow_id: deed for deeds in several for deed in deeds}
    return tuple(sorted(known.values(), key=lambda deed: (deed.began_at, deed.workflow_id)))
