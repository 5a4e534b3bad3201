"""A payment that waits for liquidity, and the autopilot, told of it, within its own limits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import pytest
from temporalio.client import Client

from devnet.house import House, house
from devnet.node import SETTLED, TestInvoice
from devnet.simulated import SimulatedNetwork
from devnet.topology import RING
from devnet.waiting import eventually
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.identity import ChannelId, PaymentHash
from fulgurite.liquidity.outbound import Outbound
from fulgurite.liquidity.plans import LiquidityPlan, PlanState
from fulgurite.liquidity.policy import LiquidityPolicy, Mode, Remedy
from fulgurite.liquidity.pricing import Need
from fulgurite.liquidity.reasons import Reason
from fulgurite.liquidity.requests import LiquidityRequest
from fulgurite.payments.requests import PaymentRequest, Rejection
from fulgurite.payments.states import FailureReason, PaymentState
from protos.lnrpc import lightning_pb2
from settings import Settings
from starter.client import FulguriteClient
from starter.connect import connect
from starter.liquidity import LiquidityRun, plan_of
from starter.payment import Payment
from tests.rebalances.ring import EMPTY_SAT, TOLERANCE_SAT, Ring
from tests.scenarios.receiving import working_as

from .conftest import KINDS

pytestmark = pytest.mark.timeout(300)

AMOUNT_SAT = 300_000
# It moves nothing by itself: what moves, moves for a payment.
NO_RULE = {"rule": {"local_below": 0}, "remedies": [Remedy.REBALANCE], "backoff_hours": 0}


@pytest.fixture(scope="session", params=KINDS)
async def home(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    """A house of its own: a node makes one plan in ten minutes for all that wait on it."""
    state_dir = tmp_path_factory.mktemp(f"liquidity-waiting-{request.param}")
    async with house(request.param, state_dir, ours=["alice"], topology=RING) as built:
        yield built


@pytest.fixture(scope="session")
async def temporal(home: House) -> Client:
    return await connect(home.settings)


def steered(home: House, **policy: object) -> Settings:
    """The house's settings, with this policy for alice."""
    wanted = LiquidityPolicy.model_validate(NO_RULE | policy)
    alice = home.settings.nodes["alice"].model_copy(update={"liquidity": wanted})
    return home.settings.model_copy(update={"nodes": {"alice": alice}})


async def _to_pay(home: House, ring: Ring, seconds: int) -> tuple[TestInvoice, PaymentRequest]:
    """More than alice has towards dave, and by no other channel."""
    invoice = await home.network.nodes["dave"].invoice(AMOUNT_SAT * 1_000)
    request = PaymentRequest.model_validate(
        {
            "node": "alice",
            "invoice": invoice.payment_request,
            "fee_limit": {"sat": 10},
            "outgoing_channels": [str((await ring.channel_to("dave")).chan_id)],
            "wait_for_liquidity_seconds": seconds,
        }
    )
    return invoice, request


async def _plan_for(client: Client, payment: Payment) -> LiquidityPlan:
    view = await eventually(
        payment.view,
        lambda view: any("the autopilot is told" in line for line in view.timeline),
        what="a plan",
    )
    [told] = [line for line in view.timeline if "the autopilot is told" in line]
    return await plan_of(client, told.rpartition(": ")[2]).receipt()


async def test_what_the_autopilot_brings_within_its_budget_is_sent_once(
    home: House, temporal: Client, client: FulguriteClient, ring: Ring
) -> None:
    budget = f"liquidity-{uuid4().hex[:8]}"
    async with working_as(temporal, steered(home, mode=Mode.ACT, budget=budget)):
        await client.budget(budget).set(BudgetPolicy(fee_sat=1_000), by="olga")
        invoice, request = await _to_pay(home, ring, seconds=250)
        payment = await client.pay(request)
        plan = await _plan_for(temporal, payment)
        receipt = await payment.receipt()
        spent = await client.budget(budget).view()

    assert plan.state is PlanState.BEGUN
    [line] = plan.moves
    assert line.move is not None
    assert (line.reason, line.move.need) == (Reason.PAYMENT_WAITS, Need.LOCAL)
    # What is missing, and no more.
    missing_sat = AMOUNT_SAT - EMPTY_SAT
    assert missing_sat <= line.move.amount_sat <= missing_sat + 2 * TOLERANCE_SAT
    assert 0 < spent.spent_fee_msat <= line.move.limit_msat

    assert receipt.status is PaymentState.SUCCEEDED
    assert receipt.sends > 1
    assert (await home.network.nodes["dave"].lookup(invoice)).state == SETTLED
    if isinstance(home.network, SimulatedNetwork):
        assert home.network.ledger.settled_payments(invoice.payment_hash) == 1
    back = await ring.alice.invoice(AMOUNT_SAT * 1_000)
    returned = await home.network.nodes["dave"].pay(back.payment_request)
    assert returned.status == lightning_pb2.Payment.SUCCEEDED


async def test_a_policy_that_only_explains_moves_nothing_for_a_payment_either(
    home: House, temporal: Client, client: FulguriteClient, ring: Ring
) -> None:
    before_sat = await ring.local_sat("dave")
    async with working_as(temporal, steered(home)):
        _, request = await _to_pay(home, ring, seconds=3)
        receipt = await (await client.pay(request)).receipt()

    assert receipt.status is PaymentState.FAILED
    assert receipt.failure_reason is FailureReason.INSUFFICIENT_BALANCE
    assert "It waited for a remedy" in receipt.advice
    assert await ring.local_sat("dave") == before_sat


async def _asked_for(client: FulguriteClient, ring: Ring) -> LiquidityRun:
    """The plan of one more payment that waits for the same channel."""
    outbound = Outbound(
        payment_hash=PaymentHash(uuid4().hex * 2),
        amount_sat=AMOUNT_SAT,
        channels=(ChannelId(str((await ring.channel_to("dave")).chan_id)),),
        until=datetime.now(UTC) + timedelta(hours=1),
    )
    return await client.liquidity(LiquidityRequest(node="alice", outbound=outbound))


async def test_a_person_is_asked_once_however_many_payments_wait_for_the_same(
    home: House, temporal: Client, client: FulguriteClient, ring: Ring
) -> None:
    async with working_as(temporal, steered(home, mode=Mode.ASK)):
        first = await _asked_for(client, ring)
        asking = await first.asks()
        assert [line.reason for line in asking.moves] == [Reason.PAYMENT_WAITS]

        async def listed() -> int:
            return (await temporal.count_workflows(f"WorkflowId = '{first.id}'")).count

        await eventually(listed, what="the first one in Temporal's index")
        later = [await _asked_for(client, ring) for _ in range(3)]
        plans = [await each.receipt() for each in later]
        assert {(plan.state, plan.moves) for plan in plans} == {(PlanState.PLANNED, ())}
        words = [line.words for plan in plans for line in plan.lines if first.id in line.words]
        assert words == [f"{first.id} waits for a person's word on it"] * 3
        assert (await first.view()).state is PlanState.AWAITING_APPROVAL

        # Once that is decided the next one asks again.
        await first.reject(Rejection(approver="olga"))
        again = await _asked_for(client, ring)
        assert (await again.asks()).moves
        assert (await again.reject(Rejection(approver="olga"))).moves
        assert (await again.receipt()).state is PlanState.REJECTED
