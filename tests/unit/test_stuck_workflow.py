"""The ladder climbs as far as it may, ends at any rung, and orders a close once."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError

from fulgurite.channels.closing import ClosePhase
from fulgurite.channels.receipts import CloseView
from fulgurite.channels.requests import CloseKind
from fulgurite.channels.states import CloseState
from fulgurite.events.catalogue import EventType
from fulgurite.identity import ChannelPoint
from fulgurite.payments.receipts import OnChain, PaymentUpdate
from fulgurite.payments.requests import Approval, Rejection
from fulgurite.payments.states import PaymentStatus
from fulgurite.stuck.calls import LookAtStuck
from fulgurite.stuck.policy import ForceCloseBy, LadderPolicy
from fulgurite.stuck.receipts import Picture
from fulgurite.stuck.states import LadderState
from tests.relays.model_temporal import NewRun
from tests.unit.stuck_world import (
    EXPIRY,
    FIRST_HEIGHT,
    HASH,
    POINT,
    Node,
    day,
    until,
)
from workflows.stuck import StuckPaymentWorkflow


def test_a_peer_that_comes_back_ends_it_off_chain() -> None:
    node = Node()
    node.answers_calls = True

    async def story() -> None:
        await node.comes_to(LadderState.RECONNECTING)
        await asyncio.sleep(20)
        node.says(PaymentStatus.SUCCEEDED)

    receipt = node.run(story)

    assert receipt.status is LadderState.RESOLVED_OFF_CHAIN
    assert receipt.verdict is PaymentStatus.SUCCEEDED
    assert (node.calls, node.orders, receipt.on_chain) == (1, [], None)


def test_a_person_is_asked_with_what_is_at_stake_and_orders_the_close_once() -> None:
    node = Node()

    async def story() -> None:
        asked = await node.comes_to(LadderState.AWAITING_APPROVAL)
        assert asked.stakes[0].local_sat == 400_000
        assert asked.blocks_to_expiry is not None
        await day()
        assert node.forced == []
        node.decide(Approval(approver="ada"))
        await node.comes_to(LadderState.CLOSING)
        node.closes(CloseState.WAITING_CLOSE, cost_sat=300)
        await node.comes_to(LadderState.CONFIRMING)
        node.closes(CloseState.FORCE_CLOSING, cost_sat=300)
        await node.comes_to(LadderState.MATURING)
        node.says(PaymentStatus.FAILED)
        await node.comes_to(LadderState.SWEEPING)
        node.closes(CloseState.CLOSED, cost_sat=700)

    receipt = node.run(story)

    assert receipt.status is LadderState.RESOLVED_ON_CHAIN
    assert receipt.verdict is PaymentStatus.FAILED
    assert receipt.force_closed == (POINT,)
    assert receipt.on_chain == OnChain(channel_points=(POINT,), cost_sat=700, complete=True)
    [order] = node.forced
    assert order.request.for_payments == (HASH,)
    assert node.told_payment[-1] == receipt.on_chain
    assert [event.type for event in node.told] == [
        EventType.PAYMENT_HUNG,
        EventType.PAYMENT_FORCE_CLOSE_APPROVAL,
    ]


def test_a_person_says_no_and_lnd_itself_goes_to_the_chain() -> None:
    node = Node()

    async def story() -> None:
        await node.comes_to(LadderState.AWAITING_APPROVAL)
        node.decide(Rejection(approver="ada", reason="the peer is on holiday"))
        await node.comes_to(LadderState.WAITING)
        await node.comes_to_height(EXPIRY)
        node.phase = ClosePhase.WAITING_CLOSE
        await node.comes_to(LadderState.CONFIRMING)
        node.closes(CloseState.FORCE_CLOSING)
        node.says(PaymentStatus.FAILED)
        await node.comes_to(LadderState.SWEEPING)
        node.closes(CloseState.CLOSED, cost_sat=500)

    receipt = node.run(story)

    assert receipt.status is LadderState.RESOLVED_ON_CHAIN
    assert (node.forced, receipt.force_closed) == ([], ())
    assert {order.request.kind for order in node.orders} == {CloseKind.FOLLOW}
    # Fee and anchors, which whoever follows the close may never see.
    assert {order.commit_fee_sat for order in node.orders} == {300 + 660}


def test_the_policy_orders_it_when_expiry_is_near_and_not_a_block_before() -> None:
    node = Node(LadderPolicy(force_close_by=ForceCloseBy.EXPIRY, blocks_before_expiry=12))

    async def story() -> None:
        await node.comes_to(LadderState.CLOSING)
        assert node.height == EXPIRY - 12
        node.closes(CloseState.WAITING_CLOSE)
        node.closes(CloseState.FORCE_CLOSING)
        node.says(PaymentStatus.SUCCEEDED)
        node.closes(CloseState.CLOSED)

    receipt = node.run(story)

    assert receipt.status is LadderState.RESOLVED_ON_CHAIN
    assert len(node.forced) == 1


def test_time_alone_closes_no_channel_whose_peer_is_there() -> None:
    node = Node(LadderPolicy(force_close_by=ForceCloseBy.TIME, after_seconds=3_600))
    node.peer_online = True

    async def story() -> None:
        await asyncio.sleep(3 * 3_600)
        assert node.forced == []
        node.peer_online = False
        await node.comes_to(LadderState.CLOSING)
        node.says(PaymentStatus.FAILED)
        node.closes(CloseState.CALLED_OFF)

    receipt = node.run(story)

    assert receipt.status is LadderState.RESOLVED_OFF_CHAIN
    assert len(node.forced) == 1
    assert receipt.force_closed == ()


@pytest.mark.parametrize(("followed", "every_blocks"), [(True, 6), (False, 1)])
def test_it_sleeps_between_blocks(followed: bool, every_blocks: int) -> None:
    """Nobody polls between them; and for each of many blocks it need not ask to be woken."""
    node = Node(LadderPolicy(force_close_by=ForceCloseBy.NOBODY), followed=followed)

    async def story() -> None:
        await node.comes_to_height(EXPIRY - 1)
        blocks = EXPIRY - 1 - FIRST_HEIGHT
        assert 0 <= len(node.looks) - blocks // every_blocks <= 5
        assert node.asked_to_be_woken <= (5 if followed else blocks + 2)
        node.verdict, node.hangs = PaymentStatus.FAILED, False

    receipt = node.run(story)

    assert receipt.status is LadderState.RESOLVED_OFF_CHAIN


def test_what_is_on_no_channel_yet_is_looked_for_again_before_the_next_block() -> None:
    node = Node()
    node.hangs = False

    async def story() -> None:
        await asyncio.sleep(25)
        node.hangs = True
        await asyncio.sleep(60)
        assert node.height == FIRST_HEIGHT, "no block has come"
        assert StuckPaymentWorkflow.view(node.workflow).state is LadderState.RECONNECTING
        node.says(PaymentStatus.FAILED)

    assert node.run(story).status is LadderState.RESOLVED_OFF_CHAIN


def test_the_verdict_is_found_where_nobody_tells_it() -> None:
    """The payment's workflow was ended by force: the HTLC is gone, and LND says why."""
    node = Node()

    async def story() -> None:
        await node.comes_to(LadderState.AWAITING_APPROVAL)
        node.verdict, node.hangs = PaymentStatus.SUCCEEDED, False

    receipt = node.run(story)

    assert receipt.verdict is PaymentStatus.SUCCEEDED
    assert node.hurried_payment == 1


