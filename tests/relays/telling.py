"""How the relays' tests ask for one, wait, and hold what they are told against the truth."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
from temporalio.client import Client, WithStartWorkflowOperation, WorkflowHandle
from temporalio.common import WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.service import RPCError

from devnet.house import House
from devnet.node import ACCEPTED, LightningNode, TestInvoice
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.identity import PaymentHash
from fulgurite.payments.states import PaymentState
from fulgurite.relays.receipts import RelayReceipt, RelayView
from fulgurite.relays.requests import RelayRequest
from fulgurite.relays.states import RelayState
from protos.lnrpc import lightning_pb2
from workflows.payment import PaymentWorkflow
from workflows.relay import RelayWorkflow

# What only a simulation can do on request: lose an answer, dictate a verdict, count the money.
SIMULATED_ONLY = pytest.mark.parametrize("home", ["simulated"], indirect=True)

Handle = WorkflowHandle[RelayWorkflow, RelayReceipt]
LndPayment = lightning_pb2.Payment

AMOUNT_MSAT = 20_000_000
FEE_LIMIT_MSAT = 10_000
OUR_FEE_MSAT = 7_000
ASKED_MSAT = AMOUNT_MSAT + FEE_LIMIT_MSAT + OUR_FEE_MSAT

# A deadline before the first retry is due, so that one failure is the last.
NO_RETRY_SECONDS = 4


def a_relay(
    invoice: TestInvoice,
    incoming: dict[str, Any] | None = None,
    outgoing: dict[str, Any] | None = None,
) -> RelayRequest:
    """Bob receives and bob pays; more fields by side."""
    receive = {"node": "bob", "fee_msat": OUR_FEE_MSAT, "expiry_seconds": 600}
    pay = {
        "node": "bob",
        "invoice": invoice.payment_request,
        "fee_limit": {"msat": FEE_LIMIT_MSAT},
    }
    return RelayRequest.model_validate(
        {"incoming": receive | (incoming or {}), "outgoing": pay | (outgoing or {})}
    )


def hash_of(invoice: TestInvoice) -> PaymentHash:
    return PaymentHash.of_bytes(invoice.payment_hash)


@dataclass
class Relay:
    """One that was asked for, and what the payer is to be given."""

    handle: Handle
    payment_request: str
    invoice: TestInvoice

    async def view(self) -> RelayView:
        return await self.handle.query(RelayWorkflow.view)

    async def receipt(self) -> RelayReceipt:
        return await self.handle.result()

    async def reaches(self, *states: RelayState, timeout_seconds: float = 40) -> RelayView:
        return await eventually(
            self.view,
            lambda view: view.state in states,
            what=f"relay in {' or '.join(states)}",
            timeout_seconds=timeout_seconds,
        )

    async def notes(self, words: str, timeout_seconds: float = 40) -> RelayView:
        return await eventually(
            self.view,
            lambda view: any(words in line for line in view.timeline),
            what=f"relay that notes {words!r}",
            timeout_seconds=timeout_seconds,
        )


async def ask(temporal: Client, request: RelayRequest, invoice: TestInvoice) -> Relay:
    """The relay and its payment request, in one round trip."""
    start = WithStartWorkflowOperation(
        RelayWorkflow.run,
        args=[request],
        id=ids.relay_id(hash_of(invoice)),
        task_queue=ids.TASK_QUEUE,
        id_conflict_policy=WorkflowIDConflictPolicy.USE_EXISTING,
        id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
    )
    view = await temporal.execute_update_with_start_workflow(
        RelayWorkflow.payment_request, request, start_workflow_operation=start
    )
    return Relay(await start.workflow_handle(), view.payment_request, invoice)


def paid_by(node: LightningNode, relay: Relay) -> asyncio.Task[LndPayment]:
    """Begins to pay upstream, as a stranger would."""
    return asyncio.create_task(node.pay(relay.payment_request, fee_limit_msat=100_000))


async def held(node: LightningNode, relay: Relay) -> None:
    """Waits until the node holds what came in."""
    await node.wait_for_invoice(relay.invoice, ACCEPTED)


async def payment_is(temporal: Client, invoice: TestInvoice, state: PaymentState) -> None:
    """Waits until the payment's own workflow is there, and in that state."""
    handle = temporal.get_workflow_handle_for(PaymentWorkflow.run, ids.payment_id(hash_of(invoice)))

    async def present() -> PaymentState | None:
        with suppress(RPCError):
            return (await handle.query(PaymentWorkflow.view)).state
        return None

    await eventually(present, lambda found: found is state, what=f"the payment in {state}")


def earned(home: House, node: str, invoice: TestInvoice) -> int:
    """What the hash brought a node by the independent ledger; below zero when it cost."""
    assert isinstance(home.network, SimulatedNetwork)
    return home.network.ledger.received_msat(node, invoice.payment_hash)


def sends_of(home: House, node: str, invoice: TestInvoice) -> int:
    """How often the node had this hash sent."""
    assert isinstance(home.network, SimulatedNetwork)
    sends = home.network.ledger.sends(invoice.payment_hash)
    return sum(send.payer == node for send in sends)


def nothing_moved(home: House, invoice: TestInvoice) -> bool:
    return all(earned(home, node, invoice) == 0 for node in home.network.nodes)
