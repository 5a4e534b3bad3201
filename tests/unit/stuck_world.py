"""A payment that hangs in virtual time: LND, the chain, and a channel's own workflow."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any, TypeVar

from temporalio.exceptions import ApplicationError

from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.chain.tip import Alarm, Tip
from fulgurite.channels.calls import (
    BEGIN_CLOSE,
    RECONNECT_PEER,
    BeginClose,
    Begun,
    Reconnect,
    Reconnected,
)
from fulgurite.channels.closing import ClosePhase, Closing
from fulgurite.channels.receipts import CloseView
from fulgurite.channels.requests import CloseKind
from fulgurite.channels.states import CloseState
from fulgurite.events.calls import EMIT_EVENT, Emitted
from fulgurite.events.catalogue import Event
from fulgurite.identity import ChannelPoint, NodePubkey, PaymentHash, Txid
from fulgurite.payments.receipts import OnChain, PaymentUpdate
from fulgurite.payments.requests import Approval, Rejection
from fulgurite.payments.states import PaymentStatus
from fulgurite.stuck.calls import LOOK_AT_STUCK, LookAtStuck
from fulgurite.stuck.policy import LadderPolicy
from fulgurite.stuck.receipts import LadderReceipt, LadderView, Picture, Stake
from fulgurite.stuck.requests import StuckRequest
from fulgurite.stuck.states import LadderState
from tests.unit.stage import World, play
from workflows import awaiting, calling, metrics, stuck
from workflows.stuck import StuckPaymentWorkflow

HASH = PaymentHash("ab" * 32)
POINT = ChannelPoint("cd" * 32 + ":0")
PEER = NodePubkey("02" + "ef" * 32)
BLOCK_SECONDS = 600.0
FIRST_HEIGHT, EXPIRY = 1_000, 1_040
KIND = CloseKind.FORCE
MODULES = (awaiting, calling, metrics, stuck)
DAY_SECONDS = 86_400.0

Value = TypeVar("Value")


class Node(World):
    """An LND with one HTLC that hangs, a chain that goes on, and a channel's own workflow."""

    def __init__(self, policy: LadderPolicy | None = None, *, followed: bool = True) -> None:
        super().__init__(self._answer)
        self.request = StuckRequest(node="alice", payment_hash=HASH, followed=followed)
        self.policy = policy or LadderPolicy()
        self.height = FIRST_HEIGHT
        self.peer_online = False
        self.answers_calls = False
        self.hangs = True
        self.verdict: PaymentStatus | None = None
        self.phase = ClosePhase.OPEN
        self.looks: list[LookAtStuck] = []
        self.orders: list[BeginClose] = []
        self.calls = 0
        self.told: list[Event] = []
        self.told_payment: list[OnChain] = []
        self.hurried_payment = 0
        self.asked_to_be_woken = 0
        self._alarm: Alarm | None = None
        self.workflow: StuckPaymentWorkflow

    async def _answer(self, name: str, ask: Any) -> Any:
        match ask:
            case LookAtStuck() if name == LOOK_AT_STUCK.name:
                self.looks.append(ask)
                return self._picture(ask)
            case Reconnect(peer=peer) if name == RECONNECT_PEER.name:
                assert peer == PEER
                self.calls += 1
                self.peer_online |= self.answers_calls
                return Reconnected(online=self.peer_online, because="connection refused")
            case BeginClose() if name == BEGIN_CLOSE.name:
                assert ask.listener == ids.stuck_id(HASH)
                self.orders.append(ask)
                return Begun(workflow_id=ids.close_id(POINT))
            case Event() if name == EMIT_EVENT.name:
                self.told.append(ask)
                return Emitted(endpoints=())
        raise AssertionError(f"nobody does {name} here")

    def _picture(self, ask: LookAtStuck) -> Picture:
        hangs = self.hangs and self.phase is ClosePhase.OPEN
        asked = ask.ask_payment or not (hangs or self.phase is not ClosePhase.OPEN)
        return Picture(
            tip=self.tip(),
            asked=asked,
            payment=PaymentUpdate(status=self.verdict or PaymentStatus.IN_FLIGHT),
            stakes=(self._stake(),) if hangs else (),
            closing={} if self.phase is ClosePhase.OPEN else {POINT: self.phase},
            policy=self.policy,
        )

    def _stake(self) -> Stake:
        return Stake(
            channel_point=POINT,
            peer=PEER,
            peer_alias="bob",
            peer_online=self.peer_online,
            hung_sat=50_000,
            expiry_height=EXPIRY,
            capacity_sat=1_000_000,
            local_sat=400_000,
            commit_fee_sat=300,
            anchors_sat=660,
            csv_blocks=144,
        )

    def tip(self) -> Tip:
        return Tip(height=self.height, block_hash=Txid(f"{self.height:064x}"))

    async def signal(self, workflow_id: str, name: str, data: Any) -> None:
        match workflow_id, name:
            case "chain/alice", "wake":
                self._alarm, self.asked_to_be_woken = data, self.asked_to_be_woken + 1
            case "chain/alice", "forget":
                self._alarm = None
            case _, "went_on_chain":
                assert workflow_id == ids.payment_id(HASH)
                self.told_payment.append(data)
            case _, "look_again":
                assert workflow_id == ids.payment_id(HASH)
                self.hurried_payment += 1
            case _:
                raise ApplicationError("external workflow not found")

    async def blocks(self) -> None:
        """One every ten minutes, and who waits for it is woken."""
        while True:
            await asyncio.sleep(BLOCK_SECONDS)
            self.height += 1
            if self._alarm and self._alarm.height <= self.height:
                self._alarm = self._alarm.again(self.tip())
                self.workflow.block(self.tip())

    async def comes_to(self, state: LadderState) -> LadderView:
        # By its class: the SDK's type of a bound query wants the workflow again.
        async def view() -> LadderView:
            return StuckPaymentWorkflow.view(self.workflow)

        return await until(view, lambda seen: seen.state is state, f"rung {state}")

    async def comes_to_height(self, height: int) -> None:
        async def now() -> int:
            return self.height

        await until(now, lambda seen: seen >= height, f"height {height}")

    def decide(self, decision: Approval | Rejection) -> None:
        handler = "approve" if isinstance(decision, Approval) else "reject"
        getattr(StuckPaymentWorkflow, handler)(self.workflow, decision)

    def says(self, status: PaymentStatus) -> None:
        """LND's verdict, and the payment's workflow tells it."""
        self.verdict, self.hangs = status, False
        self.workflow.verdict(PaymentUpdate(status=status))

    def closes(self, state: CloseState, *, cost_sat: int = 0) -> None:
        """The channel's own workflow tells a move."""
        self.phase = {
            CloseState.CALLED_OFF: ClosePhase.OPEN,
            CloseState.WAITING_CLOSE: ClosePhase.WAITING_CLOSE,
            CloseState.FORCE_CLOSING: ClosePhase.FORCE_CLOSING,
            CloseState.CLOSED: ClosePhase.CLOSED,
        }[state]
        closing = Closing(
            phase=self.phase, tip=self.tip(), channel_point=POINT, sweep_fees_sat=cost_sat
        )
        self.workflow.closing_moved(
            CloseView(state=state, node="alice", channel_point=POINT, kind=KIND, closing=closing)
        )

    def run(self, story: Callable[[], Coroutine[Any, Any, None]]) -> LadderReceipt:
        """The ladder's receipt, with `story` going on beside it."""

        async def all_of_it() -> LadderReceipt:
            self.workflow = StuckPaymentWorkflow(self.request)
            beside = [asyncio.create_task(self.blocks()), asyncio.create_task(story())]
            await asyncio.sleep(0)
            receipt = await self.workflow.run(self.request)
            assert beside[1].done(), "the ladder was over before its story"
            beside[1].result()
            return receipt

        receipt = play(self, ids.stuck_id(HASH), MODULES, all_of_it)
        assert isinstance(receipt, LadderReceipt)
        return receipt

    @property
    def forced(self) -> list[BeginClose]:
        return [order for order in self.orders if order.request.kind is CloseKind.FORCE]


async def until(
    ask: Callable[[], Coroutine[Any, Any, Value]], condition: Callable[[Value], bool], what: str
) -> Value:
    """In virtual time, which costs nothing."""
    return await eventually(
        ask, condition, what=what, timeout_seconds=30 * DAY_SECONDS, every_seconds=1
    )


async def day() -> None:
    await asyncio.sleep(DAY_SECONDS)
