"""A payment that hangs: what each way out of it comes to, the same on both networks."""

from __future__ import annotations

import pytest

from devnet.house import House
from devnet.receiver import Receiver
from devnet.waiting import eventually
from fulgurite.payments.states import PaymentState, PaymentStatus
from fulgurite.stuck.states import LadderState
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient

from . import stories
from .hanging import AT_ONCE, confirmed_sat, hang, ladder_of, reaches, told
from .stories import Play, Told

pytestmark = [pytest.mark.usefixtures("working"), pytest.mark.timeout(600)]


@pytest.fixture
def play(home: House, client: FulguriteClient) -> Play:
    return Play(home, client)


async def lnds_word(told: Told, home: House) -> int:
    payment = await home.network.nodes["alice"].payment(told.receipt.payment_hash.raw())
    assert payment is not None
    return payment.status


async def test_the_far_peer_is_gone_and_a_person_has_the_channel_closed(
    play: Play, home: House
) -> None:
    before = await confirmed_sat(home.network.nodes["alice"])
    told = await stories.nobody_takes_it(play)
    gained = await confirmed_sat(home.network.nodes["alice"]) - before

    assert told.course == stories.BY_ORDER
    assert told.receipt.status is PaymentState.FAILED
    assert told.ladder.verdict is PaymentStatus.FAILED
    assert await lnds_word(told, home) == lightning_pb2.Payment.FAILED
    assert told.closing is not None
    assert told.ladder.force_closed == (told.closing.channel_point,)
    assert told.closing.recovered_sat == gained > 0


async def test_a_preimage_on_the_chain_is_a_success(play: Play, home: House) -> None:
    told = await stories.preimage_on_chain(play)

    assert told.course == stories.BY_ORDER
    assert told.receipt.status is PaymentState.SUCCEEDED
    assert told.receipt.sealed_preimage is not None
    assert told.ladder.verdict is PaymentStatus.SUCCEEDED
    assert await lnds_word(told, home) == lightning_pb2.Payment.SUCCEEDED


async def test_a_peer_that_comes_back_costs_no_channel(play: Play) -> None:
    told = await stories.peer_comes_back(play)

    assert told.course == stories.OFF_CHAIN
    assert told.receipt.status is PaymentState.SUCCEEDED
    assert (told.receipt.on_chain, told.ladder.on_chain) == (None, None)


async def test_a_person_says_no_and_lnd_goes_to_the_chain_at_expiry(play: Play) -> None:
    told = await stories.person_says_no(play)

    assert told.course == stories.REFUSED
    assert told.receipt.status is PaymentState.FAILED
    assert told.ladder.force_closed == ()


async def test_the_peer_closes_by_force_and_that_is_followed_too(
    play: Play, desk: Receiver
) -> None:
    came_to = await stories.peer_closes(play)

    assert came_to.course == stories.BY_OTHERS
    assert came_to.receipt.status is PaymentState.FAILED
    assert came_to.ladder.force_closed == ()
    assert came_to.closing is not None
    await told(desk, came_to.closing.channel_point, {"channel.closing", "channel.closed"})


async def test_one_part_of_several_hangs_on_a_closed_channel(play: Play) -> None:
    told = await stories.one_part_hangs(play)

    assert told.course == stories.BY_OTHERS
    assert told.receipt.status is PaymentState.SUCCEEDED


async def test_the_payment_knows_where_it_is_decided(play: Play, home: House) -> None:
    hung = await play.hangs(AT_ONCE, LadderState.AWAITING_APPROVAL)
    await stories.has_it_closed(play, hung)
    await eventually(
        hung.payment.view,
        lambda view: view.state is PaymentState.RESOLVING_ON_CHAIN,
        what="a payment that knows where it is decided",
    )
    await home.network.nodes["carol"].settle(hung.invoice)
    await play.ends_on_chain(hung)


async def test_operators_are_told_of_each_rung(
    home: House, client: FulguriteClient, desk: Receiver
) -> None:
    carol = home.network.nodes["carol"]
    payment, invoice = await hang(home, client)
    ladder = await ladder_of(client, payment)
    await reaches(ladder, LadderState.AWAITING_APPROVAL)

    expected = {"payment.stuck", "payment.hung", "payment.force_close_approval"}
    await told(desk, payment.payment_hash, expected)
    await carol.cancel(invoice)
    assert (await payment.receipt()).status is PaymentState.FAILED
    assert (await ladder.receipt()).status is LadderState.RESOLVED_OFF_CHAIN
