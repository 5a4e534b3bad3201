from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from devnet.regtest import RegtestNetwork
from tests.regtest.loop.swapping import Swapping


@pytest.fixture(scope="package")
async def swapping(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Swapping]:
    """One network for all, since each swap is its own; what is mined, all of them see."""
    async with RegtestNetwork(tmp_path_factory.mktemp("loop"), loop=True) as network:
        yield Swapping(network)


@pytest.fixture
async def served(swapping: Swapping) -> AsyncIterator[None]:
    """The next one finds both sides up, however this one ended."""
    yield
    if not swapping.network.swap_server.running:
        await swapping.network.swap_server.start()
