"""LND's lists of channels, read once for all who look at the same time.

A thousand closings that are woken by one block look at one snapshot. What is read is never
older than the block that is the reason to look.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Generic, Protocol, TypeVar

from fulgurite.chain.tip import Tip
from fulgurite.channels.channel import Channel
from fulgurite.channels.closing import ClosePhase, Closing
from fulgurite.identity import ChannelPoint, NodeName

# At the same tip, what happens without a block is seen after so long: a transaction that was
# published, an HTLC that was resolved off chain.
_SAME_BLOCK_SECONDS: Final = 20.0
# So long LND takes to move channels from list to list after a block, seen: up to 0.3.
_SETTLES_SECONDS: Final = 0.7
# So long an answer holds without asking whether the tip is still the same.
_SAME_MOMENT_SECONDS: Final = 1.0

Answer = TypeVar("Answer")


class ListedNode(Protocol):
    """What a snapshot is made of; see `nodes.lnd.channels` and `nodes.lnd.closing`."""

    async def tip(self) -> Tip: ...

    async def channels(self) -> tuple[Channel, ...]: ...

    async def pending(self) -> Pending: ...

    async def closed(self, tip: Tip) -> tuple[Closing, ...]: ...


class Pending(Protocol):
    """Channels that are neither open nor closed."""

    @property
    def opening(self) -> tuple[ChannelPoint, ...]: ...

    @property
    def closing(self) -> tuple[Closing, ...]: ...


@dataclass(frozen=True)
class Snapshot:
    """What LND's lists said, from the open channels to the closed ones.

    In this order, because a channel moves only in this direction: one that moves meanwhile is
    in two lists, and not in none.
    """

    tip: Tip
    taken_at: float
    channels: Mapping[ChannelPoint, Channel]
    opening: tuple[ChannelPoint, ...]
    closing: Mapping[ChannelPoint, Closing]
    _read_closed: Callable[[], Awaitable[Mapping[ChannelPoint, Closing]]] = field(repr=False)

    async def look(self, point: ChannelPoint) -> Closing:
        """LND's word on one channel. Those that are closed are listed only when asked for."""
        if point in self.closing:
            return self.closing[point]
        if channel := self.channels.get(point):
            return _open(channel, self.tip)
        closed = await self._read_closed()
        unknown = Closing(phase=ClosePhase.UNKNOWN, tip=self.tip, channel_point=point)
        return closed.get(point, unknown)


class Snapshots:
    """The newest of each node."""

    def __init__(self, node: Callable[[NodeName], ListedNode]) -> None:
        self._node = node
        self._newest: dict[NodeName, Snapshot] = {}
        self._tips: dict[NodeName, tuple[float, Tip]] = {}
        self._reading: _Together[Snapshot] = _Together(self._read)
        self._asking: _Together[Tip] = _Together(self._ask)

    async def of(self, node: NodeName, tip: Tip | None = None) -> Snapshot:
        """One that is not older than the block `tip`.

        Without, than the one that was the node's newest a second ago. Raises NodeErrors.
        """
        newest = self._newest.get(node)
        if newest is not None and await self._holds(newest, node, tip):
            return newest
        snapshot = await self._reading.one(node)
        if tip is not None and snapshot.tip.height < tip.height:
            # It was begun before the block came.
            snapshot = await self._reading.one(node)
        return snapshot

    async def fresh(self, node: NodeName) -> Snapshot:
        """One that was begun after this was called. Raises NodeErrors."""
        return await self._reading.next(node)

    async def _holds(self, snapshot: Snapshot, node: NodeName, tip: Tip | None) -> bool:
        if _now() - snapshot.taken_at > _SAME_BLOCK_SECONDS:
            return False
        return _same_block(snapshot.tip, tip or await self._present_tip(node))

    async def _present_tip(self, node: NodeName) -> Tip:
        """Asked for once a second, however many look."""
        asked_at, tip = self._tips[node]
        return tip if _now() - asked_at <= _SAME_MOMENT_SECONDS else await self._asking.one(node)

    async def _ask(self, name: NodeName) -> Tip:
        asked_at = _now()
        tip = await self._node(name).tip()
        self._tips[name] = asked_at, tip
        return tip

    async def _read(self, name: NodeName) -> Snapshot:
        node, taken_at = self._node(name), _now()
        # Before the lists: they may be newer, and never older.
        tip = await self._ask(name)
        before = self._newest.get(name)
        if before is not None and not _same_block(before.tip, tip):
            await asyncio.sleep(_SETTLES_SECONDS)
        channels = await node.channels()
        pending = await node.pending()
        snapshot = Snapshot(
            tip=tip,
            taken_at=taken_at,
            channels={each.channel_point: each for each in channels},
            opening=pending.opening,
            closing={each.channel_point: each for each in pending.closing},
            _read_closed=_Once(lambda: _closed(node, tip)),
        )
        self._newest[name] = snapshot
        return snapshot


class _Together(Generic[Answer]):
    """One question at a time to each node, and its answer, or its failure, for all who ask."""

    def __init__(self, ask: Callable[[NodeName], Coroutine[Any, Any, Answer]]) -> None:
        self._ask = ask
        self._under_way: dict[NodeName, asyncio.Task[Answer]] = {}

    async def one(self, node: NodeName) -> Answer:
        """The answer to the question that is under way, or to a new one."""
        asking = self._under_way.get(node)
        if asking is None:
            asking = self._under_way[node] = asyncio.create_task(self._ask(node))
            asking.add_done_callback(lambda done: self._is_over(node, done))
        # Who gives up takes nothing from the others.
        return await asyncio.shield(asking)

    async def next(self, node: NodeName) -> Answer:
        """The answer to a question that was asked after this was called."""
        if before := self._under_way.get(node):
            await asyncio.wait({before})
        return await self.one(node)

    def _is_over(self, node: NodeName, asking: asyncio.Task[Answer]) -> None:
        del self._under_way[node]
        if not asking.cancelled():
            asking.exception()  # looked at here, in case that nobody waits any more


class _Once:
    """Reads once for all who ask; again where that failed."""

    def __init__(self, read: Callable[[], Awaitable[Mapping[ChannelPoint, Closing]]]) -> None:
        self._read = read
        self._lock = asyncio.Lock()
        self._answer: Mapping[ChannelPoint, Closing] | None = None

    async def __call__(self) -> Mapping[ChannelPoint, Closing]:
        async with self._lock:
            if self._answer is None:
                self._answer = await self._read()
            return self._answer


async def _closed(node: ListedNode, tip: Tip) -> Mapping[ChannelPoint, Closing]:
    return {each.channel_point: each for each in await node.closed(tip)}


def _open(channel: Channel, tip: Tip) -> Closing:
    return Closing(
        phase=ClosePhase.OPEN,
        tip=tip,
        channel_point=channel.channel_point,
        peer=channel.peer,
        capacity_sat=channel.capacity_sat,
        htlcs_expire_at=min((htlc.expiry_height for htlc in channel.htlcs), default=None),
        htlcs_sat=sum(htlc.amount_sat for htlc in channel.htlcs if not htlc.incoming),
    )


def _same_block(one: Tip, other: Tip) -> bool:
    return (one.height, one.block_hash) == (other.height, other.block_hash)


def _now() -> float:
    return asyncio.get_running_loop().time()
