"""A channel is closed once, whoever orders it, and followed to its last output."""

from __future__ import annotations

import asyncio
from itertools import pairwise

import pytest
from temporalio.exceptions import ApplicationError

from fulgurite.channels.closing import ClosePhase, CloseType
from fulgurite.channels.requests import CloseKind, FeeBudget
from fulgurite.channels.states import CloseState
from fulgurite.identity import PaymentHash
from tests.relays.model_temporal import NewRun
from tests.unit.closing_world import BLOCK_SECONDS, HASH, POINT, START, Lnd, order
from workflows.close import ChannelCloseWorkflow

OTHER_HASH = PaymentHash("22" * 32)


def test_a_force_close_is_asked_for_once_and_followed_to_the_last_sweep() -> None:
    lnd = Lnd()
    receipt = lnd.run(order())

    assert receipt.status is CloseState.CLOSED
    assert receipt.close_type is CloseType.LOCAL_FORCE
    assert (receipt.recovered_sat, receipt.cost_sat) == (49_900, 300)
    assert [request.kind for _, request in lnd.closes] == [CloseKind.FORCE]
    assert lnd.told() == ["channel.closing", "channel.closed"]
    assert lnd.events[1].after == lnd.events[0].id


def test_looking_costs_a_look_a_block_where_something_can_happen_and_none_where_not() -> None:
    lnd = Lnd()
    lnd.csv_blocks = 144
    lnd.run(order())

    assert lnd.looks == [START, START, START + 1, START + 145, START + 146]


def test_what_somebody_else_closes_is_followed_and_lnd_is_asked_for_nothing() -> None:
    lnd = Lnd()
    lnd.phase = ClosePhase.WAITING_CLOSE
    receipt = lnd.run(order(CloseKind.FOLLOW))

    assert receipt.status is CloseState.CLOSED
    assert lnd.closes == []


def test_an_order_for_a_channel_that_closes_already_asks_lnd_for_nothing() -> None:
    lnd = Lnd()
    lnd.phase = ClosePhase.WAITING_CLOSE

    assert lnd.run(order()).status is CloseState.CLOSED
    assert lnd.closes == []


def test_what_is_over_is_told_at_once() -> None:
    lnd = Lnd()
    lnd.phase = ClosePhase.CLOSED
    lnd.confirms_at, lnd.sweeps_at = START - 50, START - 10

    assert lnd.run(order(CloseKind.FOLLOW)).status is CloseState.CLOSED
    assert lnd.looks == [START]


def test_a_refusal_of_lnd_ends_it_with_lnds_advice() -> None:
    lnd = Lnd()
    lnd.refusal = ("RefusedByNodeError", "the peer is offline: force close it")
    receipt = lnd.run(order(CloseKind.COOPERATIVE))

    assert receipt.status is CloseState.REFUSED
    assert receipt.because == "the peer is offline: force close it"
    assert lnd.told() == []


def test_an_order_whose_reason_is_gone_is_called_off() -> None:
    lnd = Lnd()
    lnd.refusal = ("NothingHangsError", "nothing hangs any more")
    receipt = lnd.run(order(for_payments=(HASH,)))

    assert receipt.status is CloseState.CALLED_OFF


def test_an_order_that_came_before_the_refusal_is_another_question() -> None:
    """Another ladder's payment still hangs on the channel."""
    lnd = Lnd()
    lnd.refusal = ("NothingHangsError", "nothing hangs any more")
    lnd.answers_after_seconds = 10

    async def story() -> None:
        await asyncio.sleep(5)
        lnd.join(order(for_payments=(OTHER_HASH,)), "stuck/other")
        await asyncio.sleep(6)
        lnd.refusal = None

    receipt = lnd.run(order(for_payments=(HASH,)), story)
    assert receipt.status is CloseState.CLOSED
    assert [request.for_payments for _, request in lnd.closes] == [
        (HASH,),
        (HASH, OTHER_HASH),
    ]


