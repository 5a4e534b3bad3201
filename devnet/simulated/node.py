"""One simulated lnd: an identity, its database in memory, and the server before them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import grpc
from coincurve import PrivateKey

from devnet.node import LightningNode
from devnet.simulated.chain import Chain
from devnet.simulated.faults import Faults
from devnet.simulated.graph import Graph
from devnet.simulated.htlcs import Switch
from devnet.simulated.invoices import InvoiceRegistry
from devnet.simulated.ledger import Ledger
from devnet.simulated.payment_requests import PaymentRequestCodec
from devnet.simulated.payments import PaymentEngine
from devnet.simulated.security import Macaroons, make_certificate
from devnet.simulated.services.invoices import InvoicesService
from devnet.simulated.services.lightning import LightningService
from devnet.simulated.services.router import RouterService
from devnet.simulated.services.state import StateService
from devnet.simulated.serving import LOOPBACK, SERVER_ACTIVE, Gate, NodeServer, reserve_port
from protos.invoicesrpc import invoices_pb2_grpc
from protos.lnrpc import lightning_pb2_grpc, stateservice_pb2, stateservice_pb2_grpc
from protos.routerrpc import router_pb2_grpc


class SimulatedNode:
    """A node that can crash and come back: what it has stored stays, what it did ends."""

    def __init__(
        self,
        name: str,
        *,
        folder: Path,
        chain: Chain,
        graph: Graph,
        switch: Switch,
        ledger: Ledger,
        faults: Faults,
        codec: PaymentRequestCodec,
        restart: Callable[[], None],
    ) -> None:
        key = PrivateKey()
        self.name = name
        self.public_key = key.public_key.format().hex()
        self.wallet_sat = 100_000_000
        self.chain = chain
        self.graph = graph
        self.codec = codec
        self.macaroons = Macaroons()
        self.invoices = InvoiceRegistry(
            name,
            private_key=key.to_hex(),
            public_key=self.public_key,
            codec=codec,
            switch=switch,
            ledger=ledger,
            height=lambda: chain.height,
        )
        self.payments = PaymentEngine(
            name,
            graph=graph,
            switch=switch,
            ledger=ledger,
            misbehavior=faults.misbehavior,
            height=lambda: chain.height,
        )
        self._faults = faults
        self._restart = restart
        self._reserved_port = reserve_port()
        port = self._reserved_port.getsockname()[1]

        certificate, certificate_key = make_certificate(name)
        self._server = NodeServer(port, certificate, certificate_key)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tls.cert").write_bytes(certificate)
        self.macaroons.write(folder / "macaroons")
        self.driver = LightningNode(
            name, f"{LOOPBACK}:{port}", folder / "tls.cert", folder / "macaroons"
        )
        graph.add_node(name, self.public_key)
        chain.on_block(self.invoices.on_block)

    async def start(self) -> None:
        """Listens, says for a while that it is not ready if so ordered, then is."""
        gate = Gate(self.name, self.macaroons, self._faults, self._restart)
        gate.state = stateservice_pb2.UNLOCKED

        def register(server: grpc.aio.Server) -> None:
            stateservice_pb2_grpc.add_StateServicer_to_server(
                StateService(lambda: gate.state), server
            )
            lightning_pb2_grpc.add_LightningServicer_to_server(LightningService(self), server)
            router_pb2_grpc.add_RouterServicer_to_server(
                RouterService(self.payments, self.graph, self.codec, self.public_key), server
            )
            invoices_pb2_grpc.add_InvoicesServicer_to_server(InvoicesService(self.invoices), server)

        await self._server.listen(gate, register)
        await asyncio.sleep(self._faults.take_slow_start(self.name))
        self.graph.set_running(self.name, running=True)
        self.invoices.start()
        self.payments.start()
        gate.state = SERVER_ACTIVE

    async def stop(self) -> None:
        """Dies as by kill -9: links, streams and plans end where they are."""
        self.graph.set_running(self.name, running=False)
        self.payments.stop()
        self.invoices.stop()
        await self._server.close()

    def close(self) -> None:
        """Gives the port back; the node is not coming again."""
        self._reserved_port.close()
