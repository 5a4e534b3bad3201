"""The gRPC server of one node: TLS, readiness, macaroons, faults, then the service itself."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import grpc

from devnet.simulated.errors import RpcError
from devnet.simulated.faults import (
    Delay,
    DropAnswer,
    Fault,
    Faults,
    NeverClose,
    Refuse,
    RepeatMessages,
    RestartNode,
    Stall,
)
from devnet.simulated.security import Macaroons
from protos.lnrpc import stateservice_pb2

# lnd's certificates are ECDSA; gRPC's default suites leave some of those out.
os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "HIGH+ECDSA")

LOOPBACK = "127.0.0.1"
STATE_SERVICE = "/lnrpc.State/"

SERVER_ACTIVE = stateservice_pb2.SERVER_ACTIVE
NOT_READY = "the RPC server is in the process of starting up, but not yet ready to accept calls"

# What a client reads when the process behind its connection is gone.
CONNECTION_LOST = RpcError("Socket closed", grpc.StatusCode.UNAVAILABLE)

Context = grpc.aio.ServicerContext[Any, Any]
Unary = Callable[[Any, Context], Awaitable[Any]]
Stream = Callable[[Any, Context], AsyncIterator[Any]]


def reserve_port() -> socket.socket:
    """A loopback port that stays ours while the node is down, though nobody listens there.

    Shared for reuse only after it is bound, so that the kernel has picked a port that no
    other network of ours has reserved.
    """
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reserved.bind((LOOPBACK, 0))
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return reserved


class Gate(grpc.aio.ServerInterceptor):
    """Stands before every handler, in lnd's order: state, macaroon, then the call.

    It also knows who is being served, so that a crash can end every call as a lost
    connection would.
    """

    def __init__(
        self, node: str, macaroons: Macaroons, faults: Faults, restart: Callable[[], None]
    ) -> None:
        self.state: stateservice_pb2.WalletState.ValueType = stateservice_pb2.WAITING_TO_START
        self._node = node
        self._macaroons = macaroons
        self._faults = faults
        self._restart = restart
        self._crashed = False
        self._serving: set[asyncio.Task[Any]] = set()
        self._guarded: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = handler_call_details.method
        if method not in self._guarded:
            handler = await continuation(handler_call_details)
            if handler is None:
                return None
            self._guarded[method] = self._guard(method, handler)
        return self._guarded[method]

    async def crash(self) -> None:
        """Ends every call that is being served; its client reads a lost connection."""
        self._crashed = True
        serving = list(self._serving)
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)

    def _guard(
        self, method: str, handler: grpc.RpcMethodHandler[Any, Any]
    ) -> grpc.RpcMethodHandler[Any, Any]:
        if handler.unary_stream is not None:
            return grpc.unary_stream_rpc_method_handler(
                self._guard_stream(method, handler.unary_stream),  # type: ignore[arg-type]
                handler.request_deserializer,
                handler.response_serializer,
            )
        assert handler.unary_unary is not None, "the services have no client streams"
        return grpc.unary_unary_rpc_method_handler(
            self._guard_unary(method, handler.unary_unary),  # type: ignore[arg-type]
            handler.request_deserializer,
            handler.response_serializer,
        )

    def _guard_unary(self, method: str, serve: Unary) -> Unary:
        async def guarded(request: Any, context: Context) -> Any:
            return await self._watched(self._unary(method, serve, request, context), context)

        return guarded

    def _guard_stream(
        self, method: str, serve: Stream
    ) -> Callable[[Any, Context], Awaitable[None]]:
        async def guarded(request: Any, context: Context) -> None:
            await self._watched(self._stream(method, serve, request, context), context)

        return guarded

    async def _watched(self, serving: Awaitable[Any], context: Context) -> Any:
        task = asyncio.current_task()
        assert task is not None, "gRPC serves each call in a task of its own"
        self._serving.add(task)
        try:
            return await serving
        except RpcError as error:
            await context.abort(error.code, error.text)
        except asyncio.CancelledError:
            if not self._crashed:
                raise  # the client has gone
            await context.abort(CONNECTION_LOST.code, CONNECTION_LOST.text)
        finally:
            self._serving.discard(task)

    def _admit(self, method: str, context: Context) -> Fault | None:
        if not method.startswith(STATE_SERVICE):
            if self.state != SERVER_ACTIVE:
                raise RpcError(NOT_READY)
            metadata = context.invocation_metadata() or ()
            presented = [str(value) for key, value in metadata if key == "macaroon"]
            self._macaroons.check(presented, method)
        return self._faults.take(self._node, method.rpartition("/")[2])

    async def _before(self, fault: Fault | None) -> None:
        match fault:
            case Refuse(code, text):
                raise RpcError(text, code)
            case Delay(seconds):
                await asyncio.sleep(seconds)
            case RestartNode(after_effect=False):
                await self._die()

    async def _die(self) -> None:
        self._restart()
        await asyncio.Event().wait()  # until the crash ends this call like every other

    async def _unary(self, method: str, serve: Unary, request: Any, context: Context) -> Any:
        fault = self._admit(method, context)
        await self._before(fault)
        answer = await serve(request, context)
        match fault:
            case DropAnswer():
                raise CONNECTION_LOST
            case RestartNode():
                await self._die()
        return answer

    async def _stream(self, method: str, serve: Stream, request: Any, context: Context) -> None:
        fault = self._admit(method, context)
        await self._before(fault)
        messages = aiter(serve(request, context))
        if isinstance(fault, DropAnswer | RestartNode):
            await _take_effect(messages)
            if isinstance(fault, RestartNode):
                await self._die()
            raise CONNECTION_LOST

        sent = 0
        if isinstance(fault, Stall) and fault.after_messages == 0:
            await _take_effect(messages)
            await asyncio.Event().wait()
        async for message in messages:
            await context.write(message)
            sent += 1
            if isinstance(fault, RepeatMessages):
                await context.write(message)
            if isinstance(fault, Stall) and sent == fault.after_messages:
                await asyncio.Event().wait()
        if isinstance(fault, NeverClose | Stall):
            await asyncio.Event().wait()


async def _take_effect(messages: AsyncIterator[Any]) -> None:
    """Runs a stream's handler up to its first message, or to where it waits for one."""
    first = asyncio.ensure_future(anext(messages, None))
    try:
        await asyncio.wait([first], timeout=0.05)
        if first.done():
            first.result()  # what the handler refused is refused all the same
    finally:
        first.cancel()


class NodeServer:
    """One node's server; each start is a new process, so to speak, on the same port."""

    def __init__(self, port: int, certificate: bytes, key: bytes) -> None:
        self._port = port
        self._credentials = grpc.ssl_server_credentials([(key, certificate)])
        self._server: grpc.aio.Server | None = None
        self._gate: Gate | None = None

    async def listen(self, gate: Gate, register: Callable[[grpc.aio.Server], None]) -> None:
        server = grpc.aio.server(
            interceptors=[gate],
            options=[
                ("grpc.so_reuseport", 1),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ],
        )
        register(server)
        if server.add_secure_port(f"{LOOPBACK}:{self._port}", self._credentials) != self._port:
            raise OSError(f"cannot listen on {LOOPBACK}:{self._port}: is another process there?")
        await server.start()
        self._server, self._gate = server, gate

    async def close(self) -> None:
        """Ends every call and the listening at once."""
        if self._server is None or self._gate is None:
            return
        server, gate = self._server, self._gate
        self._server = self._gate = None
        await gate.crash()
        await server.stop(None)
