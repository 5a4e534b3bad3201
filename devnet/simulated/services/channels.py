"""The part of lnrpc.Lightning that is about channels: what there are, and how they end."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from devnet.simulated.closing.closure import Closure, Phase
from devnet.simulated.closing.cooperative import Terms, cooperative_close, fee_rate
from devnet.simulated.closing.messages import (
    close_summary,
    force_closing,
    pending_open,
    waiting_close,
    wire,
)
from devnet.simulated.errors import RpcError
from devnet.simulated.fallback_addresses import to_words
from devnet.simulated.marshal import channel_message
from devnet.simulated.payment_requests import CURRENCY
from protos.lnrpc import lightning_pb2

if TYPE_CHECKING:
    from devnet.simulated.node import SimulatedNode

CloseType = lightning_pb2.ChannelCloseSummary.ClosureType


class ChannelsService:
    def __init__(self, node: SimulatedNode) -> None:
        self._node = node

    async def list_channels(
        self, request: lightning_pb2.ListChannelsRequest
    ) -> lightning_pb2.ListChannelsResponse:
        if request.active_only and request.inactive_only:
            raise RpcError("either `active_only` or `inactive_only` can be set, but not both")
        name, graph = self._node.name, self._node.graph
        messages = [
            channel_message(channel, name, graph)
            for channel in self._node.closures.open_channels()
            if (channel.is_linked or not request.active_only)
            and not (channel.is_linked and request.inactive_only)
            and request.peer.hex() in ("", graph.public_key_of(channel.other(name)))
        ]
        if request.peer_alias_lookup:
            for message in messages:
                message.peer_alias = graph.name_of(message.remote_pubkey) or ""
        return lightning_pb2.ListChannelsResponse(channels=messages)

    async def pending_channels(
        self, _: lightning_pb2.PendingChannelsRequest
    ) -> lightning_pb2.PendingChannelsResponse:
        node = self._node
        closures = list(node.closures.all())
        waiting = [
            waiting_close(each, node.name, node.graph)
            for each in closures
            if each.phase is Phase.WAITING_CLOSE
        ]
        forced = [
            force_closing(each, node.name, node.graph, height=node.view.height)
            for each in closures
            if each.phase is Phase.FORCE_CLOSING
        ]
        return lightning_pb2.PendingChannelsResponse(
            total_limbo_balance=sum(each.limbo_balance for each in waiting)
            + sum(each.limbo_balance for each in forced),
            pending_open_channels=[
                pending_open(each, node.name, node.graph)
                for each in node.openings.pending(node.name)
            ],
            pending_force_closing_channels=forced,
            waiting_close_channels=waiting,
        )

    async def closed_channels(
        self, request: lightning_pb2.ClosedChannelsRequest
    ) -> lightning_pb2.ClosedChannelsResponse:
        wanted = {
            CloseType.COOPERATIVE_CLOSE: request.cooperative,
            CloseType.LOCAL_FORCE_CLOSE: request.local_force,
            CloseType.REMOTE_FORCE_CLOSE: request.remote_force,
            CloseType.BREACH_CLOSE: request.breach,
            CloseType.FUNDING_CANCELED: request.funding_canceled,
            CloseType.ABANDONED: request.abandoned,
        }
        closed = [
            closure
            for closure in self._node.closures.all()
            if closure.phase is Phase.CLOSED
            and (wanted[closure.close_type] or not any(wanted.values()))
        ]
        closed.sort(key=lambda closure: closure.close_height or 0)
        return lightning_pb2.ClosedChannelsResponse(
            channels=[close_summary(each, self._node.name, self._node.graph) for each in closed]
        )

    def subscribe_channel_events(
        self, _: lightning_pb2.ChannelEventSubscription
    ) -> AsyncIterator[lightning_pb2.ChannelEventUpdate]:
        return self._node.announcer.events.follow()

    async def close_channel(
        self, request: lightning_pb2.CloseChannelRequest
    ) -> AsyncIterator[lightning_pb2.CloseStatusUpdate]:
        """Begins at once; the stream only tells of it."""
        closure = self._find(request)
        if request.force:
            if request.sat_per_vbyte or request.target_conf:
                raise RpcError("force closing a channel uses a pre-defined fee")
            txid = closure.force().txid
        else:
            terms = self._terms(closure, request)
            if request.no_wait:
                yield lightning_pb2.CloseStatusUpdate(
                    close_instant=lightning_pb2.InstantUpdate(
                        num_pending_htlcs=len(closure.channel.pending)
                    )
                )
            await self._node.shut_down(closure.channel, terms).wait()
            txid = closure.closing_txid
        yield lightning_pb2.CloseStatusUpdate(
            close_pending=lightning_pb2.PendingUpdate(txid=wire(txid))
        )
        depth = 1 if request.force else closure.required_confirmations
        async for block in self._node.view.follow(None):
            height = self._node.view.height_of(txid)
            if height is not None and block.height - height + 1 >= depth:
                break
        yield lightning_pb2.CloseStatusUpdate(
            chan_close=lightning_pb2.ChannelCloseUpdate(closing_txid=wire(txid), success=True)
        )

    def _find(self, request: lightning_pb2.CloseChannelRequest) -> Closure:
        if not request.HasField("channel_point"):
            raise RpcError("must specify channel point in close channel")
        return self._node.closures.find(point_of(request.channel_point))

    def _terms(self, closure: Closure, request: lightning_pb2.CloseChannelRequest) -> Terms:
        """What both ends would sign; RpcError where lnd refuses to ask the peer."""
        channel = closure.channel
        if closure.phase is not Phase.OPEN or not channel.active:
            raise RpcError(
                "unable to gracefully close channel while peer is offline (try force closing "
                "it instead): channel link not found"
            )
        sat_per_kw = fee_rate(self._node.fees, request.sat_per_vbyte, request.target_conf)
        if channel.pending and not request.no_wait:
            raise RpcError(
                "cannot coop close channel with active htlcs (number of active htlcs: "
                f"{len(channel.pending)}), bypass this check and initiate the coop close by "
                "setting no_wait=true"
            )
        max_sat_per_kw = request.max_fee_per_vbyte * 250
        if max_sat_per_kw and max_sat_per_kw < sat_per_kw:
            raise RpcError(
                f"max_fee_per_vbyte ({max_sat_per_kw} sat/kw) is less than the required fee "
                f"rate ({sat_per_kw} sat/kw)"
            )
        terms = Terms(sat_per_kw, self._foreign(request.delivery_address))
        cooperative_close(channel, self._node.name, terms)  # can the opener pay for it?
        return terms

    def _foreign(self, address: str) -> str:
        """An address that is not of this node's wallet; RpcError where it is none."""
        if not address:
            return ""
        try:
            to_words(address, CURRENCY)
        except RpcError as error:
            raise RpcError(f"invalid delivery address: {error.text}") from error
        return "" if address in self._node.addresses else address


def point_of(message: lightning_pb2.ChannelPoint) -> str:
    """A channel point as people write it, however a request has it."""
    txid = message.funding_txid_str or message.funding_txid_bytes[::-1].hex()
    return f"{txid}:{message.output_index}"
