"""What a node has passed on for others: `ForwardingHistory` in domain terms, a page at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Final

from fulgurite.identity import ChannelId
from fulgurite.liquidity.flows import Forward
from nodes.lnd.connection import UNARY_TIMEOUT_SECONDS, LndConnection
from nodes.lnd.errors import domain_errors
from nodes.roles import Role
from protos.lnrpc import lightning_pb2, lightning_pb2_grpc

# Some 70 bytes each: well below what gRPC takes in one message.
_PAGE: Final = 5_000


class LndForwarding:
    """Reads the forwards of one node, by its observe macaroon."""

    def __init__(self, connection: LndConnection, page: int = _PAGE) -> None:
        self._node = connection.name
        self._credential = connection.credential(Role.OBSERVE)
        self._lightning = lightning_pb2_grpc.LightningStub(connection.channel())
        self._page = page

    async def pages(self, since: datetime, until: datetime) -> AsyncIterator[tuple[Forward, ...]]:
        """Forwards of this time, oldest first, to the second. Raises NodeErrors.

        LND counts within the time that is asked for, so the time stays the same for all pages.
        """
        offset = 0
        while True:
            with domain_errors(self._node):
                answer = await self._lightning.ForwardingHistory(
                    lightning_pb2.ForwardingHistoryRequest(
                        start_time=int(since.timestamp()),
                        end_time=int(until.timestamp()),
                        index_offset=offset,
                        num_max_events=self._page,
                    ),
                    metadata=self._credential,
                    timeout=UNARY_TIMEOUT_SECONDS,
                )
            yield tuple(map(_forward, answer.forwarding_events))
            if len(answer.forwarding_events) < self._page:
                return
            offset = answer.last_offset_index


def _forward(event: lightning_pb2.ForwardingEvent) -> Forward:
    return Forward(
        at=datetime.fromtimestamp(event.timestamp_ns / 1e9, tz=UTC),
        incoming=ChannelId(str(event.chan_id_in)),
        outgoing=ChannelId(str(event.chan_id_out)),
        amount_in_msat=event.amt_in_msat,
        amount_out_msat=event.amt_out_msat,
    )