def test_an_order_without_a_condition_lifts_the_condition_of_another() -> None:
    lnd = Lnd()
    lnd.answers_after_seconds = 10

    async def story() -> None:
        await asyncio.sleep(5)
        lnd.refusal = ("NothingHangsError", "nothing hangs any more")
        lnd.join(order())
        await asyncio.sleep(6)
        lnd.refusal = None

    assert lnd.run(order(for_payments=(HASH,)), story).status is CloseState.CLOSED
    assert lnd.closes[-1][1].for_payments == ()


def test_an_order_for_a_peer_that_is_away_is_no_reason_to_close_once_it_is_back() -> None:
    """Not even together with one that holds though the peer is there."""
    lnd = Lnd()
    lnd.answers_after_seconds = 10
    away = order(for_payments=(HASH,), only_while_away=True)
    near = order(for_payments=(OTHER_HASH,), expire_by_height=START + 12)

    async def story() -> None:
        await asyncio.sleep(5)
        lnd.refusal = ("NothingHangsError", "the peer is back")
        lnd.join(near)
        lnd.join(away)
        await asyncio.sleep(6)
        lnd.refusal = None

    assert lnd.run(away, story).status is CloseState.CLOSED
    _, last = lnd.closes[-1]
    assert (last.for_payments, last.expire_by_height) == ((OTHER_HASH,), START + 12)
    assert not last.only_while_away


def test_many_orders_make_one_close() -> None:
    lnd = Lnd()
    lnd.answers_after_seconds = 20

    async def story() -> None:
        for number in range(50):
            lnd.join(order(for_payments=(HASH,)), f"stuck/{number}")
            await asyncio.sleep(1)

    receipt = lnd.run(order(for_payments=(HASH,)), story)
    assert receipt.status is CloseState.CLOSED
    assert len(lnd.closes) == 1
    ends = [who for who, view in lnd.heard if view.state is CloseState.CLOSED]
    assert sorted(ends) == sorted({f"stuck/{number}" for number in range(50)})


def test_a_force_close_takes_over_from_a_cooperative_one_that_hangs() -> None:
    lnd = Lnd()
    lnd.answers_after_seconds = 3_600

    async def story() -> None:
        await asyncio.sleep(60)
        lnd.answers_after_seconds = 0
        lnd.join(order())

    receipt = lnd.run(order(CloseKind.COOPERATIVE), story)
    assert receipt.status is CloseState.CLOSED
    assert [(at, request.kind) for at, request in lnd.closes] == [(60, CloseKind.FORCE)]


def test_a_cooperative_order_takes_nothing_back_from_a_force_close() -> None:
    lnd = Lnd()

    async def story() -> None:
        await asyncio.sleep(60)
        lnd.join(order(CloseKind.COOPERATIVE))

    assert lnd.run(order(), story).kind is CloseKind.FORCE
    assert len(lnd.closes) == 1


def test_a_peer_that_closes_while_nobody_may_ask_lnd_is_followed() -> None:
    """No worker holds the close credential, for hours."""
    lnd = Lnd()
    lnd.answers_after_seconds = 86_400

    async def story() -> None:
        await asyncio.sleep(3 * BLOCK_SECONDS + 60)
        lnd.phase, lnd.confirms_at = ClosePhase.WAITING_CLOSE, START + 5

    receipt = lnd.run(order(), story)
    assert receipt.status is CloseState.CLOSED
    assert lnd.closes == []


def test_a_close_that_lnd_took_without_publishing_yet_is_looked_for_again() -> None:
    lnd = Lnd()
    lnd.publishes = False

    async def story() -> None:
        await asyncio.sleep(20)
        lnd.phase = ClosePhase.WAITING_CLOSE

    assert lnd.run(order(CloseKind.COOPERATIVE), story).status is CloseState.CLOSED


