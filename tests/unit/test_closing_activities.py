"""Nobody closes a channel twice, and a lost answer is found again."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.closing import ClosingActivities
from activities.snapshots import Snapshots
from fulgurite.channels.calls import Bump, Bumped, ChannelOf, Reconnect
from fulgurite.channels.closing import ClosePhase, Closing
from fulgurite.channels.requests import CloseKind, CloseRequest
from fulgurite.errors import NodeUnavailableError, RefusedByNodeError
from fulgurite.identity import PaymentHash
from tests.properties import clock
from tests.unit.channel_node import HASH, PEER, POINTS, ChannelNode, channel, htlc
from tests.unit.test_chain_workflow import block

OTHER_HASH = PaymentHash("22" * 32)


class Desk:
    """The activities, on one node with a channel on which a payment hangs."""

    def __init__(self) -> None:
        self.node = ChannelNode(channel(POINTS[0], htlc()), channel(POINTS[1]))
        self.activities = ClosingActivities(lambda _: self.node, Snapshots(lambda _: self.node))

    async def close(self, **more: Any) -> Closing:
        given = {"node": "alice", "channel_point": POINTS[0], "kind": CloseKind.FORCE, **more}
        return await ActivityEnvironment().run(self.activities.close, CloseRequest(**given))

    def closes(self) -> int:
        return self.node.calls["close"]


def play(story: Callable[[Desk], Coroutine[None, None, None]]) -> Desk:
    desk = Desk()
    clock.run(story(desk))
    return desk


def test_lnd_is_asked_and_what_it_lists_then_is_told() -> None:
    async def story(desk: Desk) -> None:
        assert (await desk.close()).phase is ClosePhase.WAITING_CLOSE

    assert play(story).closes() == 1


def test_a_channel_that_is_listed_a_moment_later_is_waited_for() -> None:
    async def story(desk: Desk) -> None:
        desk.node.listed_after_seconds = 2.0
        assert (await desk.close()).phase is ClosePhase.WAITING_CLOSE

    assert play(story).closes() == 1


@pytest.mark.parametrize("phase", [ClosePhase.WAITING_CLOSE, ClosePhase.FORCE_CLOSING])
def test_what_closes_already_is_not_asked_for(phase: ClosePhase) -> None:
    async def story(desk: Desk) -> None:
        del desk.node.open[POINTS[0]]
        desk.node.pending_now[POINTS[0]] = phase
        assert (await desk.close()).phase is phase

    assert play(story).closes() == 0


def test_what_is_in_no_list_is_not_asked_for() -> None:
    async def story(desk: Desk) -> None:
        del desk.node.open[POINTS[0]]
        assert (await desk.close()).phase is ClosePhase.UNKNOWN

    assert play(story).closes() == 0


def test_a_lost_answer_is_found_by_the_next_try() -> None:
    async def story(desk: Desk) -> None:
        desk.node.close_error = NodeUnavailableError("cut off")
        with pytest.raises(ApplicationError) as raised:
            await desk.close()
        assert not raised.value.non_retryable
        assert (await desk.close()).phase is ClosePhase.WAITING_CLOSE

    assert play(story).closes() == 1


def test_a_refusal_of_what_happens_already_is_none() -> None:
    """lnd: "channel is already in the process of being force closed"."""

    async def story(desk: Desk) -> None:
        desk.node.close_error = RefusedByNodeError("already in the process of being force closed")
        assert (await desk.close()).phase is ClosePhase.WAITING_CLOSE

    play(story)


def test_a_refusal_is_told_where_nothing_has_happened() -> None:
    async def story(desk: Desk) -> None:
        desk.node.close_has_effect = False
        desk.node.close_error = RefusedByNodeError("the peer is offline")
        with pytest.raises(ApplicationError, match="the peer is offline") as raised:
            await desk.close(kind=CloseKind.COOPERATIVE)
        assert (raised.value.type, raised.value.non_retryable) == ("RefusedByNodeError", True)

    play(story)


def test_a_close_for_a_payment_that_hangs_no_more_is_not_asked_for() -> None:
    """Invariant 9: it was resolved off chain between the order and the asking."""

    async def story(desk: Desk) -> None:
        for hanging in ((), (htlc(OTHER_HASH),), (htlc(incoming=True),)):
            desk.node.open[POINTS[0]] = channel(POINTS[0], *hanging)
            with pytest.raises(ApplicationError) as raised:
                await desk.close(for_payments=(HASH,))
            assert (raised.value.type, raised.value.non_retryable) == ("NothingHangsError", True)

    assert play(story).closes() == 0


def test_a_close_for_a_payment_that_hangs_is_asked_for() -> None:
    async def story(desk: Desk) -> None:
        closing = await desk.close(for_payments=(OTHER_HASH, HASH))
        assert closing.phase is ClosePhase.WAITING_CLOSE

    assert play(story).closes() == 1


def test_an_htlc_of_a_later_attempt_is_no_reason() -> None:
    async def story(desk: Desk) -> None:
        with pytest.raises(ApplicationError) as refused:
            await desk.close(for_payments=(HASH,), expire_by_height=htlc().expiry_height - 1)
        assert refused.value.type == "NothingHangsError"

    assert play(story).closes() == 0


def test_a_peer_that_is_back_keeps_its_channel() -> None:
    async def story(desk: Desk) -> None:
        with pytest.raises(ApplicationError, match="the peer is back"):
            await desk.close(for_payments=(HASH,), only_while_away=True)

    assert play(story).closes() == 0


def test_the_reason_is_read_after_the_order_and_not_before() -> None:
    async def story(desk: Desk) -> None:
        look = ChannelOf(node="alice", channel_point=POINTS[0])
        await ActivityEnvironment().run(desk.activities.look, look)
        desk.node.open[POINTS[0]] = channel(POINTS[0])  # resolved, at the same block
        with pytest.raises(ApplicationError, match="resolved off chain"):
            await desk.close(for_payments=(HASH,))

    assert play(story).closes() == 0


def test_a_look_says_what_the_lists_say() -> None:
    async def story(desk: Desk) -> None:
        ask = ChannelOf(node="alice", channel_point=POINTS[1], tip=block(100))
        closing = await ActivityEnvironment().run(desk.activities.look, ask)
        assert closing.phase is ClosePhase.OPEN
        desk.node.down = True
        with pytest.raises(ApplicationError) as raised:
            await ActivityEnvironment().run(
                desk.activities.look, ask.model_copy(update={"tip": block(101)})
            )
        assert not raised.value.non_retryable

    play(story)


def test_a_bump_that_lnd_refuses_is_an_answer_and_one_without_an_answer_is_none() -> None:
    ask = Bump(
        node="alice", channel_point=POINTS[0], outpoint=None, budget_sat=100, deadline_height=120
    )

    async def story(desk: Desk) -> None:
        bump = desk.activities.bump
        assert await ActivityEnvironment().run(bump, ask) == Bumped(taken=True)
        desk.node.bump_error = RefusedByNodeError("no sweep of that input\nis pending")
        refused = await ActivityEnvironment().run(bump, ask)
        assert (refused.taken, refused.because) == (False, "no sweep of that input is pending")
        desk.node.bump_error = NodeUnavailableError("cut off")
        with pytest.raises(ApplicationError):
            await ActivityEnvironment().run(bump, ask)

    play(story)


def test_a_peer_is_called() -> None:
    async def story(desk: Desk) -> None:
        ask = Reconnect(node="alice", peer=PEER)
        assert (await ActivityEnvironment().run(desk.activities.reconnect, ask)).online

    play(story)
