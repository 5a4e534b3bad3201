"""A simulated poold as a server: TLS, its macaroon, and the same port after every restart."""

from __future__ import annotations

import asyncio
from pathlib import Path

from devnet.poold import PoolNode
from devnet.simulated.calls import Calls
from devnet.simulated.faults import Faults
from devnet.simulated.gate import Gate
from devnet.simulated.pool.service import TraderService
from devnet.simulated.pool.trader import Trader
from devnet.simulated.security import Macaroons, make_certificate
from devnet.simulated.serving import LOOPBACK, NodeServer, reserve_port
from protos.lnrpc import stateservice_pb2
from protos.poolrpc import trader_pb2


class SimulatedPoold:
    """What it has stored outlives its crashes; what it was serving does not.

    Its calls count and are troubled under the name `<node>.pool`.
    """

    def __init__(self, trader: Trader, *, folder: Path, faults: Faults, calls: Calls) -> None:
        self.trader = trader
        self.name = f"{trader.node}.pool"
        self._faults = faults
        self._calls = calls
        self._restarting: asyncio.Task[None] | None = None
        self._macaroons = Macaroons()
        self._reserved_port = reserve_port()
        port = self._reserved_port.getsockname()[1]
        certificate, key = make_certificate("poold")
        self._server = NodeServer(port, certificate, key)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tls.cert").write_bytes(certificate)
        (folder / "pool.macaroon").write_bytes(bytes.fromhex(self._macaroons.bake(None)))
        self.driver = PoolNode(
            trader.node, f"{LOOPBACK}:{port}", folder / "tls.cert", folder / "pool.macaroon"
        )

    async def start(self) -> None:
        """Returns when it answers."""
        gate = Gate(self.name, self._macaroons, self._faults, self._calls, self._restart_soon)
        service = trader_pb2.DESCRIPTOR.services_by_name["Trader"]
        await self._server.listen(gate, {service: TraderService(self.trader)})
        gate.state = stateservice_pb2.SERVER_ACTIVE

    async def stop(self) -> None:
        """Dies as by kill -9."""
        await self._server.close()

    def close(self) -> None:
        """Gives the port back; it is not coming again."""
        self._reserved_port.close()

    async def restarted(self) -> None:
        """Waits until a restart that a fault ordered is over."""
        if self._restarting is not None:
            await self._restarting

    def _restart_soon(self) -> None:
        async def restart() -> None:
            await self.stop()
            await self.start()
            self._restarting = None

        # Calls that die together die of one crash.
        if self._restarting is None:
            self._restarting = asyncio.get_running_loop().create_task(restart())
