"""The daemons of Pool: a poold beside an lnd, and our small auctioneer that serves it."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path
from typing import TypedDict, cast

import aiohttp
import grpc

from devnet.poold import PoolNode
from devnet.processes import Daemon, free_ports
from devnet.regtest.bitcoin import Btcd
from devnet.regtest.lnd import Lnd

_ROOT = Path(__file__).resolve().parents[2]

_CALL_TIMEOUT_SECONDS = 10

# Both traders are given their time to connect, and to open the channel.
_BATCH_TIMEOUT_SECONDS = 120


class NoBatchError(RuntimeError):
    """The auctioneer cleared no batch, or died over it; the message says what it said."""


class Cleared(TypedDict):
    """A batch that is final. `txid` is its transaction, which waits to be mined."""

    batch_id: str
    txid: str


class Auctioneer:
    """Our auctioneer on `chain`, with its journal in `state_dir/auctioneer`."""

    def __init__(self, chain: Btcd, state_dir: Path) -> None:
        self._chain = chain
        self._dir = state_dir / "auctioneer"
        rpc, control = free_ports(2)
        self.address = f"127.0.0.1:{rpc}"
        self._control = f"127.0.0.1:{control}"
        self.journal_path = self._dir / "journal.json"
        self._daemon = Daemon(
            "auctioneer",
            [sys.executable, "-m", "devnet.auctioneer", self._dir],
            state_dir=state_dir,
            environment={"PYTHONPATH": str(_ROOT)},
        )

    @property
    def running(self) -> bool:
        return self._daemon.running

    async def start(self) -> None:
        """Starts it, and it goes on with what its journal says; returns when it answers."""
        self._write_settings()
        self._daemon.start()
        await self._daemon.until(self._answers, what=f"answering on {self.address}")

    async def kill(self) -> None:
        await self._daemon.kill()

    async def clear(self, *, die_at: str = "", cheat_sat: int = 0) -> Cleared:
        """Has it clear one batch, which is final when this returns.

        With `die_at` (accepted, signed or published) it kills itself at that step; with
        `cheat_sat` it tells both accounts so much too little. Raises NoBatchError when
        nothing matches, a trader refuses, or it died as told.
        """
        try:
            async with (
                aiohttp.ClientSession(
                    timeout=aiohttp.ClientTimeout(_BATCH_TIMEOUT_SECONDS)
                ) as session,
                session.post(
                    f"http://{self._control}/batches",
                    params={"die_at": die_at, "cheat_sat": str(cheat_sat)},
                ) as response,
            ):
                answer = await response.json()
        except aiohttp.ClientConnectionError as error:
            raise NoBatchError("the auctioneer died over it, or does not run") from error
        if "reason" in answer:
            raise NoBatchError(answer["reason"])
        return cast("Cleared", answer)

    async def _answers(self) -> bool:
        # The control port is the last that it opens.
        host, _, port = self._control.rpartition(":")
        with socket.socket() as probe:
            return probe.connect_ex((host, int(port))) == 0

    def _write_settings(self) -> None:
        """In a file, because everybody on the machine can read a command line."""
        self._dir.mkdir(parents=True, exist_ok=True)
        settings = self._dir / "settings.json"
        settings.touch(mode=0o600)
        described = {
            "listen": self.address,
            "control": self._control,
            "chain": {
                "address": self._chain.rpc_address,
                "user": self._chain.user,
                "password": self._chain.password,
                "certificate": str(self._chain.rpc_cert_path),
            },
        }
        settings.write_text(json.dumps(described, indent=2) + "\n")


class Poold:
    """A poold in `state_dir/pool-<name>` on the lnd of that name; its ports stay its own."""

    def __init__(self, program: Path, lnd: Lnd, auctioneer: Auctioneer, state_dir: Path) -> None:
        name = lnd.node.name
        folder = state_dir / f"pool-{name}"
        rpc, rest = free_ports(2)
        self.node = PoolNode(
            name=name,
            address=f"127.0.0.1:{rpc}",
            tls_cert_path=folder / "regtest" / "tls.cert",
            macaroon_path=folder / "regtest" / "pool.macaroon",
        )
        self._daemon = Daemon(
            f"poold-{name}",
            [
                program,
                "--network=regtest",
                f"--basedir={folder}",
                f"--rpclisten={self.node.address}",
                f"--restlisten=127.0.0.1:{rest}",
                f"--lnd.host={lnd.node.address}",
                f"--lnd.tlspath={lnd.node.tls_cert_path}",
                f"--lnd.macaroonpath={lnd.node.macaroon_dir / 'admin.macaroon'}",
                f"--auctionserver={auctioneer.address}",
                "--insecure",
                "--fakeauth",
                "--minbackoff=100ms",
                "--maxbackoff=500ms",
                "--debuglevel=debug",
            ],
            state_dir=state_dir,
        )

    @property
    def running(self) -> bool:
        return self._daemon.running

    async def start(self) -> None:
        """Starts it; returns when it tells of itself."""
        self._daemon.start()
        await self._daemon.until(self._ready, what="telling of itself")

    async def kill(self) -> None:
        await self._daemon.kill()

    async def _ready(self) -> bool:
        credentials = self.node.tls_cert_path, self.node.macaroon_path
        if not all(file.exists() and file.stat().st_size for file in credentials):
            return False
        try:
            await self.node.info(timeout_seconds=_CALL_TIMEOUT_SECONDS)
        except grpc.aio.AioRpcError:
            return False  # not listening yet, or waiting for its lnd
        return True
