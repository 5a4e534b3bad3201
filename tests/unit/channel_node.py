"""A node's channels as the activities see them: lists that are read, and closes that are asked."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from fulgurite.chain.tip import Tip
from fulgurite.channels.calls import Bump, Bumped, Reconnected
from fulgurite.channels.channel import Channel, Htlc
from fulgurite.channels.closing import ClosePhase, Closing
from fulgurite.channels.requests import CloseRequest
from fulgurite.errors import FulguriteError, NodeUnavailableError
from fulgurite.identity import ChannelId, ChannelPoint, NodePubkey, PaymentHash
from tests.unit.test_chain_workflow import block

POINTS = [ChannelPoint(f"{number:064x}:0") for number in range(1, 5)]
HASH = PaymentHash("11" * 32)
PEER = NodePubkey("02" + "11" * 32)


def channel(point: ChannelPoint, *htlcs: Htlc, active: bool = True) -> Channel:
    return Channel(
        channel_point=point,
        channel_id=ChannelId("100x1x0"),
        peer=PEER,
        active=active,
        initiator=True,
        capacity_sat=100_000,
        local_sat=60_000,
        remote_sat=39_000,
        commit_fee_sat=1_000,
        csv_blocks=144,
        htlcs=htlcs,
    )


def htlc(payment_hash: PaymentHash = HASH, *, incoming: bool = False, expiry: int = 200) -> Htlc:
    return Htlc(
        payment_hash=payment_hash, amount_sat=10_000, incoming=incoming, expiry_height=expiry
    )


@dataclass(frozen=True)
class Listed:
    """LND's pending channels."""

    opening: tuple[ChannelPoint, ...]
    closing: tuple[Closing, ...]


class ChannelNode:
    """One LND. What it answers is set by the attributes; what it was asked is counted."""

    def __init__(self, *open_: Channel) -> None:
        self.block = block(100)
        self.open = {each.channel_point: each for each in open_}
        self.opening: list[ChannelPoint] = []
        self.pending_now: dict[ChannelPoint, ClosePhase] = {}
        self.ended: set[ChannelPoint] = set()
        self.calls: Counter[str] = Counter()
        self.down = False
        self.takes_seconds = 0.1
        self.close_error: FulguriteError | None = None
        self.close_has_effect = True
        self.listed_after_seconds = 0.0
        self.bump_error: FulguriteError | None = None
        self.backup = b"a backup"
        self.bad_backups: set[bytes] = set()
        self.streams: list[asyncio.Queue[str | None]] = []

    async def _answer(self, name: str) -> None:
        self.calls[name] += 1
        await asyncio.sleep(self.takes_seconds)
        if self.down:
            raise NodeUnavailableError("alice is down")

    async def tip(self) -> Tip:
        await self._answer("tip")
        return self.block

    async def channels(self) -> tuple[Channel, ...]:
        await self._answer("channels")
        return tuple(self.open.values())

    async def pending(self) -> Listed:
        await self._answer("pending")
        return Listed(
            opening=tuple(self.opening),
            closing=tuple(
                self._closing(point, self.pending_now[point]) for point in self.pending_now
            ),
        )

    async def closed(self, tip: Tip) -> tuple[Closing, ...]:
        await self._answer("closed")
        assert tip == self.block
        return tuple(self._closing(point, ClosePhase.CLOSED) for point in sorted(self.ended))

    def _closing(self, point: ChannelPoint, phase: ClosePhase) -> Closing:
        return Closing(phase=phase, tip=self.block, channel_point=point)

    async def close(self, request: CloseRequest) -> None:
        await self._answer("close")
        if self.close_has_effect:
            asyncio.get_running_loop().call_later(
                self.listed_after_seconds, self.begin_closing, request.channel_point
            )
            await asyncio.sleep(0)
        if self.close_error:
            raise self.close_error

    def begin_closing(self, point: ChannelPoint) -> None:
        self.open.pop(point, None)
        self.pending_now[point] = ClosePhase.WAITING_CLOSE

    async def bump(self, ask: Bump) -> Bumped:  # noqa: ARG002 - any will do
        await self._answer("bump")
        if self.bump_error:
            raise self.bump_error
        return Bumped(taken=True)

    async def reconnect(self, peer: NodePubkey) -> Reconnected:
        await self._answer("reconnect")
        return Reconnected(online=peer == PEER)

    @asynccontextmanager
    async def changes(self) -> AsyncIterator[AsyncIterator[object]]:
        self.calls["changes"] += 1
        queue: asyncio.Queue[str | None] = asyncio.Queue()
        self.streams.append(queue)
        try:
            yield self._read(queue)
        finally:
            self.streams.remove(queue)

    async def _read(self, queue: asyncio.Queue[str | None]) -> AsyncIterator[object]:
        if self.down:
            raise NodeUnavailableError("alice is down")
        while (told := await queue.get()) is not None:
            yield told

    def stir(self, word: str | None = "something happened") -> None:
        for stream in self.streams:
            stream.put_nowait(word)

    @asynccontextmanager
    async def blocks(self, after: Tip | None) -> AsyncIterator[AsyncIterator[Tip]]:  # noqa: ARG002
        async def silence() -> AsyncIterator[Tip]:
            await asyncio.Event().wait()
            yield self.block

        yield silence()

    async def export_backup(self) -> tuple[bytes, tuple[ChannelPoint, ...]]:
        await self._answer("export_backup")
        return self.backup, (*self.open, *self.opening)

    async def verify_backup(self, backup: bytes) -> None:
        await self._answer("verify_backup")
        if backup in self.bad_backups:
            raise FulguriteError("LND does not know this backup")
