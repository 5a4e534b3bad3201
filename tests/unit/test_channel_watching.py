"""A watch looks when LND says that something happened, and when it says nothing; its backups."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities import backup_store, blocks, channel_watch
from activities.backup_store import LATEST, BackupStore
from activities.blocks import Blocks
from activities.channel_watch import ChannelWatching
from activities.snapshots import Snapshots
from fulgurite.channels.watch import BackedUp, BackUp, News, Watch, Watched
from fulgurite.errors import BackupError
from fulgurite.identity import ChannelPoint, Digest
from nodes.config import LndConfig
from tests.properties import clock
from tests.properties.clock import EPOCH, VirtualDatetime
from tests.unit.channel_node import POINTS, ChannelNode, channel

SET = Digest("ab" * 32)


class Post:
    """A watch of one node with four channels."""

    def __init__(self, *, grace_seconds: int = 600, url: str | None = None) -> None:
        self.node = ChannelNode(*map(channel, POINTS))
        config = LndConfig.model_validate(
            {
                "network": "regtest",
                "tls_cert_path": "tls.cert",
                "inactive_after_seconds": grace_seconds,
                "channel_backup_url": url,
            }
        )
        self.activities = ChannelWatching(
            lambda _: self.node,
            lambda _: config,
            Snapshots(lambda _: self.node),
            Blocks(lambda _: self.node, draw=lambda: 0.5),
        )
        self.watched = Watched()
        self.environment = ActivityEnvironment()

    async def next(self) -> News:
        until = VirtualDatetime.now(EPOCH.tzinfo) + timedelta(minutes=10)
        ask = Watch(node="alice", so_far=self.watched, until=until)
        news: News = await self.environment.run(self.activities.watch, ask)
        self.watched = news.watched
        return news

    async def back_up(self) -> BackedUp:
        backed_up: BackedUp = await ActivityEnvironment().run(
            self.activities.back_up, BackUp(node="alice", of=SET)
        )
        return backed_up


def play(story: Callable[[], Coroutine[None, None, None]]) -> None:
    with (
        mock.patch.object(channel_watch, "datetime", VirtualDatetime),
        mock.patch.object(blocks, "datetime", VirtualDatetime),
    ):
        clock.run(story())


def now() -> float:
    return asyncio.get_running_loop().time()


def later(seconds: float, do: Callable[[], Any]) -> None:
    asyncio.get_running_loop().call_later(seconds, do)


def close_one(post: Post, point: ChannelPoint = POINTS[0], *, silently: bool = False) -> None:
    post.node.begin_closing(point)
    if not silently:
        post.node.stir()


def test_the_first_look_is_told_at_once() -> None:
    async def story() -> None:
        post = Post()
        news = await post.next()
        assert news.watched.open == tuple(POINTS)
        assert now() < 1

    play(story)


def test_a_closing_that_lnd_tells_of_is_told_within_a_second() -> None:
    async def story() -> None:
        post = Post()
        await post.next()
        later(100, lambda: close_one(post))
        assert (await post.next()).closing == (POINTS[0],)
        assert now() < 102

    play(story)


def test_a_closing_that_lnd_does_not_tell_of_is_found_all_the_same() -> None:
    async def story() -> None:
        post = Post()
        await post.next()
        later(100, lambda: close_one(post, silently=True))
        assert (await post.next()).closing == (POINTS[0],)
        assert now() < 132

    play(story)


def test_what_closed_while_nobody_watched_is_told_by_the_first_look() -> None:
    async def story() -> None:
        post = Post()
        await post.next()
        close_one(post)
        del post.node.open[POINTS[1]]  # closed, and over
        assert (await post.next()).closing == (POINTS[0], POINTS[1])

    play(story)


def test_without_a_stream_the_clock_is_enough() -> None:
    async def story() -> None:
        post = Post()
        await post.next()
        later(10, lambda: post.node.stir(None))
        later(100, lambda: close_one(post, silently=True))
        assert (await post.next()).closing == (POINTS[0],)
        assert now() < 132

    play(story)


def test_a_quiet_time_ends_without_news_and_costs_a_look_every_half_minute() -> None:
    async def story() -> None:
        post = Post()
        await post.next()
        news = await post.next()
        assert not news.is_worth_telling(news.watched)
        assert now() == pytest.approx(600, abs=35)
        assert post.node.calls["channels"] <= 25

    play(story)


def test_a_swarm_of_events_is_one_look() -> None:
    async def story() -> None:
        post = Post()
        await post.next()
        before = post.node.calls["channels"]
        for number in range(500):
            later(5 + number / 5_000, post.node.stir)
        later(20, lambda: close_one(post))
        await post.next()
        assert post.node.calls["channels"] - before <= 6

    play(story)


def test_a_peer_that_comes_and_goes_wakes_nobody() -> None:
    async def story() -> None:
        post = Post(grace_seconds=300)
        await post.next()

        def flap(*, active: bool) -> None:
            post.node.open[POINTS[0]] = channel(POINTS[0], active=active)
            post.node.stir()

        for number in range(4):
            later(10 + number * 20, lambda: flap(active=False))
            later(20 + number * 20, lambda: flap(active=True))
        later(150, lambda: flap(active=False))
        [away] = (await post.next()).inactive
        assert now() == pytest.approx(450, abs=31)
        assert away.since == pytest.approx(EPOCH + timedelta(seconds=150), abs=timedelta(seconds=2))

    play(story)


def test_who_is_away_since_when_survives_a_worker() -> None:
    async def story() -> None:
        post = Post()
        await post.next()
        post.node.open[POINTS[0]] = channel(POINTS[0], active=False)
        beats: list[Any] = []
        post.environment.on_heartbeat = beats.append
        dying = asyncio.create_task(post.next())
        await asyncio.sleep(300)
        dying.cancel()
        await asyncio.gather(dying, return_exceptions=True)
        # Another worker goes on with the last heartbeat.
        here = post.environment
        here.info = dataclasses.replace(here.info, heartbeat_details=[beats[-1]])
        [away] = (await post.next()).inactive
        assert now() == pytest.approx(630, abs=35)
        assert away.since < EPOCH + timedelta(seconds=60)

    play(story)


def test_a_node_that_is_away_is_an_error_that_operators_see() -> None:
    async def story() -> None:
        post = Post()
        post.node.down = True
        with pytest.raises(ApplicationError, match="alice is down") as raised:
            await post.next()
        assert not raised.value.non_retryable

    play(story)


# Backups.


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "kept"


async def test_a_backup_is_verified_before_and_after_it_is_kept(folder: Path) -> None:
    post = Post(url=folder.as_uri())
    kept = await post.back_up()

    assert (kept.kept, kept.channels, kept.of) == (True, 4, SET)
    assert (folder / kept.place).read_bytes() == b"a backup"
    assert post.node.calls["verify_backup"] == 2


async def test_the_backups_before_stay_and_the_newest_has_lnds_own_name(folder: Path) -> None:
    post = Post(url=folder.as_uri())
    for backup in (b"first", b"second", b"third"):
        post.node.backup = backup
        await post.back_up()

    names = sorted(path.name for path in (folder / "alice").iterdir())
    assert len(names) == 4
    assert (folder / "alice" / LATEST).read_bytes() == b"third"
    dated = [name for name in names if name != LATEST]
    assert [(folder / "alice" / name).read_bytes() for name in dated] == [
        b"first",
        b"second",
        b"third",
    ]


async def test_only_the_oldest_of_very_many_go(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_store, "KEPT", 3)
    store = BackupStore(folder.as_uri(), "alice")
    for number in range(6):
        await store.keep(f"{number}".encode(), EPOCH + timedelta(seconds=number))

    kept = {path.read_bytes() for path in (folder / "alice").iterdir()}
    assert kept == {b"3", b"4", b"5"}


async def test_a_backup_that_lnd_does_not_know_replaces_none(folder: Path) -> None:
    post = Post(url=folder.as_uri())
    await post.back_up()
    post.node.backup, post.node.bad_backups = b"nonsense", {b"nonsense"}
    failure = await post.back_up()

    assert (failure.kept, failure.because) == (False, "LND does not know this backup")
    assert (folder / "alice" / LATEST).read_bytes() == b"a backup"


async def test_a_store_that_cannot_be_used_is_an_answer(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("in the way")
    failure = await Post(url=(tmp_path / "a file").as_uri()).back_up()

    assert not failure.kept
    assert "\n" not in failure.because
    assert failure.because


async def test_a_store_that_gives_back_something_else_is_found_out(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = BackupStore(folder.as_uri(), "alice")
    await store.keep(b"good", EPOCH)

    async def other(self: BackupStore, name: str) -> bytes:  # noqa: ARG001
        return b"something else"

    monkeypatch.setattr(BackupStore, "_read", other)
    with pytest.raises(BackupError, match="something else"):
        await store.keep(b"new", EPOCH + timedelta(seconds=1))
    assert (folder / "alice" / LATEST).read_bytes() == b"good"


async def test_a_node_that_is_away_has_no_backup_to_fail(folder: Path) -> None:
    post = Post(url=folder.as_uri())
    post.node.down = True
    with pytest.raises(ApplicationError) as raised:
        await post.back_up()
    assert not raised.value.non_retryable


async def test_without_a_store_none_is_kept() -> None:
    post = Post()
    assert await post.back_up() == BackedUp(wanted=False, of=SET)
    assert post.node.calls["export_backup"] == 0
