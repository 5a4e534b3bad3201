"""A lease from the question to the end of its term, on both networks."""

from __future__ import annotations

import pytest
from temporalio.client import Client, WorkflowFailureError
from temporalio.exceptions import ApplicationError

from devnet.house import House
from devnet.receiver import Receiver
from devnet.waiting import eventually
from fulgurite.errors import KeyReusedError
from fulgurite.ids import TASK_QUEUE
from fulgurite.leases.market import BidState
from fulgurite.leases.states import LeaseState
from fulgurite.payments.requests import Approval, Rejection
from protos.poolrpc import shared_pb2
from starter.client import FulguriteClient

from .market import (
    AMOUNT_SAT,
    BLOCKS,
    RATE_PPB,
    Venue,
    ends_term,
    listed,
    mines_to,
    open_account,
    opening,
    orders_of,
    reaches,
    terms,
    wins,
)

pytestmark = [pytest.mark.usefixtures("working"), pytest.mark.timeout(300)]

PREMIUM_SAT = int(AMOUNT_SAT * RATE_PPB / 1e9 * BLOCKS)
EXECUTION_SAT = 501


async def test_an_account_is_opened_a_bid_won_and_its_channel_lasts_its_term(
    home: House, client: FulguriteClient, venue: Venue, desk: Receiver
) -> None:
    alice, pool = home.network.nodes["alice"], home.network.pools["alice"]
    request = terms(account=opening())
    lease = await client.lease(request)
    await venue.offer(AMOUNT_SAT, RATE_PPB // 2)
    ready = await mines_to(home.network, lease, LeaseState.BIDDING)
    won = await wins(venue, lease)
    assert won.account is not None
    account = (await pool.accounts())[won.account.key.raw()]
    receipt = await ends_term(venue, lease)

    [channel] = receipt.channels
    [told] = [each for each in await pool.leases() if each.order_nonce.hex() == channel.nonce]
    listed_open = {each.channel_point: each for each in await alice.channels()}
    mine = listed_open[channel.channel_point]
    assert receipt.status is LeaseState.TERM_ENDED
    assert receipt.account_opened
    assert (mine.capacity, mine.local_balance, mine.initiator) == (AMOUNT_SAT, 0, False)
    # Pool's price is that of the last bid that was taken: here our own.
    assert channel.rate_ppb == RATE_PPB
    assert (channel.premium_sat, channel.execution_fee_sat) == (PREMIUM_SAT, EXECUTION_SAT)
    assert channel.chain_fee_sat == told.chain_fee_sat
    assert channel.open_height == int(mine.chan_id) >> 40
    assert channel.expiry_height == (channel.open_height or 0) + BLOCKS
    # What the account has lost is the cost, but for what a Taproot account pays less.
    assert ready.account is not None
    lost_sat = ready.account.value_sat - account.value
    cheaper_sat = receipt.cost.total_sat - lost_sat
    assert 0 <= cheaper_sat < channel.chain_fee_sat
    assert won.quote is not None
    assert receipt.cost.total_sat <= won.quote.cost_sat
    # The key stands for this lease: asked again it is told again, and other terms are refused.
    again = await client.lease(request)
    assert again.attached
    assert await again.receipt() == receipt
    with pytest.raises(KeyReusedError):
        await client.lease(request.model_copy(update={"amount_sat": 2 * AMOUNT_SAT}))

    async def heard() -> set[str]:
        return {each.type for each in desk.taken.values() if request.key in each.body}

    expected = {"lease.leased", "lease.term_ended"}
    await eventually(heard, lambda seen: expected <= seen, what=f"events {expected}")


async def test_a_bid_that_nobody_matches_is_taken_back_at_its_deadline(
    home: House, client: FulguriteClient
) -> None:
    await open_account(home.network)
    request = terms(deadline_seconds=8)
    lease = await client.lease(request)
    view = await listed(lease)
    assert view.bid is not None
    receipt = await lease.receipt()

    orders = await home.network.pools["alice"].orders()
    assert receipt.status is LeaseState.EXPIRED
    assert (receipt.leased_sat, receipt.cost.total_sat) == (0, 0)
    assert orders[bytes.fromhex(view.bid.nonce)].state == shared_pb2.ORDER_CANCELED


async def test_a_bid_is_called_off_by_a_person(home: House, client: FulguriteClient) -> None:
    await open_account(home.network)
    lease = await client.lease(terms())
    view = await listed(lease)
    assert view.bid is not None
    await lease.cancel()
    receipt = await lease.receipt()

    orders = await home.network.pools["alice"].orders()
    assert receipt.status is LeaseState.CANCELED
    assert orders[bytes.fromhex(view.bid.nonce)].state == shared_pb2.ORDER_CANCELED


async def test_a_person_allows_or_refuses_what_is_above_the_threshold(
    home: House, client: FulguriteClient
) -> None:
    await open_account(home.network)
    orders_before = await home.network.pools["alice"].orders()
    refused = await client.lease(terms(approval_above_sat=0))
    await reaches(refused, LeaseState.AWAITING_APPROVAL)
    await refused.reject(Rejection(approver="ada", reason="too dear"))
    assert (await refused.receipt()).status is LeaseState.REJECTED
    assert await home.network.pools["alice"].orders() == orders_before

    allowed = await client.lease(terms(approval_above_sat=0))
    await reaches(allowed, LeaseState.AWAITING_APPROVAL)
    await allowed.approve(Approval(approver="ada"))
    view = await listed(allowed)
    assert view.bid is not None
    assert view.bid.state is BidState.SUBMITTED
    await allowed.cancel()
    assert (await allowed.receipt()).status is LeaseState.CANCELED


async def test_a_cancel_in_temporal_takes_the_bid_back(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    await open_account(home.network)
    request = terms()
    lease = await client.lease(request)
    await listed(lease)
    await temporal.get_workflow_handle(f"lease/{request.key}").cancel()
    receipt = await lease.receipt()

    assert receipt.status is LeaseState.CANCELED
    orders = await orders_of(home.network.pools["alice"], request)
    assert [bid.details.state for bid in orders] == [shared_pb2.ORDER_CANCELED]


@pytest.mark.parametrize(
    "wrong",
    [
        {"amount_sat": 150_000},
        {"max_rate_ppb": None},
        {"account": {"open_with_sat": 500_000}},
        {"key": "another key than the workflow's"},
        {"unheard": "of"},
    ],
)
async def test_a_request_that_makes_no_sense_is_refused_and_wedges_nothing(
    home: House, temporal: Client, wrong: dict[str, object]
) -> None:
    del home
    sound = terms()
    handle = await temporal.start_workflow(
        "LeaseWorkflow",
        sound.model_dump(mode="json") | wrong,
        id=f"lease/{sound.key}",
        task_queue=TASK_QUEUE,
    )
    with pytest.raises(WorkflowFailureError) as refused:
        await handle.result()
    assert isinstance(refused.value.cause, ApplicationError)
    assert refused.value.cause.type == "InvalidRequestError"
