"""The simulated devnet: every node of the topology, in this process."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from devnet.loopd import LoopNode
from devnet.node import LightningNode, TestInvoice
from devnet.poold import PoolNode
from devnet.simulated.calls import Calls
from devnet.simulated.chain import Block, Chain, Fate
from devnet.simulated.channels import FeePolicy
from devnet.simulated.crowds import CHANNEL_SAT, hang
from devnet.simulated.faults import Faults
from devnet.simulated.graph import Graph
from devnet.simulated.htlcs import Outcome, Switch
from devnet.simulated.invoice_terms import read_terms
from devnet.simulated.invoices import InvoiceRegistry
from devnet.simulated.ledger import Ledger
from devnet.simulated.loop.loopd import Loopd
from devnet.simulated.loop.quirks import Quirks
from devnet.simulated.loop.swap_server import NAME, SwapServer
from devnet.simulated.node import SimulatedNode
from devnet.simulated.onchain.transactions import OutputKind
from devnet.simulated.onchain.wallets import START_WALLET_SAT, Wallets
from devnet.simulated.openings import CONFIRMATIONS, Openings
from devnet.simulated.outside import Outside
from devnet.simulated.payment_requests import PaymentRequestCodec
from devnet.simulated.pool.market import Market
from devnet.simulated.pool.poold import SimulatedPoold
from devnet.simulated.pool.trader import Trader
from devnet.topology import (
    BASE_FEE_MSAT,
    CLTV_EXPIRY_DELTA_BLOCKS,
    FEE_RATE_PPM,
    LINE,
    Topology,
)
from protos.lnrpc import lightning_pb2

# Who has a loopd and a poold, unless told otherwise.
TRADERS = ("alice",)

POLICY = FeePolicy(BASE_FEE_MSAT, FEE_RATE_PPM, CLTV_EXPIRY_DELTA_BLOCKS)


class SimulatedNetwork:
    """A `devnet.network.Network` without daemons, plus what only a simulation can offer.

    `faults` orders trouble, `calls` counts what the nodes were asked, `ledger` knows the truth
    about the money, `chain` has the height. Everything happens on the event loop that entered it.
    """

    def __init__(
        self, state_dir: Path, *, topology: Topology = LINE, traders: Sequence[str] = TRADERS
    ) -> None:
        """`traders` have a loopd and a poold."""
        self.chain = Chain()
        self.faults = Faults()
        self.calls = Calls()
        self.ledger = Ledger(self._owned_msat, self._claimed_sat)
        self._state_dir = state_dir
        self._topology = topology
        self._traders = tuple(traders)
        self._graph = Graph()
        self._switch = Switch(
            self._graph, self.faults.holds, self.ledger, lambda: self.chain.height
        )
        # The oracle first: whoever moves coins in answer to a block finds it up to date.
        self.chain.on_block(self._connected, self._disconnected)
        self._wallets = Wallets(self.chain)
        self._openings = Openings(self.chain, self._graph, self.ledger, self._wallets)
        self._outside = Outside(self.chain, self._graph, self._switch, self.ledger)
        self._nodes: dict[str, SimulatedNode] = {}
        self._loopds: dict[str, Loopd] = {}
        self._poolds: dict[str, SimulatedPoold] = {}
        self.swap_quirks = Quirks()
        self.market = Market()
        self._restarts: dict[str, asyncio.Task[None]] = {}

    @property
    def kind(self) -> str:
        return "simulated"

    @property
    def state_dir(self) -> Path:
        return self._state_dir

    @property
    def nodes(self) -> Mapping[str, LightningNode]:
        return MappingProxyType({name: node.driver for name, node in self._nodes.items()})

    @property
    def loops(self) -> Mapping[str, LoopNode]:
        return MappingProxyType({name: loopd.driver for name, loopd in self._loopds.items()})

    @property
    def pools(self) -> Mapping[str, PoolNode]:
        return MappingProxyType({name: poold.driver for name, poold in self._poolds.items()})

    async def __aenter__(self) -> Self:
        codec = PaymentRequestCodec()
        for name in self._topology.nodes:
            self.ledger.coins_given(name, START_WALLET_SAT)
            self._nodes[name] = SimulatedNode(
                name,
                folder=self._state_dir / name,
                chain=self.chain,
                graph=self._graph,
                switch=self._switch,
                ledger=self.ledger,
                faults=self.faults,
                calls=self.calls,
                openings=self._openings,
                wallets=self._wallets,
                codec=codec,
                others=self._nodes,
                restart=partial(self._restart_soon, name),
            )
        await asyncio.gather(*(node.start() for node in self._nodes.values()))
        for name in self._traders:
            self._loopds[name] = self._make_loopd(self._nodes[name], codec)
            await self._loopds[name].start()
            self._poolds[name] = self._make_poold(name)
            await self._poolds[name].start()
        for plan in self._topology.channels:
            self._openings.open(
                plan.opener,
                plan.peer,
                capacity_sat=plan.capacity_sat,
                push_sat=plan.push_sat,
                opener_policy=POLICY,
                peer_policy=POLICY,
            )
        self.chain.mine(CONFIRMATIONS)
        self._write_directory()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await asyncio.gather(*self._restarts.values(), return_exceptions=True)
        await asyncio.gather(*(loopd.restarted() for loopd in self._loopds.values()))
        await asyncio.gather(*(loopd.stop() for loopd in self._loopds.values()))
        for loopd in self._loopds.values():
            loopd.close()
        for poold in self._poolds.values():
            await poold.restarted()
            await poold.stop()
            poold.close()
        await asyncio.gather(*(node.stop() for node in self._nodes.values()))
        for node in self._nodes.values():
            node.close()

    async def mine(self, blocks: int) -> None:
        self.chain.mine(blocks)

    async def reorg(
        self, depth: int, *, blocks: int | None = None, fate: Fate = Fate.MEMPOOL
    ) -> None:
        """Replaces the last `depth` blocks by `blocks` others; one more, unless told.

        Without more orders the new blocks are empty, and what was in the old ones waits in the
        mempool for the next `mine`. Fundings keep their heights: open channels stay open.
        """
        self.chain.reorg(depth, blocks=blocks, fate=fate)

    def fee_floor(self, sat_per_vbyte: int, *, told_sat_per_vbyte: int = 0) -> None:
        """A fee spike: blocks leave out what pays less, by itself and with its children.

        lnd is not told of it, as an estimate that lags behind would not tell it; or it is told
        of `told_sat_per_vbyte`, whatever it aims at. 0 ends the spike.
        """
        self.chain.fees.floor_sat_per_vbyte = sat_per_vbyte
        self.chain.fees.told_sat_per_vbyte = told_sat_per_vbyte

    async def stop_node(self, name: str) -> None:
        await self._nodes[name].stop()

    async def start_node(self, name: str) -> None:
        await self._nodes[name].start()

    async def stop_loop(self, name: str) -> None:
        await self._loopds[name].stop()

    async def start_loop(self, name: str) -> None:
        await self._loopds[name].start()

    async def stop_pool(self, name: str) -> None:
        await self._poolds[name].stop()

    async def start_pool(self, name: str) -> None:
        await self._poolds[name].start()

    async def run_batch(self) -> int:
        """Has the auctioneer make a batch, which waits for `mine`; how many matches it has."""
        trader = self.trader(self._traders[0])
        matches = trader.prepare()
        trader.finalize()
        return matches

    def trader(self, name: str) -> Trader:
        """A node's poold from the inside."""
        return self._poolds[name].trader

    def loopd(self, name: str) -> Loopd:
        """A node's loopd from the inside."""
        return self._loopds[name]

    def disconnect(self, one: str, other: str) -> None:
        """Takes the links between two nodes down. HTLCs locked in on them hang.

        A ConnectPeer of either node takes them up again, as `connect` does.
        """
        self._graph.sever(one, other)

    def part(self, one: str, other: str) -> None:
        """The same for good: no call connects them until `connect`, as if one were gone."""
        self._graph.part(one, other)

    def connect(self, one: str, other: str) -> None:
        """Takes them up again; what hung goes on."""
        self._graph.meet(one, other)

    def open_channel(
        self, opener: str, peer: str, *, capacity_sat: int = CHANNEL_SAT, push_sat: int = 0
    ) -> str:
        """Sends a funding transaction, without a call; the channel point."""
        txid = self._openings.open(
            opener,
            peer,
            capacity_sat=capacity_sat,
            push_sat=push_sat,
            opener_policy=POLICY,
            peer_policy=POLICY,
        )
        return f"{txid}:0"

    async def hang(
        self,
        payer: str,
        payee: str,
        *,
        count: int,
        channels: int = 20,
        amount_msat: int = 1_000_000,
        timeout_seconds: int = 60,
    ) -> list[TestInvoice]:
        """Hangs many payments on as many new channels, with no call for any of them.

        Each pays a hold invoice of `payee`, which can settle or cancel it. Blocks are mined so
        that the channels open.
        """
        points = {self.open_channel(payer, payee) for _ in range(channels)}
        await self.mine(CONFIRMATIONS)
        opened = [
            channel
            for channel in self._graph.between(payer, payee)
            if str(channel.funding) in points
        ]
        return hang(
            self._nodes[payer],
            self._nodes[payee],
            opened,
            count=count,
            amount_msat=amount_msat,
            timeout_seconds=timeout_seconds,
        )

    def registry(self, name: str) -> InvoiceRegistry:
        """A node's invoices from the inside, for what no call of lnd's would do."""
        return self._nodes[name].invoices

    def issue(self, name: str, *, value_msat: int) -> bytes:
        """Adds an invoice to a node without a call, for when many are wanted; its hash."""
        preimage = secrets.token_bytes(32)
        payment_hash = hashlib.sha256(preimage).digest()
        terms = read_terms(lightning_pb2.Invoice(value_msat=value_msat))
        self.registry(name).add(terms, payment_hash, preimage)
        return payment_hash

    def receive(self, name: str, payment_hash: bytes, *, amount_msat: int = 0) -> Outcome | None:
        """Pays an invoice of a node from outside; None while the node holds it.

        `amount_msat` 0 is what the invoice asks for. It costs next to nothing: no route is
        searched, no call is made, and the ledger has it like every payment.
        From the first one on the node has a private channel with a peer of that name.
        """
        invoice = self.registry(name).database.find(payment_hash)
        if invoice is None:
            raise KeyError(f"{name} has no invoice {payment_hash.hex()}")
        return self._outside.pay(name, invoice.request, amount_msat or invoice.request.amount_msat)

    async def restarted(self) -> None:
        """Waits until every restart that a fault ordered is over."""
        await asyncio.gather(*self._restarts.values())
        await asyncio.gather(*(loopd.restarted() for loopd in self._loopds.values()))
        await asyncio.gather(*(poold.restarted() for poold in self._poolds.values()))

    def _make_poold(self, name: str) -> SimulatedPoold:
        trader = Trader(
            name,
            chain=self.chain,
            graph=self._graph,
            openings=self._openings,
            wallets=self._wallets,
            market=self.market,
            policy=POLICY,
        )
        folder = self._state_dir / f"{name}-pool"
        return SimulatedPoold(trader, folder=folder, faults=self.faults, calls=self.calls)

    def _make_loopd(self, node: SimulatedNode, codec: PaymentRequestCodec) -> Loopd:
        server = SwapServer(
            chain=self.chain,
            graph=self._graph,
            switch=self._switch,
            ledger=self.ledger,
            codec=codec,
            policy=POLICY,
            quirks=self.swap_quirks,
            name=NAME if node.name in TRADERS else f"{NAME}-of-{node.name}",
        )
        return Loopd(
            node,
            folder=self._state_dir / f"{node.name}-loop",
            chain=self.chain,
            server=server,
            quirks=self.swap_quirks,
            faults=self.faults,
            calls=self.calls,
            is_lnd_up=lambda: node.name in self._graph.running,
        )

    def _owned_msat(self) -> dict[tuple[int, str], int]:
        """Who owns what of each channel; an HTLC is its sender's until it settles."""
        owned: dict[tuple[int, str], int] = {}
        for channel_id, channel in self._graph.channels.items():
            if channel.is_spent:
                continue
            for node, balance_msat in channel.balances_msat.items():
                owned[channel_id, node] = balance_msat
            for htlc in channel.pending.values():
                owned[channel_id, htlc.sender] += htlc.amount_msat
        return owned

    def _claimed_sat(self) -> dict[str, int]:
        """What each node has on chain, in blocks: its wallet, and what closes have left it."""
        owners = [*self._nodes]
        owners += [loopd.server.name for loopd in self._loopds.values() if loopd.server.has_joined]
        claimed = {name: self._wallets.mined_sat(name) for name in owners}
        for output in self.chain.unspent():
            if output.kind not in (OutputKind.WALLET, OutputKind.FUNDING, OutputKind.FOREIGN):
                claimed[output.owner] += output.amount_sat
        return claimed

    def _connected(self, block: Block) -> None:
        self.ledger.chain.block_connected(block.height, block.transactions)
        self._mark_spent(block, spent=True)

    def _disconnected(self, block: Block) -> None:
        self.ledger.chain.block_disconnected(block.transactions)
        self._mark_spent(block, spent=False)

    def _mark_spent(self, block: Block, *, spent: bool) -> None:
        for transaction in block.transactions:
            for spend in transaction.spends:
                channel = self._graph.funded_by(spend.outpoint)
                if channel is not None:
                    channel.is_spent = spent

    def _restart_soon(self, name: str) -> None:
        async def restart() -> None:
            await self.stop_node(name)
            await self.start_node(name)
            del self._restarts[name]

        # Calls that die together die of one crash.
        if name not in self._restarts:
            self._restarts[name] = asyncio.get_running_loop().create_task(restart())

    def _write_directory(self) -> None:
        """What a process beside this one needs to reach the nodes."""
        directory = {
            name: {
                "address": node.address,
                "tls_cert_path": str(node.tls_cert_path),
                "macaroon_dir": str(node.macaroon_dir),
            }
            for name, node in self.nodes.items()
        }
        path = self._state_dir / "network.json"
        path.write_text(json.dumps({"kind": self.kind, "nodes": directory}, indent=2))
