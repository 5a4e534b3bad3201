"""What the scenarios share: one house a network kind, for the whole run."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from temporalio.client import Client

import worker
from devnet.house import House, endpoint, furnished, house, network
from devnet.receiver import Receiver, new_secret
from devnet.temporal_postgres import TemporalOnPostgres
from fulgurite.attributes import REGISTRY
from nodes.registry import Nodes
from nodes.webhooks.sender import Webhooks
from starter.client import FulguriteClient
from starter.connect import connect

HOUSES = [
    pytest.param("simulated", id="simulated"),
    pytest.param("regtest", id="regtest", marks=pytest.mark.regtest),
    # The simulated network once more, with Temporal as production has it.
    pytest.param("postgres", id="postgres", marks=pytest.mark.regtest),
]


@pytest.fixture(scope="session")
async def shop(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Receiver]:
    """A merchant's webhook receiver, told of every invoice of every house."""
    secret = new_secret()
    _shop_secret(tmp_path_factory).write_text(secret)
    async with Receiver(secret) as receiver:
        yield receiver


def _shop_secret(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "shop.secret"


@pytest.fixture(scope="session", params=HOUSES)
async def home(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, shop: Receiver
) -> AsyncIterator[House]:
    """Temporal and a network, of each kind, and a shop that is told of invoices; no worker."""
    state_dir = tmp_path_factory.mktemp(request.param)
    webhooks = {"shop": endpoint(shop, _shop_secret(tmp_path_factory), "invoice.*")}
    if request.param != "postgres":
        async with house(request.param, state_dir, webhooks=webhooks) as built:
            yield built
        return
    async with (
        TemporalOnPostgres(state_dir / "temporal", search_attributes=REGISTRY) as server,
        network("simulated", state_dir / "network") as simulated,
    ):
        yield furnished(state_dir, simulated, server, webhooks)


@pytest.fixture(scope="session")
async def temporal(home: House) -> Client:
    """A Temporal client of the house, speaking our JSON."""
    return await connect(home.settings)


@pytest.fixture(scope="session")
async def client(temporal: Client) -> FulguriteClient:
    return FulguriteClient(temporal)


@pytest.fixture
async def working(home: House, temporal: Client) -> AsyncIterator[None]:
    """A worker in this process, on the client's own connection: the fast path, eager start."""
    nodes, webhooks = Nodes(home.settings.nodes), Webhooks(home.settings.webhooks)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(nodes.close)
        stack.push_async_callback(webhooks.close)
        for each in worker.workers(temporal, home.settings, nodes, webhooks):
            await stack.enter_async_context(each)
        await worker.listen(temporal, nodes)
        yield
