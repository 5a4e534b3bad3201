"""A ring of four, of each kind: alice's money goes out over bob and comes back over dave."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from devnet.house import House, house
from devnet.topology import RING
from starter.connect import connect
from tests.rebalances.ring import Ring

KINDS = [
    pytest.param("simulated", id="simulated"),
    pytest.param("regtest", id="regtest", marks=pytest.mark.regtest),
]


@pytest.fixture(scope="session", params=KINDS)
async def home(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    state_dir = tmp_path_factory.mktemp(f"ring-{request.param}")
    async with house(request.param, state_dir, ours=["alice"], topology=RING) as built:
        yield built


@pytest.fixture(scope="session")
async def temporal(home: House) -> Client:
    return await connect(home.settings)


@pytest.fixture
async def ring(home: House) -> Ring:
    """As at the beginning: 95 % of one channel local, 5 % of the other, and the usual fees."""
    ring = Ring(home)
    await ring.reset()
    return ring


@pytest.fixture(autouse=True)
def always(oracle: None) -> None:
    """The ledger is asked after each scenario."""
