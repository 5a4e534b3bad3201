"""From a settlement in LND to the webhook that tells of it: in a burst, and after an outage."""

from __future__ import annotations

import time
from pathlib import Path
from statistics import median

from bench.crowd import NODE, Crowd
from bench.running import p99, say
from bench.shop import Shop, shop
from devnet.house import WorkerProcess
from devnet.progress import shown

_WARM_UP = 20
_SECONDS_EACH = 1.0  # generous: a machine of two cores does twenty a second
_GAP, _GAPS = 5, 20


async def measure(state_dir: Path, rounds: int, count: int, outage: int, ours: int) -> None:
    """`outage` settlements are caught up with, of which `ours` are made by us."""
    async with shop("simulated", state_dir, nodes=(NODE,)) as at, at.home.worker() as worker:
        await burst(at, _WARM_UP)
        rates = [await burst(at, count) for _ in range(rounds)]
        say(f"settlements to webhooks, bursts of {count}: {median(rates):.1f}/s")
        await catch_up(at, worker, outage, ours)


async def burst(at: Shop, count: int) -> float:
    """Settlements a second, from the first settlement to the last webhook; all are ours."""
    crowd = Crowd(at)
    await crowd.make_ours(count)
    began = time.time()
    await crowd.settle()
    await _all_there(crowd, count)
    delays = [told - began for told in at.arrivals.of_settlements(crowd.hashes).values()]
    with_p99 = f", p99 {p99(delays):.1f} s" if count > 1 else ""
    say(f"burst of {count}: webhooks p50 {median(delays):.1f} s{with_p99}")
    return count / max(delays)


async def catch_up(at: Shop, worker: WorkerProcess, count: int, ours: int) -> float:
    """Settlements a second, from the worker's start to the last webhook.

    They settle while no worker lives, in any order; LND's settle indices are reset meanwhile,
    its add indices have gaps, and it tells them in the order of a SQL back end.
    """
    crowd = Crowd(at)
    faults = crowd.network.faults
    faults.use_sql_invoices(NODE)
    with shown(f"{ours:,} invoices are made by us, {count - ours:,} by others"):
        await crowd.make_ours(ours)
        for _ in range(_GAPS):
            faults.skip_add_indexes(NODE, _GAP)
            await crowd.make_others((count - ours) // _GAPS)
    count = len(crowd.hashes)
    await worker.stop()
    with shown(f"{count:,} settle while no worker lives"):
        await crowd.settle(count // 2)
        faults.reset_settle_index(NODE, keep=count // 10)
        await crowd.settle()
    with shown("the worker is started, and catches up"):
        began = time.time()
        await worker.start()
        await _all_there(crowd, count)
    took = max(at.arrivals.of_settlements(crowd.hashes).values()) - began
    say(f"catch-up of {count:,} settlements ({ours:,} ours): {took:.0f} s, {count / took:.1f}/s")
    return count / took


async def _all_there(crowd: Crowd, count: int) -> None:
    reckoning = await crowd.told(timeout_seconds=60 + count * _SECONDS_EACH)
    if not reckoning.agrees or reckoning.settled != count or reckoning.repeated:
        raise RuntimeError(f"not each was told once: {reckoning}")
