"""A ring of four, of each kind: alice can send nearly everything to bob, and nothing to dave."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from devnet.house import House, house
from devnet.topology import RING
from starter.connect import connect
from tests.oracle import accounted_for
from tests.rebalances.ring import Ring

KINDS = [
    pytest.param("simulated", id="simulated"),
    pytest.param("regtest", id="regtest", marks=pytest.mark.regtest),
]


@pytest.fixture(scope="session", params=KINDS)
async def home(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    state_dir = tmp_path_factory.mktemp(f"liquidity-{request.param}")
    async with house(request.param, state_dir, ours=["alice"], topology=RING) as built:
        yield built


@pytest.fixture(scope="session")
async def temporal(home: House) -> Client:
    return await connect(home.settings)


@pytest.fixture
async def ring(home: House) -> Ring:
    """As at the beginning, whatever moved."""
    ring = Ring(home)
    await ring.reset()
    return ring


@pytest.fixture(autouse=True)
async def oracle(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    """The independent ledger has the last word, where a scenario has a network."""
    yield
    if "home" not in request.fixturenames:
        return
    await accounted_for(request.getfixturevalue("home").network)
