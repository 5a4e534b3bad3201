"""An LND that answers whatever a test has put down, and what of ours asks it about channels."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Any

import grpc
from grpc.aio import AioRpcError, Metadata

from fulgurite.chain.tip import Tip
from fulgurite.identity import NodePubkey, Txid
from nodes.lnd.chain import LndChain
from nodes.lnd.closing import LndClosing
from protos.lnrpc import lightning_pb2

PEER = NodePubkey("02" + "11" * 32)
TIP = Tip(height=600, block_hash=Txid("ab" * 31 + "cd"))
ADDRESSES = ["10.0.0.1:9735", "abc.onion:9735"]


def refusal(text: str) -> AioRpcError:
    return AioRpcError(grpc.StatusCode.UNKNOWN, Metadata(), Metadata(), details=text)


@dataclass
class Lnd:
    """Every stub at once; an answer can be an error, and a list is a stream."""

    answers: dict[str, Any] = field(default_factory=dict)
    sent: list[tuple[str, Any]] = field(default_factory=list)
    credentials: dict[str, Any] = field(default_factory=dict)
    canceled: int = 0

    def __getattr__(self, method: str) -> Callable[..., Any]:
        def call(message: Any, **options: Any) -> Any:
            self.sent.append((method, message))
            self.credentials[method] = options["metadata"]
            answer = self.answers.get(method)
            return Stream(self, answer) if isinstance(answer, list) else self._answer(answer)

        return call

    async def _answer(self, answer: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer(self.sent[-1][1]) if callable(answer) else answer

    def asked(self, method: str) -> list[Any]:
        return [message for name, message in self.sent if name == method]


@dataclass
class Stream:
    lnd: Lnd
    messages: list[Any]

    async def __aiter__(self) -> AsyncIterator[Any]:
        for message in self.messages:
            if isinstance(message, Exception):
                raise message
            yield message

    def cancel(self) -> None:
        self.lnd.canceled += 1


def an_lnd() -> Lnd:
    """At the tip, with no peer connected whose addresses it knows."""
    return Lnd(
        {
            "GetInfo": lightning_pb2.GetInfoResponse(
                block_height=TIP.height, block_hash=TIP.block_hash, synced_to_chain=True
            ),
            "ListPeers": lightning_pb2.ListPeersResponse(),
            "GetNodeInfo": lightning_pb2.NodeInfo(
                node=lightning_pb2.LightningNode(
                    addresses=[
                        lightning_pb2.NodeAddress(network="tcp", addr=each) for each in ADDRESSES
                    ]
                )
            ),
        }
    )


def chain_of(lnd: Lnd) -> LndChain:
    made = LndChain.__new__(LndChain)
    made._node = "alice"
    made._credential = (("macaroon", "0b"),)
    made._lightning = made._notifier = lnd  # type: ignore[assignment]
    return made


def closing_of(lnd: Lnd) -> LndClosing:
    made = LndClosing.__new__(LndClosing)
    made._node = "alice"
    made._credential = (("macaroon", "c1"),)
    made._observing = (("macaroon", "0b"),)
    made._lightning = made._wallet = lnd  # type: ignore[assignment]
    made._chain = chain_of(lnd)
    return made
