"""One poold, one connection, and whether it can be used."""

from __future__ import annotations

from typing import ClassVar, Final

from nodes.config import PoolConfig
from nodes.dialing import BesideConnection
from nodes.pool.errors import domain_errors
from protos.poolrpc import trader_pb2, trader_pb2_grpc

# How long one question may take before it counts as no answer. poold asks its auctioneer for some.
UNARY_TIMEOUT_SECONDS: Final = 30.0


class PoolConnection(BesideConnection[PoolConfig]):
    """A configured poold."""

    _DAEMON: ClassVar = "poold"

    def stub(self) -> trader_pb2_grpc.TraderAsyncStub:
        """Raises CredentialError without a certificate."""
        return trader_pb2_grpc.TraderStub(self.channel())

    async def check(self) -> str:
        """Its version. Raises CredentialError, NodeNotReadyError or NodeUnavailableError."""
        with domain_errors(self.name):
            answer = await self.stub().GetInfo(
                trader_pb2.GetInfoRequest(),
                metadata=self.credential(),
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        return answer.version
