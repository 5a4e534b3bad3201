"""What a person at loopd's keyboard could do, over its own API and its macaroon.

Both networks serve the same protos, so this one driver stands before simulated and real
loopds alike. The product never imports it.
"""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import grpc

from devnet.macaroons import macaroon_interceptors
from devnet.waiting import eventually
from protos.looprpc import client_pb2, client_pb2_grpc

# loopd's certificates are ECDSA; gRPC's default suites leave some of those out.
os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "HIGH+ECDSA")


@dataclass(frozen=True)
class LoopNode:
    """A devnet loopd: where it is, and its credentials. `name` is that of its lnd."""

    name: str
    address: str
    tls_cert_path: Path
    macaroon_path: Path

    @asynccontextmanager
    async def client(self) -> AsyncIterator[client_pb2_grpc.SwapClientAsyncStub]:
        """A fresh connection, so a restarted loopd is no surprise."""
        async with grpc.aio.secure_channel(
            self.address,
            grpc.ssl_channel_credentials(self.tls_cert_path.read_bytes()),
            interceptors=macaroon_interceptors(self.macaroon_path.read_bytes()),
        ) as channel:
            yield client_pb2_grpc.SwapClientStub(channel)

    async def swaps(self) -> list[client_pb2.SwapStatus]:
        """Every swap that it tells of, whatever became of it."""
        async with self.client() as client:
            return list((await client.ListSwaps(client_pb2.ListSwapsRequest())).swaps)

    async def swap(self, swap_hash: bytes) -> client_pb2.SwapStatus | None:
        """One of these; None when it is not listed, which proves nothing."""
        return next((each for each in await self.swaps() if each.id_bytes == swap_hash), None)

    async def wait_for_swap(
        self,
        swap_hash: bytes,
        state: client_pb2.SwapState.ValueType,
        *,
        timeout_seconds: float = 60,
    ) -> client_pb2.SwapStatus:
        """Waits until the swap is in `state`."""
        found = await eventually(
            lambda: self.swap(swap_hash),
            lambda swap: swap is not None and swap.state == state,
            what=f"{self.name}'s swap {swap_hash.hex()[:12]} in state {state}",
            timeout_seconds=timeout_seconds,
        )
        if found is None:
            raise AssertionError("waited for a swap and has none")
        return found
