"""Real workflows on a real Temporal, over a node that does as the test says.

What takes a peer that dies, a force close and days of blocks is told here in a few lines.
That a node behaves so is the scenarios' to show.
"""

from __future__ import annotations

import asyncio
import secrets
from datetime import UTC, datetime, timedelta

from temporalio import activity
from temporalio.client import Client

from devnet.waiting import eventually
from fulgurite.chain.tip import FOLLOW_CHAIN, FollowChain, Tip
from fulgurite.channels.calls import (
    BEGIN_CLOSE,
    CLOSE_CHANNEL,
    LOOK_AT_CLOSE,
    RECONNECT_PEER,
    BeginClose,
    Begun,
    ChannelOf,
    Reconnect,
    Reconnected,
)
from fulgurite.channels.channel import Channel, Htlc
from fulgurite.channels.closing import (
    CloseOutput,
    ClosePhase,
    CloseType,
    Closing,
    OutputKind,
    OutputOutcome,
)
from fulgurite.channels.listing import LIST_CHANNELS, ListChannels
from fulgurite.channels.receipts import CloseView
from fulgurite.channels.requests import CloseKind, CloseRequest
from fulgurite.channels.states import CloseState
from fulgurite.channels.watch import (
    BACK_UP_CHANNELS,
    WATCH_CHANNELS,
    BackedUp,
    BackUp,
    News,
    Sight,
    Watch,
)
from fulgurite.events.calls import EMIT_EVENT, Emitted
from fulgurite.events.catalogue import Event
from fulgurite.identity import ChannelId, ChannelPoint, NodePubkey, PaymentHash, Txid
from fulgurite.payments.receipts import PaymentUpdate
from fulgurite.payments.states import PaymentStatus
from fulgurite.stuck.calls import LOOK_AT_STUCK, LookAtStuck
from fulgurite.stuck.policy import LadderPolicy
from fulgurite.stuck.receipts import LadderView, Picture, Stake
from fulgurite.stuck.requests import StuckRequest
from fulgurite.stuck.states import LadderState
from starter.channel import ChannelClose, close_channel
from starter.stuck import StuckPayment
from workflows.close import ChannelCloseWorkflow

HEIGHT = 800_000
HUNG_SAT, LOCAL_SAT, CAPACITY_SAT = 25_000, 600_000, 1_000_000
COMMIT_FEE_SAT, SWEEP_FEE_SAT, CSV_BLOCKS = 1_200, 300, 144
EXPIRY = HEIGHT + 200
POLICY = LadderPolicy(reconnect_seconds=0)
PEER = NodePubkey("02" + "ab" * 32)


