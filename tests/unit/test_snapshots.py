"""Many look at LND's lists, and they are read once; never older than what woke them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import pytest

from activities.snapshots import Snapshots
from fulgurite.channels.closing import ClosePhase
from fulgurite.errors import NodeUnavailableError
from tests.properties import clock
from tests.unit.channel_node import POINTS, ChannelNode, channel, htlc
from tests.unit.test_chain_workflow import block


def play(story: Callable[[ChannelNode, Snapshots], Coroutine[None, None, None]]) -> ChannelNode:
    node = ChannelNode(*map(channel, POINTS))
    clock.run(story(node, Snapshots(lambda _: node)))
    return node


def test_a_thousand_who_are_woken_by_one_block_read_the_lists_once() -> None:
    async def story(node: ChannelNode, snapshots: Snapshots) -> None:
        node.block = block(101)
        node.begin_closing(POINTS[0])

        async def look(number: int) -> ClosePhase:
            await asyncio.sleep(number / 100)
            snapshot = await snapshots.of("alice", block(101))
            return (await snapshot.look(POINTS[0])).phase

        assert set(await asyncio.gather(*map(look, range(1_000)))) == {ClosePhase.WAITING_CLOSE}

    calls = play(story).calls
    assert (calls["channels"], calls["pending"], calls["closed"]) == (1, 1, 0)
    assert calls["tip"] == 1


def test_what_was_read_before_a_block_is_not_shown_after_it() -> None:
    async def story(node: ChannelNode, snapshots: Snapshots) -> None:
        await snapshots.of("alice")
        reading = asyncio.create_task(snapshots.of("alice", block(101)))
        await asyncio.sleep(0.15)
        node.block = block(101)
        assert (await reading).tip == block(101)

    play(story)


def test_lnd_has_a_moment_to_move_its_channels_after_a_block() -> None:
    async def story(node: ChannelNode, snapshots: Snapshots) -> None:
        await snapshots.of("alice")
        node.block = block(101)
        asyncio.get_running_loop().call_later(0.3, node.begin_closing, POINTS[0])
        assert POINTS[0] in (await snapshots.of("alice", block(101))).closing

    play(story)


def test_at_the_same_tip_it_is_read_anew_after_a_while() -> None:
    async def story(node: ChannelNode, snapshots: Snapshots) -> None:
        await snapshots.of("alice", block(100))
        node.begin_closing(POINTS[0])
        await asyncio.sleep(30)
        snapshot = await snapshots.of("alice", block(100))
        assert POINTS[0] in snapshot.closing

    play(story)


def test_who_names_no_block_gets_the_present_one() -> None:
    async def story(node: ChannelNode, snapshots: Snapshots) -> None:
        await snapshots.of("alice")
        await asyncio.sleep(5)
        await snapshots.of("alice")
        assert node.calls["channels"] == 1
        node.block = block(101)
        await asyncio.sleep(1.5)
        assert (await snapshots.of("alice")).tip == block(101)

    play(story)


def test_a_thousand_who_name_no_block_ask_for_the_tip_once_a_second() -> None:
    async def story(_: ChannelNode, snapshots: Snapshots) -> None:
        async def look(number: int) -> None:
            await asyncio.sleep(number / 100)
            await snapshots.of("alice")

        await asyncio.gather(*map(look, range(1_000)))

    calls = play(story).calls
    assert calls["channels"] == 1
    assert calls["tip"] <= 11


def test_a_block_of_the_same_height_is_another_one() -> None:
    async def story(node: ChannelNode, snapshots: Snapshots) -> None:
        await snapshots.of("alice", block(100))
        node.block = block(100, "b")
        assert (await snapshots.of("alice", block(100, "b"))).tip == block(100, "b")

    play(story)


def test_a_fresh_one_was_begun_after_it_was_asked_for() -> None:
    async def story(node: ChannelNode, snapshots: Snapshots) -> None:
        other = asyncio.create_task(snapshots.of("alice"))
        await asyncio.sleep(0.25)  # the open channels are read
        node.begin_closing(POINTS[0])
        fresh = await asyncio.gather(*(snapshots.fresh("alice") for _ in range(10)))
        assert all(POINTS[0] in each.closing and POINTS[0] not in each.channels for each in fresh)
        assert POINTS[0] in (await other).channels
        assert node.calls["channels"] == 2

    play(story)


@pytest.mark.parametrize("after_seconds", [0.05, 0.15, 0.25, 0.35])
def test_a_channel_that_moves_while_the_lists_are_read_is_in_none_of_them_never(
    after_seconds: float,
) -> None:
    async def story(node: ChannelNode, snapshots: Snapshots) -> None:
        asyncio.get_running_loop().call_later(after_seconds, node.begin_closing, POINTS[0])
        snapshot = await snapshots.fresh("alice")
        assert (await snapshot.look(POINTS[0])).phase is not ClosePhase.UNKNOWN

    play(story)


def test_each_phase_is_told_and_the_closed_ones_are_listed_only_when_asked_for() -> None:
    async def story(node: ChannelNode, snapshots: Snapshots) -> None:
        node.open[POINTS[0]] = channel(POINTS[0], htlc(expiry=210), htlc(expiry=190))
        del node.open[POINTS[1]]
        node.pending_now[POINTS[1]] = ClosePhase.FORCE_CLOSING
        del node.open[POINTS[2]]
        node.ended.add(POINTS[2])
        snapshot = await snapshots.fresh("alice")
        opened = await snapshot.look(POINTS[0])
        assert (opened.phase, opened.htlcs_expire_at) == (ClosePhase.OPEN, 190)
        assert (await snapshot.look(POINTS[1])).phase is ClosePhase.FORCE_CLOSING
        assert node.calls["closed"] == 0
        looks = await asyncio.gather(*(snapshot.look(POINTS[2]) for _ in range(100)))
        assert {each.phase for each in looks} == {ClosePhase.CLOSED}
        del node.open[POINTS[3]]
        nowhere = await (await snapshots.fresh("alice")).look(POINTS[3])
        assert nowhere.phase is ClosePhase.UNKNOWN
        assert node.calls["closed"] == 2

    play(story)


def test_a_node_that_is_away_fails_all_who_look_together_and_none_who_come_later() -> None:
    async def story(node: ChannelNode, snapshots: Snapshots) -> None:
        node.down = True
        looks = await asyncio.gather(
            *(snapshots.of("alice", block(100)) for _ in range(50)), return_exceptions=True
        )
        assert all(isinstance(each, NodeUnavailableError) for each in looks)
        assert node.calls["tip"] == 1
        node.down = False
        assert (await snapshots.of("alice", block(100))).tip == block(100)

    play(story)


def test_one_who_gives_up_takes_nothing_from_the_others() -> None:
    async def story(_: ChannelNode, snapshots: Snapshots) -> None:
        one, other = (asyncio.create_task(snapshots.of("alice")) for _ in range(2))
        await asyncio.sleep(0.05)
        one.cancel()
        assert (await other).tip == block(100)

    play(story)
