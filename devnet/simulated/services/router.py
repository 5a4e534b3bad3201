"""routerrpc.Router: sending payments and following them, and what becomes of HTLCs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc

from devnet.simulated.errors import RpcError
from devnet.simulated.given_routes import read_route
from devnet.simulated.graph import Graph
from devnet.simulated.htlc_events import HtlcEvents
from devnet.simulated.marshal import attempt_message, payment_message
from devnet.simulated.payment_requests import PaymentRequestCodec
from devnet.simulated.payments import OutgoingPayment, PaymentEngine
from devnet.simulated.requests import HASH_BYTES, read_intent
from protos.lnrpc import lightning_pb2
from protos.routerrpc import router_pb2


class RouterService:
    def __init__(
        self,
        engine: PaymentEngine,
        htlc_events: HtlcEvents,
        graph: Graph,
        codec: PaymentRequestCodec,
        own_key: str,
    ) -> None:
        self._engine = engine
        self._htlc_events = htlc_events
        self._graph = graph
        self._codec = codec
        self._own_key = own_key

    async def send_payment_v2(
        self, request: router_pb2.SendPaymentRequest
    ) -> AsyncIterator[lightning_pb2.Payment]:
        intent = read_intent(request, self._codec, self._own_key)
        payment = self._engine.initiate(intent)
        # Listens before it launches, so that no state is missed, the first included.
        updates = Subscription(payment, self._graph, quiet=request.no_inflight_updates)
        self._engine.launch(payment)
        async for update in updates:
            yield update

    async def send_to_route_v2(
        self, request: router_pb2.SendToRouteRequest
    ) -> lightning_pb2.HTLCAttempt:
        """Answers when the HTLC is resolved; who does not wait for that stops nothing."""
        intent, route = read_route(request, self._graph, self._own_key)
        if request.skip_temp_err and not intent.payment_addr:
            raise RpcError("cannot set skip_temp_err for non-MPP payment")
        payment, attempt = self._engine.send_to_route(
            intent, route, skip_temp_err=request.skip_temp_err
        )
        resolved = asyncio.Event()

        def look() -> None:
            if attempt.outcome is not None:
                resolved.set()

        payment.listeners.append(look)
        try:
            look()
            await resolved.wait()
        finally:
            if look in payment.listeners:
                payment.listeners.remove(look)
        return attempt_message(attempt, payment, self._graph)

    async def reset_mission_control(
        self, _: router_pb2.ResetMissionControlRequest
    ) -> router_pb2.ResetMissionControlResponse:
        """Nothing is remembered from one payment to the next."""
        return router_pb2.ResetMissionControlResponse()

    async def track_payment_v2(
        self, request: router_pb2.TrackPaymentRequest
    ) -> AsyncIterator[lightning_pb2.Payment]:
        if len(request.payment_hash) != HASH_BYTES:
            length = len(request.payment_hash)
            raise RpcError(f"invalid hash length of {length}, want {HASH_BYTES}")
        payment = self._engine.find(request.payment_hash)
        if payment is None:
            raise RpcError("payment isn't initiated", grpc.StatusCode.NOT_FOUND)
        async for update in Subscription(payment, self._graph, quiet=request.no_inflight_updates):
            yield update

    def subscribe_htlc_events(
        self, _: router_pb2.SubscribeHtlcEventsRequest
    ) -> AsyncIterator[router_pb2.HtlcEvent]:
        return self._htlc_events.follow()


class Subscription:
    """A payment's states from now on, the present one first; ends after a terminal one.

    `quiet` leaves out all but the terminal state.
    """

    def __init__(self, payment: OutgoingPayment, graph: Graph, *, quiet: bool) -> None:
        self._payment = payment
        self._graph = graph
        self._quiet = quiet
        self._updates: asyncio.Queue[lightning_pb2.Payment | None] = asyncio.Queue()
        payment.listeners.append(self._on_change)
        self._on_change()

    def _on_change(self) -> None:
        terminal = self._payment.is_terminal
        if terminal or not self._quiet:
            self._updates.put_nowait(payment_message(self._payment, self._graph))
        if terminal:
            self._updates.put_nowait(None)
            self._payment.listeners.remove(self._on_change)

    async def __aiter__(self) -> AsyncIterator[lightning_pb2.Payment]:
        try:
            while (update := await self._updates.get()) is not None:
                yield update
        finally:
            if self._on_change in self._payment.listeners:
                self._payment.listeners.remove(self._on_change)