class HangingNode:
    """One node's LND. What happens to it, the test does; `asked` is what it was told to do."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._changed = asyncio.Event()
        self.name = f"node-{secrets.token_hex(4)}"
        self.height = HEIGHT
        self.open: dict[ChannelPoint, Channel] = {}
        self.closings: dict[ChannelPoint, Closing] = {}
        self.verdicts: dict[PaymentHash, PaymentStatus] = {}
        self.sent: set[PaymentHash] = set()
        self.asked: list[CloseRequest] = []
        self.backup_problem = ""

    # What the test does.

    def hangs(self, *, active: bool = False) -> tuple[PaymentHash, ChannelPoint]:
        """A payment of ours that hangs on a channel of its own."""
        payment_hash = PaymentHash(secrets.token_hex(32))
        self.sent.add(payment_hash)
        htlc = Htlc(
            payment_hash=payment_hash, amount_sat=HUNG_SAT, incoming=False, expiry_height=EXPIRY
        )
        return payment_hash, self.channel(htlc, active=active)

    def channel(self, *htlcs: Htlc, active: bool = True) -> ChannelPoint:
        point = ChannelPoint(f"{secrets.token_hex(32)}:1")
        pending = sum(each.amount_sat for each in htlcs)
        self.open[point] = Channel(
            channel_point=point,
            channel_id=ChannelId("799000x1x1"),
            peer=PEER,
            peer_alias="bob",
            active=active,
            initiator=True,
            capacity_sat=CAPACITY_SAT,
            local_sat=LOCAL_SAT,
            remote_sat=CAPACITY_SAT - LOCAL_SAT - pending - COMMIT_FEE_SAT,
            commit_fee_sat=COMMIT_FEE_SAT,
            csv_blocks=CSV_BLOCKS,
            htlcs=htlcs,
        )
        self._change()
        return point

    def is_back(self, point: ChannelPoint, *, active: bool = True) -> None:
        self.open[point] = self.open[point].model_copy(update={"active": active})
        self._change()

    def ends(self, payment_hash: PaymentHash, status: PaymentStatus) -> None:
        """LND's verdict; its HTLCs are gone."""
        self.verdicts[payment_hash] = status
        for point, channel in self.open.items():
            left = tuple(each for each in channel.htlcs if each.payment_hash != payment_hash)
            self.open[point] = channel.model_copy(update={"htlcs": left})
        self._change()

    def mine(self, blocks: int = 1) -> None:
        self.height += blocks
        self._change()

    def publishes(self, point: ChannelPoint, how: CloseType = CloseType.REMOTE_FORCE) -> None:
        """The closing transaction is out, whoever made it."""
        channel = self.open.pop(point)
        self.closings[point] = Closing(
            phase=ClosePhase.WAITING_CLOSE,
            tip=self.tip,
            channel_point=point,
            peer=channel.peer,
            capacity_sat=channel.capacity_sat,
            close_type=how,
            closing_txid=Txid(secrets.token_hex(32)),
            limbo_sat=channel.local_sat,
            commit_fee_sat=channel.commit_fee_sat,
        )
        self._change()

    def confirms(self, point: ChannelPoint) -> None:
        """In a block; our balance waits for CSV from there."""
        self.height += 1
        closing = self.closings[point]
        waits = CloseOutput(
            kind=OutputKind.COMMITMENT,
            outpoint=ChannelPoint(f"{closing.closing_txid}:0"),
            amount_sat=closing.limbo_sat,
            maturity_height=self.height + CSV_BLOCKS,
        )
        self.closings[point] = closing.model_copy(
            update={
                "phase": ClosePhase.FORCE_CLOSING,
                "close_height": self.height,
                "settled_sat": closing.limbo_sat,
                "outputs": (waits,),
            }
        )
        self._change()

    def sweeps(self, point: ChannelPoint) -> None:
        """Everything of ours is back."""
        self.height += CSV_BLOCKS
        closing = self.closings[point]
        swept = tuple(
            each.model_copy(
                update={
                    "outcome": OutputOutcome.CLAIMED,
                    "sweep_txid": Txid(secrets.token_hex(32)),
                }
            )
            for each in closing.outputs
        )
        self.closings[point] = closing.model_copy(
            update={
                "phase": ClosePhase.CLOSED,
                "limbo_sat": 0,
                "recovered_sat": closing.limbo_sat - SWEEP_FEE_SAT,
                "sweep_fees_sat": SWEEP_FEE_SAT,
                "outputs": swept,
            }
        )
        self._change()

    # What workers are told.

    @property
    def tip(self) -> Tip:
        return Tip(height=self.height, block_hash=Txid(f"{self.height:064x}"))

    @property
    def sight(self) -> Sight:
        closing = [
            point for point, each in self.closings.items() if each.phase is not ClosePhase.CLOSED
        ]
        return Sight(channels=tuple(self.open.values()), closing=tuple(closing))

    @activity.defn(name=FOLLOW_CHAIN.name)
    async def follow(self, ask: FollowChain) -> Tip:
        while self.tip == ask.known and datetime.now(UTC) < ask.until:
            await self._happening()
        return self.tip

    @activity.defn(name=LOOK_AT_STUCK.name)
    async def look_at_stuck(self, ask: LookAtStuck) -> Picture:
        payment_hash = ask.request.payment_hash
        known = payment_hash in self.sent
        status = self.verdicts.get(payment_hash, PaymentStatus.IN_FLIGHT)
        stakes = tuple(
            _stake(channel, payment_hash)
            for channel in self.open.values()
            if any(each.payment_hash == payment_hash for each in channel.htlcs)
        )
        closing = {
            point: self.closings[point].phase for point in ask.known if point in self.closings
        }
        asked = ask.ask_payment or not (stakes or closing)
        return Picture(
            tip=self.tip,
            asked=asked,
            payment=PaymentUpdate(status=status) if known and asked else None,
            stakes=stakes,
            closing=closing,
            policy=ask.request.policy or POLICY,
        )

    @activity.defn(name=RECONNECT_PEER.name)
    async def reconnect(self, ask: Reconnect) -> Reconnected:
        online = any(each.active for each in self.open.values() if each.peer == ask.peer)
        return Reconnected(online=online, because="" if online else "connection refused")

    @activity.defn(name=CLOSE_CHANNEL.name)
    async def close(self, ask: CloseRequest) -> Closing:
        self.asked.append(ask)
        forced = ask.kind is CloseKind.FORCE
        self.publishes(
            ask.channel_point, CloseType.LOCAL_FORCE if forced else CloseType.COOPERATIVE
        )
        return self._closing(ask.channel_point)

    @activity.defn(name=LOOK_AT_CLOSE.name)
    async def look_at_close(self, ask: ChannelOf) -> Closing:
        return self._closing(ask.channel_point)

    @activity.defn(name=BEGIN_CLOSE.name)
    async def begin_close(self, ask: BeginClose) -> Begun:
        closing = await close_channel(self._client, ask.request)
        if ask.listener:
            running = self._client.get_workflow_handle(closing.id)
            await running.signal(ChannelCloseWorkflow.listen, ask.listener)
        return Begun(workflow_id=closing.id)

    @activity.defn(name=WATCH_CHANNELS.name)
    async def watch(self, ask: Watch) -> News:
        while datetime.now(UTC) < ask.until:
            now = datetime.now(UTC)
            seen = ask.so_far.saw(self.sight, now)
            news = seen.news(self.sight, ask.node, now, timedelta(0))
            if news.is_worth_telling(ask.so_far) or news.watched != ask.so_far:
                return news
            await self._happening()
        return News(watched=ask.so_far)

    @activity.defn(name=BACK_UP_CHANNELS.name)
    async def back_up(self, ask: BackUp) -> BackedUp:
        if self.backup_problem:
            return BackedUp(because=self.backup_problem)
        return BackedUp(of=ask.of, kept=True, channels=len(self.open), place="channel.backup")

    @activity.defn(name=LIST_CHANNELS.name)
    async def list_(self, _: ListChannels) -> Sight:
        return self.sight

    @activity.defn(name=EMIT_EVENT.name)
    async def emit(self, _: Event) -> Emitted:
        return Emitted(endpoints=())

    def _closing(self, point: ChannelPoint) -> Closing:
        if closing := self.closings.get(point):
            return closing.model_copy(update={"tip": self.tip})
        phase = ClosePhase.OPEN if point in self.open else ClosePhase.UNKNOWN
        return Closing(phase=phase, tip=self.tip, channel_point=point)

    def _change(self) -> None:
        self._changed.set()
        self._changed = asyncio.Event()

    async def _happening(self) -> None:
        """Until something may have changed, with a heartbeat."""
        activity.heartbeat()
        try:
            await asyncio.wait_for(self._changed.wait(), timeout=1)
        except TimeoutError:
            return


