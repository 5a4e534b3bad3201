"""The gRPC server of one node: TLS, and the same port again after every restart."""

from __future__ import annotations

import os
import re
import socket
from collections.abc import Mapping
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from google.protobuf.message_factory import GetMessageClass

from devnet.simulated.gate import Gate

# lnd's certificates are ECDSA; gRPC's default suites leave some of those out.
os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "HIGH+ECDSA")

# A node that dies on request is news to nobody; gRPC would log each lost connection.
os.environ.setdefault("GRPC_VERBOSITY", "ERROR")

LOOPBACK = "127.0.0.1"

_OPTIONS = [
    ("grpc.so_reuseport", 1),
    # Clients may ping as often as lnd lets them.
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
]


def reserve_port() -> socket.socket:
    """A loopback port that stays ours while the node is down, though nobody listens there.

    Shared for reuse only after it is bound, so that the kernel has picked a port that no
    other network of ours has reserved.
    """
    reserved = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    reserved.bind((LOOPBACK, 0))
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    return reserved


class NodeServer:
    """One node's server; each `listen` is a new process, so to speak, on the same port."""

    def __init__(self, port: int, certificate: bytes, key: bytes) -> None:
        self._port = port
        self._credentials = grpc.ssl_server_credentials([(key, certificate)])
        self._server: grpc.aio.Server | None = None
        self._gate: Gate | None = None

    async def listen(self, gate: Gate, services: Mapping[ServiceDescriptor, object]) -> None:
        """Serves each service behind `gate`; raises OSError when the port is taken."""
        if self._server is not None:
            raise RuntimeError("the node is running: stop it before it is started again")
        server = grpc.aio.server(options=_OPTIONS)
        server.add_generic_rpc_handlers(
            [_handler(descriptor, service, gate) for descriptor, service in services.items()]
        )
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


def _handler(descriptor: ServiceDescriptor, service: object, gate: Gate) -> grpc.GenericRpcHandler:
    """Joins a service's coroutines with the methods that its descriptor names."""
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    for method in descriptor.methods:
        serve = getattr(service, _snake_case(method.name), None)
        if serve is None:
            continue
        full_name = f"/{descriptor.full_name}/{method.name}"
        request_class = GetMessageClass(method.input_type)
        answer_class = GetMessageClass(method.output_type)
        if method.server_streaming:
            handlers[method.name] = grpc.unary_stream_rpc_method_handler(
                gate.guard_stream(full_name, serve),
                request_class.FromString,
                answer_class.SerializeToString,
            )
        else:
            handlers[method.name] = grpc.unary_unary_rpc_method_handler(
                gate.guard_unary(full_name, serve),
                request_class.FromString,
                answer_class.SerializeToString,
            )
    return grpc.method_handlers_generic_handler(descriptor.full_name, handlers)


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()
