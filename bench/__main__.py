"""`make bench`: what durability costs, when paying and when receiving, in one run.

Rounds of the contestants alternate, so that a machine whose speed drifts slows them alike;
a ratio is taken within each round, and the median of the rounds is told.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
from pathlib import Path

from bench import asking, costs, memory, paying, settling, stuck
from bench.month import playing as month
from bench.running import prepared, say
from devnet.house import KINDS
from starter.connect import leave

PARTS = ("paying", "asking", "settling", "costs", "memory", "stuck", "month")


async def _main(asked: argparse.Namespace, folder: Path) -> None:
    def fresh(name: str) -> Path:
        (folder / name).mkdir()
        return folder / name

    parts = asked.part or PARTS
    if {"paying", "asking"} & set(parts):
        for kind in asked.network or KINDS:
            async with prepared(kind, fresh(kind)) as bench:
                say(f"# {kind}, {asked.rounds} rounds of {asked.count}")
                if "paying" in parts:
                    await paying.measure(bench, kind, asked.rounds, asked.count)
                if "asking" in parts:
                    await asking.measure(bench, asked.rounds, asked.count)
    say("# simulated, the worker a process of its own")
    if "costs" in parts:
        await costs.measure(fresh("costs"))
    if "settling" in parts:
        await settling.measure(
            fresh("settling"), asked.rounds, asked.count, asked.outage, asked.ours
        )
    if "memory" in parts:
        await memory.measure(fresh("memory"), asked.cold)
    if "stuck" in parts:
        await stuck.measure(fresh("stuck"), asked.hung)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--part", choices=PARTS, action="append", help="default: all")
    parser.add_argument("--network", choices=KINDS, action="append", help="default: both")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=200, help="a round and contestant")
    parser.add_argument("--outage", type=int, default=10_000, help="settlements to catch up with")
    parser.add_argument("--ours", type=int, default=1_000, help="of these, made by us")
    parser.add_argument("--cold", type=int, default=2_000, help="invoices that no cache has")
    parser.add_argument("--hung", type=int, default=1_000, help="payments that hang at once")
    parser.add_argument("--months", type=int, default=6, help="of other peers each")
    parser.add_argument("--plot", type=Path, help="an SVG of the first month")
    asked = parser.parse_args()
    parts = set(asked.part or PARTS)
    if parts != {"month"}:
        with tempfile.TemporaryDirectory(prefix="fulgurite-bench-") as folder:
            asyncio.run(_main(asked, Path(folder)))
    if "month" in parts:
        say("# a month of twenty channels, in a model")
        say(month.measure(asked.months, asked.plot))
    leave(0)


if __name__ == "__main__":
    main()
