"""lnrpc.State: whether the node is ready. Needs no macaroon."""

from __future__ import annotations

from collections.abc import Callable

from protos.lnrpc import stateservice_pb2


class StateService:
    """Answers from the first moment the node listens."""

    def __init__(self, state: Callable[[], stateservice_pb2.WalletState.ValueType]) -> None:
        self._state = state

    async def get_state(
        self, _: stateservice_pb2.GetStateRequest
    ) -> stateservice_pb2.GetStateResponse:
        return stateservice_pb2.GetStateResponse(state=self._state())
