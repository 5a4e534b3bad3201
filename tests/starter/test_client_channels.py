"""The typed client: ladders begun, joined and decided, and channels closed, listed and watched."""

from __future__ import annotations

import asyncio
import secrets

import pytest
from temporalio.client import Client

from activities.closing import CloseStarter
from devnet.waiting import eventually
from fulgurite.channels.calls import BeginClose
from fulgurite.channels.closing import CloseType
from fulgurite.channels.requests import CloseKind, CloseRequest, FeeBudget
from fulgurite.channels.states import CloseState
from fulgurite.channels.watch import WatchState
from fulgurite.errors import InvalidRequestError
from fulgurite.identity import ChannelPoint, PaymentHash
from fulgurite.payments.requests import Approval, Rejection
from fulgurite.payments.states import PaymentStatus
from fulgurite.stuck.policy import ForceCloseBy, LadderPolicy
from fulgurite.stuck.receipts import LadderView
from fulgurite.stuck.states import LadderState
from starter.client import FulguriteClient
from starter.errors import NotRetainedError
from tests.scenarios.telling import SIMULATED_ONLY

from .hanging import (
    COMMIT_FEE_SAT,
    EXPIRY,
    HUNG_SAT,
    SWEEP_FEE_SAT,
    HangingNode,
    climbs,
    closes,
    to_end,
)

pytestmark = SIMULATED_ONLY

NOBODY = PaymentHash("00" * 32)
NOWHERE = ChannelPoint(f"{'00' * 32}:0")


async def test_a_ladder_is_begun_once_and_whoever_comes_second_learns_it(
    node: HangingNode, client: FulguriteClient
) -> None:
    payment_hash, point = node.hangs()
    first = await client.begin_ladder(to_end(node, payment_hash))
    nobody = LadderPolicy(force_close_by=ForceCloseBy.NOBODY)
    second = await client.begin_ladder(to_end(node, payment_hash, policy=nobody))
    view = await climbs(client.stuck(f"stuck/{payment_hash}"), LadderState.AWAITING_APPROVAL)

    assert (first.attached, second.attached) == (False, True)
    assert view.policy is not None
    assert view.policy.force_close_by is ForceCloseBy.PERSON, "the first caller's terms hold"
    [stake] = view.stakes
    assert (stake.channel_point, stake.hung_sat, stake.expiry_height) == (point, HUNG_SAT, EXPIRY)

    node.ends(payment_hash, PaymentStatus.SUCCEEDED)
    node.mine()
    receipt = await second.receipt()
    assert receipt.status is LadderState.RESOLVED_OFF_CHAIN
    assert receipt.verdict is PaymentStatus.SUCCEEDED
    assert [each.state async for each in first.watch()] == [LadderState.RESOLVED_OFF_CHAIN]


async def test_an_approved_force_close_is_ordered_once_and_told_to_its_end(
    node: HangingNode, client: FulguriteClient
) -> None:
    payment_hash, point = node.hangs()
    ladder = await client.begin_ladder(to_end(node, payment_hash))
    await climbs(ladder, LadderState.AWAITING_APPROVAL)
    approved = await client.approve(f"stuck/{payment_hash}", Approval(approver="ann"))
    with pytest.raises(InvalidRequestError, match=r"nothing to decide|decided already"):
        await client.approve(f"stuck/{payment_hash}", Approval(approver="bea"))
    await climbs(ladder, LadderState.CONFIRMING)
    closing = await client.channel_close(point, node=node.name)
    node.confirms(point)
    await climbs(ladder, LadderState.MATURING)
    await closes(closing, CloseState.FORCE_CLOSING)
    node.ends(payment_hash, PaymentStatus.FAILED)
    node.mine()
    await climbs(ladder, LadderState.SWEEPING)
    node.sweeps(point)
    closed, receipt = await asyncio.gather(closing.receipt(), ladder.receipt())

    assert isinstance(approved, LadderView)
    assert [each.channel_point for each in node.asked] == [point], "asked of LND once"
    assert (closed.status, closed.close_type) == (CloseState.CLOSED, CloseType.LOCAL_FORCE)
    assert receipt.status is LadderState.RESOLVED_ON_CHAIN
    assert receipt.verdict is PaymentStatus.FAILED
    assert receipt.force_closed == (point,)
    assert receipt.on_chain is not None
    assert receipt.on_chain.cost_sat == closed.cost_sat == COMMIT_FEE_SAT + SWEEP_FEE_SAT
    with pytest.raises(InvalidRequestError, match="too late: the ladder is RESOLVED_ON_CHAIN"):
        await ladder.approve(Approval(approver="bea"))


