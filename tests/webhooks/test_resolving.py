"""Names are looked up on threads of their own."""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

from nodes.webhooks.resolving import OwnThreadsResolver

SECONDS = 10


def test_a_name_is_looked_up_though_every_thread_of_the_process_hangs() -> None:
    """As when a name server does not answer somebody else."""
    released = threading.Event()

    async def story() -> list[str]:
        loop = asyncio.get_running_loop()
        loop.set_default_executor(ThreadPoolExecutor(1))
        hanging = loop.run_in_executor(None, released.wait)
        resolver = OwnThreadsResolver()
        try:
            async with asyncio.timeout(SECONDS):
                found = await resolver.resolve("127.0.0.1", 443)
        finally:
            released.set()
            await hanging
            await resolver.close()
        return [each["host"] for each in found]

    assert asyncio.run(story()) == ["127.0.0.1"]
