"""The regtest network as a process of its own, until SIGTERM or Ctrl-C ends it all.

`<state_dir>/network.json` appears when the first two-hop payments have gone through and
goes when the network does: `{"kind", "nodes": {name: {"address", "tls_cert_path",
"macaroon_dir"}}}`.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import signal
import sys
import time
from pathlib import Path

from devnet.daemons import DaemonNotFoundError
from devnet.processes import DaemonError
from devnet.regtest.network import RegtestNetwork


async def _serve(state_dir: Path) -> None:
    """Runs until it is cancelled, whether that comes during the start or after it."""
    began = time.monotonic()
    described = state_dir / "network.json"
    described.unlink(missing_ok=True)
    async with RegtestNetwork(state_dir) as network:
        _describe(network, described)
        try:
            seconds = time.monotonic() - began
            addresses = ", ".join(f"{name} {node.address}" for name, node in network.nodes.items())
            print(f"regtest ready after {seconds:.0f} s: {addresses}", flush=True)  # noqa: T201 - what who started us waits for
            await asyncio.Event().wait()
        finally:
            described.unlink()


def _describe(network: RegtestNetwork, file: Path) -> None:
    nodes = {
        name: {
            "address": node.address,
            "tls_cert_path": str(node.tls_cert_path),
            "macaroon_dir": str(node.macaroon_dir),
        }
        for name, node in network.nodes.items()
    }
    # Moved into place, so that who waits for the file never reads half of it.
    unfinished = file.with_suffix(".tmp")
    unfinished.write_text(json.dumps({"kind": network.kind, "nodes": nodes}, indent=2) + "\n")
    unfinished.replace(file)


async def _main(state_dir: Path) -> int:
    serving = asyncio.create_task(_serve(state_dir))
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, serving.cancel)
    try:
        await serving
    except asyncio.CancelledError:
        return 0
    except (DaemonError, DaemonNotFoundError, TimeoutError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - the one thing left to say
        return 1
    return 0


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m devnet.regtest", description=__doc__)
    parser.add_argument("--state-dir", type=Path, required=True, help="a folder of its own")
    raise SystemExit(asyncio.run(_main(parser.parse_args().state_dir)))
