"""Whatever is killed at whichever rung: one close, one verdict, every sat told."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable

import pytest

from devnet.house import House, WorkerProcess
from devnet.waiting import eventually
from fulgurite.channels.closing import CloseType
from fulgurite.identity import ChannelPoint
from fulgurite.payments.states import PaymentState
from fulgurite.stuck.states import LadderState
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient

from . import stories
from .hanging import AT_ONCE, reaches, retained
from .roads import channels_with, make_roads
from .stories import Act, Play, Told
from .together import At, together

pytestmark = pytest.mark.timeout(1_200)

Strike = Callable[[], Awaitable[None]]
VICTIMS = ("worker", "lnd", "temporal")


def striking(home: House, worker: WorkerProcess, victim: str) -> Strike:
    """Kills it as a crash does, and starts it again."""

    async def strike() -> None:
        match victim:
            case "worker":
                await worker.kill()
                await worker.start()
            case "temporal":
                await home.temporal.kill()
                await home.temporal.start()
            case "lnd":
                await home.network.stop_node("alice")
                await home.network.start_node("alice")

    return strike


class Killer:
    """At each act the worker, alice's lnd and Temporal, one after another; each act another first.

    Each is up again before the next one dies, and the house answers before the story goes on.
    """

    def __init__(self, home: House, worker: WorkerProcess, client: FulguriteClient) -> None:
        self._strikes = deque(striking(home, worker, victim) for victim in VICTIMS)
        self._client = client
        self.acts: list[Act] = []

    async def __call__(self, act: Act) -> None:
        if act is Act.HUNG:
            return
        for strike in self._strikes:
            await strike()
        await eventually(self._answers, what="a house that answers", timeout_seconds=120)
        self._strikes.rotate()
        self.acts.append(act)

    async def _answers(self) -> object:
        return await retained(self._client.channel_watch("alice").view)


@pytest.mark.parametrize("victim", VICTIMS)
async def test_the_ladder_is_climbed_once_whatever_dies(
    home: House, client: FulguriteClient, victim: str
) -> None:
    async with home.worker() as worker:
        strike = striking(home, worker, victim)

        async def strikes(act: Act) -> None:
            if act is not Act.HUNG:
                await strike()

        told = await stories.nobody_takes_it(Play(home, client, at=strikes))

    assert ends(told) == (PaymentState.FAILED, stories.BY_ORDER)
    assert len(told.ladder.force_closed) == 1


async def test_all_that_needs_no_expiry_ends_as_ever_whatever_dies(
    home: House, client: FulguriteClient
) -> None:
    await make_roads(home.network, first=5)
    channels = await channels_with(home.network.nodes["alice"], home.network.nodes["bob"])
    one, other, first_part, second_part, free = channels[:5]

    def over(at: At, *channels: lightning_pb2.Channel) -> Play:
        return Play(home, client, tuple(str(each.chan_id) for each in channels), at)

    async def preimage_on_chain(at: At) -> None:
        told = await stories.preimage_on_chain(over(at, one))
        assert ends(told) == (PaymentState.SUCCEEDED, stories.BY_ORDER)

    async def peer_comes_back(at: At) -> None:
        told = await stories.peer_comes_back(over(at, other))
        assert ends(told) == (PaymentState.SUCCEEDED, stories.OFF_CHAIN)

    async def one_part_hangs(at: At) -> None:
        told = await stories.one_part_hangs(over(at, first_part, second_part))
        assert ends(told) == (PaymentState.SUCCEEDED, stories.BY_OTHERS)

    async def in_agreement(at: At) -> None:
        receipt, course = await stories.in_agreement(over(at), ChannelPoint(free.channel_point))
        assert (receipt.close_type, course) == (CloseType.COOPERATIVE, stories.IN_AGREEMENT)
        await stories.is_closed_once(home, receipt)

    async with home.worker() as worker:
        killer = Killer(home, worker, client)
        await together([preimage_on_chain, peer_comes_back, one_part_hangs, in_agreement], killer)
    assert killer.acts == [
        *(Act.AWAY, Act.ASKED, Act.ORDERED),
        *(Act.PUBLISHED, Act.CONFIRMED, Act.DECIDED),
    ]


async def test_all_that_waits_for_an_expiry_ends_as_ever_whatever_dies(
    home: House, client: FulguriteClient
) -> None:
    await make_roads(home.network, first=3)
    channels = await channels_with(home.network.nodes["alice"], home.network.nodes["bob"])

    def over(at: At, channel: lightning_pb2.Channel) -> Play:
        return Play(home, client, (str(channel.chan_id),), at)

    async def person_says_no(at: At) -> None:
        told = await stories.person_says_no(over(at, channels[0]))
        assert ends(told) == (PaymentState.FAILED, stories.REFUSED)

    async def peer_closes(at: At) -> None:
        told = await stories.peer_closes(over(at, channels[1]))
        assert ends(told) == (PaymentState.FAILED, stories.BY_OTHERS)

    async def fees_rise(at: At) -> None:
        told = await stories.fees_rise(over(at, channels[2]))
        assert ends(told) == (PaymentState.FAILED, stories.BY_ORDER)

    async with home.worker() as worker:
        killer = Killer(home, worker, client)
        await together([person_says_no, peer_closes, fees_rise], killer)
    assert set(killer.acts) == set(Act) - {Act.HUNG, Act.AWAY, Act.PUBLISHED}


def ends(told: Told) -> tuple[PaymentState, list[LadderState]]:
    return told.receipt.status, told.course


async def test_a_block_that_is_taken_back_takes_the_ladder_back(
    home: House, client: FulguriteClient
) -> None:
    async with home.worker():
        play = Play(home, client)
        hung = await play.hangs(AT_ONCE, LadderState.AWAITING_APPROVAL)
        await hung.ladder.approve(stories.YES)
        await reaches(hung.ladder, LadderState.CONFIRMING)
        await home.network.mine(1)
        before = await confirmed_at(home, hung.point)
        await home.network.reorg(1)
        assert await confirmed_at(home, hung.point) == 0
        await home.network.mine(1)
        assert await confirmed_at(home, hung.point) > before
        await play.climbs_to(hung, LadderState.MATURING)
        await home.network.nodes["carol"].settle(hung.invoice)
        told = await play.ends_on_chain(hung)

    assert ends(told) == (PaymentState.SUCCEEDED, stories.BY_ORDER)
    assert told.ladder.force_closed == (hung.point,)


async def confirmed_at(home: House, channel_point: str) -> int:
    """The height of the closing transaction, by alice's own list; 0: in no block."""
    pending = await home.network.nodes["alice"].pending_channels()
    [height] = [
        each.close_height
        for each in pending.waiting_close_channels
        if each.channel.channel_point == channel_point
    ]
    return height
