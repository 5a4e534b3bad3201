"""What a node deletes is no reset; a reset is one, though it looks like deletions."""

from __future__ import annotations

import asyncio

import pytest

from fulgurite.invoices.stream import RECENT_INVOICES
from tests.streams.house import TWO_SCANS_SECONDS, House
from tests.streams.world import in_virtual_time


async def connects_again(house: House, *, as_another: bool) -> None:
    if as_another:
        await house.workers.kill()
        await house.listening()
    else:
        house.lnd.cut()
        await asyncio.sleep(TWO_SCANS_SECONDS)


@pytest.mark.parametrize("as_another", [False, True], ids=["the same", "another"])
@pytest.mark.parametrize("deleted", [1, 3])
def test_canceled_invoices_that_lnd_deletes_are_no_reset(deleted: int, as_another: bool) -> None:
    async def story() -> None:
        house = await House().listening()
        paid = [house.paid() for _ in range(3)]
        unpaid = []
        for _ in range(deleted):
            await asyncio.sleep(TWO_SCANS_SECONDS)
            unpaid.append(house.lnd.add())
        await asyncio.sleep(TWO_SCANS_SECONDS)
        for each in unpaid:
            house.lnd.cancel_and_delete(each)
        await connects_again(house, as_another=as_another)
        told = house.workers.listened
        assert (told.resets, told.cursor.complete) == (0, True)
        house.lnd.trouble.deaf = True
        paid.append(house.paid())
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.workers.listened.resets == 0
        assert house.world.effects == dict.fromkeys(paid, 1)
        if not as_another:
            assert house.world.asked == dict.fromkeys(paid, 1)

    in_virtual_time(story())


def test_what_was_made_in_one_second_may_be_deleted_too() -> None:
    async def story() -> None:
        house = await House().listening()
        made = [house.lnd.add() for _ in range(3)]
        await asyncio.sleep(TWO_SCANS_SECONDS)
        house.lnd.cancel_and_delete(made[-1])
        await connects_again(house, as_another=False)

        assert house.workers.listened.resets == 0

    in_virtual_time(story())


@pytest.mark.parametrize("as_another", [False, True], ids=["the same", "another"])
def test_a_node_where_all_was_canceled_and_deleted_has_not_been_reset(as_another: bool) -> None:
    async def story() -> None:
        house = await House().listening()
        made = [house.lnd.add() for _ in range(3)]
        await asyncio.sleep(TWO_SCANS_SECONDS)
        for each in made:
            house.lnd.cancel_and_delete(each)
        await connects_again(house, as_another=as_another)

        assert house.workers.listened.resets == 0

    in_virtual_time(story())


@pytest.mark.parametrize("as_another", [False, True], ids=["the same", "another"])
@pytest.mark.parametrize("lost", [2, 3, 6], ids=["the last one paid", "two of them", "all"])
def test_a_settled_invoice_that_is_missing_is_a_reset(lost: int, as_another: bool) -> None:
    """LND deletes none: the database is an older one."""

    async def story() -> None:
        house = await House().listening()
        for _ in range(5):
            house.paid()
            await asyncio.sleep(TWO_SCANS_SECONDS)
        house.lnd.add()
        await asyncio.sleep(TWO_SCANS_SECONDS)
        house.lnd.forget_newest(lost)
        await connects_again(house, as_another=as_another)

        assert house.workers.listened.resets == 1

    in_virtual_time(story())


@pytest.mark.parametrize("as_another", [False, True], ids=["the same", "another"])
def test_numbers_that_moved_are_a_reset_though_nothing_is_missing(as_another: bool) -> None:
    async def story() -> None:
        house = await House().listening()
        house.paid()
        house.lnd.add(gap=20)
        await asyncio.sleep(TWO_SCANS_SECONDS)
        house.lnd.renumber_invoices(fewer_by=10)
        await connects_again(house, as_another=as_another)

        assert house.workers.listened.resets == 1

    in_virtual_time(story())


def test_numbers_that_moved_are_a_reset_also_where_the_newest_was_deleted() -> None:
    async def story() -> None:
        house = await House().listening()
        house.paid()
        house.lnd.add(gap=20)
        await asyncio.sleep(TWO_SCANS_SECONDS)
        newest = house.lnd.add()
        await asyncio.sleep(TWO_SCANS_SECONDS)
        house.lnd.cancel_and_delete(newest)
        house.lnd.renumber_invoices(fewer_by=10)
        await connects_again(house, as_another=False)

        assert house.workers.listened.resets == 1

    in_virtual_time(story())


def test_deletions_below_what_is_scanned_count_as_a_reset() -> None:
    """The next numbers would be in no list."""

    async def story() -> None:
        house = await House().listening()
        made = [house.lnd.add() for _ in range(2 * RECENT_INVOICES)]
        for each in made:
            house.lnd.cancel(each)
        await asyncio.sleep(TWO_SCANS_SECONDS)
        for each in made[RECENT_INVOICES - 2 :]:
            house.lnd.cancel_and_delete(each)
        await connects_again(house, as_another=False)

        assert house.workers.listened.resets == 1

    in_virtual_time(story())
