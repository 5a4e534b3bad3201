"""What can become of a payment that hangs: each way out of it, told once.

The same story is played on both networks, by itself or beside others, in peace or while
everything is killed; and the rungs that the ladder comes by are the same each time.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from devnet.house import House
from devnet.node import TestInvoice
from devnet.regtest import RegtestNetwork
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite.channels.receipts import CloseReceipt, CloseView
from fulgurite.channels.requests import CloseKind, CloseRequest, FeeBudget
from fulgurite.channels.states import CLOSE, CloseState
from fulgurite.errors import InvalidRequestError
from fulgurite.identity import ChannelPoint
from fulgurite.payments.receipts import Receipt
from fulgurite.payments.requests import Approval, Rejection
from fulgurite.payments.states import PaymentState
from fulgurite.stuck.policy import ForceCloseBy, LadderPolicy
from fulgurite.stuck.receipts import LadderReceipt, Stake
from fulgurite.stuck.states import LadderState
from starter.channel import ChannelClose
from starter.client import FulguriteClient
from starter.errors import TemporalUnavailableError, WorkerUnavailableError
from starter.payment import Payment
from starter.stuck import StuckPayment

from .hanging import (
    AT_ONCE,
    answered,
    course_of,
    digested,
    ended,
    expires,
    hang,
    hung_on,
    ladder_of,
    lnd_closes,
    mines_to,
    mining,
    reaches,
    retained,
    states_in,
    verdict_of,
)
from .roads import channels_with

YES, NO = Approval(approver="ada"), Rejection(approver="ada", reason="the peer is on holiday")
NOBODY = LadderPolicy(force_close_by=ForceCloseBy.NOBODY, reconnect_seconds=0)
PATIENT = LadderPolicy(force_close_by=ForceCloseBy.PERSON, reconnect_seconds=3_600)
BUDGET_SAT = 20_000
# From the first block on: the HTLC expires within it.
HURRIED = LadderPolicy(
    reconnect_seconds=0, fees=FeeBudget(budget_sat=BUDGET_SAT, blocks_before_deadline=144)
)
SPIKE_SAT_PER_VBYTE = 20
# Of an anchor channel, both, from whoever opened it.
ANCHORS_SAT = 660
_ROUNDED_SAT = 2
# One that confirms it, two that bury it.
_LISTED_AFTER_BLOCKS = 3

# The rungs of each story, on whichever network.
_S = LadderState
_ASKED: Final = [_S.RECONNECTING, _S.AWAITING_APPROVAL]
_ON_CHAIN: Final = [_S.CONFIRMING, _S.MATURING, _S.SWEEPING, _S.RESOLVED_ON_CHAIN]
BY_ORDER: Final = [*_ASKED, _S.CLOSING, *_ON_CHAIN]
REFUSED: Final = [*_ASKED, _S.WAITING, *_ON_CHAIN]
# A block that another story mines may have carried it further than the first of these.
PUBLISHED: Final = (_S.CONFIRMING, _S.MATURING)
BY_OTHERS: Final = [_S.RECONNECTING, _S.WAITING, *_ON_CHAIN]
OFF_CHAIN: Final = [_S.RECONNECTING, _S.RESOLVED_OFF_CHAIN]
IN_AGREEMENT: Final = [CloseState.CLOSING, CloseState.WAITING_CLOSE, CloseState.CLOSED]
BY_FORCE: Final = [
    *(CloseState.CLOSING, CloseState.WAITING_CLOSE),
    *(CloseState.FORCE_CLOSING, CloseState.CLOSED),
]


class Act(IntEnum):
    """Where stories that are played together wait for each other, in this order."""

    HUNG = 0  # all of them have begun
    AWAY = 1  # the peer, which is back before anybody closes
    ASKED = 2  # it hangs, and a person or the peer has the word
    ORDERED = 3  # with the order on its way
    PUBLISHED = 4
    CONFIRMED = 5
    SPIKE_ORDERED = 6  # fees rise when the others' closes are in their blocks
    SPIKE_PUBLISHED = 7
    SPIKE_CONFIRMED = 8  # from here on the chain may go to an expiry
    EXPIRED_PUBLISHED = 9
    EXPIRED_CONFIRMED = 10
    DECIDED = 11  # LND has its verdict; sweeps are on their way


async def _goes_on(_: Act) -> None:
    """Nobody waits."""


@dataclass(frozen=True)
class Hung:
    """A payment that carol holds, the channel of alice's that it hangs on, and its ladder."""

    payment: Payment
    invoice: TestInvoice
    ladder: StuckPayment
    stake: Stake

    @property
    def point(self) -> ChannelPoint:
        return self.stake.channel_point


