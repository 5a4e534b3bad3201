"""`make up`: a house left running, with a worker in it; `make down` ends it.

The house lives in a process of its own (`--foreground`), which keeps the Temporal server,
the network and the worker as its children; none of them survives it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from rich.console import Console

from devnet.daemons import DaemonNotFoundError
from devnet.house import KINDS, ROOT, House, endpoint, house
from devnet.processes import DaemonError, end_leftovers
from devnet.progress import shown
from devnet.receiver import Receiver, new_secret
from devnet.temporal import TemporalServer

STATE_DIR = ROOT / ".devnet"
_DESCRIPTION = "house.json"
_WEBHOOKS = "webhooks.jsonl"
_STARTED_WITHIN_SECONDS = 900  # the first time, the daemons are built

console = Console(stderr=True)


def description(state_dir: Path) -> dict[str, object] | None:
    """What runs in `state_dir`, as its supervisor wrote it; None when nothing does."""
    try:
        told: dict[str, object] = json.loads((state_dir / _DESCRIPTION).read_text())
    except FileNotFoundError:
        return None
    return told


async def _live(kind: str, state_dir: Path) -> None:
    """Builds the house, tells where everything is, and stays until it is told to go."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    secret_path, journal = state_dir / "shop.secret", state_dir / _WEBHOOKS
    secret_path.write_text(new_secret())
    async with Receiver(secret_path.read_text(), journal=journal) as shop:
        webhooks = {"shop": endpoint(shop, secret_path)}
        async with (
            house(kind, state_dir, headless=False, webhooks=webhooks) as built,
            built.worker() as worker,
        ):
            _describe(built, worker.health_url, worker.metrics_url)
            await stop.wait()


def _describe(built: House, health_url: str, metrics_url: str) -> None:
    assert isinstance(built.temporal, TemporalServer)
    told = {
        "kind": built.network.kind,
        "supervisor": os.getpid(),
        "config": str(built.config_path),
        "temporal": built.temporal.address,
        "ui": built.temporal.ui_url,
        "health": health_url,
        "metrics": metrics_url,
    }
    unfinished = built.state_dir / f"{_DESCRIPTION}.tmp"
    unfinished.write_text(json.dumps(told, indent=2) + "\n")
    unfinished.replace(built.state_dir / _DESCRIPTION)


def _start(kind: str, state_dir: Path) -> dict[str, object]:
    """Starts the supervisor and waits for what it says."""
    end_leftovers(state_dir)
    state_dir.mkdir(parents=True, exist_ok=True)
    log_path = state_dir / "supervisor.log"
    with log_path.open("wb") as log:
        supervisor = subprocess.Popen(
            [
                *(sys.executable, "-m", "devnet.up", "--foreground"),
                *("--network", kind, "--state-dir", str(state_dir)),
            ],
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    deadline = time.monotonic() + _STARTED_WITHIN_SECONDS
    with shown(f"building a {kind} house (log: {log_path})"):
        while not (told := description(state_dir)):
            if supervisor.poll() is not None or time.monotonic() > deadline:
                tail = "\n".join(log_path.read_text().splitlines()[-15:])
                raise SystemExit(f"the house did not come up:\n{tail}")
            time.sleep(0.1)
    return told


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m devnet.up", description=__doc__)
    parser.add_argument("--network", choices=KINDS, default="simulated")
    parser.add_argument("--state-dir", type=Path, default=STATE_DIR)
    parser.add_argument("--foreground", action="store_true", help="stay, and be the house")
    asked = parser.parse_args()
    if asked.foreground:
        try:
            asyncio.run(_live(asked.network, asked.state_dir))
        except (DaemonError, DaemonNotFoundError, TimeoutError) as error:
            raise SystemExit(str(error)) from error
        finally:
            (asked.state_dir / _DESCRIPTION).unlink(missing_ok=True)
        return
    if running := description(asked.state_dir):
        raise SystemExit(f"a {running['kind']} house is up already: `make down` ends it")
    told = _start(asked.network, asked.state_dir)
    console.print(
        f"[bold green]up[/]: alice — bob — carol ({told['kind']}), Temporal, and a worker\n\n"
        f"  Temporal UI  {told['ui']}\n"
        f"  metrics      {told['metrics']}\n"
        f"  health       {told['health']}/readyz\n"
        f"  webhooks     {asked.state_dir / _WEBHOOKS}, as a shop of alice's takes them\n\n"
        "try:\n"
        f"  export FULGURITE_CONFIG={told['config']}\n"
        "  .venv/bin/python -m devnet.neighbour invoice carol 50000 \\\n"
        "    | .venv/bin/fulgurite pay - --node alice --max-fee-sat 100 --force\n"
        "  .venv/bin/fulgurite invoice create --node alice --amount-sat 20000 --json \\\n"
        "    | .venv/bin/python -m devnet.neighbour pay carol -\n"
        "  make down",
        soft_wrap=True,
    )


if __name__ == "__main__":
    main()