async def test_a_rejected_force_close_leaves_the_channel_to_lnd(
    node: HangingNode, client: FulguriteClient
) -> None:
    payment_hash, point = node.hangs()
    ladder = await client.begin_ladder(to_end(node, payment_hash))
    await climbs(ladder, LadderState.AWAITING_APPROVAL)
    await client.reject(f"stuck/{payment_hash}", Rejection(approver="ann", reason="too dear"))
    view = await climbs(ladder, LadderState.WAITING)
    with pytest.raises(InvalidRequestError, match="nothing to decide: the ladder is WAITING"):
        await ladder.reject(Rejection(approver="bea"))

    assert any("by ann too dear" in line for line in view.timeline)
    assert (node.asked, point in node.open) == ([], True)
    node.ends(payment_hash, PaymentStatus.SUCCEEDED)
    node.mine()
    await ladder.receipt()


async def test_only_what_asks_a_person_can_be_decided(client: FulguriteClient) -> None:
    for wrong in (f"invoice/{NOBODY}", str(NOBODY), f"close/{NOWHERE}", "stuck/12"):
        with pytest.raises(InvalidRequestError, match=r"stuck/<payment hash>|64 hex"):
            await client.approve(wrong, Approval(approver="ann"))
    for unknown in (f"stuck/{NOBODY}", f"payment/{NOBODY}"):
        with pytest.raises(NotRetainedError):
            await client.reject(unknown, Rejection(approver="ann"))
    with pytest.raises(NotRetainedError):
        await client.stuck(NOBODY).view()


async def test_ladders_are_found_by_rung_and_node(
    node: HangingNode, client: FulguriteClient
) -> None:
    hangs, ended = (node.hangs()[0] for _ in range(2))
    for payment_hash in (hangs, ended):
        await client.begin_ladder(to_end(node, payment_hash))
    node.ends(ended, PaymentStatus.FAILED)
    node.mine()
    await client.stuck(ended).receipt()
    await climbs(client.stuck(hangs), LadderState.AWAITING_APPROVAL)

    async def found(**terms: object) -> set[tuple[str, str]]:
        return {
            (each.payment_hash, each.state)
            async for each in client.list_stuck(node=node.name, **terms)  # type: ignore[arg-type]
        }

    waits, over = (hangs, LadderState.AWAITING_APPROVAL), (ended, LadderState.RESOLVED_OFF_CHAIN)
    await eventually(found, lambda every: every == {waits, over}, what="both of them")
    assert await found(under_way=True) == {waits}
    assert await found(state=LadderState.AWAITING_APPROVAL) == {waits}
    assert await found(state=LadderState.RESOLVED_OFF_CHAIN) == {over}
    node.ends(hangs, PaymentStatus.FAILED)
    node.mine()
    await client.stuck(hangs).receipt()


async def test_a_channel_is_closed_once_however_often_it_is_ordered(
    node: HangingNode, client: FulguriteClient
) -> None:
    point = node.channel()
    request = CloseRequest(
        node=node.name, channel_point=point, kind=CloseKind.COOPERATIVE, sat_per_vbyte=3
    )
    first = await client.close_channel(request)
    second = await client.close_channel(
        request.model_copy(update={"fees": FeeBudget(budget_sat=500)})
    )
    await closes(first, CloseState.WAITING_CLOSE)
    node.confirms(point)
    node.sweeps(point)
    receipt = await second.receipt()

    assert (first.attached, second.attached) == (False, True)
    assert [(each.kind, each.sat_per_vbyte) for each in node.asked] == [(CloseKind.COOPERATIVE, 3)]
    assert receipt.status is CloseState.CLOSED
    assert [each.state async for each in first.watch()] == [CloseState.CLOSED]
    for kind in (CloseKind.COOPERATIVE, CloseKind.FORCE, CloseKind.FOLLOW):
        again = await client.close_channel(request.model_copy(update={"kind": kind}))
        assert again.attached
        assert await again.receipt() == receipt
    assert len(node.asked) == 1, "closed is closed"


