"""The refusals of a simulated node: what lnd would answer, as an exception."""

from __future__ import annotations

import grpc


class RpcError(Exception):
    """Ends a call with a gRPC status. lnd's plain Go errors arrive as UNKNOWN."""

    def __init__(self, text: str, code: grpc.StatusCode = grpc.StatusCode.UNKNOWN) -> None:
        super().__init__(text)
        self.code = code
        self.text = text
