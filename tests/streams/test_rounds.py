"""Rounds: a listener that is replaced, a first listing that is cut short."""

from __future__ import annotations

import asyncio

from activities.invoice_scans import PAGE
from fulgurite.invoices.stream import OVERLAP, RECENT_INVOICES, StreamState
from tests.streams.house import TWO_SCANS_SECONDS, House
from tests.streams.world import Workers, happens, in_virtual_time, is_listening


def test_a_first_listing_goes_on_where_a_killed_worker_left_it() -> None:
    async def story() -> None:
        house = House()
        house.world.takes_seconds = 0.5
        paid = [house.paid() for _ in range(5_000)]
        house.workers.start()
        for _ in range(20):
            await asyncio.sleep(20)
            await house.workers.kill()
            house.workers.start()
        await is_listening(house.workers)

        assert house.world.effects == dict.fromkeys(paid, 1)
        # Each kill costs the page that it fell into, and those since the last heartbeat.
        assert house.world.asked.total() < len(paid) + 21 * 3 * PAGE

    in_virtual_time(story())


class Bootstrapping(House):
    """A first listing of four pages, which a kill interrupts after two."""

    async def interrupted(self) -> None:
        self.world.takes_seconds = 0.5
        self.workers = Workers(self.lnd, self.world)
        self.workers.start()
        await happens(lambda: self.workers.saved.cursor.listed_to >= 2 * PAGE)
        await self.workers.kill()

    async def is_complete(self) -> None:
        await self.listening()
        assert self.workers.listened.cursor.complete


def test_what_is_pending_stays_known_though_a_first_listing_was_interrupted() -> None:
    async def story() -> None:
        house = Bootstrapping()
        pending = house.ours()
        for _ in range(4 * PAGE):
            house.paid()
        await house.interrupted()
        await house.is_complete()
        house.lnd.trouble.deaf = True
        house.lnd.settle(pending)
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.effects[pending] == 1

    in_virtual_time(story())


def test_a_first_listing_does_not_pass_what_could_not_be_told() -> None:
    async def story() -> None:
        house = House()
        paid = [house.paid() for _ in range(4 * PAGE)]
        poisoned = paid[PAGE]
        house.world.poisoned.add(poisoned)
        house.workers.start()
        await asyncio.sleep(TWO_SCANS_SECONDS)
        await house.workers.kill()
        assert house.workers.saved.cursor.listed_to == PAGE
        house.world.poisoned.clear()
        await house.listening()

        assert house.world.effects == dict.fromkeys(paid, 1)

    in_virtual_time(story())


def test_what_was_before_our_time_is_no_news_though_a_first_listing_was_interrupted() -> None:
    async def story() -> None:
        house = Bootstrapping()
        house.ours()
        for _ in range(4 * PAGE):
            house.lnd.settle(house.lnd.add())
        await asyncio.sleep(2 * OVERLAP.total_seconds())
        await house.interrupted()
        await house.is_complete()
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.events == set()

    in_virtual_time(story())


def test_a_cursor_moves_up_behind_what_has_ended() -> None:
    async def story() -> None:
        house = await House().listening()
        for _ in range(3 * RECENT_INVOICES):
            house.paid()
        pending = house.ours()
        for _ in range(3 * RECENT_INVOICES):
            house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)
        index = 3 * RECENT_INVOICES + 1
        assert house.workers.listened.cursor.pending_from == index
        house.lnd.settle(pending)
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.workers.listened.cursor.pending_from == index + 2 * RECENT_INVOICES + 1

    in_virtual_time(story())


def test_a_round_ends_between_two_scans() -> None:
    async def story() -> None:
        house = House()
        for _ in range(3 * PAGE):
            house.paid()
        house.lnd.answers_after_seconds = 20.0
        listened = await house.workers.one_round(seconds=30)

        assert listened.cursor.complete

    in_virtual_time(story())


def test_a_new_state_is_shown_once_it_lasts() -> None:
    async def story() -> None:
        house = await House().listening()
        await asyncio.sleep(100)
        rounds = house.workers.rounds
        house.lnd.trouble.down = True
        house.lnd.cut()
        await asyncio.sleep(30)
        assert house.workers.rounds == rounds
        await asyncio.sleep(60)

        assert house.workers.rounds == rounds + 1
        assert house.workers.shown is StreamState.DISCONNECTED

    in_virtual_time(story())
