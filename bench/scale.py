"""Ten thousand settlements end to end, from LND to a verified webhook, with all the trouble."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from bench.crowd import NODE, Crowd
from bench.running import say
from bench.shop import shop
from devnet.progress import shown
from devnet.simulated.faults import Break, RepeatMessages

_CHUNKS = 20
_GAP = 7
_PAUSE_SECONDS = 1.0
_SECONDS_EACH = 1.0  # generous: a machine of two cores does twenty a second


async def run(state_dir: Path, count: int) -> bool:
    """All are ours, made and watched by workflows; whether each was told exactly once."""
    async with shop("simulated", state_dir, nodes=(NODE,)) as at, at.home.worker() as worker:
        crowd = Crowd(at)
        began = time.monotonic()
        faults = crowd.network.faults
        with shown(f"{count:,} invoices are made, with gaps in their indices"):
            for _ in range(_CHUNKS):
                faults.skip_add_indexes(NODE, _GAP)
                await crowd.make_ours(count // _CHUNKS)
        count = len(crowd.hashes)
        say(f"{count:,} invoices made: {count / (time.monotonic() - began):.1f}/s")
        faults.use_sql_invoices(NODE)
        began = time.monotonic()
        with shown("they settle in disorder, while streams break, indices are reset, and all dies"):
            for chunk in range(_CHUNKS):
                faults.add(NODE, "SubscribeInvoices", Break(after_messages=count // _CHUNKS // 2))
                faults.add(NODE, "SubscribeInvoices", RepeatMessages())
                await crowd.settle(-(-count // _CHUNKS))
                match chunk % 4:
                    case 0 if chunk == _CHUNKS // 2 + 2:
                        await at.home.temporal.kill()
                        await at.home.temporal.start()
                    case 1:
                        faults.reset_settle_index(NODE, keep=10)
                    case 2:
                        await crowd.network.stop_node(NODE)
                        await crowd.network.start_node(NODE)
                    case 3 if chunk == _CHUNKS // 2 + 1:
                        await worker.kill()
                        await worker.start()
                await asyncio.sleep(_PAUSE_SECONDS)
        with shown("every webhook is waited for"):
            reckoning = await crowd.told(timeout_seconds=60 + count * _SECONDS_EACH)
        seconds = time.monotonic() - began
    say(f"{reckoning}; {count / seconds:.1f}/s from the first settlement to the last webhook")
    return reckoning.agrees and reckoning.settled == count