def test_a_channel_in_no_list_is_looked_for_before_it_is_refused() -> None:
    lnd = Lnd()
    lnd.phase = ClosePhase.UNKNOWN
    receipt = lnd.run(order())

    assert receipt.status is CloseState.REFUSED
    assert "no such channel" in receipt.because
    assert len(lnd.looks) == 6


def test_a_channel_between_two_lists_is_no_stranger() -> None:
    lnd = Lnd()
    lnd.phase = ClosePhase.UNKNOWN

    async def story() -> None:
        await asyncio.sleep(40)
        lnd.phase = ClosePhase.WAITING_CLOSE

    assert lnd.run(order(CloseKind.FOLLOW), story).status is CloseState.CLOSED


def test_a_breach_that_lnd_lists_nowhere_is_followed_for_weeks() -> None:
    lnd = Lnd()
    lnd.phase = ClosePhase.UNKNOWN

    async def story() -> None:
        await asyncio.sleep(1_000 * BLOCK_SECONDS)
        lnd.phase = ClosePhase.CLOSED
        lnd.confirms_at, lnd.sweeps_at = START, START + 999

    receipt = lnd.run(order(CloseKind.FOLLOW), story)
    assert receipt.status is CloseState.CLOSED
    assert len(lnd.looks) < 1_100


def test_following_an_open_channel_is_called_off() -> None:
    assert Lnd().run(order(CloseKind.FOLLOW)).status is CloseState.CALLED_OFF


def test_a_channel_that_vanishes_from_the_lists_for_days_is_waited_for() -> None:
    lnd = Lnd()
    lnd.csv_blocks = 300

    async def story() -> None:
        await asyncio.sleep(2 * BLOCK_SECONDS)
        lnd.phase = ClosePhase.UNKNOWN
        await asyncio.sleep(400 * BLOCK_SECONDS)
        view = ChannelCloseWorkflow.view(lnd.workflow)
        assert view.closing is not None
        assert view.closing.cost_sat == 200, "what was known of it is not forgotten"
        lnd.phase = ClosePhase.WAITING_CLOSE

    assert lnd.run(order(), story).status is CloseState.CLOSED


def test_a_block_that_is_taken_back_is_noticed_and_waited_for_again() -> None:
    lnd = Lnd()
    lnd.taken_back_at = START + 2
    views: list[CloseState] = []

    async def story() -> None:
        lnd.workflow.listen("stuck/x")
        await asyncio.sleep(2 * BLOCK_SECONDS + 1)
        # What chain/<node> does: everybody is woken.
        lnd.workflow.block(lnd.tip())
        await asyncio.sleep(BLOCK_SECONDS - 2)
        views.append(ChannelCloseWorkflow.view(lnd.workflow).state)

    receipt = lnd.run(order(), story)
    assert receipt.status is CloseState.CLOSED
    assert views == [CloseState.WAITING_CLOSE]
    course = [view.state for _, view in lnd.heard]
    assert [a for a, b in pairwise([*course, None]) if a is not b] == [
        CloseState.CLOSING,
        CloseState.WAITING_CLOSE,
        CloseState.FORCE_CLOSING,
        CloseState.WAITING_CLOSE,
        CloseState.FORCE_CLOSING,
        CloseState.CLOSED,
    ]
    assert lnd.told() == ["channel.closing", "channel.closed"], "told once all the same"


def test_an_older_look_at_the_same_tip_is_no_reorg() -> None:
    lnd = Lnd()

    async def story() -> None:
        await asyncio.sleep(BLOCK_SECONDS + 1)
        lnd.confirms_at = START + 2  # another worker's list, from before LND saw the block
        lnd.join(order(fees=FeeBudget(budget_sat=1)))
        await asyncio.sleep(1)
        view = ChannelCloseWorkflow.view(lnd.workflow)
        assert view.state is CloseState.FORCE_CLOSING
        lnd.confirms_at = START + 1

    assert lnd.run(order(), story).status is CloseState.CLOSED


