"""The topology of `devnet.topology` on real daemons, from an empty folder to a payment."""

from __future__ import annotations

import asyncio
import itertools
import shutil
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from devnet.daemons import find
from devnet.loopd import LoopNode
from devnet.node import LightningNode
from devnet.poold import PoolNode
from devnet.processes import end_leftovers
from devnet.regtest.bitcoin import Btcd
from devnet.regtest.fees import USUAL_SAT_PER_VBYTE, FeeSource
from devnet.regtest.lnd import Lnd
from devnet.regtest.loop import Loopd, SwapServer
from devnet.topology import LINE, Topology
from devnet.waiting import eventually
from protos.lnrpc import lightning_pb2

# BIP 9 brings segwit to btcd's regtest at height 432; channels need it.
_SEGWIT_BLOCKS = 440
_COINBASE_MATURITY_BLOCKS = 100
# BOLT 7: a channel may be announced from here on.
_ANNOUNCEMENT_BLOCKS = 6

# Coins of its own for every channel to open, and some to spare for sweeps to lean on.
_COINS_PER_NODE = 4
_COIN_SAT = 100_000_000
# What a block may give out at these heights, in such coins.
_COINS_PER_BLOCK = 12

_PROBE_MSAT = 10_000_000

# Who swaps, and whose lnd the swap server lives on.
_SWAPPING = "alice"
_SWAP_SERVER = "carol"


