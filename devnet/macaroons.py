"""Puts a macaroon on every call of a channel."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TypeVar

import grpc

Request = TypeVar("Request")
Response = TypeVar("Response")


def macaroon_interceptors(macaroon: bytes) -> list[grpc.aio.ClientInterceptor]:
    """For a channel's `interceptors`; its credentials are then TLS alone.

    gRPC's own call credentials would put it there too, but they come back into Python from
    gRPC's threads. Closing a channel holds the GIL while it waits for such a thread, which
    waits for the GIL: seen, and the process never moved again.
    """
    # A channel files an interceptor under the first kind of call that it is for.
    return [_OnUnaryCalls(macaroon), _OnStreams(macaroon)]


class _OnUnaryCalls(grpc.aio.UnaryUnaryClientInterceptor):
    def __init__(self, macaroon: bytes) -> None:
        self._macaroon = macaroon.hex()

    async def intercept_unary_unary(
        self,
        continuation: Callable[
            [grpc.aio.ClientCallDetails, Request],
            Awaitable[grpc.aio.UnaryUnaryCall[Request, Response]],
        ],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Request,
    ) -> Response | grpc.aio.UnaryUnaryCall[Request, Response]:
        return await continuation(_signed(client_call_details, self._macaroon), request)


class _OnStreams(grpc.aio.UnaryStreamClientInterceptor):
    def __init__(self, macaroon: bytes) -> None:
        self._macaroon = macaroon.hex()

    async def intercept_unary_stream(
        self,
        continuation: Callable[
            [grpc.aio.ClientCallDetails, Request],
            Awaitable[grpc.aio.UnaryStreamCall[Request, Response]],
        ],
        client_call_details: grpc.aio.ClientCallDetails,
        request: Request,
    ) -> grpc.aio.UnaryStreamCall[Request, Response]:
        return await continuation(_signed(client_call_details, self._macaroon), request)


def _signed(details: grpc.aio.ClientCallDetails, macaroon: str) -> grpc.aio.ClientCallDetails:
    return grpc.aio.ClientCallDetails(
        details.method,
        details.timeout,
        grpc.aio.Metadata(*(details.metadata or ()), ("macaroon", macaroon)),
        details.credentials,
        details.wait_for_ready,
    )
