"""What of a swap's HTLC is in the chain, as lnd's notifier tells it, reorgs included."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Generic, TypeVar

import grpc

from devnet.swapserver.lnd import Lnd
from protos.chainrpc import chainnotifier_pb2

_log = logging.getLogger(__name__)

_AGAIN_AFTER_SECONDS = 0.2

Fact = TypeVar("Fact")


class Chain:
    """Facts that are asked for again and again; the first question begins to watch.

    None is no proof: right after the first question, or while lnd is away, nothing is known.
    """

    def __init__(self, lnd: Lnd) -> None:
        self._lnd = lnd
        self._funded: dict[bytes, _Watch[chainnotifier_pb2.ConfDetails]] = {}
        self._spent: dict[bytes, _Watch[chainnotifier_pb2.SpendDetails]] = {}

    def funded(self, script: bytes, since: int) -> chainnotifier_pb2.ConfDetails | None:
        """The transaction in a block that pays to `script`."""

        async def listen() -> AsyncIterator[chainnotifier_pb2.ConfDetails | None]:
            request = chainnotifier_pb2.ConfRequest(script=script, num_confs=1, height_hint=since)
            async for event in self._lnd.notifier.RegisterConfirmationsNtfn(request):
                yield event.conf if event.HasField("conf") else None

        return self._funded.setdefault(script, _Watch(listen)).fact()

    def spent(
        self, txid: bytes, index: int, script: bytes, since: int
    ) -> chainnotifier_pb2.SpendDetails | None:
        """The transaction in a block that spends an output."""

        async def listen() -> AsyncIterator[chainnotifier_pb2.SpendDetails | None]:
            request = chainnotifier_pb2.SpendRequest(
                outpoint=chainnotifier_pb2.Outpoint(hash=txid, index=index),
                script=script,
                height_hint=since,
            )
            async for event in self._lnd.notifier.RegisterSpendNtfn(request):
                yield event.spend if event.HasField("spend") else None

        return self._spent.setdefault(script, _Watch(listen)).fact()

    def forget(self, script: bytes) -> None:
        """Ends the watches of a swap that is over."""
        for watch in (self._funded.pop(script, None), self._spent.pop(script, None)):
            if watch is not None:
                watch.end()


class _Watch(Generic[Fact]):
    """The last word of a stream, which is opened again whenever it ends."""

    def __init__(self, listen: Callable[[], AsyncIterator[Fact | None]]) -> None:
        self._listen = listen
        self._known: Fact | None = None
        self._task: asyncio.Task[None] | None = None

    def fact(self) -> Fact | None:
        if self._task is None:
            self._task = asyncio.create_task(self._follow())
        return self._known

    def end(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _follow(self) -> None:
        while True:
            try:
                async for fact in self._listen():
                    self._known = fact
            except grpc.aio.AioRpcError as error:
                # What it said may change unheard, so it is not believed until it speaks again.
                self._known = None
                _log.info("a watch of the chain ended: %s", error.details())
            await asyncio.sleep(_AGAIN_AFTER_SECONDS)
