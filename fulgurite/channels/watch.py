"""A node's channels, watched: which there are, which close, and whose peer is away.

LND's stream of channel events never replays, so its lists are the truth here, and the stream
only says when to look.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from datetime import datetime, timedelta
from enum import StrEnum

from pydantic import Field

from fulgurite.calls import Call
from fulgurite.channels.channel import Channel
from fulgurite.identity import ChannelId, ChannelPoint, Digest, NodeName, NodePubkey
from fulgurite.model import Line, Model


class ChannelNotice(Model):
    """A channel whose peer is away, or back. Amounts are this node's side of it."""

    node: NodeName
    channel_point: ChannelPoint
    channel_id: ChannelId
    peer: NodePubkey
    peer_alias: str = ""
    capacity_sat: int
    local_sat: int
    remote_sat: int
    pending_htlcs: int
    since: datetime = Field(description="when it was first seen to be away")


class BackupFailure(Model):
    """A static channel backup that could not be kept."""

    node: NodeName
    channels: int = Field(description="that are not all in a backup that is kept")
    because: Line
    kept_at: datetime | None = Field(description="when one was last kept; null: never")
    since: datetime


class Sight(Model):
    """LND's present word on a node's channels."""

    channels: tuple[Channel, ...] = ()
    opening: tuple[ChannelPoint, ...] = ()
    closing: tuple[ChannelPoint, ...] = ()


class Watched(Model):
    """What is known of a node's channels. Carried by heartbeats and by continue-as-new."""

    began: bool = Field(default=False, description="false: nothing was seen yet")
    open: tuple[ChannelPoint, ...] = ()
    opening: tuple[ChannelPoint, ...] = ()
    closing: tuple[ChannelPoint, ...] = Field(default=(), description="their workflows were begun")
    away_since: dict[ChannelPoint, datetime] = Field(default={})
    told_away: tuple[ChannelPoint, ...] = ()

    @property
    def backup_set(self) -> Digest:
        """Names the set of channels that a backup must hold."""
        points = sorted({*self.open, *self.opening})
        return Digest(hashlib.sha256("\n".join(points).encode()).hexdigest())

    def saw(self, sight: Sight, at: datetime) -> Watched:
        """What is known after a look, but for what there is to tell: that is as before."""
        away = {each.channel_point for each in sight.channels if not each.active}
        # Those that were told to be away, until it is told that they are back.
        away |= set(self.told_away) & {each.channel_point for each in sight.channels}
        since = {point: self.away_since.get(point, at) for point in sorted(away)}
        return self.model_copy(update={"away_since": since})

    def news(self, sight: Sight, node: NodeName, at: datetime, grace: timedelta) -> News:
        """What a look, after `saw`, has to tell; and what is known once it is told."""
        channels = {each.channel_point: each for each in sight.channels}
        gone = set(self.open) - set(channels) - set(sight.opening)
        closing = {*sight.closing, *gone} - set(self.closing)
        overdue = {point for point, since in self.away_since.items() if at - since >= grace} - set(
            self.told_away
        )
        back = {point for point in self.told_away if point in channels and channels[point].active}
        told_away = ({*self.told_away, *overdue} - back) & set(channels)

        def notices(points: Iterable[ChannelPoint]) -> tuple[ChannelNotice, ...]:
            return tuple(
                _notice(node, channels[point], self.away_since.get(point, at))
                for point in sorted(points)
            )

        return News(
            watched=self.model_copy(
                update={
                    "began": True,
                    "open": tuple(sorted(channels)),
                    "opening": tuple(sorted(sight.opening)),
                    "closing": tuple(sorted(sight.closing)),
                    "told_away": tuple(sorted(told_away)),
                    "away_since": {
                        point: since
                        for point, since in self.away_since.items()
                        if point not in back
                    },
                }
            ),
            closing=tuple(sorted(closing)),
            vanished=tuple(sorted(closing - set(sight.closing))),
            inactive=notices(overdue),
            active=notices(back),
        )


