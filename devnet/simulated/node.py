"""One simulated lnd: an identity, its database in memory, and the server before them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from coincurve import PrivateKey
from google.protobuf.descriptor import ServiceDescriptor

from devnet.node import LightningNode
from devnet.simulated.chain import Chain
from devnet.simulated.faults import Faults
from devnet.simulated.gate import Gate
from devnet.simulated.graph import Graph
from devnet.simulated.htlcs import Switch
from devnet.simulated.invoices import InvoiceRegistry
from devnet.simulated.ledger import Ledger
from devnet.simulated.openings import Openings
from devnet.simulated.payment_requests import PaymentRequestCodec
from devnet.simulated.payments import PaymentEngine
from devnet.simulated.security import Macaroons, make_certificate
from devnet.simulated.services.invoices import InvoicesService
from devnet.simulated.services.lightning import LightningService
from devnet.simulated.services.router import RouterService
from devnet.simulated.services.state import StateService
from devnet.simulated.serving import LOOPBACK, NodeServer, reserve_port
from protos.invoicesrpc import invoices_pb2
from protos.lnrpc import lightning_pb2, stateservice_pb2
from protos.routerrpc import router_pb2


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
        openings: Openings,
        codec: PaymentRequestCodec,
        restart: Callable[[], None],
    ) -> None:
        key = PrivateKey()
        self.name = name
        self.public_key = key.public_key.format().hex()
        self.openings = openings
        self.chain = chain
        self.graph = graph
        self.codec = codec
        self.macaroons = Macaroons()
        self.invoices = InvoiceRegistry(
            name,
            key=key,
            codec=codec,
            graph=graph,
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
        faults.watch_invoices(name, self.invoices.database)
        graph.add_node(name, self.public_key)
        chain.on_block(self.invoices.on_block)

    async def start(self) -> None:
        """Listens, says for a while that it is not ready if so ordered, then is."""
        gate = Gate(self.name, self.macaroons, self._faults, self._restart)
        router = RouterService(
            self.payments, self.invoices.htlc_events, self.graph, self.codec, self.public_key
        )
        await self._server.listen(
            gate,
            {
                _service(stateservice_pb2, "State"): StateService(lambda: gate.state),
                _service(lightning_pb2, "Lightning"): LightningService(self),
                _service(router_pb2, "Router"): router,
                _service(invoices_pb2, "Invoices"): InvoicesService(self.invoices),
            },
        )
        await asyncio.sleep(self._faults.take_slow_start(self.name))
        self.graph.set_running(self.name, running=True)
        self.invoices.start()
        self.payments.start()
        gate.state = stateservice_pb2.SERVER_ACTIVE

    async def stop(self) -> None:
        """Dies as by kill -9: links, streams and plans end where they are."""
        self.graph.set_running(self.name, running=False)
        self.payments.stop()
        self.invoices.stop()
        await self._server.close()

    def close(self) -> None:
        """Gives the port back; the node is not coming again."""
        self._reserved_port.close()


def _service(module: ModuleType, name: str) -> ServiceDescriptor:
    descriptor: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return descriptor
