"""Invoices at LND: what is decided in time, what is settled, and what of it leaves the process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.invoices import InvoiceActivities
from fulgurite.errors import InvalidRequestError
from fulgurite.identity import PaymentHash, Preimage
from fulgurite.invoices.calls import Settle, Watch
from fulgurite.invoices.progress import InvoiceOrder
from fulgurite.invoices.requests import Hold, InvoiceRequest
from fulgurite.invoices.states import LndInvoiceState
from fulgurite.money import Msat
from fulgurite.sealing import UnsealingKey
from nodes.lnd.invoices import NodeInvoice

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KEY = UnsealingKey("11" * 32)
REQUEST = InvoiceRequest(key="order-1", node="carol", amount_msat=Msat(1_000))
TIP = 600


class Node:
    """An LND with one invoice, and `Nodes` with one node."""

    def __init__(self, state: LndInvoiceState = LndInvoiceState.OPEN) -> None:
        self.state = state
        self.added: list[PaymentHash] = []
        self.settled: list[Preimage] = []

    def __iter__(self) -> Iterator[str]:
        return iter(["carol"])

    def invoices(self, name: str) -> Node:
        assert name == "carol"
        return self

    def connection(self, name: str) -> Node:
        assert name == "carol"
        return self

    def holds(self, *_: object) -> bool:
        return True

    async def add(self, _: InvoiceRequest, payment_hash: PaymentHash, __: Preimage | None) -> None:
        self.added.append(payment_hash)

    async def look_up(self, payment_hash: PaymentHash) -> NodeInvoice:
        return NodeInvoice(
            payment_hash=payment_hash,
            payment_request="lnbcrt1",
            memo="",
            description_hash=None,
            state=self.state,
            amount=Msat(1_000),
            paid=Msat(0),
            partial=Msat(0),
            parts=0,
            created_at=NOW,
            expires_at=NOW + timedelta(days=1),
            paid_at=None,
            settled_at=None,
            first_expiry_height=TIP + 50,
            add_index=1,
            settle_index=0,
            expiry_seconds=86_400,
            private=False,
            is_keysend=False,
            is_hold=True,
        )

    async def height(self) -> int:
        return TIP

    @asynccontextmanager
    async def watch(self, _: PaymentHash) -> AsyncIterator[AsyncIterator[NodeInvoice]]:
        raise AssertionError("it waits for news, and the decision is due")
        yield

    async def settle(self, preimage: Preimage) -> None:
        self.settled.append(preimage)
        self.state = LndInvoiceState.SETTLED


class Temporal:
    """A client that writes down what it is given."""

    def __init__(self) -> None:
        self.orders: list[InvoiceOrder] = []
        self.everything = ""

    async def start_workflow(self, name: str, order: InvoiceOrder, **how: Any) -> None:
        self.orders.append(order)
        self.everything += f"{name} {order.model_dump_json()} {order!r} {how!r}"


def activities(node: Node, temporal: Temporal | None = None) -> InvoiceActivities:
    nodes: Any = node
    client: Any = temporal or Temporal()
    webhooks: Any = None
    return InvoiceActivities(nodes, KEY, client, webhooks)


@pytest.mark.parametrize("hold", [None, Hold()], ids=["normal", "hold"])
async def test_what_a_workflow_is_given_holds_its_preimage_sealed_or_not_at_all(
    hold: Hold | None,
) -> None:
    temporal, node = Temporal(), Node()
    request = REQUEST.model_copy(update={"hold": hold})
    created = await ActivityEnvironment().run(activities(node, temporal).create, request)
    [order] = temporal.orders
    assert order.sealed_preimage is not None
    preimage = KEY.open(order.sealed_preimage)

    assert preimage.settles(created.payment_hash)
    assert node.added == [created.payment_hash]
    for form in (preimage.reveal().hex(), str(preimage.reveal())):
        assert form not in temporal.everything
        assert form not in created.model_dump_json()


async def test_a_crash_after_lnd_wrote_the_invoice_leaves_the_same_preimage() -> None:
    """Nothing of the first try is left but what LND has."""
    node = Node()
    created = [await ActivityEnvironment().run(activities(node).create, REQUEST) for _ in range(2)]

    assert len(set(node.added)) == 1
    assert created[0].payment_hash == created[1].payment_hash
    other = REQUEST.model_copy(update={"key": "order-2"})
    assert (await activities(node).create(other)).payment_hash != created[0].payment_hash


@pytest.mark.parametrize("until_height", [TIP, TIP - 1])
async def test_a_watch_ends_at_its_height(until_height: int) -> None:
    """Invariant 8: whatever the invoice does, somebody decides about it before it is too late."""
    ask = Watch(
        node="carol",
        payment_hash=Preimage.generate().hash(),
        state=LndInvoiceState.ACCEPTED,
        until=datetime.now(UTC) + timedelta(hours=1),
        until_height=until_height,
    )
    watched = await ActivityEnvironment().run(activities(Node(LndInvoiceState.ACCEPTED)).watch, ask)

    assert (watched.update.state, watched.height) == (LndInvoiceState.ACCEPTED, TIP)


async def test_only_an_invoices_own_preimage_is_given_to_lnd() -> None:
    node, preimage = Node(LndInvoiceState.ACCEPTED), Preimage.generate()

    def order(payment_hash: PaymentHash) -> Settle:
        sealed = KEY.sealing_key.seal(preimage)
        return Settle(node="carol", payment_hash=payment_hash, sealed_preimage=sealed)

    with pytest.raises(ApplicationError) as refused:
        await activities(node).settle(order(Preimage.generate().hash()))
    assert (refused.value.type, refused.value.non_retryable) == (InvalidRequestError.__name__, True)
    assert preimage.reveal().hex() not in str(refused.value)
    assert node.settled == []

    update = await activities(node).settle(order(preimage.hash()))
    assert (update.state, node.settled) == (LndInvoiceState.SETTLED, [preimage])