class News(Model):
    """What has happened to a node's channels. Told again, it is known by its ids."""

    watched: Watched
    closing: tuple[ChannelPoint, ...] = Field(
        default=(), description="seen closing, or not seen any more, for the first time"
    )
    vanished: tuple[ChannelPoint, ...] = Field(
        default=(), description="of these, those that LND does not list: over already, or a breach"
    )
    inactive: tuple[ChannelNotice, ...] = ()
    active: tuple[ChannelNotice, ...] = ()

    def is_worth_telling(self, before: Watched) -> bool:
        """Whether somebody waits for it, or a backup has become out of date."""
        return (
            not before.began
            or bool(self.closing or self.inactive or self.active)
            or self.watched.backup_set != before.backup_set
            or self.watched.closing != before.closing
        )


class Watch(Model):
    """Watch a node's channels until there is news, and at most until `until`."""

    node: NodeName
    so_far: Watched
    until: datetime


class BackUp(Model):
    """Keep a static channel backup of all channels; `of` names the set that made it due."""

    node: NodeName
    of: Digest


class BackedUp(Model):
    """Whether it is kept."""

    wanted: bool = Field(default=True, description="false: the node has no `channel_backup_url`")
    kept: bool = False
    of: Digest | None = Field(default=None, description="the set of channels that was asked for")
    channels: int = 0
    place: Line = Field(default="", description="where it is, without the store's address")
    because: Line = Field(default="", description="why it is not kept")


class WatchState(StrEnum):
    """How a node's channel watch is."""

    BEGINNING = "BEGINNING"  # the node has not told its channels yet
    WATCHING = "WATCHING"  # its channels are known, and a backup of them is kept if one is wanted
    BACKUP_FAILING = "BACKUP_FAILING"  # watched too; what is kept as a backup is out of date


class WatchView(Model):
    """A node's channel watch, for those who watch the watch."""

    node: NodeName
    began_at: datetime
    rounds: int = Field(default=0, description="times that it began to watch anew")
    watched: Watched = Watched()
    closings: int = Field(default=0, description="seen in all")
    begun_at: datetime | None = Field(
        default=None, description="when the workflows of all that close were last seen to"
    )
    backup: BackedUp | None = Field(default=None, description="the last; null: none was made yet")
    backed_up: Digest | None = Field(default=None, description="the set that is kept")
    backed_up_at: datetime | None = None
    backup_fails_since: datetime | None = None

    @property
    def state(self) -> WatchState:
        if not self.watched.began:
            return WatchState.BEGINNING
        return WatchState.BACKUP_FAILING if self.backup_fails_since else WatchState.WATCHING

    def details(self) -> str:
        """Markdown for the Temporal UI."""
        watched = self.watched
        lines = [
            f"### {self.state}",
            f"channels of **{self.node}** since {_when(self.began_at)}",
            "",
            f"- {len(watched.open)} open, {len(watched.opening)} opening",
            f"- {len(watched.closing)} closing, {self.closings} closings seen",
            f"- {len(watched.away_since)} with a peer that is away",
        ]
        lines += [f"    - `{point}`" for point in watched.told_away[:_LISTED]]
        lines += [f"- closing: `close/{point}`" for point in watched.closing[:_LISTED]]
        lines.append(f"- static channel backup: {self._backup()}")
        return "\n".join(lines)

    def _backup(self) -> str:
        if self.backup is None:
            return "none yet"
        if not self.backup.wanted:
            return "not wanted (`channel_backup_url` is not set)"
        kept = f"kept {_when(self.backed_up_at)}" if self.backed_up_at else "never kept"
        if self.backup_fails_since:
            failing = f"**failing since {_when(self.backup_fails_since)}**"
            return f"{failing}: {self.backup.because}; {kept}"
        return f"{self.backup.channels} channels, {kept}, `{self.backup.place}`"


# A node can have thousands of channels, and details are for reading.
_LISTED = 20


def _notice(node: NodeName, channel: Channel, since: datetime) -> ChannelNotice:
    return ChannelNotice(
        node=node,
        channel_point=channel.channel_point,
        channel_id=channel.channel_id,
        peer=channel.peer,
        peer_alias=channel.peer_alias,
        capacity_sat=channel.capacity_sat,
        local_sat=channel.local_sat,
        remote_sat=channel.remote_sat,
        pending_htlcs=len(channel.htlcs),
        since=since,
    )


def _when(moment: datetime) -> str:
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


WATCH_CHANNELS = Call("channels.watch", Watch, News)
BACK_UP_CHANNELS = Call("channels.back_up", BackUp, BackedUp)
