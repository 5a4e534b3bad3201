"""What lnd's indices and clocks do, and that it costs no settlement."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from activities.invoice_scans import EVERY_SECONDS, PAGE
from fulgurite.invoices.stream import OVERLAP, RECENT_INVOICES
from tests.streams.house import TWO_SCANS_SECONDS, House
from tests.streams.model_lnd import ModelLnd
from tests.streams.world import Workers, happens, in_virtual_time


def test_a_settlement_before_lnd_has_registered_us_is_found_soon() -> None:
    """With no settlement before, settle_index is 0, and lnd tells nothing of the past."""

    async def story() -> None:
        house = House(ModelLnd(registers_after_seconds=1.5))
        house.workers.start()
        await asyncio.sleep(0.5)
        paid = house.paid()
        await asyncio.sleep(EVERY_SECONDS / 2)

        assert house.world.effects == {paid: 1}

    in_virtual_time(story())


@pytest.mark.parametrize("keep", [0, 3])
@pytest.mark.parametrize("more", [2, 20])
def test_a_reset_settle_index_is_noticed_and_costs_nothing(keep: int, more: int) -> None:
    async def story() -> None:
        house = await House().listening()
        before = [house.paid() for _ in range(10)]
        await asyncio.sleep(100)
        house.lnd.renumber_settlements(keep)
        await asyncio.sleep(10)
        after = [house.paid() for _ in range(more)]
        await asyncio.sleep(1)
        # At once, and not by a scan: an index of before the reset would make lnd silent.
        assert house.world.effects == dict.fromkeys(before + after, 1)
        await asyncio.sleep(100)

        assert house.workers.reports.resets == house.workers.listened.resets == 1

    in_virtual_time(story())


def test_a_lower_add_index_is_noticed_and_costs_nothing() -> None:
    async def story() -> None:
        house = House()
        house.lnd.add(gap=1_000)
        await house.listening()
        pending = [house.ours() for _ in range(10)]
        await asyncio.sleep(100)
        house.lnd.renumber_invoices(fewer_by=990)
        for each in pending:
            house.lnd.settle(each)
        after = [house.paid() for _ in range(10)]
        await asyncio.sleep(100)

        assert house.world.effects == dict.fromkeys(pending + after, 1)
        assert house.workers.listened.resets == 1

    in_virtual_time(story())


def test_what_was_before_our_time_is_no_news_after_a_reset_either() -> None:
    async def story() -> None:
        house = House()
        house.lnd.add(gap=1_000)
        for _ in range(10):
            house.lnd.settle(house.lnd.add())
        await asyncio.sleep(2 * OVERLAP.total_seconds())
        house.workers = Workers(house.lnd, house.world)
        await house.listening()
        house.lnd.renumber_invoices(fewer_by=900)
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.workers.listened.resets == 1
        assert house.world.events == set()

    in_virtual_time(story())


def test_after_a_reset_another_worker_does_not_tell_all_the_past_again() -> None:
    async def story() -> None:
        house = House()
        house.lnd.add(gap=1_000)
        await house.listening()
        stranger = house.lnd.add()
        house.lnd.settle(stranger)
        await asyncio.sleep(3 * OVERLAP.total_seconds())
        house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)
        await house.workers.kill()
        house.lnd.renumber_invoices(fewer_by=900)
        await house.listening()

        assert house.workers.listened.resets == 1
        assert house.world.emitted == {stranger: 1}

    in_virtual_time(story())


def test_a_past_that_lnd_streams_once_more_is_not_told_once_more() -> None:
    """Of its newest invoices only one has settled, and that before all the others."""

    async def story() -> None:
        house = await House().listening()
        older = [house.lnd.add() for _ in range(10 * RECENT_INVOICES)]
        first_to_settle = house.lnd.add()
        for _ in range(99):
            house.lnd.add()
        for each in (first_to_settle, *older):
            house.lnd.settle(each)
        await asyncio.sleep(TWO_SCANS_SECONDS)
        house.lnd.cut()
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.emitted == dict.fromkeys([first_to_settle, *older], 1)

    in_virtual_time(story())


def test_an_index_that_stands_for_another_invoice_now_is_noticed() -> None:
    """A database that was restored, and has grown beyond what we knew before we looked."""

    async def story() -> None:
        house = await House().listening()
        known = [house.paid() for _ in range(10)]
        await asyncio.sleep(100)
        house.lnd.trouble.down = True
        house.lnd.forget_newest(5)
        await asyncio.sleep(100)
        unknown = [house.paid() for _ in range(20)]
        house.lnd.trouble.down = False
        await asyncio.sleep(200)

        assert house.world.effects == dict.fromkeys(known + unknown, 1)
        assert house.workers.listened.resets == 1

    in_virtual_time(story())


def test_an_invoice_that_the_list_shows_late_is_not_passed_over() -> None:
    async def story() -> None:
        house = await House().listening()
        late = house.ours()
        house.lnd.trouble.unlisted.add(late)
        for _ in range(RECENT_INVOICES // 2):
            house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)
        house.lnd.trouble.unlisted.clear()
        house.lnd.trouble.deaf = True
        house.lnd.settle(late)
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.effects[late] == 1

    in_virtual_time(story())


def test_what_settles_in_the_middle_of_a_scan_is_not_passed_over() -> None:
    """The first page is read, then its invoice settles, then one of the last page, read next."""

    async def story() -> None:
        house = House()
        on_the_first_page = house.ours()
        for _ in range(2 * PAGE):
            house.paid()
        on_the_last_page = house.ours()
        house.lnd.trouble.deaf = True
        await house.listening()
        await asyncio.sleep(20)
        house.lnd.answers_after_seconds = 10.0
        pages = house.lnd.pages
        await happens(lambda: house.lnd.pages == pages + 2)
        house.lnd.settle(on_the_first_page)
        await asyncio.sleep(2)
        house.lnd.settle(on_the_last_page)
        await happens(lambda: house.world.effects[on_the_last_page])
        await asyncio.sleep(12)
        await house.workers.kill()
        assert not house.world.effects[on_the_first_page]
        await house.listening()

        assert house.world.effects[on_the_first_page] == 1

    in_virtual_time(story())


def test_lnds_clock_may_be_set_back() -> None:
    async def story() -> None:
        house = await House().listening()
        before = [house.paid() for _ in range(3)]
        await asyncio.sleep(100)
        house.lnd.clock_ahead = -timedelta(hours=5)
        house.lnd.trouble.deaf = True
        stranger = house.lnd.add()
        house.lnd.settle(stranger)
        after = [house.paid() for _ in range(3)]
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.effects == dict.fromkeys(before + after, 1)
        assert house.world.events == {stranger}
        assert house.workers.listened.resets == 0

    in_virtual_time(story())


def test_lnds_clock_may_have_been_wrong_by_days() -> None:
    async def story() -> None:
        house = await House(ModelLnd(clock_ahead=timedelta(days=3))).listening()
        before = house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)
        await house.workers.kill()
        house.lnd.clock_ahead = timedelta(0)
        after = house.paid()
        await house.listening()

        assert house.world.effects == {before: 1, after: 1}

    in_virtual_time(story())


def test_lnds_clock_may_be_hours_ahead() -> None:
    async def story() -> None:
        house = await House(ModelLnd(clock_ahead=timedelta(hours=5))).listening()
        before = house.paid()
        await asyncio.sleep(100)
        await house.workers.kill()
        after = house.paid()
        await house.listening()

        assert house.world.effects == {before: 1, after: 1}

    in_virtual_time(story())


def test_lnds_clock_may_be_hours_behind() -> None:
    async def story() -> None:
        house = await House(ModelLnd(clock_ahead=-timedelta(hours=5))).listening()
        before = house.paid()
        stranger = house.lnd.add()
        house.lnd.settle(stranger)
        await asyncio.sleep(100)
        await house.workers.kill()
        after = house.paid()
        await house.listening()

        assert house.world.effects == {before: 1, after: 1}
        assert house.world.events == {stranger}

    in_virtual_time(story())
