"""Payments that hang on purpose, and what scenarios wait for."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from functools import partial
from typing import Final, TypeVar

from devnet.house import House
from devnet.node import ACCEPTED, LightningNode, TestInvoice
from devnet.receiver import Receiver
from devnet.waiting import eventually
from fulgurite.channels.states import CLOSE
from fulgurite.identity import ChannelPoint, PaymentHash
from fulgurite.payments.receipts import Receipt
from fulgurite.payments.requests import PaymentRequest
from fulgurite.payments.states import PaymentState
from fulgurite.stuck.policy import ForceCloseBy, LadderPolicy
from fulgurite.stuck.receipts import LadderReceipt, LadderView, Stake
from fulgurite.stuck.states import LadderState
from starter.client import FulguriteClient
from starter.errors import NotRetainedError, TemporalUnavailableError, WorkerUnavailableError
from starter.payment import Payment
from starter.stuck import StuckPayment

AMOUNT_MSAT = 200_000_000
AT_ONCE = LadderPolicy(force_close_by=ForceCloseBy.PERSON, reconnect_seconds=0)
# HTLCs over two hops expire this far ahead at most; a test that mines further is lost.
_MOST_BLOCKS = 400
_NEAR_BLOCKS, _STRIDE_BLOCKS = 10, 6
_STATE: Final = re.compile(r"\*\*([A-Z_]+)\*\*")

Value = TypeVar("Value")


async def hang(
    home: House,
    client: FulguriteClient,
    *,
    policy: LadderPolicy = AT_ONCE,
    amount_msat: int = AMOUNT_MSAT,
    timeout_seconds: int = 2,
    over: Sequence[str] = (),
) -> tuple[Payment, TestInvoice]:
    """A payment of alice's to carol, accepted by carol and held, that is stuck after a second.

    `over`: the ids of the channels that its HTLCs may leave by; none: any.
    """
    carol = home.network.nodes["carol"]
    invoice = await carol.hold_invoice(amount_msat)
    payment = await client.pay(
        PaymentRequest.model_validate(
            {
                "node": "alice",
                "invoice": invoice.payment_request,
                "fee_limit": {"sat": 1_000},
                "stuck_after_seconds": 1,
                # LND tries again after an HTLC that timed out on chain, while this lasts.
                "timeout_seconds": timeout_seconds,
                "deadline_seconds": 30,
                "ladder": policy,
                "outgoing_channels": tuple(over),
            }
        )
    )
    waiting = asyncio.create_task(carol.wait_for_invoice(invoice, ACCEPTED))
    over_before = asyncio.create_task(payment.receipt())
    await asyncio.wait({waiting, over_before}, return_when=asyncio.FIRST_COMPLETED)
    assert waiting.done(), f"it does not hang: {over_before.result()}"
    over_before.cancel()
    return payment, invoice


async def ladder_of(client: FulguriteClient, payment: Payment) -> StuckPayment:
    """Once the payment has begun it: that a payment is stuck is known before its ladder is."""
    ladder = client.stuck(payment.payment_hash)
    await eventually(lambda: retained(ladder.view), what="a ladder")
    return ladder


async def retained(ask: Callable[[], Awaitable[Value]]) -> list[Value]:
    """Its one answer; nothing while nobody answers, or Temporal has nothing of that name yet.

    A worker that was killed is missed after ten seconds.
    """
    try:
        return [await ask()]
    except (NotRetainedError, TemporalUnavailableError, WorkerUnavailableError):
        return []


async def answered(ask: Callable[[], Awaitable[Value]]) -> Value:
    """Asked again while nobody answers."""
    [value] = await eventually(lambda: retained(ask), what="an answer", timeout_seconds=120)
    return value


async def reaches(ladder: StuckPayment, *states: LadderState) -> LadderView:
    """Waits, without a block."""
    return await eventually(
        lambda: answered(ladder.view),
        lambda view: view.state in states,
        what=f"rung {states}",
        timeout_seconds=120,
    )


async def mines_to(
    home: House, client: FulguriteClient, ladder: StuckPayment, *states: LadderState
) -> LadderView:
    """Mines until the ladder has come so far, or further."""

    async def view() -> LadderView:
        seen = await ladder.view()
        await digested(home, client, [stake.channel_point for stake in seen.stakes])
        return seen

    def is_there(view: LadderView) -> bool:
        return any(state in states_in(LadderState, view.timeline) for state in states)

    return await mining(home, view, is_there, f"rung {states}")


async def expires(home: House, stake: Stake) -> None:
    """Mines until the HTLC may time out, at once."""
    height = (await home.network.nodes["alice"].info()).block_height
    if height < stake.expiry_height:  # or another story has mined them
        await home.network.mine(stake.expiry_height - height)


async def lnd_closes(home: House, ladder: StuckPayment) -> None:
    """Mines until LND has gone to the chain by itself, and the ladder sees it there."""
    alice = home.network.nodes["alice"]

    async def seen() -> LadderState:
        height = (await alice.info()).block_height
        view = await eventually(
            lambda: answered(ladder.view),
            lambda seen: (
                seen.tip is not None
                and (seen.tip.height >= height or seen.state is LadderState.CONFIRMING)
            ),
            what=f"a look at block {height}",
        )
        return view.state

    await mining(home, seen, lambda state: state is LadderState.CONFIRMING, "LND's own close")


async def digested(home: House, client: FulguriteClient, points: Iterable[ChannelPoint]) -> None:
    """Waits until what closes there has seen the newest block, or need not see it.

    A busy machine mines faster than it looks, and then skips what comes between.
    """
    height = (await home.network.nodes["alice"].info()).block_height

    async def at_rest(point: ChannelPoint) -> bool:
        try:
            view = await (await client.channel_close(point)).view()
        except NotRetainedError:
            return True  # nobody has seen it close
        except (TemporalUnavailableError, WorkerUnavailableError):
            return False
        if view.closing is None or view.state in CLOSE.terminal:
            return view.state in CLOSE.terminal
        return view.closing.tip.height >= height or view.closing.next_height > height

    for point in points:
        await eventually(
            partial(at_rest, point), what=f"{point} at block {height}", timeout_seconds=180
        )


async def mining(
    home: House,
    ask: Callable[[], Awaitable[Value]],
    until: Callable[[Value], bool],
    what: str,
    timeout_seconds: float = 300,
) -> Value:
    """Mines after each answer that is not the one: a block at first, and more when it takes long.

    What is near comes block by block; an expiry is a hundred blocks away.
    """
    mined = 0

    async def mine_and_ask() -> Value:
        nonlocal mined
        answer = await answered(ask)
        if not until(answer):
            assert mined < _MOST_BLOCKS, f"{what}: not after {mined} blocks: {answer!r}"
            blocks = 1 if mined < _NEAR_BLOCKS else _STRIDE_BLOCKS
            await home.network.mine(blocks)
            mined += blocks
        return answer

    return await eventually(
        mine_and_ask,
        until,
        what=what,
        timeout_seconds=timeout_seconds,
        every_seconds=0.3,
    )


async def verdict_of(home: House, client: FulguriteClient, payment: Payment) -> Receipt:
    """Mines until the chain has decided."""
    ends = {PaymentState.SUCCEEDED, PaymentState.FAILED}

    async def state() -> PaymentState:
        view = await payment.view()
        if view.state not in ends and view.on_chain:
            await digested(home, client, view.on_chain.channel_points)
        return view.state

    await mining(home, state, lambda seen: seen in ends, "a verdict")
    return await answered(payment.receipt)


async def ended(home: House, client: FulguriteClient, ladder: StuckPayment) -> LadderReceipt:
    """Mines to the last sweep."""
    ends = LadderState.RESOLVED_ON_CHAIN, LadderState.RESOLVED_OFF_CHAIN
    await mines_to(home, client, ladder, *ends)
    return await answered(ladder.receipt)


async def course_of(ladder: StuckPayment) -> list[LadderState]:
    """The rungs that it came by, in their order, from its timeline."""
    return states_in(LadderState, (await answered(ladder.view)).timeline)


def states_in(kind: Callable[[str], Value], timeline: Iterable[str]) -> list[Value]:
    """Those that a timeline tells of."""
    return [kind(found[1]) for line in timeline if (found := _STATE.search(line))]


async def confirmed_sat(node: LightningNode) -> int:
    """In the node's wallet, in blocks."""
    return (await node.balance()).confirmed_balance


async def hung_on(node: LightningNode, payment_hash: PaymentHash) -> list[ChannelPoint]:
    """The node's open channels on which that HTLC is pending."""
    return [
        ChannelPoint(channel.channel_point)
        for channel in await node.channels()
        if any(htlc.hash_lock.hex() == payment_hash for htlc in channel.pending_htlcs)
    ]


async def told(desk: Receiver, subject: str, expected: set[str]) -> None:
    """Waits until the operators' desk has heard of each."""

    async def heard() -> set[str]:
        return {each.type for each in desk.taken.values() if subject in each.body}

    await eventually(heard, lambda seen: expected <= seen, what=f"events {expected}")
