"""A bad line is bad in the way that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from devnet.proxy import Proxy, proxying
from devnet.waiting import eventually

A_WHILE = 0.2


class Echo:
    """A server that says everything back, and counts who has hung up."""

    def __init__(self) -> None:
        self.heard = b""
        self.hung_up = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(1_000):
            self.heard += data
            writer.write(data)
        self.hung_up += 1
        writer.close()

    async def has_been_hung_up(self) -> int:
        return self.hung_up


@asynccontextmanager
async def echoing() -> AsyncIterator[tuple[Echo, Proxy]]:
    echo = Echo()
    server = await asyncio.start_server(echo.serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()[:2]
    async with server, proxying(f"{host}:{port}") as line:
        yield echo, line


class Caller:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def says(self, word: bytes) -> bytes | None:
        """What comes back; None: nothing does, and nobody hangs up."""
        self.writer.write(word)
        try:
            async with asyncio.timeout(A_WHILE):
                return await self.reader.read(1_000)
        except TimeoutError:
            return None


async def call(line: Proxy) -> Caller:
    host, _, port = line.address.rpartition(":")
    return Caller(*await asyncio.open_connection(host, int(port)))


async def test_a_stranded_connection_stays_open_and_carries_nothing_ever_again() -> None:
    async with echoing() as (echo, line):
        caller = await call(line)
        assert await caller.says(b"one") == b"one"
        line.strand()
        assert await caller.says(b"two") is None
        # Also what was held comes out no more.
        line.to_server.resume()
        assert await caller.says(b"three") is None

        assert echo.heard == b"one"
        assert echo.hung_up == 0


async def test_what_is_held_at_the_stranding_is_lost() -> None:
    async with echoing() as (echo, line):
        caller = await call(line)
        line.to_server.pause()
        assert await caller.says(b"one") is None
        line.strand()
        line.to_server.resume()

        assert await caller.says(b"two") is None
        assert (echo.heard, line.to_server.held_bytes) == (b"", 0)


async def test_neither_end_of_a_stranded_connection_hears_the_other_hang_up() -> None:
    async with echoing() as (echo, line):
        stranded = await call(line)
        assert await stranded.says(b"one") == b"one"
        line.strand()
        stranded.writer.close()
        # Who calls anew is served.
        after = await call(line)
        assert await after.says(b"two") == b"two"
        assert echo.hung_up == 0
        after.writer.close()

        await eventually(echo.has_been_hung_up, lambda seen: seen == 1, what="one hung up")


async def test_a_cut_ends_stranded_connections_too() -> None:
    async with echoing() as (echo, line):
        caller = await call(line)
        assert await caller.says(b"one") == b"one"
        line.strand()
        await line.cut()

        assert await caller.says(b"two") == b""
        await eventually(echo.has_been_hung_up, lambda seen: seen == 1, what="hung up")
