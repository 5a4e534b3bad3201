"""Watching a node's channels, and keeping a backup of them.

LND's stream of channel events says when to look; so does each block, and the clock. What has
happened is said by the lists alone.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime, timedelta
from typing import Final, Protocol

from temporalio import activity

from activities.backoff import Backoff
from activities.backup_store import BackupStore
from activities.blocks import Blocks
from activities.errors import application_error
from activities.heartbeats import heartbeating, until_shutdown
from activities.snapshots import Snapshot, Snapshots
from fulgurite.chain.tip import FollowChain, Tip
from fulgurite.channels.listing import LIST_CHANNELS, ListChannels
from fulgurite.channels.watch import (
    BACK_UP_CHANNELS,
    WATCH_CHANNELS,
    BackedUp,
    BackUp,
    News,
    Sight,
    Watch,
    Watched,
)
from fulgurite.errors import (
    FulguriteError,
    NodeError,
    NodeNotReadyError,
    NodeUnavailableError,
)
from fulgurite.identity import ChannelPoint, NodeName
from nodes.config import LndConfig

# What no event and no block has told is found after so long.
_LOOK_EVERY_SECONDS: Final = 30.0
# Events come in swarms, when a peer with many channels goes or comes.
_SWARM_SECONDS: Final = 0.2
# LND moves a channel from one list to the next a moment after the block that does it.
_AFTER_A_BLOCK_SECONDS: Final = 2.0
_HEALTHY_SECONDS: Final = 60.0


class WatchedNode(Protocol):
    """What watching needs of a node; see `nodes.lnd.channels`."""

    def changes(self) -> AbstractAsyncContextManager[AsyncIterator[object]]: ...

    async def export_backup(self) -> tuple[bytes, tuple[ChannelPoint, ...]]: ...

    async def verify_backup(self, backup: bytes) -> None: ...


class ChannelWatching:
    """Watches nodes whose observe credential this worker holds."""

    def __init__(
        self,
        node: Callable[[NodeName], WatchedNode],
        config: Callable[[NodeName], LndConfig],
        snapshots: Snapshots,
        blocks: Blocks,
    ) -> None:
        self._node = node
        self._config = config
        self._snapshots = snapshots
        self._blocks = blocks

    @activity.defn(name=WATCH_CHANNELS.name)
    async def watch(self, ask: Watch) -> News:
        """Until there is news; at `ask.until` without.

        Heartbeats carry who is away since when. Raises NodeErrors, to be retried for ever.
        """
        so_far = ask.so_far
        if details := activity.info().heartbeat_details:
            so_far = Watched.model_validate(details[0])
        try:
            grace = timedelta(seconds=self._config(ask.node).inactive_after_seconds)
            watcher = Watcher(
                ask,
                so_far,
                grace,
                node=self._node(ask.node),
                snapshots=self._snapshots,
                blocks=self._blocks,
            )
            async with heartbeating(details=lambda: watcher.watched):
                return await until_shutdown(watcher.run())
        except FulguriteError as error:
            raise application_error(error, retryable=True) from error

    @activity.defn(name=LIST_CHANNELS.name)
    async def list_channels(self, ask: ListChannels) -> Sight:
        """Those of this moment. Raises NodeErrors; the person who asked may ask again."""
        try:
            async with heartbeating():
                return _sight(await self._snapshots.fresh(ask.node))
        except FulguriteError as error:
            raise application_error(error) from error

    @activity.defn(name=BACK_UP_CHANNELS.name)
    async def back_up(self, ask: BackUp) -> BackedUp:
        """Exports, verifies, stores, and verifies what is stored. Safe to repeat.

        A backup that cannot be kept is an answer, for somebody must hear of it. A node that is
        away is not: there is nothing new to keep. That is raised, and retried.
        """
        try:
            url = self._config(ask.node).channel_backup_url
            if url is None:
                return BackedUp(wanted=False, of=ask.of)
            async with heartbeating():
                return await self._back_up(ask, url)
        except (NodeUnavailableError, NodeNotReadyError) as error:
            raise application_error(error, retryable=True) from error
        except FulguriteError as error:
            because = str(error)[:400].replace("\n", " ")
            activity.logger.error("no backup was kept", extra={"because": because})
            return BackedUp(of=ask.of, because=because)

    async def _back_up(self, ask: BackUp, url: str) -> BackedUp:
        node = self._node(ask.node)
        backup, points = await node.export_backup()
        await node.verify_backup(backup)
        stored, place = await BackupStore(url, ask.node).keep(backup, datetime.now(UTC))
        await node.verify_backup(stored)
        return BackedUp(kept=True, of=ask.of, channels=len(points), place=place)


class Watcher:
    """Watches one node, once."""

    def __init__(
        self,
        ask: Watch,
        so_far: Watched,
        grace: timedelta,
        *,
        node: WatchedNode,
        snapshots: Snapshots,
        blocks: Blocks,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`so_far` is what an earlier try knew; `draw` gives the jitter, 0 … 1."""
        self.watched = so_far
        self._ask = ask
        self._grace = grace
        self._node = node
        self._snapshots = snapshots
        self._blocks = blocks
        self._draw = draw
        self._stirred = asyncio.Event()

    async def run(self) -> News:
        """Raises NodeErrors where the lists cannot be read."""
        work = [
            asyncio.create_task(self._hear_changes()),
            asyncio.create_task(self._hear_blocks()),
        ]
        try:
            while True:
                self._stirred.clear()
                news = await self._look()
                left = (self._ask.until - datetime.now(UTC)).total_seconds()
                if left <= 0 or news.is_worth_telling(self._ask.so_far):
                    return news
                with suppress(TimeoutError):
                    async with asyncio.timeout(min(left, _LOOK_EVERY_SECONDS)):
                        await self._stirred.wait()
                        await asyncio.sleep(_SWARM_SECONDS)
        finally:
            for task in work:
                task.cancel()
            await asyncio.gather(*work, return_exceptions=True)

    async def _look(self) -> News:
        sight = _sight(await self._snapshots.fresh(self._ask.node))
        now = datetime.now(UTC)
        self.watched = self.watched.saw(sight, now)
        return self.watched.news(sight, self._ask.node, now, self._grace)

    async def _hear_changes(self) -> None:
        """Whatever it is, it is a reason to look. Without the stream the clock is left."""
        backoff = Backoff(self._draw)
        while True:
            began = _now()
            try:
                async with self._node.changes() as changes:
                    async for _ in changes:
                        self._stirred.set()
                because = "LND closed the stream"
            except NodeError as error:
                because = str(error)
            # What came while nobody heard is in the lists.
            self._stirred.set()
            if _now() - began >= _HEALTHY_SECONDS:
                backoff.begin_anew()
            activity.logger.info("not hearing of channels", extra={"because": because})
            await backoff.pause()

    async def _hear_blocks(self) -> None:
        known: Tip | None = None
        backoff = Backoff(self._draw)
        while True:
            until = datetime.now(UTC) + timedelta(hours=1)
            try:
                known = await self._blocks.next(
                    FollowChain(node=self._ask.node, known=known, until=until)
                )
            except NodeError:
                await backoff.pause()
                continue
            backoff.begin_anew()
            self._stirred.set()
            await asyncio.sleep(_AFTER_A_BLOCK_SECONDS)
            self._stirred.set()


def _sight(snapshot: Snapshot) -> Sight:
    return Sight(
        channels=tuple(snapshot.channels.values()),
        opening=snapshot.opening,
        closing=tuple(snapshot.closing),
    )


def _now() -> float:
    return asyncio.get_running_loop().time()
