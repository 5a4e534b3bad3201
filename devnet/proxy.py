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

    async def pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Passes bytes on until the sender closes, or the connection is cut."""
        while data := await reader.read(_CHUNK_BYTES):
            if do := self._at_next:
                self._at_next = None
                do()
            self.held_bytes += len(data)
            try:
                await self._open.wait()
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
        self.to_server = Direction()
        self.to_client = Direction()
        self._host, _, self._port = server.rpartition(":")
        self._connections: set[asyncio.Task[None]] = set()

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
        self._connections.add(connection)
        # A server that is away is no error here: its client finds the line closed.
        with suppress(OSError, asyncio.CancelledError):
            await self._join(reader, writer)
        writer.close()
        self._connections.discard(connection)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        onward_reader, onward_writer = await asyncio.open_connection(self._host, int(self._port))
        pumps = [
            asyncio.ensure_future(self.to_server.pump(reader, onward_writer)),
            asyncio.ensure_future(self.to_client.pump(onward_reader, writer)),
        ]
        try:
            await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
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
