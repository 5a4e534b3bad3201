"""Invoices at LND: what is decided in time, what is settled, and what of it leaves the process."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.invoices import InvoiceActivities
from activities.tip import Tip
from fulgurite.errors import (
    CredentialError,
    InvalidRequestError,
    InvoiceNotFoundError,
    KeyReusedError,
    UnknownEndpointError,
)
from fulgurite.identity import NodePubkey, PaymentHash, Preimage
from fulgurite.invoices.calls import Asking, InvoiceOf, Settle, Watch
from fulgurite.invoices.progress import InvoiceOrder, InvoiceProgress
from fulgurite.invoices.receipts import CreatedInvoice
from fulgurite.invoices.requests import DecideBy, Hold, InvoiceRequest, Verdict
from fulgurite.invoices.states import LndInvoiceState
from fulgurite.model import Model
from fulgurite.money import Msat
from fulgurite.sealing import UnsealingKey
from nodes.lnd.connection import NodeInfo
from nodes.lnd.invoices import NodeInvoice, Page
from nodes.webhooks.sender import Answer

from .invoices import PAYEE_PUBKEY, written

NOW = datetime(2026, 1, 2, tzinfo=UTC)
KEY = UnsealingKey("11" * 32)
REQUEST = InvoiceRequest(key="order-1", node="carol", amount_msat=Msat(1_000))
TIP = 600


def of(payment_hash: PaymentHash, payee: NodePubkey | None = None) -> InvoiceOf:
    return InvoiceOf(node="carol", payment_hash=payment_hash, payee=payee)


class Node:
    """An LND with one invoice, and `Nodes` with one node."""

    def __init__(self, state: LndInvoiceState = LndInvoiceState.OPEN) -> None:
        self.state = state
        self.added: list[PaymentHash] = []
        self.settled: list[Preimage] = []
        self.answers = asyncio.Event()
        self.answers.set()
        self.tips: list[int] | None = [TIP]  # the last one stays; None: nobody may ask for it
        self.quiet = False
        self.forgot = False
        self.newest = ""

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
        await self.answers.wait()
        if self.forgot:
            raise InvoiceNotFoundError("carol: unable to locate invoice")
        return self.invoice(payment_hash, "lnbcrt1")

    async def page(self, **_: object) -> Page:
        other = self.invoice(Preimage.generate().hash(), self.newest)
        return Page((other,) if self.newest else (), 1)

    async def check(self) -> NodeInfo:
        raise CredentialError("carol: no observe macaroon is configured")

    def invoice(self, payment_hash: PaymentHash, payment_request: str) -> NodeInvoice:
        return NodeInvoice(
            payment_hash=payment_hash,
            payment_request=payment_request,
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
        if self.tips is None:
            raise CredentialError("carol: cannot get macaroon")
        return self.tips.pop(0) if len(self.tips) > 1 else self.tips[0]

    @asynccontextmanager
    async def watch(self, _: PaymentHash) -> AsyncIterator[AsyncIterator[NodeInvoice]]:
        assert self.quiet, "it waits for news, and the decision is due"
        yield self.silence()

    async def silence(self) -> AsyncIterator[NodeInvoice]:
        await asyncio.sleep(60)
        yield self.invoice(Preimage.generate().hash(), "")

    async def settle(self, preimage: Preimage) -> None:
        await self.answers.wait()
        self.settled.append(preimage)
        self.state = LndInvoiceState.SETTLED

    async def cancel(self, _: PaymentHash) -> None:
        await self.answers.wait()
        self.state = LndInvoiceState.CANCELED


class Temporal:
    """A client that writes down what it is given."""

    def __init__(self) -> None:
        self.orders: list[InvoiceOrder] = []
        self.others: list[str] = []
        self.everything = ""

    async def start_workflow(self, name: str, order: InvoiceOrder, **how: Any) -> None:
        self.orders.append(order)
        self.everything += f"{name} {order.model_dump_json()} {order!r} {how!r}"

    async def list_workflows(self, _: str, **__: object) -> AsyncIterator[str]:
        for other in self.others:
            yield other


class Merchants:
    """Webhooks without endpoints, that write down what is sent."""

    def __init__(self) -> None:
        self.asked: list[str] = []

    def config(self, name: str) -> None:
        raise UnknownEndpointError(f"no webhook endpoint {name!r} is configured")

    async def send(self, _: str, question: str, __: bytes) -> Answer:
        self.asked.append(question)
        return Answer(status=200, body=b'{"verdict": "SETTLE"}', seconds=0.1)


def activities(
    node: Node, temporal: Temporal | None = None, merchants: Merchants | None = None
) -> InvoiceActivities:
    nodes: Any = node
    client: Any = temporal or Temporal()
    webhooks: Any = merchants
    return InvoiceActivities(nodes, KEY, client, webhooks)


def environment(**info: Any) -> ActivityEnvironment:
    here = ActivityEnvironment()
    here.info = replace(here.info, **info)
    return here


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
    another = await ActivityEnvironment().run(activities(node).create, other)
    assert another.payment_hash != created[0].payment_hash


@pytest.mark.parametrize("name", ["create", "look_up", "settle", "cancel"])
async def test_what_lnd_takes_long_for_beats_meanwhile(name: str) -> None:
    """Temporal took 15 s without a beat for a dead worker, and asked anew, for ever."""
    node, preimage, beats = Node(LndInvoiceState.ACCEPTED), Preimage.generate(), asyncio.Event()
    node.answers.clear()
    order = Settle(
        node="carol",
        payment_hash=preimage.hash(),
        sealed_preimage=KEY.sealing_key.seal(preimage),
    )
    given: dict[str, Model] = {"create": REQUEST, "settle": order}
    here = environment()
    here.on_heartbeat = lambda *_: beats.set()
    working = asyncio.create_task(
        here.run(getattr(activities(node), name), given.get(name, of(preimage.hash())))
    )
    with suppress(TimeoutError):
        await asyncio.wait_for(beats.wait(), 2)
    done_before = working.done()
    node.answers.set()

    assert await working
    assert (beats.is_set(), done_before) == (True, False)


async def test_who_serves_one_nodes_queue_may_know_no_other_node() -> None:
    """It has one node configured, and the key may belong to an invoice of another."""
    temporal = Temporal()
    temporal.others = ["invoice/of-another-node"]
    create = activities(Node(), temporal).create
    with pytest.raises(ApplicationError) as refused:
        await environment().run(create, REQUEST)

    assert refused.value.type == KeyReusedError.__name__
    assert await environment(is_local=True).run(create, REQUEST), "and without asking anybody"


async def test_who_runs_no_workflows_needs_no_endpoints() -> None:
    hold = Hold(decide_by=DecideBy.CALLBACK, callback="judge")
    request = REQUEST.model_copy(update={"hold": hold})
    create = activities(Node(), merchants=Merchants()).create
    with pytest.raises(ApplicationError) as refused:
        await environment(is_local=True).run(create, request)

    assert refused.value.type == UnknownEndpointError.__name__
    assert (await environment().run(create, request)).request == request


def watch(until_height: int | None) -> Watch:
    return Watch(
        node="carol",
        payment_hash=Preimage.generate().hash(),
        state=LndInvoiceState.ACCEPTED,
        until=datetime.now(UTC) + timedelta(hours=1),
        until_height=until_height,
    )


@pytest.mark.parametrize("until_height", [TIP, TIP - 1])
async def test_a_watch_ends_at_its_height(until_height: int) -> None:
    """Invariant 8: whatever the invoice does, somebody decides about it before it is too late."""
    node = Node(LndInvoiceState.ACCEPTED)
    watched = await ActivityEnvironment().run(activities(node).watch, watch(until_height))

    assert (watched.update.state, watched.height) == (LndInvoiceState.ACCEPTED, TIP)


@pytest.mark.parametrize("until_height", [None, TIP])
async def test_what_has_changed_is_told_whatever_the_chain_does(until_height: int | None) -> None:
    node = Node(LndInvoiceState.SETTLED)
    node.tips = None
    watched = await ActivityEnvironment().run(activities(node).watch, watch(until_height))

    assert watched.update.state is LndInvoiceState.SETTLED


async def test_a_tip_that_cannot_be_read_for_long_decides(monkeypatch: pytest.MonkeyPatch) -> None:
    """Invariant 8: the observe macaroon was revoked, and nobody looked at the height any more."""
    monkeypatch.setattr("activities.invoices._LOOK_AT_THE_CHAIN_SECONDS", 0.01)
    monkeypatch.setattr("activities.tip.IN_THE_DARK_SECONDS", 0.1)
    node = Node(LndInvoiceState.ACCEPTED)
    node.tips, node.quiet = None, True
    began = time.monotonic()
    watching = ActivityEnvironment().run(activities(node).watch, watch(TIP))
    watched = await asyncio.wait_for(watching, 5)

    assert (watched.update.state, watched.height) == (LndInvoiceState.ACCEPTED, TIP)
    assert time.monotonic() - began >= 0.1


async def test_a_tip_that_cannot_be_read_now_and_then_decides_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("activities.tip.IN_THE_DARK_SECONDS", 0.05)
    node = Node()
    lnd: Any = node
    tip = Tip(lnd)

    async def seen(tips: list[int] | None) -> int:
        node.tips = tips
        return await tip.height(TIP)

    heights = []
    for _ in range(4):
        heights += [await seen(None), await seen([TIP - 9])]
        await asyncio.sleep(0.03)
    assert heights == [0, TIP - 9] * 4


@pytest.mark.parametrize(
    ("newest", "known"),
    [(written(), True), ("", False), ("lnbcrt1", False)],
    ids=["its own", "none", "not to be read"],
)
async def test_an_invoice_that_is_forgotten_needs_no_observe_macaroon(
    newest: str, *, known: bool
) -> None:
    """It was asked for again and again, without an end."""
    node = Node()
    node.forgot, node.newest = True, newest
    ask = of(Preimage.generate().hash(), payee=NodePubkey(PAYEE_PUBKEY))
    looking = environment().run(activities(node).look_up, ask)
    if known:
        assert (await looking).state is LndInvoiceState.CANCELED
        return
    with pytest.raises(ApplicationError) as unknown:
        await looking
    assert not unknown.value.non_retryable


async def test_an_endpoint_is_asked_under_a_new_number_in_a_new_run() -> None:
    """Activities are counted anew there, and who drops duplicates heard no second question."""
    invoice = CreatedInvoice(
        request=REQUEST.model_copy(update={"hold": Hold()}),
        payment_hash=Preimage.generate().hash(),
        payment_request="lnbcrt1",
        created_at=NOW,
        expires_at=NOW + timedelta(days=1),
    )
    merchants = Merchants()
    ask = Asking(endpoint="judge", view=InvoiceProgress().view(invoice))
    for run_id in ("0c1f3a52-1", "9d2e4b63-1"):
        for activity_id in ("1", "2"):
            here = environment(workflow_run_id=run_id, activity_id=activity_id)
            decided = await here.run(activities(Node(), merchants=merchants).ask, ask)
            assert decided.verdict is Verdict.SETTLE

    assert len(set(merchants.asked)) == 4
    assert all(each.startswith(f"ask-{invoice.payment_hash}-") for each in merchants.asked)


async def test_only_an_invoices_own_preimage_is_given_to_lnd() -> None:
    node, preimage = Node(LndInvoiceState.ACCEPTED), Preimage.generate()

    def order(payment_hash: PaymentHash) -> Settle:
        sealed = KEY.sealing_key.seal(preimage)
        return Settle(node="carol", payment_hash=payment_hash, sealed_preimage=sealed)

    with pytest.raises(ApplicationError) as refused:
        await ActivityEnvironment().run(activities(node).settle, order(Preimage.generate().hash()))
    assert (refused.value.type, refused.value.non_retryable) == (InvalidRequestError.__name__, True)
    assert preimage.reveal().hex() not in str(refused.value)
    assert node.settled == []

    update = await ActivityEnvironment().run(activities(node).settle, order(preimage.hash()))
    assert (update.state, node.settled) == (LndInvoiceState.SETTLED, [preimage])
