"""Very many payments that hang at once: one close a channel, and no storm of questions."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from temporalio.client import Client

from devnet.house import House
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite import attributes, ids
from fulgurite.chain.tip import ChainView
from fulgurite.money import FeeLimit
from fulgurite.payments.requests import PaymentRequest
from fulgurite.payments.states import PaymentState
from fulgurite.stuck.policy import ForceCloseBy, LadderPolicy
from fulgurite.stuck.states import LadderState
from starter.client import FulguriteClient
from starter.payment import Payment
from workflows.chain import ChainWorkflow

from .hanging import mining

pytestmark = [pytest.mark.usefixtures("working"), pytest.mark.timeout(900)]

PAYMENT, LADDER, CLOSE = "PaymentWorkflow", "StuckPaymentWorkflow", "ChannelCloseWorkflow"
PAYMENTS, CHANNELS = 40, 4
AT_EXPIRY = LadderPolicy(
    force_close_by=ForceCloseBy.EXPIRY, blocks_before_expiry=60, reconnect_seconds=0
)
# In these each ladder looks once at least. The node's lists are read for each block, and every
# twenty seconds besides, by whoever asks for them: not for each payment.
QUIET_BLOCKS = 6
LISTS = ("ListChannels", "PendingChannels")


async def paying(client: FulguriteClient, payment_request: str) -> Payment:
    return await client.pay(
        PaymentRequest(
            node="alice",
            invoice=payment_request,
            fee_limit=FeeLimit(sat=1_000),
            stuck_after_seconds=1,
            deadline_seconds=30,
            ladder=AT_EXPIRY,
        )
    )


async def running(temporal: Client, kind: str, state: str = "") -> int:
    """How many workflows of a kind run, in that state: asked of Temporal, not of each."""
    of_state = f" AND {attributes.STATE} = '{state}'" if state else ""
    query = f"WorkflowType = '{kind}' AND ExecutionStatus = 'Running'{of_state}"
    return (await temporal.count_workflows(query)).count


async def followed_to(temporal: Client, height: int, alarms: int = 0) -> ChainView:
    """Waits until the node's chain time is there, and so many wait for a block of it."""
    chain = temporal.get_workflow_handle(ids.chain_id("alice"))

    async def view() -> ChainView:
        return await chain.query(ChainWorkflow.view)

    return await eventually(
        view,
        lambda seen: (
            seen.tip is not None and seen.tip.height >= height and len(seen.alarms) >= alarms
        ),
        what=f"chain time at {height}, {alarms} waiting",
    )


async def digested(temporal: Client, network: SimulatedNetwork) -> int:
    """How many ladders are left, once all that closes waits for a block that is to come."""

    async def at_rest() -> bool:
        chain = await followed_to(temporal, network.chain.height)
        waiting = sum(
            alarm.workflow_id.startswith("close/") and alarm.height > network.chain.height
            for alarm in chain.alarms
        )
        return waiting >= await running(temporal, CLOSE)

    await eventually(at_rest, what="closings at rest", timeout_seconds=240, every_seconds=0.5)
    return await running(temporal, LADDER)


@pytest.mark.parametrize("home", ["simulated"], indirect=True)
async def test_many_that_hang_are_one_close_a_channel(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    network = home.network
    assert isinstance(network, SimulatedNetwork)
    invoices = await network.hang(
        "alice", "bob", count=PAYMENTS, channels=CHANNELS, timeout_seconds=2
    )
    payments = [await paying(client, invoice.payment_request) for invoice in invoices]
    for kind, state in ((PAYMENT, PaymentState.STUCK), (LADDER, LadderState.WAITING)):
        await eventually(
            partial(running, temporal, kind, state),
            lambda count: count == PAYMENTS,
            what=f"{PAYMENTS} that are {state}",
            timeout_seconds=240,
            every_seconds=1,
        )

    network.calls.forget()
    for _ in range(QUIET_BLOCKS):
        await network.mine(1)
        await followed_to(temporal, network.chain.height, alarms=PAYMENTS)
    asked = network.calls.by_method("alice")
    assert max(asked[method] for method in LISTS) < PAYMENTS / 2, asked
    assert asked["TrackPaymentV2"] == 0, "the payments follow, and the ladders need not ask"

    await mining(
        home,
        partial(digested, temporal, network),
        lambda count: count == 0,
        "the end of every ladder",
        timeout_seconds=600,
    )
    receipts = await asyncio.gather(*(payment.receipt() for payment in payments))

    assert network.calls.count("alice", "CloseChannel") == CHANNELS
    assert {receipt.status for receipt in receipts} == {PaymentState.FAILED}
    assert all(receipt.on_chain and receipt.on_chain.cost_sat for receipt in receipts)
    sharing = {receipt.on_chain.shared_with for receipt in receipts if receipt.on_chain}
    assert sharing == {PAYMENTS // CHANNELS - 1}