class RegtestNetwork:
    """`devnet.network.Network` on btcd and one lnd a node. An async context manager.

    Entering takes an empty folder, or one that an earlier network left, to the first
    two-hop payments in both directions; leaving kills everything and leaves the files.
    """

    kind = "regtest"

    def __init__(self, state_dir: Path, *, loop: bool = False, topology: Topology = LINE) -> None:
        """With `loop` alice has a loopd, and carol's lnd the swap server that it swaps with."""
        self.state_dir = state_dir.absolute()
        self._with_loop = loop
        self._topology = topology
        self._chain: Btcd | None = None
        self._fees = FeeSource()
        self._fee_floor_sat_per_vbyte = 0
        self._lnds: dict[str, Lnd] = {}
        self._loopds: dict[str, Loopd] = {}
        self._swap_server: SwapServer | None = None

    @property
    def nodes(self) -> Mapping[str, LightningNode]:
        return {name: lnd.node for name, lnd in self._lnds.items()}

    @property
    def loops(self) -> Mapping[str, LoopNode]:
        return {name: loopd.node for name, loopd in self._loopds.items()}

    @property
    def pools(self) -> Mapping[str, PoolNode]:
        """None: Pool has a network of its own."""
        return {}

    @property
    def swap_server(self) -> SwapServer:
        """It may be killed and started like a node."""
        if self._swap_server is None:
            raise RuntimeError("the network has no swap server: make it with `loop=True`")
        return self._swap_server

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
        if await self._btcd.offered_sat_per_vbyte() < self._fee_floor_sat_per_vbyte:
            height = await self._btcd.mine_empty(blocks)
        else:
            height = await self._btcd.mine(blocks)
        await asyncio.gather(*(lnd.reached(height) for lnd in self._up()))

    def fee_floor(self, sat_per_vbyte: int, *, told_sat_per_vbyte: int = 0) -> None:
        """A fee spike: blocks stay empty while what waits, together, pays less than that.

        lnd is not told of it, as an estimate that lags behind would not tell it; or it is told
        of `told_sat_per_vbyte`, whatever it aims at. 0 ends the spike.
        """
        self._fee_floor_sat_per_vbyte = sat_per_vbyte
        self._fees.sat_per_vbyte = told_sat_per_vbyte or USUAL_SAT_PER_VBYTE

    async def reorg(self, depth: int) -> None:
        """Replaces the last `depth` blocks by empty ones, and one more; nodes that are up follow.

        What was in them waits for the next `mine`. btcd mines no more once a CSV spend waits
        whose parent is gone: take back what was confirmed, and not what spends it.
        """
        height = await self._btcd.reorg(depth)
        await asyncio.gather(*(lnd.reached(height) for lnd in self._up()))

    async def stop_node(self, name: str) -> None:
        """Kills it; returns when its peers have noticed."""
        stopped = self._lnds[name]
        await stopped.kill()
        for peer in self._up():
            await eventually(
                peer.peers,
                lambda connected: stopped.pubkey not in connected,
                what=f"{peer.node.name} without {name}",
            )

    async def start_node(self, name: str) -> None:
        """Starts it; returns when the channels left between it and nodes that are up work."""
        started = self._lnds[name]
        await started.start()
        neighbours = [peer for peer in self._up() if self._topology.between(name, peer.node.name)]
        for peer in neighbours:
            await started.connect(peer)
        for peer in neighbours:
            await _channels_active(started, peer)

    async def stop_loop(self, name: str) -> None:
        await self._loopds[name].kill()

    async def start_loop(self, name: str) -> None:
        await self._loopds[name].start()

    async def _start(self) -> None:
        lnd = await asyncio.to_thread(find, "lnd")
        self._clear()
        self._chain = Btcd(await asyncio.to_thread(find, "btcd"), self.state_dir)
        self._lnds = {
            name: Lnd(name, lnd, self._chain, self.state_dir, fee_url=self._fees.url)
            for name in self._topology.nodes
        }

        await self._fees.start()
        await self._chain.start()
        await self._chain.mine(_SEGWIT_BLOCKS)
        await asyncio.gather(*(self._start_lnd(lnd) for lnd in self._lnds.values()))
        await self._fund()
        await self._open_channels()
        await self._first_payments()
        if self._with_loop:
            await self._start_loop()

    async def _start_loop(self) -> None:
        loopd = await asyncio.to_thread(find, "loopd")
        self._swap_server = SwapServer(self._lnds[_SWAP_SERVER], self.state_dir)
        swapping = Loopd(loopd, self._lnds[_SWAPPING], self._swap_server, self.state_dir)
        self._loopds[_SWAPPING] = swapping
        await self._swap_server.start()
        await swapping.start()

    def _clear(self) -> None:
        """Ends and removes what an earlier network left here, and touches nothing else."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        end_leftovers(self.state_dir)
        for folder in ("logs", "btcd", "swapserver", f"loop-{_SWAPPING}", *self._topology.nodes):
            shutil.rmtree(self.state_dir / folder, ignore_errors=True)

    async def _start_lnd(self, lnd: Lnd) -> None:
        await lnd.start()
        await lnd.bake_macaroons()

    async def _fund(self) -> None:
        """Gives every wallet several coins, since each opening spends one as a whole."""
        addresses = [
            await lnd.new_address() for lnd in self._lnds.values() for _ in range(_COINS_PER_NODE)
        ]
        for first in range(0, len(addresses), _COINS_PER_BLOCK):
            coins = addresses[first : first + _COINS_PER_BLOCK]
            await self._btcd.mine_payment(_COIN_SAT, coins)
        await self.mine(_COINBASE_MATURITY_BLOCKS)
        for lnd in self._lnds.values():
            await lnd.has_coins(_COINS_PER_NODE * _COIN_SAT)

    async def _open_channels(self) -> None:
        pairs = {(plan.opener, plan.peer) for plan in self._topology.channels}
        await asyncio.gather(*(self._lnds[a].connect(self._lnds[b]) for a, b in pairs))
        for plan in self._topology.channels:
            await self._lnds[plan.opener].open_channel(
                self._lnds[plan.peer], capacity_sat=plan.capacity_sat, push_sat=plan.push_sat
            )
        await self.mine(_ANNOUNCEMENT_BLOCKS)
        for one, other in pairs:
            planned = len(self._topology.between(one, other))
            await _channels_active(self._lnds[one], self._lnds[other], planned=planned)
        # A channel routes in a direction once that end's channel_update has come around.
        for lnd in self._lnds.values():
            await eventually(
                lnd.known_policies,
                lambda known: known == 2 * len(self._topology.channels),
                what=f"{lnd.node.name} knowing the fees of every channel, both ways",
            )

    async def _first_payments(self) -> None:
        ends = self._topology.nodes[0], self._topology.nodes[-1]
        for payer, payee in itertools.permutations(ends):
            await self._pays(self.nodes[payer], self.nodes[payee])

    async def _pays(self, payer: LightningNode, payee: LightningNode) -> None:
        """The same hash again after a failure, so that it stays one payment in the lists."""
        invoice = await payee.invoice(_PROBE_MSAT, memo="ready?")
        await eventually(
            lambda: payer.pay(invoice.payment_request),
            lambda payment: payment.status == lightning_pb2.Payment.SUCCEEDED,
            what=f"a payment from {payer.name} to {payee.name}",
        )

    def _up(self) -> list[Lnd]:
        return [lnd for lnd in self._lnds.values() if lnd.running]

    @property
    def _btcd(self) -> Btcd:
        if self._chain is None:
            raise RuntimeError("the network is not up: use it inside `async with`")
        return self._chain

    async def _end(self) -> None:
        """By SIGKILL: nothing here is used again, so nothing need be shut down in order."""
        for loopd in self._loopds.values():
            await loopd.kill()
        if self._swap_server is not None:
            await self._swap_server.kill()
        for lnd in self._lnds.values():
            await lnd.kill()
        if self._chain is not None:
            await self._chain.kill()
        await self._fees.stop()


async def _channels_active(one: Lnd, other: Lnd, *, planned: int = 0) -> None:
    """Waits until each end holds every channel between the two for usable.

    `planned`: so many there must be, since none is closed yet.
    """
    for here, there in ((one, other), (other, one)):
        await eventually(
            partial(_activity, here, there),
            lambda activity: len(activity) >= planned and all(activity),
            what=f"{here.node.name}'s channels with {there.node.name}",
        )


async def _activity(here: Lnd, there: Lnd) -> list[bool]:
    channels = await here.node.channels()
    return [channel.active for channel in channels if channel.remote_pubkey == there.pubkey]