def test_an_order_that_nobody_carried_out_is_given_again_and_to_the_same_workflow() -> None:
    """Whoever closed the channel was ended by force before it asked LND."""
    node = Node()

    async def story() -> None:
        await node.comes_to(LadderState.AWAITING_APPROVAL)
        node.decide(Approval(approver="ada"))

        async def orders() -> int:
            return len(node.forced)

        await until(orders, lambda count: count > 1, "another order")
        assert len({order.request for order in node.forced}) == 1
        node.closes(CloseState.WAITING_CLOSE)
        await node.comes_to(LadderState.CONFIRMING)
        node.closes(CloseState.FORCE_CLOSING)
        node.says(PaymentStatus.FAILED)
        node.closes(CloseState.CLOSED)

    assert node.run(story).status is LadderState.RESOLVED_ON_CHAIN


def test_a_close_that_lnd_refuses_at_each_block_is_told_once() -> None:
    node = Node(LadderPolicy(force_close_by=ForceCloseBy.EXPIRY, blocks_before_expiry=12))

    async def story() -> None:
        for _ in range(3):
            await node.comes_to(LadderState.CLOSING)
            node.closes(CloseState.CALLED_OFF)
            await node.comes_to_height(node.height + 1)
        node.says(PaymentStatus.FAILED)
        node.closes(CloseState.CALLED_OFF)

    assert node.run(story).status is LadderState.RESOLVED_OFF_CHAIN
    assert len(node.forced) >= 3
    assert [event.type for event in node.told] == [EventType.PAYMENT_HUNG]


