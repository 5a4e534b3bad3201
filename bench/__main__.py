"""`make bench`: payments against empty workflows and against raw LND, in one run.

Rounds of the contestants alternate, so that a machine whose speed drifts slows them alike;
a ratio is taken within each round, and the median of the rounds is told.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import tempfile
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from statistics import median, quantiles

import grpc
from temporalio.client import Client
from temporalio.worker import Worker

import worker
from bench.baselines import OneActivity, OneLocalActivity, nothing
from devnet.cost import cost
from devnet.house import KINDS, ROOT, configured
from devnet.node import LightningNode, TestInvoice
from devnet.processes import Daemon
from devnet.temporal import TemporalServer
from fulgurite.attributes import REGISTRY
from fulgurite.money import FeeLimit
from fulgurite.payments.requests import PaymentRequest
from fulgurite.payments.states import PaymentState
from nodes.registry import Nodes
from nodes.webhooks.sender import Webhooks
from protos.lnrpc import lightning_pb2
from protos.routerrpc import router_pb2, router_pb2_grpc
from starter.client import FulguriteClient
from starter.connect import connect

_BASELINE_QUEUE = "bench"
_AMOUNT_MSAT = 1_000_000

Act = Callable[[TestInvoice], Awaitable[None]]


class Bench:
    """A worker in this process, as a service with its own worker has it."""

    def __init__(
        self,
        nodes: Mapping[str, LightningNode],
        temporal: Client,
        raw: router_pb2_grpc.RouterAsyncStub,
    ) -> None:
        self._nodes = nodes
        self._temporal = temporal
        self._client = FulguriteClient(temporal)
        self._raw = raw

    async def pay(self, invoice: TestInvoice) -> None:
        payment = await self._client.pay(
            PaymentRequest(
                node="alice", invoice=invoice.payment_request, fee_limit=FeeLimit(sat=100)
            )
        )
        receipt = await payment.receipt()
        if receipt.status is not PaymentState.SUCCEEDED:
            raise RuntimeError(f"a payment of the bench ended {receipt.status}")

    async def pay_raw(self, invoice: TestInvoice) -> None:
        """LND alone, on a connection that stands: what no durability costs."""
        stream = self._raw.SendPaymentV2(
            router_pb2.SendPaymentRequest(
                payment_request=invoice.payment_request,
                fee_limit_msat=100_000,
                timeout_seconds=60,
                no_inflight_updates=True,
            )
        )
        if [update async for update in stream][-1].status != lightning_pb2.Payment.SUCCEEDED:
            raise RuntimeError("a raw payment of the bench failed")

    async def one_activity(self, _: TestInvoice) -> None:
        await self._temporal.execute_workflow(
            OneActivity.run, "x", id=f"bench/{uuid.uuid4()}", task_queue=_BASELINE_QUEUE
        )

    async def one_local_activity(self, _: TestInvoice) -> None:
        await self._temporal.execute_workflow(
            OneLocalActivity.run,
            "x",
            id=f"bench/{uuid.uuid4()}",
            task_queue=_BASELINE_QUEUE,
            request_eager_start=True,
        )

    async def invoices(self, payee: str, count: int) -> list[TestInvoice]:
        node = self._nodes[payee]
        return [await node.invoice(_AMOUNT_MSAT) for _ in range(count)]

    async def rate(self, act: Act, invoices: list[TestInvoice], at_once: int) -> float:
        """How many a second, `at_once` under way."""
        free = asyncio.Semaphore(at_once)

        async def one(invoice: TestInvoice) -> None:
            async with free:
                await act(invoice)

        began = time.perf_counter()
        await asyncio.gather(*map(one, invoices))
        return len(invoices) / (time.perf_counter() - began)

    async def latencies(self, act: Act, invoices: list[TestInvoice]) -> list[float]:
        """Milliseconds, one after another."""
        took = []
        for invoice in invoices:
            began = time.perf_counter()
            await act(invoice)
            took.append((time.perf_counter() - began) * 1_000)
        return took

    async def cost_of_one(self) -> str:
        (invoice,) = await self.invoices("carol", 1)
        await self.pay(invoice)
        handle = self._temporal.get_workflow_handle(f"payment/{invoice.payment_hash.hex()}")
        spent = cost(await handle.fetch_history())
        return (
            f"{spent.actions} actions, {spent.events} events, "
            f"{spent.history_bytes:,} bytes of history"
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
        channel: grpc.aio.Channel = await stack.enter_async_context(lightning["alice"].channel())
        yield Bench(lightning, temporal, router_pb2_grpc.RouterStub(channel))


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


async def throughput(bench: Bench, rounds: int, count: int) -> None:
    """Payments on the network against the two empty workflows."""
    contestants: dict[str, Act] = {
        "payment": bench.pay,
        "one activity": bench.one_activity,
        "one local activity, eager": bench.one_local_activity,
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, act in contestants.items():
            invoices = await bench.invoices("bob", count)
            rates[name].append(await bench.rate(act, invoices, at_once=100))
    for name, seen in rates.items():
        del seen[0]  # the first round warms up
        _say(f"{name:28} {median(seen):7.1f}/s")
    for name in list(contestants)[1:]:
        ratios = [ours / theirs for ours, theirs in zip(rates["payment"], rates[name], strict=True)]
        _say(f"payment / {name:26} {_spread(ratios)}")


async def against_raw(bench: Bench, rounds: int, count: int) -> None:
    """What durability adds to LND: latency one after another, throughput at 20 in parallel."""
    for payee, hops in (("bob", "one hop"), ("carol", "two hops")):
        ours: list[float] = []
        theirs: list[float] = []
        ratios: list[float] = []
        added: list[float] = []
        for _ in range(rounds + 1):
            raw_ms = await bench.latencies(bench.pay_raw, await bench.invoices(payee, 20))
            our_ms = await bench.latencies(bench.pay, await bench.invoices(payee, 20))
            raw_rate = await bench.rate(bench.pay_raw, await bench.invoices(payee, count), 20)
            our_rate = await bench.rate(bench.pay, await bench.invoices(payee, count), 20)
            ours += our_ms
            theirs += raw_ms
            added.append(median(our_ms) - median(raw_ms))
            ratios.append(our_rate / raw_rate)
        del ours[:20], theirs[:20], added[0], ratios[0]
        _say(f"{hops}: raw    p50 {median(theirs):6.1f} ms, p99 {_p99(theirs):6.1f} ms")
        _say(f"{hops}: ours   p50 {median(ours):6.1f} ms, p99 {_p99(ours):6.1f} ms")
        _say(f"{hops}: added at p50 {_spread(added)} ms; rate at 20 / raw {_spread(ratios)}")


def _p99(values: list[float]) -> float:
    return quantiles(values, n=100)[98]


def _spread(values: list[float]) -> str:
    return f"{median(values):.2f} (min {min(values):.2f}, max {max(values):.2f})"


def _say(line: str) -> None:
    print(line, flush=True)


async def _main(kinds: list[str], rounds: int, count: int) -> None:
    for kind in kinds:
        with tempfile.TemporaryDirectory(prefix="fulgurite-bench-") as scratch:
            async with prepared(kind, Path(scratch)) as bench:
                _say(f"# {kind}, {rounds} rounds of {count}")
                _say(f"happy path: {await bench.cost_of_one()}")
                if kind == "simulated":
                    await throughput(bench, rounds, count)
                else:
                    await against_raw(bench, rounds, count)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench", description=__doc__)
    parser.add_argument("--network", choices=KINDS, action="append", help="default: both")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--count", type=int, default=200, help="payments a round and contestant")
    asked = parser.parse_args()
    asyncio.run(_main(asked.network or list(KINDS), asked.rounds, asked.count))
