"""A close in agreement waits until nobody else works on the channel; a forced one for nobody."""

from __future__ import annotations

import asyncio

from fulgurite.channels.requests import CloseKind
from fulgurite.channels.states import CloseState
from tests.unit.closing_world import Lnd, order


def test_a_close_in_agreement_waits_its_turn_and_a_forced_one_for_nobody() -> None:
    agreed, forced = Lnd(), Lnd()
    agreed.turn_after_seconds = forced.turn_after_seconds = 90
    assert agreed.run(order(CloseKind.COOPERATIVE)).status is CloseState.CLOSED
    assert forced.run(order()).status is CloseState.CLOSED

    assert (agreed.turns, forced.turns) == ([True], [])
    assert [round(at) for at, _ in agreed.closes] == [90]
    assert [at for at, _ in forced.closes] == [0]


def test_whoever_has_the_channel_for_too_long_holds_up_no_close() -> None:
    lnd = Lnd()
    lnd.turn_after_seconds = None
    assert lnd.run(order(CloseKind.COOPERATIVE)).status is CloseState.CLOSED
    assert [at for at, _ in lnd.closes] == [600]


def test_a_force_close_does_not_wait_for_the_turn_of_the_one_that_it_takes_over() -> None:
    lnd = Lnd()
    lnd.turn_after_seconds = None

    async def story() -> None:
        await asyncio.sleep(60)
        lnd.join(order())

    assert lnd.run(order(CloseKind.COOPERATIVE), story).kind is CloseKind.FORCE
    [(at, asked)] = lnd.closes
    assert (asked.kind, at <= 61) == (CloseKind.FORCE, True)
