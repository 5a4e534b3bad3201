"""What a shape is played on, and whose history is kept."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from temporalio.client import Client, WorkflowHandle, WorkflowHistory

from devnet.house import House, endpoint
from devnet.node import LightningNode, TestInvoice
from devnet.receiver import Receiver, new_secret
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite.payments.requests import PaymentRequest
from fulgurite.payments.states import PaymentState
from settings import Settings
from starter.client import FulguriteClient
from starter.payment import Payment

Working = Callable[[Client, Settings], AbstractAsyncContextManager[None]]


@dataclass
class Recording:
    """What a shape plays with, and the workflow that it played."""

    house: House
    network: SimulatedNetwork
    temporal: Client
    working: Working
    payment: Payment | None = None
    played: WorkflowHandle[Any, Any] | None = None

    @property
    def client(self) -> FulguriteClient:
        return FulguriteClient(self.temporal)

    @property
    def alice(self) -> LightningNode:
        return self.network.nodes["alice"]

    @property
    def carol(self) -> LightningNode:
        return self.network.nodes["carol"]

    def worker(self, settings: Settings | None = None) -> AbstractAsyncContextManager[None]:
        return self.working(self.temporal, settings or self.house.settings)

    @asynccontextmanager
    async def merchant(self, *, ordered: bool = False) -> AsyncIterator[tuple[Receiver, Settings]]:
        """One who wants every event, and the settings of a worker that tells them."""
        secret = new_secret()
        path = self.house.state_dir / "merchant.secret"
        path.write_text(secret)
        async with Receiver(secret) as receiver:
            config = endpoint(receiver, path).model_copy(update={"ordered": ordered})
            update = {"webhooks": {"merchant": config}}
            yield receiver, self.house.settings.model_copy(update=update)

    def keep(self, workflow_id: str) -> None:
        """This workflow's history is the shape's."""
        self.played = self.temporal.get_workflow_handle(workflow_id)

    async def pay(self, **fields: Any) -> Payment:
        request = PaymentRequest.model_validate(
            {"node": "alice", "fee_limit": {"sat": 10}} | fields
        )
        self.payment = await self.client.pay(request)
        self.played = self.payment._handle
        return self.payment

    async def held(self) -> TestInvoice:
        return await self.carol.hold_invoice(50_000_000)

    async def ends(self, expected: PaymentState) -> None:
        assert self.payment is not None
        receipt = await self.payment.receipt()
        assert receipt.status is expected, receipt

    async def comes_to(self, state: PaymentState) -> None:
        """Waits for a payment's state, by asking the workflow."""
        assert self.payment is not None
        payment = self.payment

        async def now() -> PaymentState:
            return (await payment.view()).state

        await eventually(now, lambda found: found is state, what=f"state {state}")

    async def histories(self) -> list[WorkflowHistory]:
        """Every run of what was played, the first one first."""
        assert self.played is not None
        histories = [await self.played.fetch_history()]
        while continued := _continued_from(histories[0]):
            handle = self.temporal.get_workflow_handle(self.played.id, run_id=continued)
            histories.insert(0, await handle.fetch_history())
        return histories


def _continued_from(history: WorkflowHistory) -> str:
    started = history.events[0].workflow_execution_started_event_attributes
    return started.continued_execution_run_id


@dataclass(frozen=True)
class Shape:
    """A course. `impatient`: on a server that soon suggests continue-as-new."""

    name: str
    play: Callable[[Recording], Awaitable[None]]
    impatient: bool = False
