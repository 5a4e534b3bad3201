"""`python -m devnet.simulated --state-dir DIR`: the network as a process of its own."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from pathlib import Path

from devnet.simulated.network import SimulatedNetwork


async def serve(state_dir: Path) -> None:
    """Runs until SIGTERM or SIGINT. Says in one line when every node can be called."""
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    async with SimulatedNetwork(state_dir):
        sys.stdout.write(f"ready {state_dir / 'network.json'}\n")
        sys.stdout.flush()
        await ended.wait()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m devnet.simulated", description=__doc__)
    parser.add_argument(
        "--state-dir", type=Path, required=True, help="where certificates and macaroons go"
    )
    state_dir: Path = parser.parse_args().state_dir
    state_dir.mkdir(parents=True, exist_ok=True)
    asyncio.run(serve(state_dir))


if __name__ == "__main__":
    main()
