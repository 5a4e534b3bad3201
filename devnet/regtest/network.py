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
from devnet.node import LightningNode
from devnet.processes import end_leftovers
from devnet.regtest.bitcoin import Btcd
from devnet.regtest.lnd import Lnd
from devnet.topology import CHANNELS, NODES, ChannelPlan
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

_PROBE_MSAT = 10_000_000


class RegtestNetwork:
    """`devnet.network.Network` on btcd and one lnd a node. An async context manager.

    Entering takes an empty folder, or one that an earlier network left, to the first
    two-hop payments in both directions; leaving kills everything and leaves the files.
    """

    kind = "regtest"

    def __init__(self, state_dir: Path) -> None:
        self.state_dir = state_dir.absolute()
        self._chain: Btcd | None = None
        self._lnds: dict[str, Lnd] = {}

    @property
    def nodes(self) -> Mapping[str, LightningNode]:
        return {name: lnd.node for name, lnd in self._lnds.items()}

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
        await asyncio.gather(*(self._reached(lnd, height) for lnd in self._up()))

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
        neighbours = [peer for peer in self._up() if _channels_between(name, peer.node.name)]
        for peer in neighbours:
            await started.connect(peer)
        for peer in neighbours:
            await _channels_active(started, peer)

    async def _start(self) -> None:
        lnd = await asyncio.to_thread(find, "lnd")
        self._clear()
        self._chain = Btcd(await asyncio.to_thread(find, "btcd"), self.state_dir)
        self._lnds = {name: Lnd(name, lnd, self._chain, self.state_dir) for name in NODES}

        await self._chain.start()
        await self._chain.mine(_SEGWIT_BLOCKS)
        await asyncio.gather(*(self._start_lnd(lnd) for lnd in self._lnds.values()))
        await self._fund()
        await self._open_channels()
        await self._first_payments()

    def _clear(self) -> None:
        """Ends and removes what an earlier network left here, and touches nothing else."""
        self.state_dir.mkdir(parents=True, exist_ok=True)
        end_leftovers(self.state_dir)
        for folder in ("logs", "btcd", *NODES):
            shutil.rmtree(self.state_dir / folder, ignore_errors=True)

    async def _start_lnd(self, lnd: Lnd) -> None:
        await lnd.start()
        await lnd.bake_macaroons()

    async def _fund(self) -> None:
        """Gives every wallet several coins, since each opening spends one as a whole."""
        addresses = [
            await lnd.new_address() for lnd in self._lnds.values() for _ in range(_COINS_PER_NODE)
        ]
        await self._btcd.mine_payment(_COIN_SAT, addresses)
        await self.mine(_COINBASE_MATURITY_BLOCKS)
        for lnd in self._lnds.values():
            await eventually(
                partial(_confirmed_sat, lnd),
                lambda balance: balance == _COINS_PER_NODE * _COIN_SAT,
                what=f"{lnd.node.name}'s coins",
            )

    async def _open_channels(self) -> None:
        pairs = {(plan.opener, plan.peer) for plan in CHANNELS}
        await asyncio.gather(*(self._lnds[a].connect(self._lnds[b]) for a, b in pairs))
        for plan in CHANNELS:
            await self._lnds[plan.opener].open_channel(
                self._lnds[plan.peer], capacity_sat=plan.capacity_sat, push_sat=plan.push_sat
            )
        await self.mine(_ANNOUNCEMENT_BLOCKS)
        for one, other in pairs:
            await _channels_active(self._lnds[one], self._lnds[other], opened=True)
        # A channel routes in a direction once that end's channel_update has come around.
        for lnd in self._lnds.values():
            await eventually(
                lnd.known_policies,
                lambda known: known == 2 * len(CHANNELS),
                what=f"{lnd.node.name} knowing the fees of every channel, both ways",
            )

    async def _first_payments(self) -> None:
        ends = NODES[0], NODES[-1]
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

    async def _reached(self, lnd: Lnd, height: int) -> None:
        await eventually(
            lnd.node.info,
            lambda info: info.block_height >= height and info.synced_to_chain,
            what=f"{lnd.node.name} at height {height}",
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
        for lnd in self._lnds.values():
            await lnd.kill()
        if self._chain is not None:
            await self._chain.kill()


def _channels_between(one: str, other: str) -> list[ChannelPlan]:
    return [plan for plan in CHANNELS if {plan.opener, plan.peer} == {one, other}]


async def _channels_active(one: Lnd, other: Lnd, *, opened: bool = False) -> None:
    """Waits until each end holds every channel between the two for usable.

    `opened` says that none of the planned ones is closed yet, so that all must be there.
    """
    planned = len(_channels_between(one.node.name, other.node.name)) if opened else 0
    for here, there in ((one, other), (other, one)):
        await eventually(
            partial(_activity, here, there),
            lambda activity: len(activity) >= planned and all(activity),
            what=f"{here.node.name}'s channels with {there.node.name}",
        )


async def _activity(here: Lnd, there: Lnd) -> list[bool]:
    channels = await here.node.channels()
    return [channel.active for channel in channels if channel.remote_pubkey == there.pubkey]


async def _confirmed_sat(lnd: Lnd) -> int:
    async with lnd.node.lightning() as lightning:
        balance = await lightning.WalletBalance(lightning_pb2.WalletBalanceRequest())
    return balance.confirmed_balance
