"""A worker that takes over from a dead one asks LND before it says no.

What this worker would refuse at once, the dead one may have been configured to send. The
activity is run as for a request that is older than any worker's first try.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from temporalio.client import Client
from temporalio.common import RetryPolicy
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.payments import PaymentActivities
from devnet.house import House
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.bolt11 import ChainNetwork
from fulgurite.identity import NodePubkey, PaymentHash
from fulgurite.payments.calls import Dispatch, DispatchOutcome
from fulgurite.payments.requests import PaymentRequest
from fulgurite.payments.states import PaymentState, PaymentStatus
from fulgurite.sealing import UnsealingKey
from nodes.registry import Nodes
from starter.client import keysend
from workflows.payment import PaymentWorkflow

from .telling import AMOUNT_MSAT, to_pay

AN_HOUR = timedelta(hours=1)


def asked_before(request: PaymentRequest) -> Dispatch:
    now = datetime.now(UTC)
    return Dispatch(
        request=request,
        requested_at=now - timedelta(seconds=20),
        send_until=now + AN_HOUR,
        follow_seconds=4,
    )


@pytest.fixture
async def nodes(home: House) -> AsyncIterator[Nodes]:
    configured = Nodes(home.settings.nodes)
    yield configured
    await configured.close()


@pytest.fixture
async def misconfigured(home: House) -> AsyncIterator[Nodes]:
    """alice is believed to be on another network."""
    alice = home.settings.nodes["alice"].model_copy(update={"network": ChainNetwork.SIGNET})
    configured = Nodes({"alice": alice})
    yield configured
    await configured.close()


def nobody_is_told(*_: object) -> bool:
    return False


async def test_another_key_refuses_nothing_that_lnd_has(home: House, nodes: Nodes) -> None:
    carol = NodePubkey((await home.network.nodes["carol"].info()).identity_pubkey)
    gift = keysend(carol, sealing_key=home.settings.public_sealing_key())
    request = PaymentRequest.model_validate(
        {"node": "alice", "keysend": gift, "amount_msat": 5_000_000, "fee_limit": {"sat": 10}}
    )
    rotated = PaymentActivities(nodes, UnsealingKey.generate(), nobody_is_told)

    with pytest.raises(ApplicationError, match="sealed to another key") as refused:
        await ActivityEnvironment().run(rotated.dispatch, asked_before(request))
    assert refused.value.non_retryable

    ours = PaymentActivities(nodes, home.settings.unsealing_key(), nobody_is_told)
    await ActivityEnvironment().run(ours.dispatch, asked_before(request))
    told = await ActivityEnvironment().run(rotated.dispatch, asked_before(request))
    assert told.outcome is DispatchOutcome.FOLLOWED
    assert told.update is not None
    assert told.update.status is PaymentStatus.SUCCEEDED


async def test_another_network_refuses_nothing_that_lnd_has(
    home: House, misconfigured: Nodes
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    astray = PaymentActivities(misconfigured, home.settings.unsealing_key(), nobody_is_told)

    with pytest.raises(ApplicationError, match="is for regtest, alice is on signet"):
        await ActivityEnvironment().run(astray.dispatch, asked_before(to_pay(invoice)))

    await home.network.nodes["alice"].pay(invoice.payment_request)
    told = await ActivityEnvironment().run(astray.dispatch, asked_before(to_pay(invoice)))
    assert told.outcome is DispatchOutcome.FOLLOWED
    assert told.update is not None
    assert told.update.status is PaymentStatus.SUCCEEDED


@pytest.mark.usefixtures("working")
async def test_a_run_that_temporal_itself_starts_again_asks_lnd_first(
    home: House, temporal: Client
) -> None:
    carol = home.network.nodes["carol"]
    invoice = await carol.hold_invoice(AMOUNT_MSAT)
    workflow_id = ids.payment_id(PaymentHash.of_bytes(invoice.payment_hash))
    handle = await temporal.start_workflow(
        PaymentWorkflow.run,
        to_pay(invoice),
        id=workflow_id,
        task_queue=ids.TASK_QUEUE,
        run_timeout=timedelta(seconds=6),
        retry_policy=RetryPolicy(initial_interval=timedelta(seconds=1), maximum_attempts=2),
    )

    async def runs() -> list[str]:
        query = f"WorkflowId = '{workflow_id}'"
        return [run.run_id async for run in temporal.list_workflows(query)]

    await eventually(runs, lambda seen: len(seen) > 1, what="a second run")
    await carol.settle(invoice)
    receipt = await temporal.get_workflow_handle_for(PaymentWorkflow.run, handle.id).result()

    assert receipt.status is PaymentState.SUCCEEDED
    assert receipt.sends == 0
