"""What a channel watch tells, once each, and the backup that it keeps."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel

from fulgurite.channels.calls import BEGIN_CLOSE, BeginClose, Begun
from fulgurite.channels.channel import Channel
from fulgurite.channels.requests import CloseKind
from fulgurite.channels.watch import (
    BACK_UP_CHANNELS,
    WATCH_CHANNELS,
    BackedUp,
    BackUp,
    News,
    Sight,
    Watch,
    Watched,
    WatchState,
    WatchView,
)
from fulgurite.events.calls import EMIT_EVENT, Emitted
from fulgurite.events.catalogue import Event, EventType
from fulgurite.identity import ChannelId, ChannelPoint, NodePubkey
from tests.properties.clock import EPOCH
from tests.relays.model_temporal import NewRun
from tests.unit.stage import World, failed, play
from workflows import calling, channel_watch, metrics
from workflows.channel_watch import ChannelWatchWorkflow

GRACE = timedelta(minutes=10)
POINTS = [ChannelPoint(f"{number:064x}:0") for number in range(1, 5)]


def channel(point: ChannelPoint, *, active: bool = True) -> Channel:
    return Channel(
        channel_point=point,
        channel_id=ChannelId("100x1x0"),
        peer=NodePubkey("02" + "11" * 32),
        active=active,
        initiator=True,
        capacity_sat=100_000,
        local_sat=60_000,
        remote_sat=39_000,
        commit_fee_sat=1_000,
        csv_blocks=144,
    )


def sight(
    *open_: ChannelPoint,
    away: tuple[ChannelPoint, ...] = (),
    closing: tuple[ChannelPoint, ...] = (),
) -> Sight:
    return Sight(
        channels=tuple(channel(point, active=point not in away) for point in open_),
        closing=closing,
    )


class Telling:
    """Looks at these sights, one a minute, and tells what an activity would."""

    def __init__(self) -> None:
        self.watched = Watched()
        self.minute = 0

    def look(self, seen: Sight, *, after_minutes: int = 1) -> News:
        self.minute += after_minutes
        at = EPOCH + timedelta(minutes=self.minute)
        news = self.watched.saw(seen, at).news(seen, "alice", at, GRACE)
        self.watched = news.watched
        return news


def test_what_closes_is_told_once_and_what_was_open_before_and_is_gone_is_told_too() -> None:
    telling = Telling()
    telling.look(sight(*POINTS))
    assert telling.look(sight(*POINTS[1:], closing=(POINTS[0],))).closing == (POINTS[0],)
    assert telling.look(sight(*POINTS[1:], closing=(POINTS[0],))).closing == ()
    # Closed, confirmed and resolved between two looks: in no list of those that are closing.
    assert telling.look(sight(*POINTS[2:], closing=(POINTS[0],))).closing == (POINTS[1],)
    assert telling.look(sight(*POINTS[2:])).closing == ()


def test_at_first_what_closes_already_is_told_and_what_is_over_is_not() -> None:
    assert Telling().look(sight(*POINTS[1:], closing=(POINTS[0],))).closing == (POINTS[0],)


def test_a_peer_is_told_to_be_away_only_after_a_while_and_to_be_back_only_then() -> None:
    telling = Telling()
    telling.look(sight(*POINTS))
    for _ in range(5):
        assert telling.look(sight(*POINTS, away=(POINTS[0],))).inactive == ()
        assert telling.look(sight(*POINTS)).active == ()
    assert telling.look(sight(*POINTS, away=(POINTS[0],))).inactive == ()
    [away] = telling.look(sight(*POINTS, away=(POINTS[0],)), after_minutes=10).inactive
    assert away.since == EPOCH + timedelta(minutes=12)
    assert telling.look(sight(*POINTS, away=(POINTS[0],)), after_minutes=60).inactive == ()
    [back] = telling.look(sight(*POINTS)).active
    assert back.since == away.since
    assert telling.look(sight(*POINTS)).active == ()


def test_a_channel_that_closes_while_its_peer_is_away_does_not_come_back() -> None:
    telling = Telling()
    telling.look(sight(*POINTS, away=(POINTS[0],)))
    telling.look(sight(*POINTS, away=(POINTS[0],)), after_minutes=10)
    assert telling.look(sight(*POINTS[1:], closing=(POINTS[0],))).active == ()
    assert POINTS[0] not in telling.watched.away_since


sights = st.lists(
    st.builds(
        lambda states: Sight(
            channels=tuple(
                channel(point, active=state == "up")
                for point, state in zip(POINTS, states, strict=True)
                if state in {"up", "away"}
            ),
            opening=tuple(
                point for point, state in zip(POINTS, states, strict=True) if state == "opening"
            ),
            closing=tuple(
                point for point, state in zip(POINTS, states, strict=True) if state == "closing"
            ),
        ),
        st.lists(
            st.sampled_from(["up", "away", "opening", "closing", "gone"]),
            min_size=len(POINTS),
            max_size=len(POINTS),
        ),
    ),
    max_size=20,
)


# A machine that does much else is no reason to fail.


@given(sights, st.integers(1, 11))
def test_every_closing_is_told_and_none_that_is_known(seen: list[Sight], minutes: int) -> None:
    telling = Telling()
    open_, known, told_away = set[ChannelPoint](), set[ChannelPoint](), set[ChannelPoint]()
    for each in seen:
        before = telling.watched
        news = telling.look(each, after_minutes=minutes)
        now_open = {channel.channel_point for channel in each.channels}
        vanished = open_ - now_open - set(each.opening)
        assert set(news.closing) == (set(each.closing) | vanished) - known
        known, open_ = set(each.closing), now_open
        # Each is told to be away and to be back in turn.
        away = {notice.channel_point for notice in news.inactive}
        back = {notice.channel_point for notice in news.active}
        assert not away & told_away
        assert back <= told_away
        told_away = ((told_away | away) - back) & now_open
        changed = telling.watched.backup_set != before.backup_set
        changed |= telling.watched.closing != before.closing
        quiet = before.began and not (news.closing or away or back or changed)
        assert news.is_worth_telling(before) is not quiet


class Node(World):
    """Its channels, as they are at each minute."""

    def __init__(self, *sights: Sight, runs_after: int = 1_000_000) -> None:
        super().__init__(self._answer, runs_after=runs_after)
        self.sights = sights
        self.begun: list[BeginClose] = []
        self.events: list[Event] = []
        self.backups: list[float] = []
        self.backup = BackedUp(kept=True, channels=4, place="alice/channel.backup")
        self.backup_takes_seconds = 0.0
        self.store_broken = False
        self.breaks = 0
        self.workflow: ChannelWatchWorkflow

    async def _answer(self, name: str, ask: Any) -> BaseModel:
        if name == EMIT_EVENT.name:
            self.events.append(ask)
            return Emitted(endpoints=())
        if name == BEGIN_CLOSE.name:
            self.begun.append(ask)
            return Begun(workflow_id=f"close/{ask.request.channel_point}")
        if name == BACK_UP_CHANNELS.name:
            return await self._back_up(ask)
        assert name == WATCH_CHANNELS.name
        return await self._watch(ask)

    async def _back_up(self, ask: BackUp) -> BackedUp:
        self.backups.append(now())
        await asyncio.sleep(self.backup_takes_seconds)
        if self.store_broken:
            return BackedUp(because="the disk is full")
        return self.backup.model_copy(update={"of": ask.of})

    async def _watch(self, ask: Watch) -> News:
        if self.breaks:
            self.breaks -= 1
            raise failed("ValueError", "a defect of ours")
        watched = ask.so_far
        while True:
            at = EPOCH + timedelta(seconds=now())
            seen = self.sights[min(int(now() / 60), len(self.sights) - 1)]
            watched = watched.saw(seen, at)
            news = watched.news(seen, ask.node, at, GRACE)
            if news.is_worth_telling(ask.so_far) or at >= ask.until:
                return news
            await asyncio.sleep(60 - now() % 60)

    def run(self, minutes: int) -> WatchView:
        async def both() -> WatchView:
            self.workflow = ChannelWatchWorkflow("alice")
            watching = asyncio.create_task(self.workflow.run("alice"))
            await asyncio.sleep(minutes * 60)
            watching.cancel()
            # By its class: the SDK's type of a bound query wants the workflow again.
            return ChannelWatchWorkflow.view(self.workflow)

        return self.play(both)

    def play(self, story: Callable[[], Coroutine[Any, Any, WatchView]]) -> WatchView:
        view = play(self, "channel-watch/alice", (calling, channel_watch, metrics), story)
        assert isinstance(view, WatchView)
        return view

    def told(self) -> list[EventType]:
        return [event.type for event in self.events]


def now() -> float:
    return asyncio.get_running_loop().time()


def test_whatever_closes_is_followed_and_asked_for_nothing() -> None:
    node = Node(sight(*POINTS), sight(*POINTS[1:], closing=(POINTS[0],)))
    view = node.run(50)

    [begun] = node.begun
    assert begun.request.kind is CloseKind.FOLLOW
    assert begun.request.channel_point == POINTS[0]
    assert view.closings == 1


def test_what_vanishes_without_a_word_is_told_of_at_once() -> None:
    """A breach: LND lists it nowhere until it has taken everything."""
    node = Node(sight(*POINTS), sight(*POINTS[1:]))
    node.run(10)

    assert len(node.begun) == 1
    [event] = node.events
    assert event.type == EventType.CHANNEL_CLOSING
    assert event.id == f"channel-closing-alice-{POINTS[0].txid}-0"


def test_what_is_still_closing_is_seen_to_again_in_case_nobody_follows_it_any_more() -> None:
    node = Node(sight(*POINTS[1:], closing=(POINTS[0],)))
    node.run(150)

    assert [each.request.channel_point for each in node.begun] == [POINTS[0]] * 3


def test_peers_that_are_away_and_back_are_told_of() -> None:
    down = sight(*POINTS, away=(POINTS[0],))
    node = Node(*[sight(*POINTS)] * 5, *[down] * 30, sight(*POINTS))
    node.run(60)

    assert node.told() == [EventType.CHANNEL_INACTIVE, EventType.CHANNEL_ACTIVE]
    assert node.events[0].timestamp == EPOCH + timedelta(minutes=15)


def test_a_backup_is_kept_after_every_change_and_once_a_day() -> None:
    node = Node(*[sight(*POINTS[:2])] * 5, sight(*POINTS))
    view = node.run(60 * 24 + 30)

    first, second, third = node.backups
    assert (first, second) == (0, 300)
    assert third == pytest.approx(300 + 86_400, abs=601)
    assert view.backed_up == view.watched.backup_set
    assert view.state is WatchState.WATCHING
    assert "4 channels" in view.details()


def test_a_backup_that_fails_is_told_of_once_and_tried_again() -> None:
    node = Node(sight(*POINTS))
    node.store_broken = True
    view = node.run(45)

    assert len(node.backups) == 5
    assert node.told() == [EventType.CHANNEL_BACKUP_FAILED]
    assert node.events[0].data["because"] == "the disk is full"
    assert view.state is WatchState.BACKUP_FAILING
    assert "the disk is full" in view.details()


def test_a_store_that_hangs_holds_up_no_closing() -> None:
    node = Node(*[sight(*POINTS)] * 2, sight(*POINTS[1:], closing=(POINTS[0],)))
    node.backup_takes_seconds = 240
    node.run(3)

    assert len(node.begun) == 1


def test_a_node_without_a_store_is_watched_all_the_same() -> None:
    node = Node(sight(*POINTS))
    node.backup = BackedUp(wanted=False)
    view = node.run(60)

    assert len(node.backups) == 1
    assert view.state is WatchState.WATCHING
    assert "not wanted" in view.details()


def test_a_defect_ends_no_watching() -> None:
    node = Node(sight(*POINTS), sight(*POINTS[1:], closing=(POINTS[0],)))
    node.breaks = 3
    node.run(10)

    assert len(node.begun) == 1


def test_a_new_run_knows_what_was_told() -> None:
    node = Node(sight(*POINTS[1:], closing=(POINTS[0],)), runs_after=6)

    async def story() -> WatchView:
        await ChannelWatchWorkflow("alice").run("alice")
        raise AssertionError("it has ended")

    with pytest.raises(NewRun) as ended:
        node.play(story)
    carried = ended.value.carried
    assert isinstance(carried, WatchView)
    assert carried.watched.closing == (POINTS[0],)
    assert carried.backed_up == carried.watched.backup_set
