"""A house with a loopd, a kind: here channels empty, and other scenarios want theirs whole."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from devnet.house import House, house
from starter.connect import connect
from tests.swaps.swapping import refill

KINDS = [
    pytest.param("simulated", id="simulated"),
    # The first scenario builds the house.
    pytest.param("regtest", id="regtest", marks=[pytest.mark.regtest, pytest.mark.timeout(600)]),
]


@pytest.fixture(scope="session", params=KINDS)
async def home(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    state_dir = tmp_path_factory.mktemp(f"swaps-{request.param}")
    async with house(request.param, state_dir, ours=["alice"], loop=True) as built:
        yield built


@pytest.fixture(scope="session")
async def temporal(home: House) -> Client:
    return await connect(home.settings)


@pytest.fixture(autouse=True)
async def coins(home: House) -> None:
    """Room to swap both ways, whatever was swapped before."""
    await refill(home.network)


@pytest.fixture(autouse=True)
def always(oracle: None) -> None:
    """The ledger is asked after each scenario."""
