"""HTLCs that LND turned away: `routerrpc.Router.SubscribeHtlcEvents` in domain terms."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime

from fulgurite.invoices.receipts import LateAttempt
from fulgurite.money import Msat
from nodes.lnd.connection import LndConnection
from nodes.lnd.errors import domain_errors
from nodes.lnd.payments import STREAM_TIMEOUT_SECONDS
from nodes.roles import Role
from protos.routerrpc import router_pb2, router_pb2_grpc


class LndHtlcs:
    """What happens to HTLCs of one node, by its observe macaroon."""

    def __init__(self, connection: LndConnection) -> None:
        self._node = connection.name
        self._credential = connection.credential(Role.OBSERVE)
        self._router = router_pb2_grpc.RouterStub(connection.channel())

    @asynccontextmanager
    async def turned_away(self) -> AsyncIterator[AsyncIterator[LateAttempt]]:
        """HTLCs that came for an invoice that is no longer open, as they come.

        LND says their amount and not their payment hash, and says the same of an invoice
        that is canceled and of one that is settled. Nothing of the past is told. The other
        messages of this stream carry preimages: they are dropped here. Raises NodeErrors
        while iterating.
        """
        call = self._router.SubscribeHtlcEvents(
            router_pb2.SubscribeHtlcEventsRequest(),
            metadata=self._credential,
            timeout=STREAM_TIMEOUT_SECONDS,
        )
        try:
            yield self._attempts(call)
        finally:
            call.cancel()

    async def _attempts(
        self, call: AsyncIterable[router_pb2.HtlcEvent]
    ) -> AsyncIterator[LateAttempt]:
        with domain_errors(self._node):
            async for event in call:
                failed = event.link_fail_event
                if (
                    event.event_type == router_pb2.HtlcEvent.RECEIVE
                    and event.HasField("link_fail_event")
                    and failed.failure_detail == router_pb2.INVOICE_NOT_OPEN
                ):
                    yield LateAttempt(
                        at=datetime.fromtimestamp(event.timestamp_ns / 1e9, tz=UTC),
                        amount_msat=Msat(failed.info.incoming_amt_msat),
                    )
