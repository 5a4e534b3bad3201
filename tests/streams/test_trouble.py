"""A connection in trouble, and telling in trouble."""

from __future__ import annotations

import asyncio

import pytest

from activities.invoice_scans import EVERY_SECONDS, PAGE
from activities.telling import AT_ONCE
from fulgurite.invoices.stream import OVERLAP, RECENT_INVOICES, StreamState
from tests.streams.house import TWO_SCANS_SECONDS, House
from tests.streams.world import happens, in_virtual_time, is_listening

# A connection in trouble.


@pytest.mark.parametrize(("jitter", "at_most"), [(0.0, 6_000), (0.5, 60), (1.0, 40)])
def test_a_stream_that_closes_at_once_each_time_makes_no_busy_loop(
    jitter: float, at_most: int
) -> None:
    """If chance always gave the shortest pause, that would still be a tenth of a second."""

    async def story() -> None:
        house = House(jitter=jitter)
        house.lnd.trouble.closes_at_once = True
        house.workers.start()
        await asyncio.sleep(600)
        assert house.lnd.connections <= at_most
        assert house.lnd.pages - house.lnd.connections <= 2 * 600 / 2
        paid = house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.effects == {paid: 1}

    in_virtual_time(story())


def test_a_node_that_is_down_is_asked_less_and_less_often() -> None:
    async def story() -> None:
        house = House(jitter=1.0)
        house.lnd.trouble.down = True
        house.workers.start()
        await asyncio.sleep(3_600)

        assert house.lnd.pages <= 2 * (3_600 / 30 + 12)
        down = house.workers.listened
        assert (down.state, down.reconnections) == (StreamState.DISCONNECTED, 0)
        house.lnd.trouble.down = False
        await asyncio.sleep(2 * 30)
        assert house.workers.listened.state is StreamState.LISTENING

    in_virtual_time(story())


def test_after_a_connection_that_lasted_the_next_one_comes_soon() -> None:
    async def story() -> None:
        house = House(jitter=1.0)
        house.lnd.trouble.down = True
        house.workers.start()
        await asyncio.sleep(600)
        house.lnd.trouble.down = False
        await is_listening(house.workers)
        await asyncio.sleep(200)
        before = house.lnd.connections
        house.lnd.cut()
        await asyncio.sleep(1)

        assert house.lnd.connections == before + 1

    in_virtual_time(story())


def test_a_stream_that_is_open_and_tells_nothing_is_replaced() -> None:
    async def story() -> None:
        house = await House().listening()
        await asyncio.sleep(100)
        house.lnd.trouble.deaf = True
        paid = house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.effects == {paid: 1}
        assert house.workers.reports.lost == [
            "the stream was open, and told nothing of a settlement"
        ]

    in_virtual_time(story())


def test_a_stream_with_nothing_to_tell_is_left_alone() -> None:
    async def story() -> None:
        house = await House().listening()
        house.ours()
        await asyncio.sleep(3_600)

        assert house.lnd.connections == 1 + house.workers.rounds == 2
        assert house.lnd.pages <= 2 * 3_600 / EVERY_SECONDS + 10

    in_virtual_time(story())


def test_a_stream_is_not_blamed_for_what_we_have_not_read_yet() -> None:
    async def story() -> None:
        house = await House().listening()
        await asyncio.sleep(100)
        house.world.takes_seconds = 60.0
        paid = []
        for _ in range(20 * AT_ONCE):
            paid.append(house.paid())
            await asyncio.sleep(0.25)
        await asyncio.sleep(3_000)

        assert house.workers.reports.lost == []
        assert house.world.effects == dict.fromkeys(paid, 1)

    in_virtual_time(story())


def test_a_silence_is_told_and_so_is_its_end() -> None:
    async def story() -> None:
        house = await House().listening()
        house.lnd.trouble.down = True
        house.lnd.cut()
        await asyncio.sleep(300)
        down = house.workers.listened
        house.lnd.trouble.down = False
        await is_listening(house.workers)
        up = house.workers.listened

        assert (down.state, down.problem) == (StreamState.DISCONNECTED, "connection refused")
        assert down.connected_since is None
        assert down.silent_since is not None
        assert (up.silent_since, up.problem, up.reconnections) == (None, "", 1)
        assert 300 <= up.last_silence_seconds < 400

    in_virtual_time(story())


