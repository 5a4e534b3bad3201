"""The swaps of one loopd: quotes, beginning one, looking at them, following one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Final

from fulgurite.errors import SwapNotFoundError
from fulgurite.identity import PaymentHash
from fulgurite.swaps.limits import Bounds, Cost, Direction, Quote, Terms
from fulgurite.swaps.reasons import SwapReason
from fulgurite.swaps.requests import SwapRequest
from fulgurite.swaps.told import LoopState, LoopSwap, Sighting
from nodes.loop.connection import UNARY_TIMEOUT_SECONDS, LoopConnection
from nodes.loop.errors import domain_errors
from protos.looprpc import client_pb2

# Told to the server as part of the user agent.
_INITIATOR: Final = "fulgurite"

_Filter = client_pb2.ListSwapsFilter
_TYPES: Final = {
    Direction.OUT: (client_pb2.LOOP_OUT, _Filter.LOOP_OUT),
    Direction.IN: (client_pb2.LOOP_IN, _Filter.LOOP_IN),
}


class LoopSwaps:
    """Swaps by one loopd, with the macaroon that it wrote."""

    def __init__(self, connection: LoopConnection) -> None:
        self.connection = connection
        self._node = connection.name

    async def terms(self, direction: Direction) -> Terms:
        """What the server swaps. Raises NodeErrors."""
        stub, request = self.connection.stub(), client_pb2.TermsRequest()
        ask = stub.LoopOutTerms if direction is Direction.OUT else stub.GetLoopInTerms
        with domain_errors(self._node):
            answer = await ask(
                request, metadata=self.connection.credential(), timeout=UNARY_TIMEOUT_SECONDS
            )
        return Terms(min_sat=answer.min_swap_amount, max_sat=answer.max_swap_amount)

    async def quote(self, request: SwapRequest) -> Quote:
        """What it would cost now. Raises SwapRefusedError, and NodeErrors."""
        stub, metadata = self.connection.stub(), self.connection.credential()
        ask = client_pb2.QuoteRequest(
            amt=request.amount_sat,
            conf_target=0 if request.external_htlc else request.conf_target_blocks,
            external_htlc=request.external_htlc,
            swap_publication_deadline=_publication_deadline(request),
            loop_in_last_hop=request.last_hop.raw() if request.last_hop else b"",
        )
        with domain_errors(self._node):
            if request.direction is Direction.OUT:
                out = await stub.LoopOutQuote(ask, metadata=metadata, timeout=UNARY_TIMEOUT_SECONDS)
                return Quote(
                    swap_fee_sat=out.swap_fee_sat,
                    prepay_sat=out.prepay_amt_sat,
                    miner_fee_sat=out.htlc_sweep_fee_sat,
                    cltv_delta_blocks=out.cltv_delta,
                )
            back = await stub.GetLoopInQuote(ask, metadata=metadata, timeout=UNARY_TIMEOUT_SECONDS)
        return Quote(
            swap_fee_sat=back.swap_fee_sat,
            miner_fee_sat=back.htlc_publish_fee_sat,
            cltv_delta_blocks=back.cltv_delta,
        )

    async def begin(self, request: SwapRequest, label: str, bounds: Bounds) -> PaymentHash:
        """Has loopd begin the swap; its hash. Two calls are two swaps.

        Raises SwapRefusedError where nothing was stored. Every other error leaves open whether
        it has begun, and so does a call that is cut off: give it its time.
        """
        stub, metadata = self.connection.stub(), self.connection.credential()
        patience = float(request.initiation_seconds)
        with domain_errors(self._node):
            if request.direction is Direction.OUT:
                answer = await stub.LoopOut(
                    _loop_out(request, label, bounds), metadata=metadata, timeout=patience
                )
            else:
                answer = await stub.LoopIn(
                    _loop_in(request, label, bounds), metadata=metadata, timeout=patience
                )
        return PaymentHash.of_bytes(answer.id_bytes)

    async def sighting(self, direction: Direction, prefix: str) -> Sighting:
        """What loopd lists under labels that begin with `prefix`, oldest first.

        And how many swaps it has stored and does not list. The list is read before the count:
        what is begun between the two looks like an orphan for this one look, and never hides
        one. Raises NodeErrors.
        """
        swaps = await self._list(direction)
        with domain_errors(self._node):
            info = await self.connection.stub().GetInfo(
                client_pb2.GetInfoRequest(),
                metadata=self.connection.credential(),
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        stats = info.loop_out_stats if direction is Direction.OUT else info.loop_in_stats
        stored = stats.pending_count + stats.success_count + stats.fail_count
        return Sighting(
            swaps=tuple(swap for swap in swaps if swap.label.startswith(prefix)),
            unlisted=max(0, stored - len(swaps)),
        )

    async def every(self) -> list[LoopSwap]:
        """All that loopd lists, both ways, oldest first. Raises NodeErrors."""
        swaps = [swap for direction in Direction for swap in await self._list(direction)]
        return sorted(swaps, key=lambda swap: (swap.initiated_at, swap.swap_hash))

    async def find(self, swap_hash: PaymentHash) -> LoopSwap:
        """The present word of loopd. Raises SwapNotFoundError, and NodeErrors."""
        with domain_errors(self._node):
            status = await self.connection.stub().SwapInfo(
                client_pb2.SwapInfoRequest(id=swap_hash.raw()),
                metadata=self.connection.credential(),
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        swap = _swap(status)
        if swap is None:
            raise SwapNotFoundError(f"loopd of {self._node}: {swap_hash} is of another kind")
        return swap

    @asynccontextmanager
    async def monitor(self) -> AsyncIterator[AsyncIterator[LoopSwap]]:
        """Swaps as they move, what is pending first; raises NodeErrors when it is lost."""
        call = self.connection.stub().Monitor(
            client_pb2.MonitorRequest(), metadata=self.connection.credential()
        )

        async def swaps() -> AsyncIterator[LoopSwap]:
            with domain_errors(self._node):
                async for status in call:
                    if swap := _swap(status):
                        yield swap

        try:
            yield swaps()
        finally:
            call.cancel()

    async def abandon(self, swap_hash: PaymentHash) -> None:
        """Has loopd stop caring for a swap in. Raises SwapRefusedError, and NodeErrors."""
        with domain_errors(self._node):
            await self.connection.stub().AbandonSwap(
                client_pb2.AbandonSwapRequest(id=swap_hash.raw(), i_know_what_i_am_doing=True),
                metadata=self.connection.credential(),
                timeout=UNARY_TIMEOUT_SECONDS,
            )

    async def _list(self, direction: Direction) -> list[LoopSwap]:
        wanted = _TYPES[direction][1]
        with domain_errors(self._node):
            answer = await self.connection.stub().ListSwaps(
                client_pb2.ListSwapsRequest(list_swap_filter=_Filter(swap_type=wanted)),
                metadata=self.connection.credential(),
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        return [swap for status in answer.swaps if (swap := _swap(status))]


def _loop_out(request: SwapRequest, label: str, bounds: Bounds) -> client_pb2.LoopOutRequest:
    return client_pb2.LoopOutRequest(
        amt=request.amount_sat,
        max_swap_fee=bounds.max_swap_fee_sat,
        max_prepay_amt=bounds.max_prepay_sat,
        max_miner_fee=bounds.max_miner_fee_sat,
        max_swap_routing_fee=bounds.max_routing_sat,
        max_prepay_routing_fee=bounds.max_prepay_routing_sat,
        outgoing_chan_set=[channel.number for channel in request.channels],
        sweep_conf_target=request.conf_target_blocks,
        htlc_confirmations=request.htlc_confirmations,
        swap_publication_deadline=_publication_deadline(request),
        label=label,
        initiator=_INITIATOR,
    )


def _loop_in(request: SwapRequest, label: str, bounds: Bounds) -> client_pb2.LoopInRequest:
    return client_pb2.LoopInRequest(
        amt=request.amount_sat,
        max_swap_fee=bounds.max_swap_fee_sat,
        max_miner_fee=bounds.max_miner_fee_sat,
        last_hop=request.last_hop.raw() if request.last_hop else b"",
        external_htlc=request.external_htlc,
        htlc_conf_target=0 if request.external_htlc else request.conf_target_blocks,
        label=label,
        initiator=_INITIATOR,
    )


def _publication_deadline(request: SwapRequest) -> int:
    """Unix seconds; 0 is at once, to loopd as to a server."""
    if not request.publish_within_seconds:
        return 0
    until = datetime.now(UTC) + timedelta(seconds=request.publish_within_seconds)
    return int(until.timestamp())


def _swap(status: client_pb2.SwapStatus) -> LoopSwap | None:
    """None: a swap from a static address, which is none of ours."""
    direction = next((each for each, (kind, _) in _TYPES.items() if kind == status.type), None)
    if direction is None:
        return None
    reason = client_pb2.FailureReason.Name(status.failure_reason)
    return LoopSwap(
        swap_hash=PaymentHash.of_bytes(status.id_bytes),
        direction=direction,
        label=status.label,
        amount_sat=status.amt,
        state=LoopState(client_pb2.SwapState.Name(status.state)),
        reason=SwapReason(reason.removeprefix("FAILURE_REASON_")),
        cost=Cost(
            server_sat=status.cost_server,
            on_chain_sat=status.cost_onchain,
            off_chain_sat=status.cost_offchain,
        ),
        htlc_address=status.htlc_address_p2tr or status.htlc_address_p2wsh,
        initiated_at=_moment(status.initiation_time),
        updated_at=_moment(status.last_update_time),
    )


def _moment(nanoseconds: int) -> datetime:
    """To the millisecond: a float of so many nanoseconds would not be the same twice."""
    return datetime.fromtimestamp(nanoseconds // 1_000_000_000, UTC) + timedelta(
        milliseconds=nanoseconds // 1_000_000 % 1_000
    )
