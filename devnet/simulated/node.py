"""One simulated lnd: an identity, its database in memory, and the server before them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

from coincurve import PrivateKey
from google.protobuf.descriptor import ServiceDescriptor

from devnet.node import LightningNode
from devnet.simulated.backups import ChannelBackups
from devnet.simulated.calls import Calls
from devnet.simulated.chain import Chain
from devnet.simulated.channels import Channel
from devnet.simulated.closing.announcing import Announcer
from devnet.simulated.closing.closure import Listener, Phase
from devnet.simulated.closing.closures import Closures
from devnet.simulated.closing.cooperative import Terms, cooperative_close
from devnet.simulated.faults import Faults
from devnet.simulated.gate import Gate
from devnet.simulated.graph import Graph
from devnet.simulated.htlcs import Switch
from devnet.simulated.invoices import InvoiceRegistry
from devnet.simulated.ledger import Ledger
from devnet.simulated.onchain.transactions import Transaction
from devnet.simulated.onchain.view import ChainView
from devnet.simulated.onchain.wallets import Wallets
from devnet.simulated.openings import Openings
from devnet.simulated.payment_requests import PaymentRequestCodec
from devnet.simulated.payments import PaymentEngine
from devnet.simulated.security import Macaroons, make_certificate
from devnet.simulated.services.chain_notifier import ChainNotifierService
from devnet.simulated.services.invoices import InvoicesService
from devnet.simulated.services.lightning import LightningService
from devnet.simulated.services.router import RouterService
from devnet.simulated.services.state import StateService
from devnet.simulated.services.wallet_kit import WalletKitService
from devnet.simulated.serving import LOOPBACK, NodeServer, reserve_port
from protos.chainrpc import chainnotifier_pb2
from protos.invoicesrpc import invoices_pb2
from protos.lnrpc import lightning_pb2, stateservice_pb2
from protos.routerrpc import router_pb2
from protos.walletrpc import walletkit_pb2


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
        calls: Calls,
        openings: Openings,
        wallets: Wallets,
        codec: PaymentRequestCodec,
        others: Mapping[str, SimulatedNode],
        restart: Callable[[], None],
    ) -> None:
        key = PrivateKey()
        self.name = name
        self.public_key = key.public_key.format().hex()
        self.openings = openings
        self.wallets = wallets
        self.addresses: set[str] = set()
        self.view = ChainView(chain, name)
        self.fees = chain.fees
        self.graph = graph
        self.forwards = switch.forwards
        self.codec = codec
        self.macaroons = Macaroons()
        self.invoices = InvoiceRegistry(
            name,
            key=key,
            codec=codec,
            graph=graph,
            switch=switch,
            ledger=ledger,
            height=lambda: self.view.height,
        )
        self.payments = PaymentEngine(
            name,
            graph=graph,
            switch=switch,
            ledger=ledger,
            misbehavior=faults.misbehavior,
            height=lambda: self.view.height,
        )
        self.announcer = Announcer(name, graph, openings, self._is_open)
        self.view.on_block(self.invoices.on_block)
        self.closures = Closures(
            name,
            chain=chain,
            view=self.view,
            graph=graph,
            wallet_sat=lambda: wallets.balance(name).confirmed_sat,
            listener=Listener(
                inactive=self.announcer.inactive,
                published=lambda transaction: wallets.note(name, transaction),
                confirmed=self.announcer.confirmed,
                closed=self.announcer.closed,
                resolved=self.announcer.resolved,
            ),
        )
        self.backups = ChannelBackups(name, self.closures, openings)
        self._leaving: dict[int, tuple[Terms, asyncio.Event]] = {}
        graph.on_update(self._close_if_idle)
        self._chain = chain
        self._calls = calls
        self._others = others
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
        faults.watch_payments(name, self.payments)
        faults.watch_chain(name, self.view)
        graph.add_node(name, self.public_key)
        switch.on_decision(self.closures.on_decision)

    async def start(self) -> None:
        """Listens, says for a while that it is not ready if so ordered, then is."""
        gate = Gate(self.name, self.macaroons, self._faults, self._calls, self._restart)
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
                _service(chainnotifier_pb2, "ChainNotifier"): ChainNotifierService(self.view),
                _service(walletkit_pb2, "WalletKit"): WalletKitService(
                    self.name,
                    closures=self.closures,
                    view=self.view,
                    wallets=self.wallets,
                    fees=self.fees,
                ),
            },
        )
        await asyncio.sleep(self._faults.take_slow_start(self.name))
        self.graph.set_running(self.name, running=True)
        self.wallets.restart(self.name)
        self.invoices.start()
        self.closures.start()
        self.view.start()
        self.payments.start()
        gate.state = stateservice_pb2.SERVER_ACTIVE

    async def stop(self) -> None:
        """Dies as by kill -9: links, streams and plans end where they are."""
        self.graph.set_running(self.name, running=False)
        self.payments.stop()
        self.invoices.stop()
        self.view.stop()
        self.closures.stop()
        await self._server.close()

    def _is_open(self, channel: Channel) -> bool:
        ends = (channel.opener, channel.peer)
        return self.name in ends and self.closures.of(channel).phase is Phase.OPEN

    def shut_down(self, channel: Channel, terms: Terms) -> asyncio.Event:
        """Closes a channel together with its other end, once no HTLC is on it any more."""
        channel.is_shutting_down = True
        closed = asyncio.Event()
        self._leaving[channel.channel_id] = (terms, closed)
        self._close_if_idle(channel)
        return closed

    def _close_if_idle(self, channel: Channel) -> None:
        if not channel.pending and channel.active and channel.channel_id in self._leaving:
            terms, closed = self._leaving.pop(channel.channel_id)
            self._agree(channel, cooperative_close(channel, self.name, terms))
            closed.set()

    def _agree(self, channel: Channel, transaction: Transaction) -> None:
        self._chain.publish(transaction)
        for name in (self.name, channel.other(self.name)):
            end = self._others[name].closures.of(channel)
            end.cooperate(transaction, is_initiator=name == self.name)

    def close(self) -> None:
        """Gives the port back; the node is not coming again."""
        self._reserved_port.close()


def _service(module: ModuleType, name: str) -> ServiceDescriptor:
    descriptor: ServiceDescriptor = module.DESCRIPTOR.services_by_name[name]
    return descriptor
