"""What an open invoice costs a worker's memory: while its workflow is cached, and when cold."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import psutil

from bench.crowd import NODE, Crowd
from bench.running import say
from bench.settling import burst
from bench.shop import Shop, shop
from devnet.progress import shown

# The SDK keeps so many workflows in memory; the others are read again when something
# happens to them.
_CACHED = 1_000
_OVERFLOW = 500  # until evictions are a habit

_WARM_UP = 100
_MIB = 1024 * 1024
_COME_TO_REST_SECONDS = 3.0


async def measure(state_dir: Path, cold: int) -> None:
    """`cold` invoices more than the cache has room for."""
    async with shop("simulated", state_dir, nodes=(NODE,)) as at, at.home.worker() as worker:
        await burst(at, _WARM_UP)
        crowd = Crowd(at)
        empty = await _rss(at)
        with shown(f"{_CACHED:,} invoices are made, and stay open"):
            await crowd.make_ours(_CACHED)
        cached = await _rss(at)
        with shown(f"{_OVERFLOW + cold:,} more are made"):
            await crowd.make_ours(_OVERFLOW)
            full = await _rss(at)
            await crowd.make_ours(cold)
        over = await _rss(at)
        await worker.stop()
        await worker.start()
        anew = await _rss(at)
    say(f"memory of a worker: {empty:.0f} MiB; started anew with all open {anew:.0f} MiB")
    say(f"memory of 1,000 open invoices, cached: {(cached - empty) / _CACHED * 1_000:.0f} MiB")
    say(f"memory of 1,000 open invoices, cold: {(over - full) / cold * 1_000:.1f} MiB")


async def _rss(at: Shop) -> float:
    """Of the worker's process, in MiB, when it has come to rest."""
    await asyncio.sleep(_COME_TO_REST_SECONDS)
    record = at.home.state_dir / "processes" / "worker.json"
    pid = json.loads(await asyncio.to_thread(record.read_text))["pid"]
    return psutil.Process(pid).memory_info().rss / _MIB
