"""The activity: what it begins with, what its heartbeats carry, and how it leaves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from temporalio.exceptions import ApplicationError
from temporalio.testing import ActivityEnvironment

from activities.invoice_scans import REGISTERED_SECONDS
from activities.listening import InvoiceListening
from devnet.waiting import eventually
from fulgurite.invoices.stream import Cursor, Listen, Listened, StreamState
from nodes.lnd.invoices import NodeInvoice, Page
from tests.streams.world import World


class QuietNode:
    """Answers everything, and has no invoices."""

    def __init__(self) -> None:
        self.connections = 0

    async def page(self, *, after_index: int, limit: int, backwards: bool = False) -> Page:  # noqa: ARG002 - there are none
        return Page((), after_index)

    @asynccontextmanager
    async def subscribe(
        self,
        add_index: int,  # noqa: ARG002 - there are none
        settle_index: int,  # noqa: ARG002 - there are none
    ) -> AsyncIterator[AsyncIterator[NodeInvoice]]:
        self.connections += 1

        async def silence() -> AsyncIterator[NodeInvoice]:
            await asyncio.get_running_loop().create_future()
            return
            yield

        yield silence()

    def invoices(self, name: str) -> QuietNode:
        """As `Nodes`, of which there is one."""
        assert name == "alice"
        return self


class NobodyIsLate:
    """In the place of `LatePayers`."""

    @asynccontextmanager
    async def looking_out(self, node: str) -> AsyncIterator[None]:
        assert node == "alice"
        yield


@pytest.fixture
def node() -> QuietNode:
    return QuietNode()


@pytest.fixture
def listening(node: QuietNode) -> InvoiceListening:
    nodes: Any = node
    nobody: Any = NobodyIsLate()
    return InvoiceListening(nodes, World(), nobody)


def an_ask(seconds: float, **fields: Any) -> Listen:
    now = datetime.now(UTC)
    return Listen(
        node="alice",
        so_far=Listened.model_validate({"cursor": Cursor.at(now)} | fields),
        until=now + timedelta(seconds=seconds),
    )


def environment(*, attempt: int = 1, heartbeat: Listened | None = None) -> ActivityEnvironment:
    """Temporal's own stand-in; `heartbeat` is what an earlier try left."""
    made = ActivityEnvironment()
    details = [heartbeat.model_dump(mode="json")] if heartbeat else []
    made.info = replace(made.info, attempt=attempt, heartbeat_details=details)
    return made


async def test_it_returns_how_far_it_came(listening: InvoiceListening, node: QuietNode) -> None:
    ask = an_ask(2 * REGISTERED_SECONDS + 1)
    listened = await environment().run(listening.listen, ask)

    assert isinstance(listened, Listened)
    assert (listened.state, listened.cursor.complete) == (StreamState.LISTENING, True)
    assert node.connections == 1


async def test_a_retry_begins_where_the_heartbeats_ended(listening: InvoiceListening) -> None:
    reached = Cursor.at(datetime.now(UTC)).model_copy(update={"pending_from": 77})
    heartbeat = Listened(cursor=reached, settlements=5, state=StreamState.LISTENING)
    listened = await environment(attempt=2, heartbeat=heartbeat).run(
        listening.listen, an_ask(0.2, settlements=3)
    )

    assert (listened.settlements, listened.cursor.pending_from) == (5, 77)
    # Nobody has listened for a while: it is not connected until it is.
    assert listened.state is not StreamState.LISTENING


async def test_heartbeats_carry_the_cursor(listening: InvoiceListening) -> None:
    beats: list[Listened] = []
    running = environment()
    running.on_heartbeat = lambda *details: beats.extend(details)
    await running.run(listening.listen, an_ask(0.5))

    assert beats
    assert beats[-1].cursor.complete


async def test_it_leaves_with_its_worker_and_another_takes_over(
    listening: InvoiceListening, node: QuietNode
) -> None:
    running = environment()
    task = asyncio.ensure_future(running.run(listening.listen, an_ask(60)))

    async def connected() -> int:
        return node.connections

    await eventually(connected, what="a connection", timeout_seconds=10)
    running.worker_shutdown()

    with pytest.raises(ApplicationError) as left:
        await task
    assert not left.value.non_retryable


async def test_rounds_on_one_worker_share_what_was_told(listening: InvoiceListening) -> None:
    first = await environment().run(listening.listen, an_ask(0.3))
    (idle,) = listening._idle.values()
    first = Listened.model_validate_json(first.model_dump_json())  # by way of the workflow
    again = an_ask(0.3).model_copy(update={"so_far": first})
    await environment().run(listening.listen, again)
    assert list(listening._idle.values()) == [idle]

    # Somebody else has listened since.
    other = again.model_copy(update={"so_far": again.so_far.model_copy(update={"settlements": 9})})
    await environment().run(listening.listen, other)
    assert list(listening._idle.values()) != [idle]
