"""One network of Pool for all of these tests, with an account on each side."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from devnet.poold import PoolNode
from devnet.regtest.pool import PoolNetwork
from protos.poolrpc import trader_pb2

# poold waits for three on an account of these sizes.
ACCOUNT_CONFIRMATIONS = 3


@dataclass(frozen=True)
class Side:
    """A trader, and the account that these tests trade with."""

    pool: PoolNode
    account: bytes

    async def value_sat(self) -> int:
        return (await self.pool.accounts())[self.account].value

    async def open(self) -> trader_pb2.Account:
        return await self.pool.wait_for_account(self.account, trader_pb2.OPEN)


@pytest.fixture(scope="session")
async def network(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[PoolNetwork]:
    async with PoolNetwork(tmp_path_factory.mktemp("pool")) as network:
        yield network


@pytest.fixture(scope="session")
async def accounts(network: PoolNetwork) -> tuple[bytes, bytes]:
    alice = await network.pools["alice"].open_account(2_000_000)
    dave = await network.pools["dave"].open_account(20_000_000)
    await network.mine(ACCOUNT_CONFIRMATIONS)
    return alice, dave


@pytest.fixture
async def alice(network: PoolNetwork, accounts: tuple[bytes, bytes]) -> Side:
    """Who bids, with an account that is open."""
    side = Side(network.pools["alice"], accounts[0])
    await side.open()
    return side


@pytest.fixture
async def dave(network: PoolNetwork, accounts: tuple[bytes, bytes]) -> Side:
    """Who asks, with an account that is open."""
    side = Side(network.pools["dave"], accounts[1])
    await side.open()
    return side
