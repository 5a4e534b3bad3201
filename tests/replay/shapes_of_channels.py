"""The courses of what hangs, of channels that end, and of the blocks that they wait for."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from devnet.node import ACCEPTED, TestInvoice
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.chain.tip import ChainView
from fulgurite.channels.requests import CloseKind, CloseRequest
from fulgurite.channels.states import CLOSE
from fulgurite.identity import ChannelPoint
from fulgurite.payments.requests import Approval, Rejection
from fulgurite.payments.states import PaymentState
from fulgurite.stuck.policy import ForceCloseBy, LadderPolicy
from fulgurite.stuck.states import LADDER, LadderState
from starter.channel import ChannelClose
from starter.stuck import StuckPayment
from tests.replay.recording import Recording, Shape
from workflows.chain import ChainWorkflow

_CAPACITY_SAT = 1_000_000
_MOST_BLOCKS = 300
_ASKS = LadderPolicy(reconnect_seconds=0)

Ask = Callable[[], Awaitable[bool]]


async def _hang(
    on: Recording,
    policy: LadderPolicy = _ASKS,
    rung: LadderState = LadderState.AWAITING_APPROVAL,
) -> tuple[TestInvoice, StuckPayment]:
    """A payment to carol that is stuck, and its ladder once that asks a person, or waits."""
    # Earlier shapes have closed channels.
    on.network.open_channel("alice", "bob", capacity_sat=_CAPACITY_SAT)
    on.network.open_channel("bob", "carol", capacity_sat=_CAPACITY_SAT)
    await on.network.mine(6)
    invoice = await on.held()
    payment = await on.pay(
        invoice=invoice.payment_request,
        timeout_seconds=2,
        deadline_seconds=20,
        stuck_after_seconds=1,
        ladder=policy,
    )
    await on.carol.wait_for_invoice(invoice, ACCEPTED)
    await on.comes_to(PaymentState.STUCK)
    ladder = on.client.stuck(payment.payment_hash)
    await eventually(
        ladder.view,
        lambda view: view.state is rung,
        what=f"a ladder that is {rung}",
    )
    return invoice, ladder


async def _mine(on: Recording, over: Ask) -> None:
    mined = 0

    async def mine_and_ask() -> bool:
        nonlocal mined
        if await over():
            return True
        assert mined < _MOST_BLOCKS
        await on.network.mine(1)
        mined += 1
        return False

    await eventually(mine_and_ask, what="the end", timeout_seconds=180, every_seconds=0.2)


def _climbed(ladder: StuckPayment) -> Ask:
    async def over() -> bool:
        return (await ladder.view()).state in LADDER.terminal

    return over


def _closed(close: ChannelClose) -> Ask:
    async def over() -> bool:
        return (await close.view()).state in CLOSE.terminal

    return over


async def _resolved_off_chain(on: Recording) -> None:
    async with on.worker():
        invoice, ladder = await _hang(on)
        await on.carol.settle(invoice)
        await on.ends(PaymentState.SUCCEEDED)
        await ladder.receipt()
    on.keep(ids.stuck_id(ladder.payment_hash))


async def _force_closed(on: Recording) -> StuckPayment:
    """To the last sweep, by a person's word."""
    _, ladder = await _hang(on)
    await ladder.approve(Approval(approver="ada"))
    await _mine(on, _climbed(ladder))
    await on.ends(PaymentState.FAILED)
    return ladder


async def _ladder_to_the_end(on: Recording) -> None:
    async with on.worker():
        ladder = await _force_closed(on)
    on.keep(ids.stuck_id(ladder.payment_hash))


async def _ladder_anew(on: Recording) -> None:
    """Another attempt hangs while the one before is swept; here LND knows of none."""
    async with on.worker():
        _, ladder = await _hang(on)
        await ladder.approve(Approval(approver="ada"))

        async def swept() -> bool:
            return (await ladder.view()).state is LadderState.SWEEPING

        await _mine(on, swept)
        await on.ends(PaymentState.FAILED)
        handle = on.temporal.get_workflow_handle(ids.stuck_id(ladder.payment_hash))
        await handle.signal("hangs_again")
        receipt = await ladder.receipt()
        assert receipt.status is LadderState.RESOLVED_OFF_CHAIN
    on.keep(handle.id)


