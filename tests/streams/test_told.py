"""A stream of invoices: what it tells, and what it does not."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from fulgurite.invoices.stream import OVERLAP, StreamState
from tests.streams.house import TWO_SCANS_SECONDS, House
from tests.streams.model_lnd import ACCEPTED, CANCELED, SETTLED
from tests.streams.world import Workers, in_virtual_time


def test_a_settlement_is_told_at_once() -> None:
    async def story() -> None:
        house = await House().listening()
        invoice = house.ours()
        await asyncio.sleep(10)
        house.lnd.settle(invoice)
        await asyncio.sleep(1)

        assert house.world.heard == [(invoice, SETTLED)]
        assert house.workers.listened.settlements == 1

    in_virtual_time(story())


def test_what_settled_while_nobody_listened_is_told_to_our_own() -> None:
    async def story() -> None:
        house = House()
        paid = [house.paid() for _ in range(1_200)]
        await asyncio.sleep(2 * OVERLAP.total_seconds())
        # It knows of none of them, and LND would stream none of them.
        house.workers = Workers(house.lnd, house.world)
        await house.listening()

        assert house.world.effects == dict.fromkeys(paid, 1)

    in_virtual_time(story())


def test_what_others_were_paid_is_an_event_from_the_streams_beginning_on() -> None:
    async def story() -> None:
        house = House()
        house.lnd.settle(house.lnd.add())
        await asyncio.sleep(2 * OVERLAP.total_seconds())
        house.workers = Workers(house.lnd, house.world)
        await house.listening()
        news = house.lnd.add()
        house.lnd.settle(news)
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.events == {news}
        assert house.workers.reports.settlements == {False: 1}

    in_virtual_time(story())


def test_what_is_held_or_canceled_is_found_though_lnd_streams_neither() -> None:
    async def story() -> None:
        house = await House().listening()
        held, canceled = house.ours(), house.ours()
        house.lnd.hold(held)
        house.lnd.cancel(canceled)
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert sorted(house.world.heard) == sorted([(held, ACCEPTED), (canceled, CANCELED)])
        assert house.workers.listened.settlements == 0

    in_virtual_time(story())


def test_an_invoice_that_expired_is_left_to_its_own_workflow() -> None:
    async def story() -> None:
        house = await House().listening()
        expired = house.lnd.add(expiry=timedelta(seconds=20))
        house.world.ours.add(expired)
        await asyncio.sleep(25)
        house.lnd.cancel(expired)
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.asked[expired] == 0

    in_virtual_time(story())


def test_what_was_told_is_not_told_again_by_every_scan() -> None:
    async def story() -> None:
        house = await House().listening()
        paid = house.paid()
        await asyncio.sleep(20 * TWO_SCANS_SECONDS)

        assert house.world.asked == {paid: 1}

    in_virtual_time(story())


def test_a_message_that_lnd_repeats_is_told_once() -> None:
    async def story() -> None:
        house = House()
        house.lnd.trouble.repeats = True
        await house.listening()
        paid = house.paid()
        await asyncio.sleep(10)

        assert house.world.asked == {paid: 1}

    in_virtual_time(story())


def test_the_lag_is_measured_from_the_settlement() -> None:
    async def story() -> None:
        house = await House().listening()
        await house.workers.kill()
        house.paid()
        await asyncio.sleep(100)
        await house.listening()

        (lag,) = house.workers.reports.lags
        assert lag >= timedelta(seconds=100)

    in_virtual_time(story())


def test_nothing_is_missing_soon_after_the_beginning_or_a_cut() -> None:
    async def story() -> None:
        house = House()
        house.ours()
        house.workers.start()
        await asyncio.sleep(10)
        assert house.workers.listened.state is StreamState.LISTENING
        await asyncio.sleep(100)
        house.lnd.cut()
        await asyncio.sleep(10)

        assert house.workers.listened.state is StreamState.LISTENING
        assert house.workers.listened.reconnections == 1

    in_virtual_time(story())


def test_what_was_before_our_time_is_no_news_after_a_restart_either() -> None:
    async def story() -> None:
        house = House()
        for _ in range(10):
            house.lnd.settle(house.lnd.add())
        await asyncio.sleep(2 * OVERLAP.total_seconds())
        house.workers = Workers(house.lnd, house.world)
        for _ in range(3):
            await house.listening()
            await house.workers.kill()

        assert house.world.events == set()

    in_virtual_time(story())
