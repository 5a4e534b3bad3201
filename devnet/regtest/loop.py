"""Swaps on the real daemons: a loopd beside an lnd, and our swap server beside another."""

from __future__ import annotations

import sys
from pathlib import Path

import grpc

from devnet.loopd import LoopNode
from devnet.processes import Daemon, free_ports
from devnet.regtest.lnd import Lnd
from protos.looprpc import client_pb2

_ROOT = Path(__file__).resolve().parents[2]

_CALL_TIMEOUT_SECONDS = 5


class SwapServer:
    """Our swap server on `lnd`, with its journal in `state_dir/swapserver`."""

    def __init__(self, lnd: Lnd, state_dir: Path) -> None:
        (port,) = free_ports(1)
        self.address = f"127.0.0.1:{port}"
        self.journal = state_dir / "swapserver"
        self._daemon = Daemon(
            "swapserver",
            [
                *(sys.executable, "-m", "devnet.swapserver"),
                f"--listen={self.address}",
                f"--journal={self.journal}",
                f"--lnd={lnd.node.address}",
                f"--tls-cert={lnd.node.tls_cert_path}",
                f"--macaroon={lnd.node.macaroon_dir / 'admin.macaroon'}",
            ],
            state_dir=state_dir,
            environment={"PYTHONPATH": str(_ROOT)},
        )

    @property
    def running(self) -> bool:
        return self._daemon.running

    async def start(self) -> None:
        """Starts it, and it goes on with what its journal says; returns when it answers."""
        self._daemon.start()
        await self._daemon.until(self._answers, what=f"answering on {self.address}")

    async def kill(self) -> None:
        await self._daemon.kill()

    async def _answers(self) -> bool:
        async with grpc.aio.insecure_channel(self.address) as channel:
            # By its bare name: who speaks loopd's protos does not load the server's as well.
            terms: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/looprpc.SwapServer/LoopOutTerms"
            )
            try:
                await terms(b"", timeout=_CALL_TIMEOUT_SECONDS)
            except grpc.aio.AioRpcError:
                return False
        return True


class Loopd:
    """A loopd in `state_dir/loop-<name>` on the lnd of that name; its ports stay its own."""

    def __init__(self, program: Path, lnd: Lnd, server: SwapServer, state_dir: Path) -> None:
        name = lnd.node.name
        folder = state_dir / f"loop-{name}"
        rpc, rest = free_ports(2)
        self.node = LoopNode(
            name=name,
            address=f"127.0.0.1:{rpc}",
            tls_cert_path=folder / "regtest" / "tls.cert",
            macaroon_path=folder / "regtest" / "loop.macaroon",
        )
        self._daemon = Daemon(
            f"loopd-{name}",
            [
                program,
                "--network=regtest",
                f"--loopdir={folder}",
                f"--rpclisten={self.node.address}",
                f"--restlisten=127.0.0.1:{rest}",
                f"--lnd.host={lnd.node.address}",
                f"--lnd.tlspath={lnd.node.tls_cert_path}",
                f"--lnd.macaroonpath={lnd.node.macaroon_dir / 'admin.macaroon'}",
                f"--server.host={server.address}",
                "--server.notls",
            ],
            state_dir=state_dir,
        )

    async def start(self) -> None:
        """Starts it; returns when it tells of its swaps."""
        self._daemon.start()
        await self._daemon.until(self._ready, what="telling of its swaps")

    async def kill(self) -> None:
        await self._daemon.kill()

    async def _ready(self) -> bool:
        credentials = self.node.tls_cert_path, self.node.macaroon_path
        if not all(file.exists() and file.stat().st_size for file in credentials):
            return False
        try:
            async with self.node.client() as client:
                await client.ListSwaps(client_pb2.ListSwapsRequest(), timeout=_CALL_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError:
            return False  # not listening yet, or waiting for its lnd
        return True