def to_end(node: HangingNode, payment_hash: PaymentHash, **more: object) -> StuckRequest:
    """What its ladder is begun with; `more` are fields of StuckRequest."""
    return StuckRequest.model_validate({"node": node.name, "payment_hash": payment_hash, **more})


async def climbs(ladder: StuckPayment, state: LadderState) -> LadderView:
    return await eventually(
        ladder.view, lambda view: view.state is state, what=f"a ladder that is {state}"
    )


async def closes(closing: ChannelClose, state: CloseState) -> CloseView:
    return await eventually(
        closing.view, lambda view: view.state is state, what=f"a closing that is {state}"
    )


def _stake(channel: Channel, payment_hash: PaymentHash) -> Stake:
    htlcs = [each for each in channel.htlcs if each.payment_hash == payment_hash]
    return Stake(
        channel_point=channel.channel_point,
        peer=channel.peer,
        peer_alias=channel.peer_alias,
        peer_online=channel.active,
        hung_sat=sum(each.amount_sat for each in htlcs),
        expiry_height=min(each.expiry_height for each in htlcs),
        capacity_sat=channel.capacity_sat,
        local_sat=channel.local_sat,
        commit_fee_sat=channel.commit_fee_sat,
        csv_blocks=channel.csv_blocks,
    )