@dataclass(frozen=True)
class Told:
    """What a story came to."""

    receipt: Receipt
    ladder: LadderReceipt
    course: list[LadderState]
    closing: CloseReceipt | None = None


@dataclass(frozen=True)
class Play:
    """Where a story is played. `over`: the channels that its payment may leave by; none: any."""

    home: House
    client: FulguriteClient
    over: tuple[str, ...] = ()
    at: Callable[[Act], Awaitable[None]] = _goes_on

    async def hangs(self, policy: LadderPolicy, *rungs: LadderState) -> Hung:
        """A payment whose ladder has come to one of these rungs."""
        payment, invoice = await hang(self.home, self.client, policy=policy, over=self.over)
        [point] = await hung_on(self.home.network.nodes["alice"], payment.payment_hash)
        ladder = await ladder_of(self.client, payment)
        [stake] = (await reaches(ladder, *rungs)).stakes
        assert (stake.channel_point, stake.csv_blocks) == (point, 4)
        await self.at(Act.HUNG)
        return Hung(payment, invoice, ladder, stake)

    async def climbs_to(self, hung: Hung, state: LadderState) -> None:
        await mines_to(self.home, self.client, hung.ladder, state)

    async def ends_on_chain(self, hung: Hung) -> Told:
        """From the chain's decision to the last sweep; whose every sat is told."""
        receipt = await verdict_of(self.home, self.client, hung.payment)
        await self.at(Act.DECIDED)
        resolved = await ended(self.home, self.client, hung.ladder)
        close = await answered(lambda: self.client.channel_close(hung.point))
        closing = await answered(close.receipt)
        is_true_to_the_sat(hung.stake, receipt, resolved, closing)
        await is_closed_once(self.home, closing)
        return Told(receipt, resolved, await course_of(hung.ladder), closing)


def is_true_to_the_sat(
    stake: Stake, receipt: Receipt, ladder: LadderReceipt, closing: CloseReceipt
) -> None:
    """What was alice's before is in her wallet, or is told as cost: by LND's own word."""
    failed = receipt.status is PaymentState.FAILED
    hers = stake.local_sat + stake.commit_fee_sat + ANCHORS_SAT + stake.hung_sat * failed
    # Of each output less than a satoshi goes to the miners.
    assert 0 <= closing.recovered_sat + closing.cost_sat - hers <= _ROUNDED_SAT, (stake, closing)
    assert ladder.on_chain is not None
    assert ladder.on_chain.complete
    assert ladder.on_chain.channel_points == (stake.channel_point,)
    assert ladder.on_chain.cost_sat == closing.cost_sat > 0
    assert receipt.on_chain is not None
    assert receipt.on_chain.channel_points == (stake.channel_point,)
    assert receipt.on_chain.cost_sat <= closing.cost_sat


async def is_closed_once(home: House, closing: CloseReceipt) -> None:
    """In alice's own list."""
    closed = await home.network.nodes["alice"].closed_channels()
    txids = [each.closing_tx_hash for each in closed if each.channel_point == closing.channel_point]
    assert txids == [closing.closing_txid]


async def decide(order: Callable[[], Awaitable[object]]) -> None:
    """A word of a person's, given again while nobody answers."""

    async def heard() -> bool:
        try:
            await order()
        except (TemporalUnavailableError, WorkerUnavailableError):
            return False
        except InvalidRequestError:
            return True  # it was carried out, and its answer was lost
        return True

    await eventually(heard, what="a decision", timeout_seconds=120)


