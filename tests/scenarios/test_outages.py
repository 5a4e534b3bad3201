"""A busy shop, while everything dies in turn: each settlement has its effect exactly once."""

from __future__ import annotations

import asyncio

import pytest

from devnet.house import House
from devnet.outages import Sales, all_told
from devnet.proxy import proxying
from devnet.receiver import Receiver
from starter.client import FulguriteClient

BY_DAY, BY_NIGHT = 400, 100

pytestmark = pytest.mark.timeout(600)


async def test_every_sale_is_told_once_whatever_dies(
    home: House, client: FulguriteClient, shop: Receiver
) -> None:
    alice, bob = home.network.nodes["alice"], home.network.nodes["bob"]
    async with proxying(alice.address) as line:
        through_line = {"FULGURITE_NODES__ALICE__ADDRESS": line.address}
        async with home.worker("shopkeeper", **through_line) as worker:
            sales = await Sales.make(client, alice, BY_DAY)
            paying = asyncio.create_task(sales.pay(bob, at_once=5))

            await sales.are_paid(50)
            await worker.kill()
            await sales.are_paid(120)
            await worker.start()

            await sales.are_paid(200)
            await home.network.stop_node("alice")
            await home.network.start_node("alice")

            await sales.are_paid(300)
            await home.temporal.kill()
            await sales.are_paid(350)
            await home.temporal.start()

            await paying
            by_day = await all_told(sales, alice, shop)

            # Half open: what is connected stays so, and not a byte comes through ever again.
            sales = await Sales.make(client, alice, BY_NIGHT)
            line.strand()
            connections = line.served
            await sales.pay(bob)
            by_night = await all_told(sales, alice, shop)
            assert line.served > connections

    assert by_day.agrees, by_day
    assert by_night.agrees, by_night
    assert (by_day.settled, by_night.settled) == (BY_DAY, BY_NIGHT)
