"""lnrpc.State: whether the node is ready. Needs no macaroon."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import grpc

from protos.lnrpc import stateservice_pb2, stateservice_pb2_grpc


class StateService(stateservice_pb2_grpc.StateServicer):
    """Answers from the first moment the node listens."""

    def __init__(self, state: Callable[[], stateservice_pb2.WalletState.ValueType]) -> None:
        self._state = state

    async def GetState(  # type: ignore[override]
        self,
        request: stateservice_pb2.GetStateRequest,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> stateservice_pb2.GetStateResponse:
        return stateservice_pb2.GetStateResponse(state=self._state())