def test_listeners_hear_of_moves_and_not_of_blocks() -> None:
    lnd = Lnd()
    lnd.confirms_at = START + 20

    async def story() -> None:
        lnd.join(order(), "stuck/a")
        await asyncio.sleep(5 * BLOCK_SECONDS)
        lnd.workflow.listen("stuck/late")
        lnd.workflow.listen("stuck/late")

    lnd.run(order(), story)
    states = [view.state for who, view in lnd.heard if who == "stuck/a"]
    on_chain = [CloseState.WAITING_CLOSE, CloseState.FORCE_CLOSING, CloseState.CLOSED]
    assert states == [CloseState.CLOSING, *on_chain]
    late = [view.state for who, view in lnd.heard if who == "stuck/late"]
    assert late == on_chain


def test_a_listener_that_has_ended_is_forgotten() -> None:
    lnd = Lnd()
    lnd.gone = {"stuck/gone"}

    async def story() -> None:
        lnd.join(order(), "stuck/gone")
        lnd.join(order(), "stuck/here")

    assert lnd.run(order(), story).status is CloseState.CLOSED
    assert {who for who, _ in lnd.heard} == {"stuck/here"}


def test_a_defect_ends_no_closing() -> None:
    lnd = Lnd()
    lnd.defects = 3

    assert lnd.run(order()).status is CloseState.CLOSED
    assert len(lnd.closes) == 1


def test_an_order_for_another_channel_or_node_and_nonsense_are_dropped() -> None:
    lnd = Lnd()

    async def story() -> None:
        lnd.join(order().model_copy(update={"node": "bob"}), "stuck/x")
        lnd.workflow.join()
        lnd.workflow.join("x", 1)
        lnd.workflow.listen(5)
        lnd.workflow.block("x")

    assert lnd.run(order(), story).status is CloseState.CLOSED
    assert lnd.heard == []


def test_a_new_run_asks_lnd_for_nothing_again_and_forgets_no_listener() -> None:
    lnd = Lnd(runs_after=4)
    lnd.confirms_at = None
    carried = lnd.run_to_a_new_one(order())
    assert carried.state is CloseState.WAITING_CLOSE
    carried.listeners.append("stuck/x")

    after = Lnd()
    after.phase = ClosePhase.WAITING_CLOSE
    receipt = after.run(carried.request, carried=carried)
    assert receipt.status is CloseState.CLOSED
    assert after.closes == []
    assert after.told() == ["channel.closed"]
    assert {who for who, _ in after.heard} == {"stuck/x"}


def test_a_history_that_grows_by_signals_alone_ends_too() -> None:
    """A thousand ladders say at every block that they are there; the next look is days away."""
    lnd = Lnd()
    lnd.csv_blocks = 1_000
    at: list[int] = []

    async def story() -> None:
        await asyncio.sleep(3 * BLOCK_SECONDS)
        lnd.history_is_full()
        at.append(lnd.height)
        lnd.join(order())
        await asyncio.sleep(3 * BLOCK_SECONDS)

    with pytest.raises(NewRun) as ended:
        lnd.run(order(), story)
    assert ended.value.carried.state is CloseState.FORCE_CLOSING
    assert at == [START + 3]


def test_a_cancel_in_temporal_takes_back_nothing() -> None:
    lnd = Lnd()

    async def story() -> None:
        await asyncio.sleep(60)
        lnd.task.cancel()

    assert lnd.run(order(), story).status is CloseState.CLOSED


@pytest.mark.parametrize("request_", [None, {}, {"node": "alice"}, "x"])
def test_a_request_that_makes_no_sense_is_refused_before_anything_moves(request_: object) -> None:
    lnd = Lnd()
    with pytest.raises(ApplicationError):
        lnd.run(request_)
    assert lnd.looks == []


def test_a_closing_under_another_id_is_refused() -> None:
    lnd = Lnd()
    with pytest.raises(ApplicationError, match=f"close/{POINT}"):
        lnd.run(order(), workflow_id="close/me")
