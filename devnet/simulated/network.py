"""The simulated devnet: every node of the topology, in this process."""

from __future__ import annotations

import asyncio
import hashlib
import json
import secrets
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import MappingProxyType, TracebackType
from typing import Self

from devnet import topology
from devnet.node import LightningNode
from devnet.simulated.chain import Chain
from devnet.simulated.channels import FeePolicy
from devnet.simulated.faults import Faults
from devnet.simulated.graph import Graph
from devnet.simulated.htlcs import Outcome, Switch
from devnet.simulated.invoice_terms import read_terms
from devnet.simulated.invoices import InvoiceRegistry
from devnet.simulated.ledger import Ledger
from devnet.simulated.node import SimulatedNode
from devnet.simulated.openings import CONFIRMATIONS, Openings
from devnet.simulated.outside import Outside
from devnet.simulated.payment_requests import PaymentRequestCodec
from protos.lnrpc import lightning_pb2

POLICY = FeePolicy(topology.BASE_FEE_MSAT, topology.FEE_RATE_PPM, topology.CLTV_EXPIRY_DELTA_BLOCKS)


class SimulatedNetwork:
    """A `devnet.network.Network` without daemons, plus what only a simulation can offer.

    `faults` orders trouble, `ledger` knows the truth about the money, `chain` has the
    height. Everything happens on the event loop that entered it.
    """

    def __init__(self, state_dir: Path) -> None:
        self.chain = Chain()
        self.faults = Faults()
        self.ledger = Ledger(self._owned_msat)
        self._state_dir = state_dir
        self._graph = Graph()
        self._switch = Switch(
            self._graph, self.faults.holds, self.ledger, lambda: self.chain.height
        )
        self._openings = Openings(self.chain, self._graph, self.ledger)
        self._outside = Outside(self.chain, self._graph, self._switch, self.ledger)
        self._nodes: dict[str, SimulatedNode] = {}
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

    async def __aenter__(self) -> Self:
        codec = PaymentRequestCodec()
        for name in topology.NODES:
            self._nodes[name] = SimulatedNode(
                name,
                folder=self._state_dir / name,
                chain=self.chain,
                graph=self._graph,
                switch=self._switch,
                ledger=self.ledger,
                faults=self.faults,
                openings=self._openings,
                codec=codec,
                restart=partial(self._restart_soon, name),
            )
        await asyncio.gather(*(node.start() for node in self._nodes.values()))
        for plan in topology.CHANNELS:
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
        await asyncio.gather(*(node.stop() for node in self._nodes.values()))
        for node in self._nodes.values():
            node.close()

    async def mine(self, blocks: int) -> None:
        self.chain.mine(blocks)

    async def stop_node(self, name: str) -> None:
        await self._nodes[name].stop()

    async def start_node(self, name: str) -> None:
        await self._nodes[name].start()

    def disconnect(self, one: str, other: str) -> None:
        """Takes the links between two nodes down. HTLCs locked in on them hang."""
        self._graph.sever(one, other)

    def connect(self, one: str, other: str) -> None:
        """Takes them up again; what hung goes on."""
        self._graph.join(one, other)

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

    def _owned_msat(self) -> dict[tuple[int, str], int]:
        """Who owns what of each channel; an HTLC is its sender's until it settles."""
        owned: dict[tuple[int, str], int] = {}
        for channel_id, channel in self._graph.channels.items():
            for node, balance_msat in channel.balances_msat.items():
                owned[channel_id, node] = balance_msat
            for htlc in channel.pending.values():
                owned[channel_id, htlc.sender] += htlc.amount_msat
        return owned

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
