"""A network of its own for Pool: two traders on a chain that nobody else waits for.

poold asks lnd about every channel that comes in, and accounts and leases end by the
hundred blocks; both would disturb the tests of everything else.
"""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import grpc

from devnet.daemons import find
from devnet.loopd import LoopNode
from devnet.node import LightningNode
from devnet.poold import PoolNode
from devnet.processes import end_leftovers
from devnet.regtest.bitcoin import Btcd
from devnet.regtest.lnd import Lnd
from devnet.regtest.pool_daemons import Auctioneer, Cleared, Poold
from devnet.waiting import eventually

# alice is the one whose channels our users wait for; dave leases his out.
TRADERS = ("alice", "dave")

# BIP 9 brings segwit and Taproot to btcd's regtest by height 432.
_FIRST_BLOCKS = 440
_COINBASE_MATURITY_BLOCKS = 100

# Every opening of an account spends a coin as a whole; all of them come in one block.
_COINS_PER_NODE = 5
_COIN_SAT = 100_000_000


class PoolNetwork:
    """`devnet.network.Network` with a poold beside each node, and an auctioneer.

    An async context manager. Entering takes an empty folder, or one that an earlier network
    left, to two funded traders without channels; leaving kills everything and leaves the files.
    """

    kind = "regtest"

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir.absolute()
        self._chain: Btcd | None = None
        self._auctioneer: Auctioneer | None = None
        self._lnds: dict[str, Lnd] = {}
        self._poolds: dict[str, Poold] = {}

    @property
    def nodes(self) -> Mapping[str, LightningNode]:
        return {name: lnd.node for name, lnd in self._lnds.items()}

    @property
    def loops(self) -> Mapping[str, LoopNode]:
        return {}

    @property
    def pools(self) -> Mapping[str, PoolNode]:
        return {name: poold.node for name, poold in self._poolds.items()}

    @property
    def auctioneer(self) -> Auctioneer:
        """It may be killed and started like a node."""
        if self._auctioneer is None:
            raise RuntimeError("the network is not up: use it inside `async with`")
        return self._auctioneer

    async def __aenter__(self) -> Self:
        try:
            await self._start()
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self._end()

    async def mine(self, blocks: int) -> None:
        height = await self._btcd.mine(blocks)
        await self._all_reached(height)

    async def reorg(self, depth: int) -> None:
        """Replaces the last `depth` blocks by empty ones, and one more; who is up follows."""
        height = await self._btcd.reorg(depth)
        await self._all_reached(height)

    async def run_batch(self) -> Cleared:
        """Clears one ask and one bid; its transaction waits for `mine`. See `Auctioneer.clear`."""
        return await self.auctioneer.clear()

    async def stop_node(self, name: str) -> None:
        """Kills its lnd. Its poold loses what it stands on, and is killed with it."""
        await self._poolds[name].kill()
        await self._lnds[name].kill()

    async def start_node(self, name: str) -> None:
        await self._lnds[name].start()
        await self._poolds[name].start()

    async def stop_pool(self, name: str) -> None:
        """Ends the poold of a node as a crash would (kill -9)."""
        await self._poolds[name].kill()

    async def start_pool(self, name: str) -> None:
        """Starts it on its old data and port; returns when it tells of itself."""
        await self._poolds[name].start()

    async def stop_auctioneer(self) -> None:
        """Kills it, as far as it did not kill itself."""
        await self.auctioneer.kill()

    async def start_auctioneer(self) -> None:
        """Starts it on its journal; returns when the poolds that are up are with it again."""
        await self.auctioneer.start()
        for poold in self._following():
            await eventually(
                partial(_reaches_its_auctioneer, poold.node),
                what=f"{poold.node.name}'s poold with its auctioneer",
            )

    async def stop_loop(self, name: str) -> None:
        raise KeyError(name)

    async def start_loop(self, name: str) -> None:
        raise KeyError(name)

    async def _start(self) -> None:
        lnd = await asyncio.to_thread(find, "lnd")
        poold = await asyncio.to_thread(find, "poold")
        self._clear()
        self._chain = Btcd(await asyncio.to_thread(find, "btcd"), self.state_dir)
        self._lnds = {name: Lnd(name, lnd, self._chain, self.state_dir) for name in TRADERS}

        await self._chain.start()
        await self._chain.mine(_FIRST_BLOCKS)
        await asyncio.gather(*(each.start() for each in self._lnds.values()))
        await asyncio.gather(*(each.bake_macaroons() for each in self._lnds.values()))
        await self._fund()

        self._auctioneer = Auctioneer(self._chain, self.state_dir)
        await self._auctioneer.start()
        self._poolds = {
            name: Poold(poold, each, self._auctioneer, self.state_dir)
            for name, each in self._lnds.items()
        }
        await asyncio.gather(*(each.start() for each in self._poolds.values()))

    def _clear(self) -> None:
        """Ends and removes what an earlier network left here, and touches nothing else."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        end_leftovers(self.state_dir)
        pools = (f"pool-{name}" for name in TRADERS)
        for folder in ("logs", "btcd", "auctioneer", *TRADERS, *pools):
            shutil.rmtree(self.state_dir / folder, ignore_errors=True)

    async def _fund(self) -> None:
        addresses = [
            await lnd.new_address() for lnd in self._lnds.values() for _ in range(_COINS_PER_NODE)
        ]
        await self._btcd.mine_payment(_COIN_SAT, addresses)
        await self.mine(_COINBASE_MATURITY_BLOCKS)
        for lnd in self._lnds.values():
            await lnd.has_coins(_COINS_PER_NODE * _COIN_SAT)

    async def _all_reached(self, height: int) -> None:
        await asyncio.gather(
            *(lnd.reached(height) for lnd in self._lnds.values() if lnd.running),
            *(_followed(poold.node, height) for poold in self._following()),
        )

    def _following(self) -> list[Poold]:
        """The poolds that hear of blocks: without the auctioneer they wait for nothing else."""
        if self._auctioneer is None or not self._auctioneer.running:
            return []
        return [poold for poold in self._poolds.values() if poold.running]

    @property
    def _btcd(self) -> Btcd:
        if self._chain is None:
            raise RuntimeError("the network is not up: use it inside `async with`")
        return self._chain

    async def _end(self) -> None:
        """By SIGKILL: nothing here is used again, so nothing need be shut down in order."""
        for poold in self._poolds.values():
            await poold.kill()
        if self._auctioneer is not None:
            await self._auctioneer.kill()
        for lnd in self._lnds.values():
            await lnd.kill()
        if self._chain is not None:
            await self._chain.kill()


async def _reaches_its_auctioneer(pool: PoolNode) -> bool:
    """Whether it lists accounts, which it does with it only. It looks every few seconds."""
    try:
        await pool.accounts()
    except grpc.aio.AioRpcError:
        return False
    return True


async def _followed(pool: PoolNode, height: int) -> None:
    async def told() -> int:
        try:
            return (await pool.info(timeout_seconds=5)).current_block_height
        except grpc.aio.AioRpcError:
            return 0  # on its way back to the auctioneer

    await eventually(
        told, lambda told: told >= height, what=f"{pool.name}'s poold at height {height}"
    )
