"""The chain by btcd's JSON-RPC: which outputs there are, and how a transaction gets in."""

from __future__ import annotations

import ssl
from base64 import b64encode
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from pydantic import BaseModel

from devnet.auctioneer.transaction import OutPoint, Output

_TIMEOUT_SECONDS = 60
_SAT = 100_000_000


class ChainError(RuntimeError):
    """btcd answered with an error."""


class ChainAccess(BaseModel):
    """Where btcd is, and the login to it."""

    address: str
    user: str
    password: str
    certificate: Path


@dataclass(frozen=True)
class Unspent:
    output: Output
    confirmations: int  # 0 in the mempool


class Chain:
    def __init__(self, access: ChainAccess) -> None:
        self._access = access

    async def height(self) -> int:
        return int(await self._call("getblockcount"))

    async def unspent(self, outpoint: OutPoint) -> Unspent | None:
        """None when there is none, or a block has spent it. A spend in the mempool is not seen."""
        found = await self._call("gettxout", outpoint.txid, outpoint.index, True)  # noqa: FBT003 - with the mempool
        if found is None:
            return None
        script = bytes.fromhex(found["scriptPubKey"]["hex"])
        return Unspent(Output(round(found["value"] * _SAT), script), found["confirmations"])

    async def transaction(self, txid: str) -> bytes:
        """As it is serialized, with its witnesses; raises ChainError when nobody has it."""
        return bytes.fromhex(await self._call("getrawtransaction", txid, 0))

    async def publish(self, txid: str, transaction: bytes) -> None:
        """Once more is no error."""
        try:
            await self.transaction(txid)
        except ChainError:
            await self._call("sendrawtransaction", transaction.hex())

    async def _call(self, method: str, *parameters: object) -> Any:
        login = f"{self._access.user}:{self._access.password}".encode()
        trusted = ssl.create_default_context(cafile=self._access.certificate)
        async with (
            aiohttp.ClientSession(
                headers={"Authorization": f"Basic {b64encode(login).decode()}"},
                timeout=aiohttp.ClientTimeout(_TIMEOUT_SECONDS),
            ) as session,
            session.post(
                f"https://{self._access.address}",
                json={"jsonrpc": "1.0", "id": 0, "method": method, "params": parameters},
                ssl=trusted,
            ) as response,
        ):
            answer = await response.json(content_type=None)
        if error := answer["error"]:
            raise ChainError(f"{method}: {error}")
        return answer["result"]