def test_a_verdict_that_is_heard_before_the_block_skips_no_rung() -> None:
    node = Node(LadderPolicy(force_close_by=ForceCloseBy.EXPIRY, blocks_before_expiry=12))
    course: list[LadderState] = []

    async def story() -> None:
        await node.comes_to(LadderState.CLOSING)
        node.closes(CloseState.WAITING_CLOSE)
        await node.comes_to(LadderState.CONFIRMING)
        node.workflow.verdict(PaymentUpdate(status=PaymentStatus.FAILED))
        await asyncio.sleep(1)
        course.append(StuckPaymentWorkflow.view(node.workflow).state)
        node.closes(CloseState.FORCE_CLOSING)
        await node.comes_to(LadderState.SWEEPING)
        timeline = StuckPaymentWorkflow.view(node.workflow).timeline
        course.extend(each for each in LadderState if f"**{each}**" in "".join(timeline[-2:]))
        node.closes(CloseState.CLOSED)

    assert node.run(story).status is LadderState.RESOLVED_ON_CHAIN
    assert course == [LadderState.CONFIRMING, LadderState.MATURING, LadderState.SWEEPING]


def test_a_reorg_takes_the_ladder_back_a_rung() -> None:
    node = Node(LadderPolicy(force_close_by=ForceCloseBy.EXPIRY, blocks_before_expiry=72))

    async def story() -> None:
        await node.comes_to(LadderState.CLOSING)
        node.closes(CloseState.WAITING_CLOSE)
        await node.comes_to(LadderState.CONFIRMING)
        node.closes(CloseState.FORCE_CLOSING)
        await node.comes_to(LadderState.MATURING)
        node.closes(CloseState.WAITING_CLOSE)
        await node.comes_to(LadderState.CONFIRMING)
        node.closes(CloseState.FORCE_CLOSING)
        node.says(PaymentStatus.FAILED)
        await node.comes_to(LadderState.SWEEPING)
        node.closes(CloseState.CLOSED)

    assert node.run(story).status is LadderState.RESOLVED_ON_CHAIN
    assert len(node.forced) == 1


def test_what_is_no_payment_of_the_node_is_refused() -> None:
    class Stranger(Node):
        def _picture(self, ask: LookAtStuck) -> Picture:
            return (
                super()
                ._picture(ask)
                .model_copy(update={"stakes": (), "payment": None, "asked": True})
            )

    node = Stranger(followed=False)

    async def nothing() -> None:
        """It is over at the first look."""

    receipt = node.run(nothing)

    assert (receipt.status, receipt.verdict) == (LadderState.REFUSED, None)


def test_nothing_can_be_decided_once_it_was() -> None:
    node = Node()

    async def story() -> None:
        await node.comes_to(LadderState.AWAITING_APPROVAL)
        node.decide(Rejection(approver="ada"))
        await node.comes_to(LadderState.WAITING)
        check = StuckPaymentWorkflow._check_rejection
        with pytest.raises(ApplicationError, match="nothing to decide"):
            check(node.workflow, Rejection(approver="bob"))
        StuckPaymentWorkflow._check_approval(node.workflow, Approval(approver="bob"))
        node.says(PaymentStatus.FAILED)

    assert node.run(story).status is LadderState.RESOLVED_OFF_CHAIN


