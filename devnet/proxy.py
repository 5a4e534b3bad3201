"""A loopback TCP proxy that holds, loses and counts what passes: a bad line on request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress

_LOOPBACK = "127.0.0.1"
_CHUNK_BYTES = 65_536


class Direction:
    """One way through a proxy, over all its connections."""

    def __init__(self) -> None:
        self.passed_bytes = 0
        self.held_bytes = 0  # taken from the sender, and not yet given to the receiver
        self.delay_seconds = 0.0  # of all that passes: a long line
        self._open = asyncio.Event()
        self._open.set()
        self._at_next: Callable[[], None] | None = None

    def pause(self) -> None:
        """Holds everything from now on. Connections stay up: to both ends it looks slow."""
        self._open.clear()

    def resume(self) -> None:
        """Passes on what was held, also when its sender has died meanwhile."""
        self._open.set()

    def at_next(self, do: Callable[[], None]) -> None:
        """Calls `do` once, when the next bytes arrive and before they are passed on."""
        self._at_next = do

    async def pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stranded: asyncio.Event
    ) -> None:
        """Passes bytes on until the sender closes, or the connection is cut.

        Those that come to a stranded connection are taken and lost.
        """
        while data := await reader.read(_CHUNK_BYTES):
            if stranded.is_set():
                continue
            if do := self._at_next:
                self._at_next = None
                do()
            self.held_bytes += len(data)
            try:
                await asyncio.sleep(self.delay_seconds)
                await self._open.wait()
                if stranded.is_set():
                    continue
                writer.write(data)
                await writer.drain()
                self.passed_bytes += len(data)
            finally:
                self.held_bytes -= len(data)


class Proxy:
    """Stands before one server. TLS passes through it untouched."""

    def __init__(self, server: str) -> None:
        """`server` is the `host:port` that it stands before; `proxying` gives a running one."""
        self.address = ""
        self.served = 0  # connections, since it began
        self.to_server = Direction()
        self.to_client = Direction()
        self._host, _, self._port = server.rpartition(":")
        # Each with whether it has been stranded.
        self._connections: dict[asyncio.Task[None], asyncio.Event] = {}

    def strand(self) -> None:
        """Leaves every connection half open for ever; new ones are served.

        As when a router forgets them: sockets stay open, what is sent is acknowledged and
        lost, neither end hears when the other one closes, and nothing ever comes again.
        """
        for stranded in self._connections.values():
            stranded.set()

    async def cut(self) -> None:
        """Drops every connection with what is held of it; new ones are served."""
        connections = list(self._connections)
        for connection in connections:
            connection.cancel()
        await asyncio.gather(*connections, return_exceptions=True)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One client's connection, for as long as both ends keep it."""
        connection = asyncio.current_task()
        assert connection is not None, "asyncio serves each connection in a task of its own"
        self.served += 1
        stranded = self._connections[connection] = asyncio.Event()
        # A server that is away is no error here: its client finds the line closed.
        with suppress(OSError, asyncio.CancelledError):
            await self._join(reader, writer, stranded)
        writer.close()
        del self._connections[connection]

    async def _join(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, stranded: asyncio.Event
    ) -> None:
        onward_reader, onward_writer = await asyncio.open_connection(self._host, int(self._port))
        pumps = [
            asyncio.ensure_future(self.to_server.pump(reader, onward_writer, stranded)),
            asyncio.ensure_future(self.to_client.pump(onward_reader, writer, stranded)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
            if stranded.is_set():
                # One end gives up; the other is not told.
                await asyncio.wait(pumps)
        finally:
            for pump in pumps:
                pump.cancel()
            await asyncio.gather(*pumps, return_exceptions=True)
            onward_writer.close()


@asynccontextmanager
async def proxying(server: str) -> AsyncIterator[Proxy]:
    """A proxy before `server`, on a port of its own, for as long as the block lasts."""
    proxy = Proxy(server)
    listener = await asyncio.start_server(proxy.serve, _LOOPBACK, 0)
    host, port = listener.sockets[0].getsockname()[:2]
    proxy.address = f"{host}:{port}"
    try:
        yield proxy
    finally:
        listener.close()
        await proxy.cut()
