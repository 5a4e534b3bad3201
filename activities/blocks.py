"""A node's tip, for everybody in this process who waits for one: one subscription a node.

What is streamed says that something happened, and what is asked says what: a stream can die
without a word, and only an answer of the node says whether it is in step with the chain.
"""

from __future__ import annotations

import asyncio
import random
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, suppress
from datetime import UTC, datetime
from typing import Any, Final, Protocol

from temporalio import activity

from activities.backoff import Backoff
from fulgurite.chain.tip import FollowChain, Tip
from fulgurite.errors import FulguriteError, NodeUnavailableError
from fulgurite.identity import NodeName, Txid

# The stream's safety: a block that it did not tell is found after so long.
_ASK_EVERY_SECONDS: Final = 30.0
_ASK_IN_DOUBT_SECONDS: Final = 5.0
# LND's wallet is a block behind for a moment after each block; that is no news.
_BEHIND_SECONDS: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
# So long, several times, what the node answers waits for the stream to tell it too.
_STREAM_FIRST_SECONDS, _STREAM_FIRST_TRIES = 0.05, 20
# So long the stream may be behind what the node answers before it counts as dead.
_STREAM_BEHIND_SECONDS: Final = 10.0
# So many subscriptions of a node that answers may tell nothing before one begins at its tip.
_IN_VAIN: Final = 3
# After a connection that lasted so long, the backoff begins anew.
_HEALTHY_SECONDS: Final = 60.0
# A node that gives no answer for so long is an error, which operators see.
_PATIENCE_SECONDS: Final = 60.0
# Between one who waited and the next one, the subscription stays for so long.
_LINGER_SECONDS: Final = 60.0
# A block that is taken back is known by its height for so many blocks.
_REMEMBERED_BLOCKS: Final = 200


class ChainNode(Protocol):
    """What chain time needs of a node; see `nodes.lnd.chain.LndChain`."""

    async def tip(self) -> Tip: ...

    def blocks(self, after: Tip | None) -> AbstractAsyncContextManager[AsyncIterator[Tip]]: ...


class Blocks:
    """The followers of every node, each for as long as somebody waits."""

    def __init__(
        self,
        node: Callable[[NodeName], ChainNode],
        *,
        draw: Callable[[], float] = random.random,
    ) -> None:
        """`draw` gives the jitter, 0 … 1."""
        self._node = node
        self._draw = draw
        self._followers: dict[NodeName, _Follower] = {}

    async def next(self, ask: FollowChain) -> Tip:
        """A tip that is news to one who knows `ask.known`; at `ask.until` the present one.

        Where the block of `ask.trusted` was taken back, the block that took its place is told
        first, if it was seen: a greater height would hide it. Raises NodeErrors where the node
        gives no answer. Called within an activity; what it begins ends with this worker.
        """
        if ask.node not in self._followers:
            self._followers[ask.node] = _Follower(ask.node, self._node, self._draw)
        return await self._followers[ask.node].next(ask)