async def has_it_closed(play: Play, hung: Hung) -> None:
    """A person says yes, and the close comes into a block."""
    await play.at(Act.ASKED)
    await decide(lambda: hung.ladder.approve(YES))
    await play.at(Act.ORDERED)
    await reaches(hung.ladder, *PUBLISHED)
    await play.at(Act.PUBLISHED)
    await play.climbs_to(hung, LadderState.MATURING)
    await play.at(Act.CONFIRMED)


# The stories. Carol has the payment in her hands in each of them.


async def nobody_takes_it(play: Play) -> Told:
    """The far peer is gone, and the HTLC times out on the chain."""
    hung = await play.hangs(AT_ONCE, LadderState.AWAITING_APPROVAL)
    await play.home.network.stop_node("carol")
    try:
        await has_it_closed(play, hung)
        await expires(play.home, hung.stake)
        return await play.ends_on_chain(hung)
    finally:
        await play.home.network.start_node("carol")


async def preimage_on_chain(play: Play) -> Told:
    """The payee takes the money when the channel is closed already: bob claims it on chain."""
    hung = await play.hangs(AT_ONCE, LadderState.AWAITING_APPROVAL)
    await has_it_closed(play, hung)
    await play.home.network.nodes["carol"].settle(hung.invoice)
    return await play.ends_on_chain(hung)


async def peer_comes_back(play: Play) -> Told:
    network = play.home.network
    hung = await play.hangs(PATIENT, LadderState.RECONNECTING)
    await network.stop_node("bob")
    try:
        await play.at(Act.AWAY)
    finally:
        await network.start_node("bob")
    await play.at(Act.ASKED)
    await network.nodes["carol"].settle(hung.invoice)
    receipt = await answered(hung.payment.receipt)
    resolved = await answered(hung.ladder.receipt)
    assert hung.point in {each.channel_point for each in await network.nodes["alice"].channels()}
    return Told(receipt, resolved, await course_of(hung.ladder))


async def person_says_no(play: Play) -> Told:
    """And LND goes to the chain by itself, when the HTLC expires."""
    hung = await play.hangs(AT_ONCE, LadderState.AWAITING_APPROVAL)
    await play.at(Act.ASKED)
    await decide(lambda: hung.ladder.reject(NO))
    await reaches(hung.ladder, LadderState.WAITING)
    await play.at(Act.ORDERED)
    await play.at(Act.SPIKE_CONFIRMED)
    await play.home.network.stop_node("bob")
    try:
        await expires(play.home, hung.stake)
        await lnd_closes(play.home, hung.ladder)
        await play.at(Act.EXPIRED_PUBLISHED)
        await play.climbs_to(hung, LadderState.MATURING)
        await play.at(Act.EXPIRED_CONFIRMED)
        return await play.ends_on_chain(hung)
    finally:
        await play.home.network.start_node("bob")


async def peer_closes(play: Play) -> Told:
    """By force, and nobody here ordered it."""
    hung = await play.hangs(NOBODY, LadderState.WAITING)
    await play.at(Act.ASKED)
    await play.home.network.nodes["bob"].close_channel(hung.point, force=True)
    # LND does not list it before it has three confirmations; from then on each block is seen.
    await play.home.network.mine(_LISTED_AFTER_BLOCKS)
    closing = await play.client.channel_close(hung.point)
    await eventually(lambda: retained(closing.view), what="a close of the peer's that is seen")
    await play.climbs_to(hung, LadderState.MATURING)
    await play.at(Act.CONFIRMED)
    await play.home.network.nodes["carol"].cancel(hung.invoice)
    await play.at(Act.EXPIRED_CONFIRMED)
    await expires(play.home, hung.stake)
    return await play.ends_on_chain(hung)


