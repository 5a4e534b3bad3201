"""What becomes of a node's channels, as lnd tells it to those who subscribe to all of them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from protos.lnrpc import lightning_pb2

Update = lightning_pb2.ChannelEventUpdate


class ChannelEvents:
    """SubscribeChannelEvents at one node. Nothing is kept: who does not listen will not know."""

    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[Update]] = set()

    async def follow(self) -> AsyncIterator[Update]:
        """The events from now on. Nothing says that the subscription stands."""
        events: asyncio.Queue[Update] = asyncio.Queue()
        self._listeners.add(events)
        try:
            while True:
                yield await events.get()
        finally:
            self._listeners.discard(events)

    def tell(self, update: Callable[[], Update]) -> None:
        """Tells those who listen; without any, the message is not even made."""
        if self._listeners:
            message = update()
            for listener in self._listeners:
                listener.put_nowait(message)