async def test_where_both_ends_are_ours_each_has_a_closing_of_its_own(
    node: HangingNode, temporal: Client, client: FulguriteClient
) -> None:
    point = node.channel()
    ours = CloseRequest(node=node.name, channel_point=point, kind=CloseKind.FORCE)
    closing = await client.close_channel(ours)
    other = await client.close_channel(
        CloseRequest(node="elsewhere", channel_point=point, kind=CloseKind.FOLLOW)
    )
    joined = await client.close_channel(
        CloseRequest(node="elsewhere", channel_point=point, kind=CloseKind.FOLLOW)
    )

    assert closing.id == f"close/{point}"
    assert other.id == joined.id == f"close/{point}/elsewhere"
    assert (other.attached, joined.attached) == (False, True)
    assert (await client.channel_close(point, node="elsewhere")).id == other.id
    assert (await client.channel_close(f"close/{point}")).id == closing.id
    await closes(closing, CloseState.WAITING_CLOSE)
    await temporal.get_workflow_handle(other.id).terminate("nobody serves that node")
    node.confirms(point)
    node.sweeps(point)
    receipt = await closing.receipt()
    followed = await CloseStarter(temporal).begin(
        BeginClose(
            request=CloseRequest(node="elsewhere", channel_point=point, kind=CloseKind.FOLLOW)
        )
    )
    again = await client.close_channel(ours.model_copy(update={"node": "third"}))

    assert followed.workflow_id == other.id
    assert again.id == f"close/{point}/third"
    assert await (await client.close_channel(ours)).receipt() == receipt, "it is not shadowed"
    for left in (other.id, again.id):
        await temporal.get_workflow_handle(left).terminate("nobody serves that node")


async def test_an_unknown_closing_and_what_is_no_channel_are_told(client: FulguriteClient) -> None:
    unknown = await client.channel_close(NOWHERE, node="zoe")
    with pytest.raises(NotRetainedError):
        await unknown.view()
    with pytest.raises(InvalidRequestError, match="channel list"):
        await client.channel_close("12")
    with pytest.raises(NotRetainedError, match="nobody watches the channels of zoe"):
        await client.channels("zoe")
    with pytest.raises(NotRetainedError, match="nobody watches the channels of zoe"):
        await client.channel_watch("zoe").view()


async def test_a_nodes_channels_are_told_with_what_is_closing(
    node: HangingNode, client: FulguriteClient
) -> None:
    _, hung = node.hangs()
    closing = node.channel()
    node.publishes(closing)
    await eventually(
        lambda: _states(client, node.name),
        lambda states: states == [CloseState.WAITING_CLOSE],
        what="the watch following what the peer closes",
    )
    channels = await client.channels(node.name)

    assert channels.tip == node.tip
    assert [each.channel_point for each in channels.open] == [hung]
    [view] = channels.closing
    assert (view.channel_point, view.kind) == (closing, CloseKind.FOLLOW)
    node.confirms(closing)
    node.sweeps(closing)
    await (await client.channel_close(closing)).receipt()


async def test_the_watch_tells_closures_peers_and_backups_as_they_come(
    node: HangingNode, client: FulguriteClient
) -> None:
    point, other = node.channel(), node.channel()
    watch = client.channel_watch(node.name)

    async def seen(what: str, *, away: int, closing: int, state: WatchState) -> None:
        async with asyncio.timeout(30):
            async for view in watch.watch():
                watched = view.watched
                if (len(watched.away_since), len(watched.closing), view.state) == (
                    away,
                    closing,
                    state,
                ):
                    return
        raise AssertionError(what)

    await seen("a backup", away=0, closing=0, state=WatchState.WATCHING)
    node.is_back(point, active=False)
    await seen("a peer that is away", away=1, closing=0, state=WatchState.WATCHING)
    node.is_back(point)
    await seen("a peer that is back", away=0, closing=0, state=WatchState.WATCHING)
    node.backup_problem = "no space left"
    node.publishes(other)
    await seen("a closure", away=0, closing=1, state=WatchState.BACKUP_FAILING)
    node.confirms(other)
    node.sweeps(other)
    await (await client.channel_close(other)).receipt()


async def _states(client: FulguriteClient, node: str) -> list[CloseState]:
    return [each.state async for each in client.list_closes(node=node, under_way=True)]


async def test_a_ladder_of_a_payment_that_nobody_sent_is_refused(
    node: HangingNode, client: FulguriteClient
) -> None:
    ladder = await client.begin_ladder(to_end(node, PaymentHash(secrets.token_hex(32))))
    assert (await ladder.receipt()).status is LadderState.REFUSED