async def fees_rise(play: Play) -> Told:
    """No block takes the close for what it pays: it is outbid, within the budget."""
    hung = await play.hangs(HURRIED, LadderState.AWAITING_APPROVAL)
    await play.at(Act.ASKED)
    await play.at(Act.CONFIRMED)
    fee_floor(play.home, SPIKE_SAT_PER_VBYTE)
    try:
        await decide(lambda: hung.ladder.approve(YES))
        await play.at(Act.SPIKE_ORDERED)
        await reaches(hung.ladder, *PUBLISHED)
        await play.at(Act.SPIKE_PUBLISHED)
        await play.climbs_to(hung, LadderState.MATURING)
    finally:
        fee_floor(play.home, 0)
    assert 0 < (await bumped(play.client, hung)).bumped_sat <= BUDGET_SAT
    await play.at(Act.SPIKE_CONFIRMED)
    await play.at(Act.EXPIRED_CONFIRMED)
    await expires(play.home, hung.stake)
    return await play.ends_on_chain(hung)


async def one_part_hangs(play: Play) -> Told:
    """Of two the other is resolved off chain; the payment ends when both have."""
    alice, carol = (play.home.network.nodes[name] for name in ("alice", "carol"))
    channels = [each for each in await alice.channels() if await _may_leave_by(play, each.chan_id)]
    fullest = max(channel.local_balance for channel in channels)
    payment, invoice = await hang(
        play.home,
        play.client,
        policy=NOBODY,
        amount_msat=(fullest + 10_000) * 1_000,
        timeout_seconds=20,
        over=play.over,
    )
    points = await hung_on(alice, payment.payment_hash)
    assert len(points) > 1
    ladder = await ladder_of(play.client, payment)
    stakes = (await reaches(ladder, LadderState.WAITING)).stakes
    hung = Hung(payment, invoice, ladder, stakes[0])
    await play.at(Act.HUNG)
    await play.at(Act.ASKED)
    await answered(
        lambda: play.client.close_channel(
            CloseRequest(node="alice", channel_point=hung.point, kind=CloseKind.FORCE)
        )
    )
    await play.at(Act.ORDERED)
    await play.climbs_to(hung, LadderState.MATURING)
    await play.at(Act.CONFIRMED)
    await carol.settle(invoice)
    told = await play.ends_on_chain(hung)
    assert told.receipt.parts > 1
    left = {stake.channel_point for stake in stakes[1:]}
    assert left <= {each.channel_point for each in await alice.channels()}
    return told


async def in_agreement(play: Play, point: ChannelPoint) -> tuple[CloseReceipt, list[CloseState]]:
    """Nothing hangs: both sides sign, and the balance comes back."""
    await play.at(Act.HUNG)
    await play.at(Act.ASKED)
    bob, alice = (play.home.network.nodes[name] for name in ("bob", "alice"))

    async def is_online() -> bool:
        active = {each.channel_point for each in await channels_with(alice, bob) if each.active}
        return point in active

    await eventually(is_online, what="a channel that both sides can sign for")
    close = await answered(
        lambda: play.client.close_channel(
            CloseRequest(
                node="alice", channel_point=point, kind=CloseKind.COOPERATIVE, sat_per_vbyte=3
            )
        )
    )
    await play.at(Act.ORDERED)
    await eventually(
        lambda: answered(close.view),
        lambda view: view.state is CloseState.WAITING_CLOSE,
        what="a close that both have signed",
    )
    await play.at(Act.PUBLISHED)
    return await closed(play.home, play.client, close)


async def closed(
    home: House, client: FulguriteClient, close: ChannelClose
) -> tuple[CloseReceipt, list[CloseState]]:
    """Mines to its end. What it came to, and by which states."""

    async def view() -> CloseView:
        seen = await close.view()
        await digested(home, client, [seen.channel_point])
        return seen

    last = await mining(home, view, lambda seen: seen.state in CLOSE.terminal, "a closed channel")
    return await answered(close.receipt), states_in(CloseState, last.timeline)


async def bumped(client: FulguriteClient, hung: Hung) -> CloseView:
    close = await answered(lambda: client.channel_close(hung.point))
    return await answered(close.view)


def fee_floor(home: House, sat_per_vbyte: int) -> None:
    """Blocks leave out what pays less; LND is told nothing of it. 0 ends the spike."""
    assert isinstance(home.network, SimulatedNetwork | RegtestNetwork)
    home.network.fee_floor(sat_per_vbyte)


async def _may_leave_by(play: Play, channel_id: int) -> bool:
    return not play.over or str(channel_id) in play.over