def test_a_person_can_forbid_what_the_policy_would_order_as_long_as_it_waits() -> None:
    node = Node(LadderPolicy(force_close_by=ForceCloseBy.EXPIRY, blocks_before_expiry=12))

    async def story() -> None:
        await node.comes_to(LadderState.WAITING)
        StuckPaymentWorkflow._check_rejection(node.workflow, Rejection(approver="ada"))
        node.decide(Rejection(approver="ada"))
        await node.comes_to_height(EXPIRY - 5)
        assert node.forced == []
        with pytest.raises(ApplicationError, match="nothing to decide"):
            StuckPaymentWorkflow._check_rejection(node.workflow, Rejection(approver="bob"))
        node.says(PaymentStatus.SUCCEEDED)

    assert node.run(story).status is LadderState.RESOLVED_OFF_CHAIN


def test_a_channel_that_carries_nothing_of_the_payment_takes_it_nowhere() -> None:
    node = Node()
    other = ChannelPoint("11" * 32 + ":0")

    async def story() -> None:
        await node.comes_to(LadderState.AWAITING_APPROVAL)
        node.workflow.closing_moved(
            CloseView(
                state=CloseState.FORCE_CLOSING,
                node="alice",
                channel_point=other,
                kind=CloseKind.FORCE,
            )
        )
        await day()
        assert StuckPaymentWorkflow.view(node.workflow).state is LadderState.AWAITING_APPROVAL
        node.says(PaymentStatus.SUCCEEDED)

    assert node.run(story).status is LadderState.RESOLVED_OFF_CHAIN
    assert node.told_payment == []


async def _to_the_sweeps(node: Node) -> None:
    await node.comes_to(LadderState.AWAITING_APPROVAL)
    node.decide(Approval(approver="ada"))
    await node.comes_to(LadderState.CLOSING)
    node.closes(CloseState.WAITING_CLOSE)
    await node.comes_to(LadderState.CONFIRMING)
    node.workflow.hangs_again()  # of this attempt, and told late
    node.closes(CloseState.FORCE_CLOSING)
    await node.comes_to(LadderState.MATURING)
    node.says(PaymentStatus.FAILED)
    await node.comes_to(LadderState.SWEEPING)


def test_another_attempt_that_hangs_while_the_one_before_is_swept_has_a_ladder_too() -> None:
    """A CSV takes up to two weeks, and by then its HTLC has expired."""
    node = Node()

    async def story() -> None:
        await _to_the_sweeps(node)
        await day()
        # That is no cost of the new attempt, which is under way by now.
        node.closes(CloseState.FORCE_CLOSING, cost_sat=300)
        await day()
        node.workflow.hangs_again()
        node.closes(CloseState.FORCE_CLOSING, cost_sat=400)
        await asyncio.sleep(60)

    with pytest.raises(NewRun) as ended:
        node.run(story)
    assert (ended.value.request, ended.value.carried) == (node.request, None)
    assert {each.cost_sat for each in node.told_payment} == {0}


def test_the_same_attempt_told_late_begins_nothing_anew() -> None:
    node = Node()

    async def story() -> None:
        await _to_the_sweeps(node)
        node.closes(CloseState.CLOSED, cost_sat=700)

    assert node.run(story).status is LadderState.RESOLVED_ON_CHAIN


def test_what_a_rung_waits_for_is_no_busy_loop_when_nobody_tells_blocks() -> None:
    """`chain/<node>` does not run: the ladder looks for itself, and not more often than that."""

    class Unwoken(Node):
        async def signal(self, workflow_id: str, name: str, data: Any) -> None:
            if workflow_id == "chain/alice":
                raise ApplicationError("external workflow not found")
            await super().signal(workflow_id, name, data)

    node = Unwoken(LadderPolicy(force_close_by=ForceCloseBy.NOBODY))

    async def story() -> None:
        await asyncio.sleep(timedelta(hours=5).total_seconds())
        assert 5 < len(node.looks) < 50
        node.verdict, node.hangs = PaymentStatus.FAILED, False

    assert node.run(story).status is LadderState.RESOLVED_OFF_CHAIN
