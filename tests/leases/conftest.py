"""A house of its own, a kind: on regtest Pool has a network that nobody else waits for."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from devnet.house import House, house
from devnet.receiver import Receiver
from starter.connect import connect
from tests.oracle import accounted_for
from tests.receivers import told_of

from .market import Venue, close_accounts, venue_of

KINDS = [
    pytest.param("simulated", id="simulated"),
    pytest.param("regtest", id="regtest", marks=pytest.mark.regtest),
]


@pytest.fixture(scope="session", params=KINDS)
async def home(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, desk: Receiver
) -> AsyncIterator[House]:
    state_dir = tmp_path_factory.mktemp(f"leases-{request.param}")
    webhooks = told_of(desk, "desk", tmp_path_factory, "lease.*")
    async with house(
        request.param, state_dir, webhooks=webhooks, ours=["alice"], pool=True
    ) as built:
        yield built


@pytest.fixture(scope="session")
async def temporal(home: House) -> Client:
    return await connect(home.settings)


@pytest.fixture(scope="session")
async def venue(home: House) -> Venue:
    return await venue_of(home.network)


@pytest.fixture(autouse=True)
async def always(home: House, venue: Venue) -> AsyncIterator[None]:
    """The ledger is asked after each scenario, and none leaves an offer behind."""
    yield
    await accounted_for(home.network)
    await venue.clear_the_book()
    await close_accounts(home.network)