async def _rejected_while_it_waits(on: Recording) -> None:
    """A person forbids what the policy would order later."""
    late = LadderPolicy(
        force_close_by=ForceCloseBy.EXPIRY, reconnect_seconds=0, blocks_before_expiry=6
    )
    async with on.worker():
        invoice, ladder = await _hang(on, late, LadderState.WAITING)
        view = await ladder.reject(Rejection(approver="ada"))
        await eventually(
            ladder.view,
            lambda seen: len(seen.timeline) > len(view.timeline),
            what="a ladder that was forbidden to order",
        )
        await on.carol.settle(invoice)
        await on.ends(PaymentState.SUCCEEDED)
        await ladder.receipt()
    on.keep(ids.stuck_id(ladder.payment_hash))


async def _payment_on_chain(on: Recording) -> None:
    async with on.worker():
        await _force_closed(on)


async def _refused_to_the_end(on: Recording) -> None:
    """A person says no, and LND itself goes to the chain when the HTLC expires."""
    async with on.worker():
        _, ladder = await _hang(on)
        await ladder.reject(Rejection(approver="ada"))
        await on.network.stop_node("bob")
        await _mine(on, _climbed(ladder))
        await on.network.start_node("bob")
        await on.ends(PaymentState.FAILED)
    on.keep(ids.stuck_id(ladder.payment_hash))


async def _close(on: Recording, kind: CloseKind) -> None:
    point = ChannelPoint(on.network.open_channel("alice", "bob", capacity_sat=_CAPACITY_SAT))
    await on.network.mine(6)
    async with on.worker():
        order = CloseRequest(node="alice", channel_point=point, kind=kind)
        close = await on.client.close_channel(order)
        await _mine(on, _closed(close))
    on.keep(close.id)


async def _closed_in_agreement(on: Recording) -> None:
    await _close(on, CloseKind.COOPERATIVE)


async def _closed_by_force(on: Recording) -> None:
    await _close(on, CloseKind.FORCE)


async def _no_such_channel(on: Recording) -> None:
    async with on.worker():
        close = await on.client.close_channel(
            CloseRequest(
                node="alice", channel_point=ChannelPoint("ab" * 32 + ":0"), kind=CloseKind.FORCE
            )
        )
        await _mine(on, _closed(close))
    on.keep(close.id)


async def _following(on: Recording) -> None:
    """Blocks that wake somebody, and one that is taken back."""
    chain = on.temporal.get_workflow_handle(ids.chain_id("alice"))

    async def view() -> ChainView:
        return await chain.query(ChainWorkflow.view)

    async with on.worker():
        await eventually(view, lambda seen: seen.tip is not None, what="a tip")
        before = on.network.chain.height
        await on.network.mine(2)
        await eventually(
            view,
            lambda seen: seen.tip is not None and seen.tip.height == before + 2,
            what="the newest block",
        )
        await on.network.reorg(1)
        await eventually(view, lambda seen: seen.reorgs > 0, what="a reorg")
    on.keep(chain.id)


async def _watching(on: Recording) -> None:
    """A channel that is closed by the peer."""
    point = on.network.open_channel("alice", "bob", capacity_sat=_CAPACITY_SAT)
    await on.network.mine(6)
    watch = on.temporal.get_workflow_handle(ids.channel_watch_id("alice"))
    async with on.worker():
        await on.network.nodes["bob"].close_channel(point)
        close = on.temporal.get_workflow_handle(ids.close_id(ChannelPoint(point)))

        async def told() -> bool:
            await on.network.mine(1)
            kinds = [w async for w in on.temporal.list_workflows(f"WorkflowId = '{close.id}'")]
            return bool(kinds)

        await eventually(told, what="a closing that is followed", every_seconds=0.5)
    on.keep(watch.id)


SHAPES = (
    Shape("ladder-resolved-off-chain", _resolved_off_chain),
    Shape("ladder-to-the-end", _ladder_to_the_end),
    Shape("ladder-refused-to-the-end", _refused_to_the_end),
    # The same since a ladder skips no rung and is woken every few blocks; those above are older.
    Shape("ladder-rung-by-rung-off-chain", _resolved_off_chain),
    Shape("ladder-rung-by-rung-to-the-end", _ladder_to_the_end),
    Shape("ladder-anew", _ladder_anew),
    Shape("ladder-rejected-while-it-waits", _rejected_while_it_waits),
    Shape("payment-on-chain", _payment_on_chain),
    Shape("closed-in-agreement", _closed_in_agreement),
    # The same since closings take turns; the one above is of before.
    Shape("closed-in-agreement-in-turn", _closed_in_agreement),
    Shape("closed-by-force", _closed_by_force),
    Shape("no-such-channel", _no_such_channel),
    Shape("following-blocks", _following),
    Shape("watching-channels", _watching),
)
