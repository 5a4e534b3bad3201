"""One subscription a node, whatever happens to it: no block is slept through."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from functools import partial
from typing import Any, TypeVar
from unittest import mock

import pytest
from temporalio.testing import ActivityEnvironment

from activities import blocks
from activities.blocks import Blocks
from fulgurite.chain.tip import FollowChain, Tip
from fulgurite.errors import CredentialError, NodeUnavailableError
from tests.properties import clock
from tests.properties.clock import EPOCH, VirtualDatetime
from tests.unit.test_chain_workflow import block

Result = TypeVar("Result")


class Node:
    """A chain of blocks, and a stream of them that can be silent, dead or refused."""

    def __init__(self) -> None:
        self.chain = [block(100)]
        self.synced = True
        self.silent = False
        self.down = False
        self.no_stream = False
        self.calls: Counter[str] = Counter()
        self.began_after: list[Tip | None] = []
        self.streams: list[asyncio.Queue[Tip | None]] = []

    async def tip(self) -> Tip:
        self.calls["tip"] += 1
        if self.down:
            raise NodeUnavailableError("alice is down")
        return self.chain[-1].model_copy(update={"synced": self.synced})

    @asynccontextmanager
    async def blocks(self, after: Tip | None) -> AsyncIterator[AsyncIterator[Tip]]:
        self.calls["blocks"] += 1
        self.began_after.append(after)
        queue: asyncio.Queue[Tip | None] = asyncio.Queue()
        self.streams.append(queue)
        for each in self._since(after):
            queue.put_nowait(each)
        try:
            yield self._read(queue)
        finally:
            self.streams.remove(queue)

    def _since(self, after: Tip | None) -> list[Tip]:
        """As LND does it: the present block, or what came after the last common one."""
        if after is None:
            return self.chain[-1:]
        common = [at for at, each in enumerate(self.chain) if each == after]
        if common:
            return self.chain[common[0] + 1 :]
        return [each for each in self.chain if each.height >= after.height]

    async def _read(self, queue: asyncio.Queue[Tip | None]) -> AsyncIterator[Tip]:
        if self.no_stream:
            raise CredentialError("permission denied")
        if self.down:
            raise NodeUnavailableError("alice is down")
        while (told := await queue.get()) is not None:
            yield told

    def mine(self, *new: Tip) -> None:
        """Blocks; those that take another's place come from its height on."""
        for each in new:
            self.chain = [known for known in self.chain if known.height < each.height] + [each]
            for stream in self.streams if not self.silent else ():
                stream.put_nowait(each)

    def stop(self) -> None:
        self.down = True
        for stream in self.streams:
            stream.put_nowait(None)


class Follower:
    """Who asks, as the activity does."""

    def __init__(self, node: Node) -> None:
        self.blocks = Blocks(lambda _: node, draw=lambda: 0.5)
        self.known: Tip | None = None
        self.trusted: Tip | None = None
        self.environment = ActivityEnvironment()

    async def next(self, *, within: timedelta = timedelta(hours=1)) -> Tip:
        until = VirtualDatetime.now(EPOCH.tzinfo) + within
        ask = FollowChain(node="alice", known=self.known, trusted=self.trusted, until=until)
        tip = await self.environment.run(self.blocks.next, ask)
        self.known = tip
        self.trusted = tip if tip.synced else self.trusted
        return tip


