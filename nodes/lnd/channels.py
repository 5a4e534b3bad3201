"""Channels of one LND: open, opening, closing and closed, as its lists say; and their backup."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final

from fulgurite.chain.tip import Tip
from fulgurite.channels.channel import Channel, Htlc
from fulgurite.channels.closing import Closing
from fulgurite.identity import ChannelId, ChannelPoint, NodePubkey, PaymentHash, Txid
from nodes.lnd.chain import LndChain
from nodes.lnd.connection import UNARY_TIMEOUT_SECONDS, LndConnection
from nodes.lnd.errors import domain_errors
from nodes.lnd.listed import Reading, anchors_sat
from nodes.lnd.payments import STREAM_TIMEOUT_SECONDS
from nodes.lnd.remembering import Memory
from nodes.lnd.sweeper import Offers
from nodes.lnd.sweeps import WalletTransactions
from nodes.roles import Role
from protos.lnrpc import lightning_pb2, lightning_pb2_grpc
from protos.walletrpc import walletkit_pb2, walletkit_pb2_grpc

_Update = lightning_pb2.ChannelEventUpdate
# HTLCs come and go all the time, and change no list.
_NO_CHANGE: Final = _Update.CHANNEL_UPDATE
# GetTransactions' word for "and what is in no block".
_UNCONFIRMED: Final = -1


@dataclass(frozen=True)
class PendingChannels:
    """Channels that are neither open nor closed."""

    opening: tuple[ChannelPoint, ...]
    closing: tuple[Closing, ...]


class LndChannels:
    """Looks at the channels of one node, by its observe macaroon."""

    def __init__(self, connection: LndConnection) -> None:
        self._node = connection.name
        self._credential = connection.credential(Role.OBSERVE)
        self._lightning = lightning_pb2_grpc.LightningStub(connection.channel())
        self._wallet = walletkit_pb2_grpc.WalletKitStub(connection.channel())
        self._chain = LndChain(connection)
        self._memory = Memory()

    async def tip(self) -> Tip:
        """As LndChain says it. Raises NodeErrors."""
        return await self._chain.tip()

    async def channels(self) -> tuple[Channel, ...]:
        """The open ones, with their HTLCs. Raises NodeErrors.

        A channel that its peer has force closed is among them, and called active, until its
        closing transaction is some blocks deep: LND does not look before.
        """
        with domain_errors(self._node):
            answer = await self._lightning.ListChannels(
                lightning_pb2.ListChannelsRequest(peer_alias_lookup=True),
                metadata=self._credential,
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        return tuple(map(_channel, answer.channels))

    async def pending(self) -> PendingChannels:
        """Those that open or close, the latter with every output. Raises NodeErrors."""
        # Before the lists: they may be newer, and never older.
        tip = await self.tip()
        answer = await self._pending()
        waiting, forced = answer.waiting_close_channels, answer.pending_force_closing_channels
        reading = Reading(tip, self._memory)
        if waiting or forced:
            offers = await self._offers()
            self._memory.saw(offers)
            reading = Reading(tip, self._memory, await self._transactions(), offers)
            reading.explain(forced)
        return PendingChannels(
            opening=tuple(
                ChannelPoint(each.channel.channel_point) for each in answer.pending_open_channels
            ),
            closing=(*map(reading.waiting, waiting), *map(reading.forced, forced)),
        )

    async def closed(self, tip: Tip) -> tuple[Closing, ...]:
        """Those whose every output is resolved, seen at `tip` or later. Raises NodeErrors."""
        # Before the closed ones: a channel that becomes one of them meanwhile is in both lists.
        pending = await self._pending()
        with domain_errors(self._node):
            answer = await self._lightning.ClosedChannels(
                lightning_pb2.ClosedChannelsRequest(),
                metadata=self._credential,
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        if not answer.channels:
            return ()
        reading = Reading(tip, self._memory, await self._transactions())
        forced = pending.pending_force_closing_channels
        reading.explain(forced, answer.channels)
        others = {Txid(each.closing_txid) for each in forced}
        return tuple(reading.closed(each, others) for each in answer.channels)

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[str]]:
        """LND's word for each change of a channel, as it happens; nothing of the past is told.

        Not for each HTLC. A close by the peer is told when it is final, and not when it is
        seen. Raises NodeErrors while iterating. Leaving drops the stream.
        """
        call = self._lightning.SubscribeChannelEvents(
            lightning_pb2.ChannelEventSubscription(),
            metadata=self._credential,
            timeout=STREAM_TIMEOUT_SECONDS,
        )
        try:
            yield self._told(call)
        finally:
            call.cancel()

    async def export_backup(self) -> tuple[bytes, tuple[ChannelPoint, ...]]:
        """The static backup of all channels, encrypted by LND, and which are in it.

        Raises NodeErrors.
        """
        with domain_errors(self._node):
            answer = await self._lightning.ExportAllChannelBackups(
                lightning_pb2.ChanBackupExportRequest(),
                metadata=self._credential,
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        backup = answer.multi_chan_backup
        return backup.multi_chan_backup, tuple(map(_point, backup.chan_points))

    async def verify_backup(self, backup: bytes) -> None:
        """Raises BackupError when LND cannot read it, or it is another node's; NodeErrors."""
        with domain_errors(self._node):
            await self._lightning.VerifyChanBackup(
                lightning_pb2.ChanBackupSnapshot(
                    multi_chan_backup=lightning_pb2.MultiChanBackup(multi_chan_backup=backup)
                ),
                metadata=self._credential,
                timeout=UNARY_TIMEOUT_SECONDS,
            )

    async def _pending(self) -> lightning_pb2.PendingChannelsResponse:
        with domain_errors(self._node):
            return await self._lightning.PendingChannels(
                lightning_pb2.PendingChannelsRequest(),
                metadata=self._credential,
                timeout=UNARY_TIMEOUT_SECONDS,
            )

    async def _offers(self) -> Offers:
        with domain_errors(self._node):
            answer = await self._wallet.PendingSweeps(
                walletkit_pb2.PendingSweepsRequest(),
                metadata=self._credential,
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        return Offers(answer.pending_sweeps)

    async def _transactions(self) -> WalletTransactions:
        with domain_errors(self._node):
            answer = await self._lightning.GetTransactions(
                lightning_pb2.GetTransactionsRequest(end_height=_UNCONFIRMED),
                metadata=self._credential,
                timeout=UNARY_TIMEOUT_SECONDS,
            )
        return WalletTransactions(answer.transactions)

    async def _told(self, call: AsyncIterable[_Update]) -> AsyncIterator[str]:
        names = {number: name for name, number in _Update.UpdateType.items()}
        with domain_errors(self._node):
            async for update in call:
                if update.type != _NO_CHANGE:
                    yield names.get(update.type, "of a later LND")


def _channel(listed: lightning_pb2.Channel) -> Channel:
    return Channel(
        channel_point=ChannelPoint(listed.channel_point),
        channel_id=ChannelId(str(listed.chan_id)),
        peer=NodePubkey(listed.remote_pubkey),
        peer_alias=listed.peer_alias,
        active=listed.active,
        private=listed.private,
        initiator=listed.initiator,
        capacity_sat=listed.capacity,
        local_sat=listed.local_balance,
        remote_sat=listed.remote_balance,
        commit_fee_sat=listed.commit_fee,
        anchors_sat=anchors_sat(listed.commitment_type),
        csv_blocks=listed.local_constraints.csv_delay,
        htlcs=tuple(map(_htlc, listed.pending_htlcs)),
    )


def _htlc(listed: lightning_pb2.HTLC) -> Htlc:
    forwarding = listed.forwarding_channel
    return Htlc(
        payment_hash=PaymentHash.of_bytes(listed.hash_lock),
        amount_sat=listed.amount,
        incoming=listed.incoming,
        expiry_height=listed.expiration_height,
        forwarding_channel=ChannelId(str(forwarding)) if forwarding else None,
    )


def _point(told: lightning_pb2.ChannelPoint) -> ChannelPoint:
    """LND writes the transaction as people do, or as on the wire, reversed."""
    txid = told.funding_txid_str or Txid.of_bytes(told.funding_txid_bytes[::-1])
    return ChannelPoint(f"{txid}:{told.output_index}")
