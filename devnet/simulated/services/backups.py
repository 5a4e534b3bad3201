"""The part of lnrpc.Lightning that is about static channel backups."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from protos.lnrpc import lightning_pb2

if TYPE_CHECKING:
    from devnet.simulated.node import SimulatedNode

Update = lightning_pb2.ChannelEventUpdate

# What changes the set of channels. HTLCs do not.
_CHANGES = (
    Update.PENDING_OPEN_CHANNEL,
    Update.OPEN_CHANNEL,
    Update.CLOSED_CHANNEL,
    Update.FULLY_RESOLVED_CHANNEL,
    Update.CHANNEL_FUNDING_TIMEOUT,
)


class BackupsService:
    _node: SimulatedNode

    async def export_all_channel_backups(
        self, _: lightning_pb2.ChanBackupExportRequest
    ) -> lightning_pb2.ChanBackupSnapshot:
        return self._node.backups.export()

    async def verify_chan_backup(
        self, request: lightning_pb2.ChanBackupSnapshot
    ) -> lightning_pb2.VerifyChanBackupResponse:
        return self._node.backups.verify(request)

    async def subscribe_channel_backups(
        self, _: lightning_pb2.ChannelBackupSubscription
    ) -> AsyncIterator[lightning_pb2.ChanBackupSnapshot]:
        """One after every change; of the present ones nothing is said."""
        async for update in self._node.announcer.events.follow():
            if update.type in _CHANGES:
                yield self._node.backups.export()
