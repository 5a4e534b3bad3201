"""Payments do not wait for each other: one that hangs in LND holds up nobody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from datetime import UTC, timedelta
from types import SimpleNamespace
from typing import Any
from unittest import mock

from temporalio.testing import ActivityEnvironment

from activities import dispatching
from activities.payments import PaymentActivities
from fulgurite.identity import PaymentHash, Preimage
from fulgurite.money import FeeLimit
from fulgurite.payments.calls import Dispatch, Dispatched
from fulgurite.payments.requests import Order, PaymentRequest, understand
from fulgurite.payments.states import PaymentStatus
from fulgurite.sealing import UnsealingKey
from nodes.lnd.payments import NodePayment
from tests.properties import clock
from tests.properties.clock import VirtualDatetime
from tests.properties.model_node import Fate, ModelNode, Script
from tests.unit.invoices import written

FOLLOW_SECONDS = 4.0
HANGING, QUICK = 5, 20

Updates = AbstractAsyncContextManager[AsyncIterator[NodePayment]]


class Alice:
    """A node with a payment for each hash, and `Nodes` with that one node."""

    def __init__(self) -> None:
        self._payments: dict[PaymentHash, ModelNode] = {}

    def request(self, after_seconds: float) -> PaymentRequest:
        request = PaymentRequest(node="alice", invoice=written(), fee_limit=FeeLimit(sat=10))
        fate = Fate(after_seconds, PaymentStatus.SUCCEEDED)
        self._payments[understand(request).payment_hash] = ModelNode(Script([], [], [fate], 0, 0))
        return request

    def connection(self, name: str) -> SimpleNamespace:
        config = SimpleNamespace(approval_above_sat=None, payment_budget=None, network="regtest")
        return SimpleNamespace(name=name, config=config)

    def payments(self, name: str) -> Alice:
        assert name == "alice"
        return self

    def track(self, payment_hash: PaymentHash) -> Updates:
        return self._payments[payment_hash].track(payment_hash)

    def send(self, request: PaymentRequest, order: Order, preimage: Preimage | None) -> Updates:
        return self._payments[order.payment_hash].send(request, order, preimage)


async def dispatched(activities: PaymentActivities, request: PaymentRequest) -> Dispatched:
    now = VirtualDatetime.now(UTC)
    ask = Dispatch(
        request=request,
        requested_at=now,
        send_until=now + timedelta(hours=1),
        follow_seconds=FOLLOW_SECONDS,
        first_task=True,
    )
    given = await ActivityEnvironment().run(activities.dispatch, ask)
    assert isinstance(given, Dispatched)
    return given


def test_payments_that_hang_hold_up_no_other_payment() -> None:
    async def story() -> None:
        alice = Alice()
        nodes: Any = alice
        activities = PaymentActivities(nodes, UnsealingKey("11" * 32), lambda *_: False)
        hanging = [
            asyncio.create_task(dispatched(activities, alice.request(600))) for _ in range(HANGING)
        ]
        await asyncio.sleep(0.1)
        began = asyncio.get_running_loop().time()
        quick = await asyncio.gather(
            *(dispatched(activities, alice.request(0.1)) for _ in range(QUICK))
        )
        took_seconds = asyncio.get_running_loop().time() - began

        assert {each.update and each.update.status for each in quick} == {PaymentStatus.SUCCEEDED}
        assert took_seconds < FOLLOW_SECONDS / 2
        assert not any(task.done() for task in hanging)
        slow = await asyncio.gather(*hanging)
        assert {each.update and each.update.status for each in slow} == {PaymentStatus.IN_FLIGHT}

    with mock.patch.object(dispatching, "datetime", VirtualDatetime):
        clock.run(story())
