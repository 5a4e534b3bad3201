"""The chain as one node sees it: how far it is, and who at the node hears of each block."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from devnet.simulated.chain import Block, Chain
from devnet.simulated.onchain.transactions import Outpoint, Transaction


class ChainView:
    """A node's own tip. A node that is down or that has lost its backend stays where it was.

    Listeners at the node hear of each block in their order; those who follow the stream
    hear last, so that they find the node to have drawn its conclusions.
    """

    def __init__(self, chain: Chain, node: str) -> None:
        self._chain = chain
        self._node = node
        self._tip = chain.block_at(chain.height)
        self._running = False
        self._lost_backend = False
        self._is_put_back = False
        self._listeners: list[Callable[[int], None]] = []
        self._streams: set[asyncio.Queue[Block]] = set()
        chain.on_block(lambda _: self._follow(), lambda _: self._step_back())

    @property
    def height(self) -> int:
        return self._tip.height

    @property
    def tip(self) -> Block:
        return self._tip

    @property
    def has_backend(self) -> bool:
        """Whether what the node sends reaches anybody."""
        return not self._lost_backend

    @property
    def is_synced(self) -> bool:
        """What the node says of itself."""
        return not (self._lost_backend or self._is_put_back)

    def on_block(self, listener: Callable[[int], None]) -> None:
        """Calls `listener` with the height of every block that the node hears of."""
        self._listeners.append(listener)

    def start(self) -> None:
        """Begins to follow, with what was missed. A restart finds the backend again."""
        self._running = True
        self._lost_backend = False
        self._follow()

    def stop(self) -> None:
        self._running = False

    def lose_backend(self) -> None:
        """The node answers, says that it is not in step, and hears of no block any more."""
        self._lost_backend = True

    def find_backend(self) -> None:
        self._lost_backend = False
        self._follow()

    def height_of(self, txid: str) -> int | None:
        """Of the block that has a transaction, if the node has that block."""
        height = self._chain.height_of(txid)
        return height if height is not None and height <= self.height else None

    def block_at(self, height: int) -> Block:
        return self._chain.block_at(height)

    def spender(self, outpoint: Outpoint) -> Transaction | None:
        """What spends an output in a block that the node has."""
        spender = self._chain.spender(outpoint)
        if spender is None or self.height_of(spender.txid) is None:
            return None
        return spender

    async def follow(self, known: Block | None) -> AsyncIterator[Block]:
        """The blocks after `known`, or the present tip first; then every other."""
        blocks: asyncio.Queue[Block] = asyncio.Queue()
        for block in [self._tip] if known is None else self._since(known):
            blocks.put_nowait(block)
        self._streams.add(blocks)
        try:
            while True:
                yield await blocks.get()
        finally:
            self._streams.discard(blocks)

    def _since(self, known: Block) -> list[Block]:
        first = known.height + 1
        here = self._chain.block_at(min(known.height, self.height))
        if here.block_hash != known.block_hash:
            first = here.height  # what took its place is news
        return [self._chain.block_at(height) for height in range(first, self.height + 1)]

    def _follow(self) -> None:
        while self._running and not self._lost_backend and self.height < self._chain.height:
            self._tip = self._chain.block_at(self.height + 1)
            self._is_put_back = False
            for listener in self._listeners:
                listener(self.height)
            for stream in self._streams:
                stream.put_nowait(self._tip)

    def _step_back(self) -> None:
        """A block that the node had was taken back; those who follow the stream hear nothing."""
        if self.height > self._chain.height:
            self._tip = self._chain.block_at(self._chain.height)
            self._is_put_back = True  # out of step, until the next block
