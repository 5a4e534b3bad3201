"""A simulated loopd: its database, what of it is in memory, and its life beside its lnd."""

from __future__ import annotations

import asyncio
import hashlib
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc

from devnet.loopd import LoopNode
from devnet.simulated.calls import Calls
from devnet.simulated.chain import Chain
from devnet.simulated.errors import RpcError
from devnet.simulated.faults import Faults
from devnet.simulated.gate import Gate
from devnet.simulated.invoice_terms import read_terms
from devnet.simulated.loop.client_swap import ClientSwap, advance
from devnet.simulated.loop.quirks import Quirks
from devnet.simulated.loop.service import SwapClientService
from devnet.simulated.loop.swap_server import MIN_CLTV_DELTA, PREPAY_SAT, SwapServer
from devnet.simulated.security import Macaroons, make_certificate
from devnet.simulated.serving import LOOPBACK, NodeServer, reserve_port
from protos.lnrpc import lightning_pb2, stateservice_pb2
from protos.looprpc import client_pb2

if TYPE_CHECKING:
    from devnet.simulated.node import SimulatedNode

_MAX_LABEL: Final = 500


class Loopd:
    """Swaps of one node. What it has stored stays when it dies; what it lists is read anew.

    Its calls count and are troubled under the name `<node>.loop`.
    """

    def __init__(
        self,
        node: SimulatedNode,
        *,
        folder: Path,
        chain: Chain,
        server: SwapServer,
        quirks: Quirks,
        faults: Faults,
        calls: Calls,
        is_lnd_up: Callable[[], bool],
    ) -> None:
        self.node = node
        self.chain = chain
        self.server = server
        self.quirks = quirks
        self.stored: dict[bytes, ClientSwap] = {}
        self.listeners: list[Callable[[ClientSwap], None]] = []
        self._listed: set[bytes] = set()
        self._faults = faults
        self._calls = calls
        self._is_lnd_up = is_lnd_up
        self._running = False
        self._advancing = False
        self._restarting: asyncio.Task[None] | None = None
        self.name = f"{node.name}.loop"
        self._reserved_port = reserve_port()
        port = self._reserved_port.getsockname()[1]
        certificate, key = make_certificate("loopd")
        self._listening = NodeServer(port, certificate, key)
        self._macaroons = Macaroons()
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tls.cert").write_bytes(certificate)
        (folder / "loop.macaroon").write_bytes(bytes.fromhex(self._macaroons.bake(None)))
        self.driver = LoopNode(
            node.name, f"{LOOPBACK}:{port}", folder / "tls.cert", folder / "loop.macaroon"
        )
        chain.on_block(lambda _: self.on_move())
        server.on_move = self.on_move

    async def start(self) -> None:
        """Reads its database, lists all of it, and takes up what is not over."""
        gate = Gate(self.name, self._macaroons, self._faults, self._calls, self._restart_soon)
        descriptor = client_pb2.DESCRIPTOR.services_by_name["SwapClient"]
        await self._listening.listen(gate, {descriptor: SwapClientService(self)})
        self._running = True
        for payment_hash, swap in self.stored.items():
            self._listed.add(payment_hash)
            swap.is_run = True
            if not swap.is_final and swap.state == client_pb2.FAILED:
                swap.move(client_pb2.INITIATED)
        self.on_move()
        gate.state = stateservice_pb2.SERVER_ACTIVE

    async def stop(self) -> None:
        """Dies as by kill -9."""
        self._running = False
        self._listed.clear()
        self.listeners.clear()
        await self._listening.close()

    def close(self) -> None:
        self._reserved_port.close()
        self.server.stop()

    async def restarted(self) -> None:
        """Waits until a restart that a fault ordered is over."""
        if self._restarting is not None:
            await self._restarting

    def on_move(self) -> None:
        """Something has happened: server and client do what follows, until nothing does."""
        if self._advancing:
            asyncio.get_running_loop().call_soon(self.on_move)
            return
        self._advancing = True
        try:
            self.server.advance()
            if self._running and self._is_lnd_up():
                for swap in list(self.stored.values()):
                    if swap.is_run and not swap.is_final:
                        self._advance(swap)
                self.server.advance()
        finally:
            self._advancing = False

    def _advance(self, swap: ClientSwap) -> None:
        before = swap.updated_ns
        advance(swap, self)
        if swap.updated_ns != before:
            for listener in list(self.listeners):
                listener(swap)

    # What the service asks.

    def listed(self) -> list[ClientSwap]:
        """From memory, oldest first; a moment late where that was ordered."""
        swaps = [swap for key, swap in self.stored.items() if key in self._listed]
        swaps.sort(key=lambda swap: swap.initiated_ns)
        if self.quirks.hidden_lists and swaps and not swaps[-1].is_final:
            self.quirks.hidden_lists -= 1
            swaps.pop()
        return swaps

    def loop_out(self, request: client_pb2.LoopOutRequest) -> ClientSwap:
        _check_label(request.label)
        self._check_balance(request)
        fee = self.server.fee_sat(request.amt)
        preimage = secrets.token_bytes(32)
        payment_hash = hashlib.sha256(preimage).digest()
        self.server.check(request.amt)
        if fee > request.max_swap_fee:
            raise RpcError("swap fee too high")
        if request.max_prepay_amt < PREPAY_SAT:
            raise RpcError("prepay amount too high")
        blocks = max(request.sweep_conf_target or 9, MIN_CLTV_DELTA)
        deal = self.server.sell(payment_hash, request.amt, self.node.name, blocks)
        return self._store(
            ClientSwap(
                deal,
                preimage,
                request.label,
                channels=tuple(request.outgoing_chan_set),
                max_routing_sat=request.max_swap_routing_fee,
                max_prepay_routing_sat=request.max_prepay_routing_fee,
                htlc_confirmations=max(1, request.htlc_confirmations),
            )
        )

    def loop_in(self, request: client_pb2.LoopInRequest) -> ClientSwap:
        _check_label(request.label)
        if request.external_htlc and request.htlc_conf_target:
            raise RpcError("external and htlc conf target cannot both be set")
        fee = self.server.fee_sat(request.amt)
        self.server.check(request.amt)
        if fee > request.max_swap_fee:
            raise RpcError("swap fee too high")
        preimage = secrets.token_bytes(32)
        payment_hash = hashlib.sha256(preimage).digest()
        terms = read_terms(lightning_pb2.Invoice(value=request.amt - fee, memo="swap"))
        invoice = self.node.invoices.add(terms, payment_hash, preimage)
        deal = self.server.buy(payment_hash, request.amt, self.node.name, invoice.payment_request)
        return self._store(
            ClientSwap(
                deal,
                preimage,
                request.label,
                last_hop=request.last_hop,
                is_external=request.external_htlc,
            )
        )

    def abandon(self, swap: ClientSwap) -> None:
        swap.move(client_pb2.FAILED, client_pb2.FailureReason.FAILURE_REASON_ABANDONED)
        self.node.invoices.cancel(swap.deal.payment_hash)
        for listener in list(self.listeners):
            listener(swap)

    def fail_for_now(self, payment_hash: bytes) -> None:
        """What a test orders: an inner error, after which only a restart goes on."""
        swap = self.stored[payment_hash]
        swap.is_run = False
        swap.move(client_pb2.FAILED, client_pb2.FailureReason.FAILURE_REASON_TEMPORARY)
        for listener in list(self.listeners):
            listener(swap)

    def _store(self, swap: ClientSwap) -> ClientSwap:
        self.stored[swap.deal.payment_hash] = swap
        if self.quirks.orphans:
            self.quirks.orphans -= 1
            swap.is_run = False
            raise RpcError("context canceled", grpc.StatusCode.CANCELLED)
        self._listed.add(swap.deal.payment_hash)
        asyncio.get_running_loop().call_soon(self.on_move)
        return swap

    def _check_balance(self, request: client_pb2.LoopOutRequest) -> None:
        channels = [
            channel
            for channel in self.node.graph.channels_of(self.node.name)
            if channel.active
            and (not request.outgoing_chan_set or channel.channel_id in request.outgoing_chan_set)
        ]
        spendable_msat = sum(channel.spendable_msat(self.node.name) for channel in channels)
        if spendable_msat < (request.amt + request.max_swap_routing_fee) * 1_000:
            raise RpcError(
                "channel balance too low for loop out amount: Requested swap amount of "
                f"{request.amt} sats along with the maximum routing fee of "
                f"{request.max_swap_routing_fee} sats is more than what can be routed given "
                "current state of the channel set"
            )

    def _restart_soon(self) -> None:
        async def restart() -> None:
            await self.stop()
            await self.start()

        if self._restarting is None or self._restarting.done():
            self._restarting = asyncio.get_running_loop().create_task(restart())


def _check_label(label: str) -> None:
    if len(label) > _MAX_LABEL:
        raise RpcError("label exceeds maximum length")
    if label.startswith("[reserved]"):
        raise RpcError("label contains reserved prefix")
