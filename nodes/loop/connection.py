"""One loopd, one connection, and whether it can be used."""

from __future__ import annotations

from typing import ClassVar, Final

from nodes.config import LoopConfig
from nodes.dialing import BesideConnection
from nodes.loop.errors import domain_errors
from protos.looprpc import client_pb2, client_pb2_grpc

# How long one question may take before it counts as no answer. loopd asks its server for some.
UNARY_TIMEOUT_SECONDS: Final = 30.0


class LoopConnection(BesideConnection[LoopConfig]):
    """A configured loopd."""

    _DAEMON: ClassVar = "loopd"

    def stub(self) -> client_pb2_grpc.SwapClientAsyncStub:
        """Raises CredentialError without a certificate."""
        return client_pb2_grpc.SwapClientStub(self.channel())

    async def check(self) -> str:
        """Gives its version. Raises CredentialError, NodeNotReadyError, NodeUnavailableError."""
        with domain_errors(self.name):
            answer = await self.stub().GetInfo(
                client_pb2.GetInfoRequest(),
                metadata=self.credential(),
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        return answer.version
