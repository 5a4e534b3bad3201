"""The chain: one btcd on regtest, which mines when told and never otherwise."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from base64 import b64encode
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import aiohttp

from devnet.processes import Daemon, free_ports
from devnet.regtest.coinbase import Output, mined_block

# The witness program of twenty zero bytes: what btcd itself mines belongs to nobody, so
# that no wallet has to follow it.
_NOBODY = "bcrt1qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqdku202"

_WITNESS_PROGRAM_BYTES = 20

_RPC_TIMEOUT_SECONDS = 60
_SAT_PER_BITCOIN = 100_000_000


class BtcdRefusedError(RuntimeError):
    """btcd answered a call with an error."""


class Btcd:
    """A btcd with a fresh regtest chain in `state_dir/btcd`.

    It must outlive every lnd on it: lnd 0.21 never finds back to a btcd that restarted.
    """

    def __init__(self, program: Path, state_dir: Path) -> None:
        self._dir = state_dir / "btcd"
        self._listen, self._rpc = free_ports(2)
        self.user = "devnet"
        self.password = secrets.token_hex(16)
        self._mining = asyncio.Lock()
        self._daemon = Daemon(
            "btcd",
            [program, f"--configfile={self._dir / 'btcd.conf'}", f"--datadir={self._dir / 'data'}"],
            state_dir=state_dir,
        )

    @property
    def rpc_address(self) -> str:
        return f"127.0.0.1:{self._rpc}"

    @property
    def rpc_cert_path(self) -> Path:
        return self._dir / "rpc.cert"

    async def start(self) -> None:
        """Starts it on an empty chain; returns when it answers."""
        self._write_configuration()
        self._daemon.start()
        await self._daemon.until(self._answers, what=f"answering on {self.rpc_address}")

    async def kill(self) -> None:
        await self._daemon.kill()

    async def height(self) -> int:
        return int(await self._call("getblockcount"))

    async def mine(self, blocks: int) -> int:
        """Mines what the mempool holds into `blocks` blocks; returns the new height."""
        # btcd refuses who comes while it generates for another.
        async with self._mining:
            await self._call("generate", blocks)
        return await self.height()

    async def mine_payment(self, amount_sat: int, addresses: Sequence[str]) -> None:
        """Mines one block that pays `amount_sat` to each P2WKH address, spendable 100 later."""
        await self._submit(
            [Output(amount_sat, await self._witness_program(to)) for to in addresses]
        )

    async def mine_empty(self, blocks: int) -> int:
        """Mines `blocks` blocks without what the mempool holds; returns the new height."""
        for _ in range(blocks):
            await self._submit([Output(1, bytes(_WITNESS_PROGRAM_BYTES))])
        return await self.height()

    async def offered_sat_per_vbyte(self) -> float:
        """What the mempool's transactions pay together, as parent and child do."""
        waiting = (await self._call("getrawmempool", True)).values()  # noqa: FBT003 - verbose
        paid_sat = sum(round(float(each["fee"]) * _SAT_PER_BITCOIN) for each in waiting)
        return paid_sat / max(sum(int(each["vsize"]) for each in waiting), 1)

    async def reorg(self, depth: int) -> int:
        """Replaces the last `depth` blocks by empty ones, and one more; returns the new height.

        What was in them waits in the mempool for the next block.
        """
        first = await self._call("getblockhash", await self.height() - depth + 1)
        await self._call("invalidateblock", first)
        return await self.mine_empty(depth + 1)

    async def _submit(self, outputs: Sequence[Output]) -> None:
        """One block on the tip, with nothing but its coinbase."""
        async with self._mining:
            chain = await self._call("getblockchaininfo")
            block = mined_block(
                chain["bestblockhash"], chain["blocks"] + 1, chain["mediantime"] + 1, outputs
            )
            # Unlike every other method this one answers null when it is content.
            refusal = await self._call("submitblock", block.hex())
        if refusal:
            raise BtcdRefusedError(f"submitblock: {refusal}")

    async def _witness_program(self, address: str) -> bytes:
        return bytes.fromhex((await self._call("validateaddress", address))["witness_program"])

    async def _answers(self) -> bool:
        try:
            await self.height()
        except (aiohttp.ClientConnectionError, FileNotFoundError, ssl.SSLError):
            return False
        return True

    async def _call(self, method: str, *parameters: object) -> Any:
        request = {"jsonrpc": "1.0", "id": 0, "method": method, "params": parameters}
        login = f"{self.user}:{self.password}".encode()
        trusted = ssl.create_default_context(cafile=self.rpc_cert_path)
        async with (
            aiohttp.ClientSession(
                headers={"Authorization": f"Basic {b64encode(login).decode()}"},
                timeout=aiohttp.ClientTimeout(_RPC_TIMEOUT_SECONDS),
            ) as session,
            session.post(f"https://{self.rpc_address}", json=request, ssl=trusted) as response,
        ):
            answer = await response.json(content_type=None)
        if error := answer["error"]:
            raise BtcdRefusedError(f"{method}: {error}")
        return answer["result"]

    def _write_configuration(self) -> None:
        """In a file, because everybody on the machine can read a command line."""
        self._dir.mkdir(parents=True)
        configuration = self._dir / "btcd.conf"
        configuration.touch(mode=0o600)
        configuration.write_text(
            f"""\
[Application Options]
regtest=1
txindex=1
rejectnonstd=1
nobanning=1
trickleinterval=100ms
logdir={self._dir / "logs"}
listen=127.0.0.1:{self._listen}
rpclisten={self.rpc_address}
rpcuser={self.user}
rpcpass={self.password}
rpccert={self.rpc_cert_path}
rpckey={self._dir / "rpc.key"}
miningaddr={_NOBODY}
"""
        )
