"""A chain without coins or miners: a height that rises on request."""

from __future__ import annotations

from collections.abc import Callable

# High enough that every funding transaction is buried and every expiry is positive.
FIRST_HEIGHT = 200


class Chain:
    """The one chain that all nodes of a network follow.

    Listeners hear each block alone and in order, before `mine` returns, so whoever
    mines finds every node at the new height.
    """

    def __init__(self) -> None:
        self.height = FIRST_HEIGHT
        self._listeners: list[Callable[[int], None]] = []

    def on_block(self, listener: Callable[[int], None]) -> None:
        """Calls `listener` with the height of every block to come."""
        self._listeners.append(listener)

    def mine(self, blocks: int) -> None:
        """Adds `blocks` blocks, one after another."""
        if blocks < 0:
            raise ValueError(f"cannot mine {blocks} blocks: name a number from zero up")
        for _ in range(blocks):
            self.height += 1
            for listener in self._listeners:
                listener(self.height)
