"""Many wait for blocks, and one follows: nobody is woken too early, too late or for ever."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from fulgurite.chain.tip import FOLLOW_CHAIN, Alarm, ChainState, ChainView, FollowChain, Tip
from fulgurite.identity import Txid
from tests.properties.clock import EPOCH
from tests.relays.model_temporal import NewRun
from tests.unit.stage import World, failed, play
from workflows import awaiting, calling, chain
from workflows.awaiting import ChainTime
from workflows.chain import ChainWorkflow

BLOCK_SECONDS = 600.0
MODULES = (calling, chain, awaiting)


def block(height: int, branch: str = "a", *, synced: bool = True) -> Tip:
    return Tip(height=height, block_hash=Txid((branch * 56) + f"{height:08x}"), synced=synced)


class Chain(World):
    """A node that tells these tips, one after another; and who is woken, when and by which."""

    def __init__(self, *tips: Tip, runs_after: int = 1_000_000) -> None:
        super().__init__(self._follow, runs_after=runs_after)
        self.tips = list(tips)
        self.told = 0
        self.asked: list[FollowChain] = []
        self.woken: list[tuple[str, int]] = []
        self.gone: set[str] = set()
        self.breaks = 0
        self.workflow: ChainWorkflow

    async def _follow(self, name: str, ask: Any) -> Tip:
        assert name == FOLLOW_CHAIN.name
        assert isinstance(ask, FollowChain)
        self.asked.append(ask)
        if self.breaks:
            self.breaks -= 1
            raise failed("ValueError", "a defect of ours")
        if ask.known is None:
            return self.tips[0]
        assert ask.known == self.tips[self.told]
        # Without it a taken back block would be hidden by a higher one.
        assert ask.trusted == next(
            (tip for tip in reversed(self.tips[: self.told + 1]) if tip.synced), None
        )
        if self.told + 1 == len(self.tips):
            await asyncio.sleep((ask.until - EPOCH).total_seconds() - now())
            return ask.known
        await asyncio.sleep(BLOCK_SECONDS)
        self.told += 1
        return self.tips[self.told]

    async def signal(self, workflow_id: str, name: str, data: Any) -> None:
        assert name == "block"
        if workflow_id in self.gone:
            raise ApplicationError("external workflow not found")
        self.woken.append((workflow_id, data.height))

    def wake(self, workflow_id: str, height: int) -> None:
        self.workflow.wake({"workflow_id": workflow_id, "height": height})

    def run(self, story: Callable[[], Coroutine[Any, Any, None]]) -> ChainView:
        async def both() -> ChainView:
            self.workflow = ChainWorkflow("alice")
            following = asyncio.create_task(self.workflow.run("alice"))
            await asyncio.sleep(1)
            await story()
            following.cancel()
            # By its class: the SDK's type of a bound query wants the workflow again.
            return ChainWorkflow.view(self.workflow)

        view = play(self, "chain/alice", MODULES, both)
        assert isinstance(view, ChainView)
        return view


def now() -> float:
    return asyncio.get_running_loop().time()


def test_whoever_waits_is_woken_once_at_its_height() -> None:
    world = Chain(*map(block, range(100, 106)))

    async def story() -> None:
        world.wake("close/a", 102)
        world.wake("close/b", 104)
        await asyncio.sleep(10 * BLOCK_SECONDS)

    view = world.run(story)
    assert world.woken == [("close/a", 102), ("close/b", 104)]
    assert view.alarms == ()
    assert view.tip == block(105)


def test_whoever_waits_again_and_again_asks_once() -> None:
    world = Chain(*map(block, range(100, 111)))
    world.gone = {"stuck/gone"}

    async def story() -> None:
        for each in ("stuck/a", "stuck/gone"):
            world.workflow.wake({"workflow_id": each, "height": 102, "every_blocks": 3})
        await asyncio.sleep(20 * BLOCK_SECONDS)

    view = world.run(story)
    assert world.woken == [("stuck/a", height) for height in (102, 105, 108)]
    assert view.alarms == (Alarm(workflow_id="stuck/a", height=111, every_blocks=3),)


def test_a_block_that_is_taken_back_wakes_those_that_are_woken_again_and_again() -> None:
    world = Chain(*map(block, range(100, 104)), block(102, "b"))

    async def story() -> None:
        world.workflow.wake({"workflow_id": "stuck/a", "height": 103, "every_blocks": 6})
        await asyncio.sleep(20 * BLOCK_SECONDS)

    view = world.run(story)
    assert world.woken == [("stuck/a", 103), ("stuck/a", 102)]
    assert [alarm.height for alarm in view.alarms] == [108]


def test_who_comes_late_is_answered_at_once() -> None:
    world = Chain(block(100))

    async def story() -> None:
        world.wake("close/a", 90)
        await asyncio.sleep(1)
        assert world.woken == [("close/a", 100)]

    world.run(story)
    assert len(world.asked) == 2, "nobody asks the node again for that"


def test_the_newest_alarm_of_a_workflow_replaces_the_one_before() -> None:
    world = Chain(*map(block, range(100, 106)))

    async def story() -> None:
        world.wake("close/a", 101)
        world.wake("close/a", 104)
        world.wake("close/b", 102)
        world.workflow.forget("close/b")
        await asyncio.sleep(10 * BLOCK_SECONDS)

    world.run(story)
    assert world.woken == [("close/a", 104)]


def test_a_node_that_is_not_synced_wakes_nobody_until_it_is() -> None:
    world = Chain(block(100), block(105, synced=False), block(103))

    async def story() -> None:
        world.wake("close/a", 102)
        await asyncio.sleep(1.5 * BLOCK_SECONDS)
        assert world.woken == []
        view = ChainWorkflow.view(world.workflow)
        assert view.state is ChainState.NOT_SYNCED
        assert "nobody is woken" in view.details()
        await asyncio.sleep(BLOCK_SECONDS)

    view = world.run(story)
    assert world.woken == [("close/a", 103)]
    assert view.reorgs == 0, "what an unsynced node told is no reason for anything"


@pytest.mark.parametrize(
    "instead", [block(102, "b"), block(101), block(99, "b")], ids=["other hash", "lower", "deep"]
)
def test_a_block_that_is_taken_back_wakes_all(instead: Tip) -> None:
    world = Chain(*map(block, range(100, 103)), instead)

    async def story() -> None:
        world.wake("close/a", 150)
        world.wake("close/b", 5_000)
        await asyncio.sleep(10 * BLOCK_SECONDS)

    view = world.run(story)
    assert world.woken == [("close/a", instead.height), ("close/b", instead.height)]
    assert view.reorgs == 1


def test_a_reorg_that_is_seen_while_the_node_catches_up_counts_once_it_has() -> None:
    world = Chain(block(100), block(102), block(60, "b", synced=False), block(102, "b"))

    async def story() -> None:
        world.wake("close/a", 150)
        await asyncio.sleep(2.5 * BLOCK_SECONDS)
        assert world.woken == []
        await asyncio.sleep(BLOCK_SECONDS)

    assert world.run(story).reorgs == 1
    assert world.woken == [("close/a", 102)]


def test_who_has_ended_is_dropped_and_holds_up_nobody() -> None:
    world = Chain(*map(block, range(100, 106)))
    world.gone = {"close/gone"}

    async def story() -> None:
        world.wake("close/gone", 102)
        world.wake("close/here", 102)
        await asyncio.sleep(10 * BLOCK_SECONDS)

    assert world.run(story).alarms == ()
    assert world.woken == [("close/here", 102)]


def test_what_is_no_alarm_is_dropped() -> None:
    world = Chain(block(100))

    async def story() -> None:
        for nonsense in ((), ("close/a",), ({"height": 1},), (None, None)):
            world.workflow.wake(*nonsense)
        world.workflow.forget(7)
        await asyncio.sleep(1)

    assert world.run(story).alarms == ()
    assert world.woken == []


def test_waiting_costs_the_node_nothing_more_however_many_wait() -> None:
    world = Chain(*map(block, range(100, 103)))

    async def story() -> None:
        for number in range(1_000):
            world.wake(f"stuck/{number}", 101)
        await asyncio.sleep(5 * BLOCK_SECONDS)

    world.run(story)
    assert len(world.woken) == 1_000
    assert len(world.asked) == 4


def test_a_defect_ends_no_following_and_makes_no_busy_loop() -> None:
    world = Chain(*map(block, range(100, 104)))
    world.breaks = 3

    async def story() -> None:
        world.wake("close/a", 102)
        await asyncio.sleep(4 * BLOCK_SECONDS)

    world.run(story)
    assert world.woken == [("close/a", 102)]


def test_a_new_run_knows_who_waits_and_what_was_trusted() -> None:
    world = Chain(*map(block, range(100, 110)), runs_after=4)

    async def story() -> None:
        world.workflow = ChainWorkflow("alice")
        following = asyncio.create_task(world.workflow.run("alice"))
        await asyncio.sleep(0)
        world.wake("close/a", 500)
        await following

    with pytest.raises(NewRun) as ended:
        play(world, "chain/alice", MODULES, story)
    carried = ended.value.carried
    assert isinstance(carried, ChainView)
    assert carried.alarms == (Alarm(workflow_id="close/a", height=500),)
    assert carried.trusted == carried.tip == block(102)


class Waiter(World):
    """Somebody who waits, and a chain workflow that does as it is told."""

    def __init__(self, *, tells: bool = True) -> None:
        super().__init__(self._nothing)
        self.tells = tells
        self.said: list[tuple[str, Any]] = []
        self.chain = ChainTime("alice")

    async def _nothing(self, name: str, ask: Any) -> Any:
        raise NotImplementedError(name, ask)

    async def signal(self, workflow_id: str, name: str, data: Any) -> None:
        assert workflow_id == "chain/alice"
        if not self.tells:
            raise ApplicationError("external workflow not found")
        self.said.append((name, data.height if isinstance(data, Alarm) else data))

    def run(self, story: Callable[[], Coroutine[Any, Any, None]]) -> None:
        play(self, "stuck/x", MODULES, story)


def test_a_wait_ends_with_the_block_and_is_asked_for_once() -> None:
    waiter = Waiter()

    async def story() -> None:
        asyncio.get_running_loop().call_later(300, waiter.chain.hear, block(101))
        assert await waiter.chain.wait(101, seen=block(100))
        assert now() == pytest.approx(300)

    waiter.run(story)
    assert waiter.said == [("wake", 101)]


def test_an_interrupted_wait_that_goes_on_is_not_asked_for_again() -> None:
    waiter = Waiter()
    came = False

    async def story() -> None:
        nonlocal came

        def come() -> None:
            nonlocal came
            came = True

        asyncio.get_running_loop().call_later(60, come)
        assert not await waiter.chain.wait(101, seen=block(100), interrupted=lambda: came)
        came = False
        asyncio.get_running_loop().call_later(60, waiter.chain.hear, block(101))
        assert await waiter.chain.wait(101, seen=block(100), interrupted=lambda: came)

    waiter.run(story)
    assert waiter.said == [("wake", 101)]


def test_a_wait_ends_at_its_time() -> None:
    waiter = Waiter()

    async def story() -> None:
        assert not await waiter.chain.wait(101, until=EPOCH + timedelta(minutes=5))
        assert now() == pytest.approx(300)
        assert not await waiter.chain.wait(101, until=EPOCH)

    waiter.run(story)


def test_a_block_that_was_taken_back_ends_a_wait_for_a_later_one() -> None:
    waiter = Waiter()

    async def story() -> None:
        asyncio.get_running_loop().call_later(60, waiter.chain.hear, block(98, "b"))
        assert await waiter.chain.wait(150, seen=block(100))

    waiter.run(story)


def test_a_block_that_comes_while_one_looks_is_not_slept_through() -> None:
    waiter = Waiter()

    async def story() -> None:
        waiter.chain.hear(block(101))
        assert await waiter.chain.wait(101, seen=block(100))
        # The look that this led to has seen it.
        waiter.chain.hear(block(102))
        assert not await waiter.chain.wait(
            103, seen=block(102), until=EPOCH + timedelta(seconds=60)
        )

    waiter.run(story)


def test_a_chain_time_that_was_ended_by_force_is_asked_again() -> None:
    waiter = Waiter()

    async def story() -> None:
        until = EPOCH + timedelta(minutes=35)
        assert not await waiter.chain.wait(101, seen=block(100), until=until)

    waiter.run(story)
    assert waiter.said == [("wake", 101)] * 4


def test_what_is_far_away_is_asked_for_less_often() -> None:
    waiter = Waiter()

    async def story() -> None:
        until = EPOCH + timedelta(hours=24)
        assert not await waiter.chain.wait(244, seen=block(100), until=until)

    waiter.run(story)
    assert len(waiter.said) == 16


def test_where_nobody_tells_blocks_one_looks_for_oneself() -> None:
    waiter = Waiter(tells=False)

    async def story() -> None:
        assert await waiter.chain.wait(101, seen=block(100))
        assert now() == pytest.approx(600)

    waiter.run(story)


def test_who_waits_no_more_says_so_once() -> None:
    waiter = Waiter()

    async def story() -> None:
        await waiter.chain.forget()
        assert not await waiter.chain.wait(101, until=EPOCH + timedelta(seconds=1))
        await waiter.chain.forget()

    waiter.run(story)
    assert waiter.said == [("wake", 101), ("forget", "stuck/x")]
