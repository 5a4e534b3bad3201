"""A house of its own, a kind: here channels end, and other scenarios want theirs whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from devnet.house import House, house
from devnet.receiver import Receiver
from starter.connect import connect
from tests.receivers import told_of
from tests.stuck.roads import make_roads

KINDS = [
    pytest.param("simulated", id="simulated"),
    pytest.param("regtest", id="regtest", marks=pytest.mark.regtest),
]


@pytest.fixture(scope="session", params=KINDS)
async def home(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, desk: Receiver
) -> AsyncIterator[House]:
    state_dir = tmp_path_factory.mktemp(f"stuck-{request.param}")
    webhooks = told_of(desk, "desk", tmp_path_factory, "payment.*", "channel.*")
    async with house(request.param, state_dir, webhooks=webhooks, ours=["alice"]) as built:
        yield built


@pytest.fixture(scope="session")
async def temporal(home: House) -> Client:
    return await connect(home.settings)


@pytest.fixture(autouse=True)
async def roads(home: House) -> None:
    """Channels from alice over bob to carol, however many were closed before."""
    await make_roads(home.network)


@pytest.fixture(autouse=True)
def always(oracle: None) -> None:
    """The ledger is asked after each scenario."""