class _Follower:
    """One node."""

    def __init__(
        self, name: NodeName, node: Callable[[NodeName], ChainNode], draw: Callable[[], float]
    ) -> None:
        self._name = name
        self._find = node
        self._draw = draw
        self._tip: Tip | None = None
        self._streamed: Tip | None = None
        self._hashes: OrderedDict[int, Txid] = OrderedDict()
        self._answered_at = -_PATIENCE_SECONDS
        self._problem: FulguriteError | None = None
        self._news = asyncio.Event()
        self._stirred = asyncio.Event()
        self._in_vain = 0
        self._waiting = 0
        self._work: asyncio.Task[None] | None = None

    async def next(self, ask: FollowChain) -> Tip:
        self._waiting += 1
        try:
            if ask.trusted and not self._hashes:
                # LND tells what it has put in its place since, also while nobody followed.
                self._remember(ask.trusted)
            self._begin()
            tip = await self._next(ask)
        except BaseException:
            self._waiting -= 1
            self._end_if_idle()
            raise
        self._waiting -= 1
        # Who was told comes back in a moment.
        asyncio.get_running_loop().call_later(_LINGER_SECONDS, self._end_if_idle)
        return tip

    async def _next(self, ask: FollowChain) -> Tip:
        began = _now()
        while True:
            news = self._news
            if tip := self._told(ask.known, ask.trusted):
                return tip
            left = (ask.until - datetime.now(UTC)).total_seconds()
            patience = max(began, self._answered_at) + _PATIENCE_SECONDS - _now()
            if patience <= 0 or (left <= 0 and self._tip is None):
                raise self._problem or NodeUnavailableError(f"{self._name}: no answer")
            if left <= 0 and self._tip is not None:
                return self._tip
            with suppress(TimeoutError):
                async with asyncio.timeout(min(left, patience)):
                    await news.wait()

    def _told(self, known: Tip | None, trusted: Tip | None) -> Tip | None:
        """What is news to one who knows these; None: nothing is."""
        tip = self._tip
        if tip is None or known is None or tip == known:
            return None if tip == known else tip
        if not tip.synced:
            # Of a node that is catching up, the heights are no news; that it is behind is.
            return tip if known.synced else None
        if trusted is not None and tip.height > trusted.height:
            now_there = self._hashes.get(trusted.height, trusted.block_hash)
            if now_there != trusted.block_hash:
                return Tip(height=trusted.height, block_hash=now_there)
        return tip

    # The subscription, while somebody waits.

    def _begin(self) -> None:
        if self._work is None or self._work.done():
            # In the activity's context: it also hears when this worker has to stop.
            self._work = asyncio.create_task(self._until_shutdown())

    def _end_if_idle(self) -> None:
        if not self._waiting and self._work is not None:
            self._work.cancel()
            self._work, self._tip, self._streamed = None, None, None

    async def _until_shutdown(self) -> None:
        work = asyncio.create_task(self._stay_subscribed())
        leaving = asyncio.create_task(activity.wait_for_worker_shutdown())
        try:
            await asyncio.wait({work, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            await _end(work, leaving)

    async def _stay_subscribed(self) -> None:
        backoff = Backoff(self._draw)
        while True:
            began = _now()
            try:
                because = await self._subscribe(self._find(self._name))
            except FulguriteError as error:
                self._problem = error
                because = str(error)
            if _now() - began >= _HEALTHY_SECONDS:
                backoff.begin_anew()
            activity.logger.info(
                "not subscribed to blocks",
                extra={"fulgurite_node": self._name, "because": because},
            )
            await backoff.pause()

    async def _subscribe(self, node: ChainNode) -> str:
        """One subscription, to its end; returns why it ended. Raises NodeErrors."""
        began, after = _now(), self._last_known()
        self._streamed = after
        try:
            async with node.blocks(after) as blocks:
                reading = asyncio.create_task(self._read(blocks))
                try:
                    return await self._keep_asking(node, reading)
                finally:
                    await _end(reading)
        finally:
            told_nothing = after is not None and self._streamed == after
            self._in_vain = self._in_vain + 1 if told_nothing and self._answered_at >= began else 0
            if self._in_vain >= _IN_VAIN:
                # It may be that LND cannot go on from there: a block that it never saw.
                self._hashes.clear()

    async def _keep_asking(self, node: ChainNode, reading: asyncio.Task[None]) -> str:
        behind_since: float | None = None
        while True:
            self._stirred.clear()
            await self._ask(node)
            if reading.done():
                reading.result()
                return "LND closed the stream"
            if not self._stream_is_behind():
                behind_since = None
            elif behind_since is None:
                behind_since = _now()
            elif _now() - behind_since >= _STREAM_BEHIND_SECONDS:
                return "the stream was open, and did not tell a block"
            steady = self._tip is not None and self._tip.synced and behind_since is None
            pause = _ASK_EVERY_SECONDS if steady else _ASK_IN_DOUBT_SECONDS
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._stirred.wait()

    async def _read(self, blocks: AsyncIterator[Tip]) -> None:
        try:
            async for block in blocks:
                self._streamed = block
                self._remember(block)
                self._stirred.set()
        finally:
            self._stirred.set()

    def _stream_is_behind(self, tip: Tip | None = None) -> bool:
        tip = tip or self._tip
        if tip is None or not tip.synced:
            return False
        return self._streamed is None or self._streamed.height < tip.height

    async def _ask(self, node: ChainNode) -> None:
        """What the node says now, and whether it trusts it."""
        tip = await node.tip()
        for pause in _BEHIND_SECONDS:
            if tip.synced or self._tip is None or not self._tip.synced:
                break
            await asyncio.sleep(pause)
            tip = await node.tip()
        self._problem, self._answered_at = None, _now()
        # The stream first: it tells too what was put in the place of blocks that we know.
        for _ in range(_STREAM_FIRST_TRIES):
            if not self._stream_is_behind(tip):
                break
            await asyncio.sleep(_STREAM_FIRST_SECONDS)
        if tip.synced:
            self._remember(tip)
        if tip != self._tip:
            self._tip = tip
            self._news.set()
            self._news = asyncio.Event()

    def _remember(self, block: Tip) -> None:
        for height in [each for each in self._hashes if each > block.height]:
            del self._hashes[height]
        self._hashes[block.height] = block.block_hash
        while len(self._hashes) > _REMEMBERED_BLOCKS:
            self._hashes.popitem(last=False)

    def _last_known(self) -> Tip | None:
        """Where LND goes on telling: also what was put in the place of this block."""
        if not self._hashes:
            return None
        height = max(self._hashes)
        return Tip(height=height, block_hash=self._hashes[height])


def _now() -> float:
    return asyncio.get_running_loop().time()


async def _end(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
