"""Nobody's news wait for somebody else's, and nobody's are left out for being old or many."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from activities.invoice_scans import PAGE
from activities.telling import AT_ONCE, Route
from fulgurite.identity import PaymentHash
from nodes.lnd.invoices import NodeInvoice
from tests.streams.house import TWO_SCANS_SECONDS, House
from tests.streams.world import Workers, World, happens, in_virtual_time, is_listening


@dataclass
class SlowWorld(World):
    """Some of its workflows take a minute to answer."""

    slow: set[PaymentHash] = field(default_factory=set)

    async def route(self, node: str, invoice: NodeInvoice, *, since: datetime) -> Route:
        if invoice.payment_hash in self.slow:
            await asyncio.sleep(60)
        return await super().route(node, invoice, since=since)


class SlowHouse(House):
    def __init__(self) -> None:
        super().__init__()
        self.world = self.slow_world = SlowWorld()
        self.workers = Workers(self.lnd, self.slow_world)

    def paid_to_the_slow(self) -> PaymentHash:
        payment_hash = self.ours()
        self.slow_world.slow.add(payment_hash)
        self.lnd.settle(payment_hash)
        return payment_hash


async def seconds_until_told(house: House, payment_hash: PaymentHash) -> float:
    began = asyncio.get_running_loop().time()
    await happens(lambda: house.world.effects[payment_hash])
    return asyncio.get_running_loop().time() - began


def test_a_settlement_does_not_wait_for_the_telling_of_others() -> None:
    async def story() -> None:
        house = SlowHouse()
        await house.listening()
        for _ in range(AT_ONCE // 2):
            house.paid_to_the_slow()

        assert await seconds_until_told(house, house.paid()) < 5

    in_virtual_time(story())


def test_what_a_scan_finds_is_told_many_at_once() -> None:
    async def story() -> None:
        house = SlowHouse()
        slow = [house.paid_to_the_slow() for _ in range(AT_ONCE)]
        house.workers.start()

        assert await seconds_until_told(house, slow[-1]) < 90

    in_virtual_time(story())


def test_what_pends_for_long_is_looked_at_however_much_is_newer() -> None:
    """Incident W: a repair that reads the newest ones starves the others."""

    async def story() -> None:
        house = await House().listening()
        old = house.ours()
        for _ in range(3 * PAGE):
            house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)
        house.lnd.trouble.deaf = True
        house.lnd.settle(old)
        newest = [house.paid() for _ in range(2 * PAGE)][-1]
        await asyncio.sleep(2 * TWO_SCANS_SECONDS)

        assert (house.world.effects[old], house.world.effects[newest]) == (1, 1)

    in_virtual_time(story())


def test_a_settlement_after_the_expiry_is_told_by_the_stream_and_by_a_scan() -> None:
    """Incident R: it is no less a settlement."""

    async def story() -> None:
        house = await House().listening()
        late = [house.lnd.add(expiry=timedelta(seconds=20)) for _ in range(2)]
        house.world.ours.update(late)
        await asyncio.sleep(60)
        house.lnd.settle(late[0])
        await asyncio.sleep(1)
        assert house.world.effects == {late[0]: 1}
        house.lnd.trouble.deaf = True
        house.lnd.settle(late[1])
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.world.effects == dict.fromkeys(late, 1)

    in_virtual_time(story())


def test_every_settlement_of_an_outage_is_told_and_not_the_newest_alone() -> None:
    async def story() -> None:
        house = await House().listening()
        paid = [house.ours() for _ in range(3 * PAGE)]
        await house.workers.kill()
        for each in paid:
            house.lnd.settle(each)
        await asyncio.sleep(3_600)
        house.workers.start()
        await is_listening(house.workers)

        assert house.world.effects == dict.fromkeys(paid, 1)

    in_virtual_time(story())


def test_a_node_that_lost_its_database_is_listed_from_its_first_invoice_on() -> None:
    async def story() -> None:
        house = await House().listening()
        for _ in range(2 * PAGE):
            house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)
        house.lnd.forget_newest(2 * PAGE)
        await asyncio.sleep(TWO_SCANS_SECONDS)
        house.lnd.trouble.deaf = True
        paid = house.paid()
        await asyncio.sleep(TWO_SCANS_SECONDS)

        assert house.workers.listened.resets == 1
        assert house.world.effects[paid] == 1

    in_virtual_time(story())