def in_virtual_time(story: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
    with mock.patch.object(blocks, "datetime", VirtualDatetime):
        return clock.run(story())


def now() -> float:
    return asyncio.get_running_loop().time()


def later(seconds: float, do: Callable[[], Any]) -> None:
    asyncio.get_running_loop().call_later(seconds, do)


def test_a_block_is_told_when_it_comes_and_the_present_one_at_first() -> None:
    async def story() -> None:
        node = Node()
        follower = Follower(node)
        assert await follower.next() == block(100)
        later(400, lambda: node.mine(block(101)))
        assert await follower.next() == block(101)
        assert now() == pytest.approx(400, abs=2)
        assert node.calls["blocks"] == 1

    in_virtual_time(story)


def test_a_stream_that_died_silently_costs_half_a_minute_and_is_replaced() -> None:
    async def story() -> None:
        node = Node()
        follower = Follower(node)
        await follower.next()
        node.silent = True
        later(100, lambda: node.mine(block(101)))
        assert await follower.next() == block(101)
        assert now() < 100 + 35
        later(60, lambda: setattr(node, "silent", False))
        later(100, lambda: node.mine(block(102)))
        assert await follower.next() == block(102)
        assert node.calls["blocks"] >= 2

    in_virtual_time(story)


def test_a_node_that_restarts_is_followed_on_and_what_came_meanwhile_is_told() -> None:
    async def story() -> None:
        node = Node()
        follower = Follower(node)
        await follower.next()
        later(10, node.stop)
        later(30, lambda: node.mine(block(101), block(102)))
        later(35, lambda: setattr(node, "down", False))
        assert await follower.next() == block(102)
        assert now() < 70

    in_virtual_time(story)


def test_without_the_permission_to_subscribe_it_is_polled() -> None:
    async def story() -> None:
        node = Node()
        node.no_stream = True
        follower = Follower(node)
        assert await follower.next() == block(100)
        later(600, lambda: node.mine(block(101)))
        assert await follower.next() == block(101)
        assert now() < 632
        assert node.calls["tip"] < 100

    in_virtual_time(story)


def test_a_block_that_took_the_place_of_another_is_told_before_those_on_top_of_it() -> None:
    async def story() -> None:
        node = Node()
        follower = Follower(node)
        await follower.next()
        node.mine(block(101))
        await follower.next()
        later(60, lambda: node.mine(block(101, "b"), block(102, "b")))
        assert await follower.next() == block(101, "b")
        assert await follower.next() == block(102, "b")

    in_virtual_time(story)


def test_a_block_that_was_taken_back_while_the_node_was_away_is_told_too() -> None:
    async def story() -> None:
        node = Node()
        follower = Follower(node)
        await follower.next()
        node.mine(block(101))
        await follower.next()
        node.stop()
        node.mine(block(101, "b"), block(102, "b"))
        later(20, lambda: setattr(node, "down", False))
        assert await follower.next() == block(101, "b")
        assert await follower.next() == block(102, "b")

    in_virtual_time(story)


def test_a_block_that_was_taken_back_while_no_worker_ran_is_told_too() -> None:
    async def story() -> None:
        node = Node()
        before = Follower(node)
        await before.next()
        node.mine(block(100, "b"), block(101, "b"))
        after = Follower(node)
        after.known, after.trusted = before.known, before.trusted
        assert await after.next() == block(100, "b")
        assert await after.next() == block(101, "b")

    in_virtual_time(story)


def test_a_block_taken_back_while_the_node_is_not_synced_is_told_once_it_is() -> None:
    """What lnd does in a reorg: a lower tip, not synced, and then the longer chain."""

    async def story() -> None:
        node = Node()
        node.mine(block(101))
        follower = Follower(node)
        await follower.next()

        def reorganize() -> None:
            node.synced, node.chain = False, [block(100)]

        later(10, reorganize)
        assert not (await follower.next()).synced
        later(60, lambda: node.mine(block(101, "b"), block(102, "b")))
        later(62, lambda: setattr(node, "synced", True))
        assert await follower.next() == block(101, "b")
        assert await follower.next() == block(102, "b")

    in_virtual_time(story)


def test_a_wallet_that_is_a_block_behind_for_a_moment_is_no_news() -> None:
    async def story() -> None:
        node = Node()
        follower = Follower(node)
        await follower.next()

        def mine() -> None:
            node.synced = False
            node.mine(block(101))

        later(100, mine)
        later(101, lambda: setattr(node, "synced", True))
        assert await follower.next() == block(101)

    in_virtual_time(story)


def test_heights_of_a_node_that_catches_up_are_no_news() -> None:
    async def story() -> None:
        node = Node()
        node.synced = False
        follower = Follower(node)
        assert not (await follower.next()).synced
        for number in range(50):
            later(number * 10, partial(node.mine, block(101 + number)))
        later(600, lambda: setattr(node, "synced", True))
        assert await follower.next() == block(150)
        assert now() >= 600

    in_virtual_time(story)


def test_a_node_that_gives_no_answer_is_an_error_that_operators_see() -> None:
    async def story() -> None:
        node = Node()
        node.stop()
        with pytest.raises(NodeUnavailableError, match="alice is down"):
            await Follower(node).next()
        assert now() == pytest.approx(60, abs=1)

    in_virtual_time(story)


def test_at_the_end_of_its_time_the_present_tip_is_told() -> None:
    async def story() -> None:
        follower = Follower(Node())
        await follower.next()
        assert await follower.next(within=timedelta(minutes=10)) == block(100)
        assert now() == pytest.approx(600, abs=1)

    in_virtual_time(story)


def test_an_hour_without_a_block_costs_two_questions_a_minute_and_one_subscription() -> None:
    async def story() -> None:
        node = Node()
        follower = Follower(node)
        await follower.next()
        await asyncio.gather(*(follower.next() for _ in range(50)))
        assert node.calls["tip"] <= 125
        assert node.calls["blocks"] == 1

    in_virtual_time(story)


def test_the_subscription_ends_when_nobody_waits_any_more_and_when_the_worker_leaves() -> None:
    async def story() -> None:
        node = Node()
        follower = Follower(node)
        await follower.next()
        assert node.streams
        await asyncio.sleep(61)
        assert not node.streams
        waiting = asyncio.create_task(follower.next())
        await asyncio.sleep(1)
        assert node.streams
        waiting.cancel()
        with suppress(asyncio.CancelledError):
            await waiting
        await asyncio.sleep(1)
        assert not node.streams

    in_virtual_time(story)


def test_a_block_that_lnd_cannot_go_on_from_stops_nothing() -> None:
    class Strict(Node):
        async def _read(self, queue: asyncio.Queue[Tip | None]) -> AsyncIterator[Tip]:
            if self.began_after[-1] not in {None, *self.chain}:
                raise NodeUnavailableError("unable to find the block")
            async for each in super()._read(queue):
                yield each

    async def story() -> None:
        node = Strict()
        follower = Follower(node)
        follower.known = follower.trusted = block(77, "c")
        assert await follower.next() == block(100)
        later(60, lambda: node.mine(block(101)))
        assert await follower.next() == block(101)
        assert now() < 62

    in_virtual_time(story)