# Telling in trouble.


def test_what_cannot_be_told_delays_nobody_else() -> None:
    async def story() -> None:
        house = await House().listening()
        poisoned = [house.ours() for _ in range(3 * AT_ONCE)]
        house.world.poisoned.update(poisoned)
        for each in poisoned:
            house.lnd.settle(each)
        await asyncio.sleep(TWO_SCANS_SECONDS)
        began = asyncio.get_running_loop().time()
        paid = house.paid()
        await happens(lambda: house.world.effects[paid])

        assert asyncio.get_running_loop().time() - began < 10
        told = house.workers.listened
        assert (told.state, told.untold) == (StreamState.CATCHING_UP, len(poisoned))
        assert house.workers.reports.still_untold == len(poisoned)
        # Four tries at first, then one in each scan, and nothing more said of it.
        assert max(house.world.asked[each] for each in poisoned) <= 12
        assert sorted(house.workers.reports.untold) == sorted(poisoned)

    in_virtual_time(story())


def test_what_could_not_be_told_is_told_when_it_can_be_also_by_another_worker() -> None:
    async def story() -> None:
        house = await House().listening()
        house.world.temporal_is_down = True
        paid = [house.paid() for _ in range(100)]
        await asyncio.sleep(3 * OVERLAP.total_seconds())
        await house.workers.kill()
        house.workers.start()
        await asyncio.sleep(100)
        assert house.world.effects == {}
        house.world.temporal_is_down = False
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.effects == dict.fromkeys(paid, 1)
        assert house.workers.listened.untold == 0

    in_virtual_time(story())


def test_the_cursor_does_not_pass_what_could_not_be_told() -> None:
    async def story() -> None:
        house = await House().listening()
        poisoned = house.paid()
        house.world.poisoned.add(poisoned)
        for _ in range(3):
            await asyncio.sleep(OVERLAP.total_seconds())
            for _ in range(RECENT_INVOICES):
                house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)
        await house.workers.kill()
        house.world.poisoned.clear()
        await house.listening()

        assert house.world.effects[poisoned] == 1

    in_virtual_time(story())


def test_a_moment_without_temporal_costs_a_moment() -> None:
    async def story() -> None:
        house = await House().listening()
        house.world.temporal_is_down = True
        paid = house.paid()
        await asyncio.sleep(1)
        house.world.temporal_is_down = False
        await asyncio.sleep(5)

        assert house.world.effects == {paid: 1}
        assert house.workers.reports.untold == []

    in_virtual_time(story())


def test_not_too_many_are_told_at_once() -> None:
    async def story() -> None:
        house = await House().listening()
        house.world.takes_seconds = 1.0
        for _ in range(20 * AT_ONCE):
            house.paid()
        await asyncio.sleep(100)

        assert sum(house.world.effects.values()) == 20 * AT_ONCE
        assert AT_ONCE <= house.world.most_at_once <= 2 * AT_ONCE

    in_virtual_time(story())


def test_a_long_telling_does_not_put_off_the_next_scan() -> None:
    async def story() -> None:
        house = House()
        house.world.takes_seconds = 10.0
        for _ in range(20 * AT_ONCE):
            house.paid()
        await house.listening()
        house.lnd.trouble.deaf = True
        late = house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.effects[late] == 1

    in_virtual_time(story())


def test_a_long_list_is_read_less_often() -> None:
    async def story() -> None:
        house = House()
        for _ in range(3 * PAGE):
            house.ours()
        house.lnd.answers_after_seconds = 5.0
        await house.listening()
        await asyncio.sleep(300)
        pages = house.lnd.pages
        await asyncio.sleep(3_600)

        # Four pages make a scan; it may take a twentieth of the time.
        assert 4 <= house.lnd.pages - pages <= 3_600 / 20 / 5 + 4

    in_virtual_time(story())
