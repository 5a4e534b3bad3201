"""What a node tells of its channels to those who follow them, in lnd's order."""

from __future__ import annotations

from collections.abc import Callable

from devnet.simulated.channel_events import ChannelEvents, Update
from devnet.simulated.channels import Channel
from devnet.simulated.closing.closure import CloseType, Closure
from devnet.simulated.closing.messages import channel_point, close_summary, wire
from devnet.simulated.graph import Graph
from devnet.simulated.marshal import channel_message
from devnet.simulated.openings import Opening, Openings
from protos.lnrpc import lightning_pb2


class Announcer:
    """Hears of the channels of one node, and tells its subscribers."""

    def __init__(
        self,
        node: str,
        graph: Graph,
        openings: Openings,
        is_open: Callable[[Channel], bool],
    ) -> None:
        self._is_open = is_open
        self.events = ChannelEvents()
        self._node = node
        self._graph = graph
        openings.on_pending(self._pending_open)
        graph.on_open(self._opened)
        graph.on_link(self._linked)
        graph.on_update(self._updated)

    def inactive(self, closure: Closure) -> None:
        """The node itself has taken the link down, or has learned that the peer had."""
        self._tell_link(closure.channel, is_up=False)

    def confirmed(self, closure: Closure) -> None:
        """Both have signed it, so that one block is enough to tell."""
        if closure.close_type == CloseType.COOPERATIVE_CLOSE:
            self._closed(closure)

    def closed(self, closure: Closure) -> None:
        """Deep enough for a close that only one end has wanted."""
        if closure.close_type != CloseType.COOPERATIVE_CLOSE:
            self._closed(closure)

    def resolved(self, closure: Closure) -> None:
        self.events.tell(
            lambda: Update(
                type=Update.FULLY_RESOLVED_CHANNEL,
                fully_resolved_channel=channel_point(closure.channel.funding),
            )
        )

    def _closed(self, closure: Closure) -> None:
        self.events.tell(
            lambda: Update(
                type=Update.CLOSED_CHANNEL,
                closed_channel=close_summary(closure, self._node, self._graph),
            )
        )

    def _pending_open(self, opening: Opening) -> None:
        if self._node in (opening.opener, opening.peer):
            self.events.tell(
                lambda: Update(
                    type=Update.PENDING_OPEN_CHANNEL,
                    pending_open_channel=lightning_pb2.PendingUpdate(
                        txid=wire(opening.funding_txid)
                    ),
                )
            )

    def _opened(self, channel: Channel) -> None:
        self._tell(
            channel,
            lambda: Update(
                type=Update.OPEN_CHANNEL,
                open_channel=channel_message(channel, self._node, self._graph),
            ),
        )

    def _linked(self, channel: Channel, *, is_up: bool) -> None:
        """The peer is there, or is gone; of what is closing that is no news."""
        if self._is_open(channel):
            self._tell_link(channel, is_up=is_up)

    def _tell_link(self, channel: Channel, *, is_up: bool) -> None:
        point = channel_point(channel.funding)
        self._tell(
            channel,
            lambda: (
                Update(type=Update.ACTIVE_CHANNEL, active_channel=point)
                if is_up
                else Update(type=Update.INACTIVE_CHANNEL, inactive_channel=point)
            ),
        )

    def _updated(self, channel: Channel) -> None:
        self._tell(
            channel,
            lambda: Update(
                type=Update.CHANNEL_UPDATE,
                updated_channel=lightning_pb2.ChannelCommitUpdate(
                    channel=channel_message(channel, self._node, self._graph)
                ),
            ),
        )

    def _tell(self, channel: Channel, update: Callable[[], Update]) -> None:
        if self._node in (channel.opener, channel.peer):
            self.events.tell(update)
