"""Records a history of every shape that a workflow can take: `python -m tests.replay.record`.

To be run when a change of a workflow is meant, and gated or released together with its
workers. The old files are what the running workflows look like: keep those of every version
that may still be running, and record the new ones beside them.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from temporalio.client import Client, WorkflowHistory

import worker
from devnet.house import House, furnished
from devnet.simulated import SimulatedNetwork
from devnet.temporal import TemporalServer
from fulgurite import attributes
from nodes.registry import Nodes
from nodes.webhooks.sender import Webhooks
from settings import Settings
from starter.connect import connect
from tests.replay.recording import Recording, Shape
from tests.replay.shapes import SHAPES

HISTORIES = Path(__file__).parent / "histories"

# Enough to reach IN_FLIGHT or ACCEPTED, so that a shape can be made to carry on.
_SHORT_RUN_EVENTS = 8


@asynccontextmanager
async def _house(folder: Path, *, impatient: bool) -> AsyncIterator[tuple[House, SimulatedNetwork]]:
    # Impatient: suggests continue-as-new after a few events, where a real one waits for thousands.
    limits = {"limit.historyCount.suggestContinueAsNew": _SHORT_RUN_EVENTS} if impatient else {}
    temporal = TemporalServer(
        folder / "temporal",
        search_attributes=attributes.REGISTRY,
        dynamic_config=limits,
    )
    async with temporal, SimulatedNetwork(folder / "network") as network:
        yield furnished(folder, network, temporal), network


@asynccontextmanager
async def working(client: Client, settings: Settings) -> AsyncIterator[None]:
    """A worker in this process."""
    nodes, webhooks = Nodes(settings.nodes), Webhooks(settings.webhooks)
    async with AsyncExitStack() as stack:
        stack.push_async_callback(nodes.close)
        stack.push_async_callback(webhooks.close)
        for each in worker.workers(client, settings, nodes, webhooks):
            await stack.enter_async_context(each)
        await worker.listen(client, nodes)
        yield


async def record(shapes: Sequence[Shape], folder: Path) -> None:
    """Plays each shape on a network of its own Temporal, and writes its runs."""
    for impatient in (False, True):
        chosen = [shape for shape in shapes if shape.impatient is impatient]
        if not chosen:
            continue
        with tempfile.TemporaryDirectory() as state:
            async with _house(Path(state), impatient=impatient) as (house, network):
                client = await connect(house.settings)
                for shape in chosen:
                    sys.stderr.write(f"{shape.name} …\n")
                    recording = Recording(house, network, client, working)
                    await shape.play(recording)
                    network.faults.clear()
                    for number, history in enumerate(await recording.histories(), start=1):
                        name = shape.name if number == 1 else f"{shape.name}-run-{number}"
                        _write(folder / f"{name}.json", history)


def _write(path: Path, history: WorkflowHistory) -> None:
    path.write_text(json.dumps(_without_the_machine(history.to_json_dict()), indent=1) + "\n")


def _without_the_machine(part: Any) -> Any:
    """Drops what tells of the machine that recorded, and nothing of what happened."""
    if isinstance(part, dict):
        return {
            key: _without_the_machine(value)
            for key, value in part.items()
            if key not in {"identity", "stackTrace"}
        }
    return [_without_the_machine(each) for each in part] if isinstance(part, list) else part


def main() -> None:
    parser = argparse.ArgumentParser(prog="tests.replay.record", description=__doc__)
    names = {shape.name: shape for shape in SHAPES}
    parser.add_argument("shapes", nargs="*", metavar="SHAPE", help=", ".join(names))
    asked = parser.parse_args().shapes
    if unknown := set(asked) - set(names):
        parser.error(f"no such shape: {', '.join(sorted(unknown))}")
    HISTORIES.mkdir(exist_ok=True)
    asyncio.run(record([names[name] for name in asked] or SHAPES, HISTORIES))


if __name__ == "__main__":
    main()
