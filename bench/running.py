"""What every contestant of the bench runs on, and how their figures are told."""

from __future__ import annotations

import asyncio
import json
import sys
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median, quantiles
from typing import TypeVar

import grpc
from temporalio.client import Client
from temporalio.worker import Worker

import worker
from bench.baselines import OneActivity, OneLocalActivity, nothing
from devnet.house import ROOT, configured
from devnet.node import LightningNode
from devnet.processes import Daemon
from devnet.temporal import TemporalServer
from fulgurite.attributes import REGISTRY
from nodes.registry import Nodes
from nodes.webhooks.sender import Webhooks
from starter.client import FulguriteClient
from starter.connect import connect

_BASELINE_QUEUE = "bench"

Thing = TypeVar("Thing")
Act = Callable[[Thing], Awaitable[object]]


@dataclass(frozen=True)
class Bench:
    """A worker in this process, as a service with its own worker has it."""

    nodes: Mapping[str, LightningNode]
    temporal: Client
    client: FulguriteClient
    alice: grpc.aio.Channel  # LND alone, on a connection that stands: what no durability costs

    async def one_activity(self, _: object) -> None:
        await self.temporal.execute_workflow(
            OneActivity.run, "x", id=f"bench/{uuid.uuid4()}", task_queue=_BASELINE_QUEUE
        )

    async def one_local_activity(self, _: object) -> None:
        await self.temporal.execute_workflow(
            OneLocalActivity.run,
            "x",
            id=f"bench/{uuid.uuid4()}",
            task_queue=_BASELINE_QUEUE,
            request_eager_start=True,
        )


@asynccontextmanager
async def prepared(kind: str, state_dir: Path) -> AsyncIterator[Bench]:
    """Temporal, a network apart from this process, our workers, and raw LND beside them."""
    async with AsyncExitStack() as stack:
        server = TemporalServer(state_dir / "temporal", search_attributes=REGISTRY)
        await stack.enter_async_context(server)
        lightning = await stack.enter_async_context(network_apart(kind, state_dir / "network"))
        settings = configured(state_dir, lightning, server.address)
        temporal = await connect(settings)
        nodes = Nodes(settings.nodes)
        stack.push_async_callback(nodes.close)
        for each in worker.workers(temporal, settings, nodes, Webhooks({})):
            await stack.enter_async_context(each)
        baselines = Worker(
            temporal,
            task_queue=_BASELINE_QUEUE,
            workflows=[OneActivity, OneLocalActivity],
            activities=[nothing],
        )
        await stack.enter_async_context(baselines)
        channel = await stack.enter_async_context(lightning["alice"].channel())
        yield Bench(lightning, temporal, FulguriteClient(temporal), channel)


@asynccontextmanager
async def network_apart(kind: str, state_dir: Path) -> AsyncIterator[Mapping[str, LightningNode]]:
    """The network in a process of its own, so that it shares the machine and not our loop."""
    daemon = Daemon(
        kind,
        [sys.executable, "-m", f"devnet.{kind}", "--state-dir", state_dir],
        state_dir=state_dir.parent,
        environment={"PYTHONPATH": str(ROOT)},
    )
    described = state_dir / "network.json"

    async def there() -> bool:
        return await asyncio.to_thread(described.exists)

    daemon.start()
    try:
        await daemon.until(there, what="funded and connected", timeout_seconds=120)
        told = json.loads(await asyncio.to_thread(described.read_text))
        yield {
            name: LightningNode(
                name, node["address"], Path(node["tls_cert_path"]), Path(node["macaroon_dir"])
            )
            for name, node in told["nodes"].items()
        }
    finally:
        await daemon.stop()


async def rate(act: Act[Thing], things: Sequence[Thing], at_once: int) -> float:
    """How many a second, `at_once` under way."""
    free = asyncio.Semaphore(at_once)

    async def one(thing: Thing) -> None:
        async with free:
            await act(thing)

    began = time.perf_counter()
    await asyncio.gather(*map(one, things))
    return len(things) / (time.perf_counter() - began)


async def latencies(act: Act[Thing], things: Sequence[Thing]) -> list[float]:
    """Milliseconds, one after another."""
    took = []
    for thing in things:
        began = time.perf_counter()
        await act(thing)
        took.append((time.perf_counter() - began) * 1_000)
    return took


def p99(values: Sequence[float]) -> float:
    return quantiles(values, n=100)[98]


def spread(values: Sequence[float]) -> str:
    return f"{median(values):.2f} (min {min(values):.2f}, max {max(values):.2f})"


def say(line: str) -> None:
    """A line of the answer, on stdout; what is under way goes to stderr."""
    print(line, flush=True)
