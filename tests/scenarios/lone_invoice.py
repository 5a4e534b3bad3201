"""One invoice's workflow on a real Temporal, with an LND and a world that do as they are told."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.worker import Worker

from fulgurite import ids
from fulgurite.events.calls import EMIT_EVENT, Emitted
from fulgurite.events.catalogue import Event, EventType
from fulgurite.identity import Preimage
from fulgurite.invoices.calls import (
    ASK_CALLBACK,
    CANCEL_INVOICE,
    LOOK_UP_INVOICE,
    SETTLE_INVOICE,
    WATCH_INVOICE,
    Asking,
    Decided,
    InvoiceOf,
    Settle,
    Watch,
    Watched,
)
from fulgurite.invoices.progress import InvoiceOrder
from fulgurite.invoices.receipts import CreatedInvoice, InvoiceUpdate, InvoiceView
from fulgurite.invoices.requests import InvoiceRequest, Verdict
from fulgurite.invoices.states import InvoiceState, LndInvoiceState
from fulgurite.money import Msat
from fulgurite.sealing import UnsealingKey
from workflows.invoice import InvoiceWorkflow

KEY = UnsealingKey.generate()
# A node that no worker of the house serves, so that all of its calls come here.
NODE = "lonely"
ENDPOINT = "lonely"
HELD = LndInvoiceState.ACCEPTED


def word(state: LndInvoiceState, **fields: object) -> InvoiceUpdate:
    given: dict[str, object] = {"state": state}
    if state in {LndInvoiceState.ACCEPTED, LndInvoiceState.SETTLED}:
        now = datetime.now(UTC)
        given |= {"paid_msat": 1_000, "parts": 1, "paid_at": now, "first_expiry_height": 500}
        given["settled_at"] = now if state is LndInvoiceState.SETTLED else None
    return InvoiceUpdate.model_validate(given | fields)


class LoneInvoice:
    """`state` is LND's; `told` the events in order."""

    def __init__(
        self, state: LndInvoiceState, *, expires_in_seconds: int = 3_600, **request: object
    ) -> None:
        self.state = state
        self.told: list[Event] = []
        self.unwanted: set[EventType] = set()
        self.asked = 0
        self.verdict: Verdict | None = None
        self.reached = {kind: asyncio.Event() for kind in EventType}
        self.gates = {kind: asyncio.Event() for kind in EventType}
        for gate in self.gates.values():
            gate.set()
        created_at = datetime.now(UTC).replace(microsecond=0)
        fields: dict[str, object] = {"key": uuid.uuid4().hex, "node": NODE, "amount_msat": 1_000}
        preimage = Preimage.generate()
        hold: Any = request.get("hold") or {}
        theirs = hold.get("payment_hash") == "theirs"
        if theirs:
            request["hold"] = hold | {"payment_hash": preimage.hash()}
        self.sealed = KEY.sealing_key.seal(preimage)
        self.order = InvoiceOrder(
            invoice=CreatedInvoice(
                request=InvoiceRequest.model_validate(fields | request),
                payment_hash=preimage.hash(),
                payment_request="lnbcrt1",
                created_at=created_at,
                expires_at=created_at + timedelta(seconds=expires_in_seconds),
            ),
            sealed_preimage=None if theirs else self.sealed,
            heard=word(state) if state is HELD else None,
        )

    @asynccontextmanager
    async def running(self, temporal: Client) -> AsyncIterator[WorkflowHandle[Any, Any]]:
        """The invoice's workflow, for as long as the block lasts."""
        queue = ids.invoice_queue(NODE)
        at_lnd: list[Callable[..., Any]] = [self.look_up, self.watch, self.settle, self.cancel]
        queues = {queue, ids.open_watch_queue(NODE), ids.held_watch_queue(NODE)}
        async with (
            Worker(
                temporal,
                task_queue=ids.TASK_QUEUE,
                workflows=[InvoiceWorkflow],
                activities=[self.emit],
            ),
            Worker(temporal, task_queue=ids.webhook_queue(ENDPOINT), activities=[self.ask]),
            _all(Worker(temporal, task_queue=each, activities=at_lnd) for each in sorted(queues)),
        ):
            handle = await temporal.start_workflow(
                "InvoiceWorkflow",
                self.order,
                id=ids.invoice_id(self.order.invoice.payment_hash),
                task_queue=ids.TASK_QUEUE,
                result_type=dict,
            )
            try:
                yield handle
            finally:
                if (await handle.describe()).close_time is None:
                    await handle.terminate("the test is over")

    async def view(self, handle: WorkflowHandle[Any, Any]) -> InvoiceView:
        return await handle.query(InvoiceWorkflow.view)

    @activity.defn(name=EMIT_EVENT.name)
    async def emit(self, event: Event) -> Emitted:
        self.reached[event.type].set()
        await self.gates[event.type].wait()
        # Of this invoice, and once: a local activity can be carried out twice.
        mine = event.resource == ids.invoice_id(self.order.invoice.payment_hash)
        if mine and event.id not in {each.id for each in self.told}:
            self.told.append(event)
        return Emitted(endpoints=() if event.type in self.unwanted else ("shop",))

    @activity.defn(name=LOOK_UP_INVOICE.name)
    async def look_up(self, _: InvoiceOf) -> InvoiceUpdate:
        return word(self.state)

    @activity.defn(name=WATCH_INVOICE.name)
    async def watch(self, ask: Watch) -> Watched:
        while self.state is ask.state and datetime.now(UTC) < ask.until:
            activity.heartbeat()
            await asyncio.sleep(0.1)
        return Watched(update=word(self.state), height=100)

    @activity.defn(name=SETTLE_INVOICE.name)
    async def settle(self, _: Settle) -> InvoiceUpdate:
        if self.state is HELD:
            self.state = LndInvoiceState.SETTLED
        return word(self.state)

    @activity.defn(name=CANCEL_INVOICE.name)
    async def cancel(self, _: InvoiceOf) -> InvoiceUpdate:
        if self.state is not LndInvoiceState.SETTLED:
            self.state = LndInvoiceState.CANCELED
        return word(self.state)

    @activity.defn(name=ASK_CALLBACK.name)
    async def ask(self, _: Asking) -> Decided:
        self.asked += 1
        return Decided(verdict=self.verdict)


@asynccontextmanager
async def _all(workers: Any) -> AsyncIterator[None]:
    started: list[Worker] = list(workers)
    if not started:
        yield
        return
    async with started[0], _all(started[1:]):
        yield


__all__ = ["ENDPOINT", "HELD", "NODE", "InvoiceState", "LoneInvoice", "Msat", "word"]
