"""A house of its own: budgets are spent here, and other scenarios want to pay."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from temporalio.client import Client

from devnet.house import House, house
from starter.connect import connect

KINDS = [
    pytest.param("simulated", id="simulated"),
    pytest.param("regtest", id="regtest", marks=pytest.mark.regtest),
]


@pytest.fixture(scope="session", params=KINDS)
async def home(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[House]:
    state_dir = tmp_path_factory.mktemp(f"budgets-{request.param}")
    async with house(request.param, state_dir, ours=["alice"]) as built:
        yield built


@pytest.fixture(scope="session")
async def temporal(home: House) -> Client:
    return await connect(home.settings)
