"""Invoices made by us, against LND's own AddInvoice on the same node, and an empty workflow."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from statistics import median

from bench.running import Act, Bench, latencies, rate, say, spread
from fulgurite.invoices.requests import InvoiceRequest
from fulgurite.money import Msat
from protos.lnrpc import lightning_pb2, lightning_pb2_grpc

AT_ONCE = 10
_AMOUNT_MSAT = Msat(1_000_000)
_ONE_AFTER_ANOTHER = 20


async def measure(bench: Bench, rounds: int, count: int) -> None:
    """Rate at ten in parallel, and the latency of one alone."""
    raw = lightning_pb2_grpc.LightningStub(bench.alice)

    async def ours(key: str) -> None:
        await bench.client.create_invoice(
            InvoiceRequest(key=key, node="alice", amount_msat=_AMOUNT_MSAT, memo="bench")
        )

    async def theirs(_: str) -> None:
        await raw.AddInvoice(lightning_pb2.Invoice(value_msat=_AMOUNT_MSAT, memo="bench"))

    contestants: dict[str, Act[str]] = {
        "raw": theirs,
        "ours": ours,
        "one local activity, eager": bench.one_local_activity,
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    took: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, act in contestants.items():
            took[name].append(median(await latencies(act, _keys(_ONE_AFTER_ANOTHER))))
            rates[name].append(await rate(act, _keys(count), AT_ONCE))
    for name in contestants:
        del took[name][0], rates[name][0]  # the first round warms up
        say(
            f"invoices, {name}: {median(rates[name]):7.1f}/s at {AT_ONCE} in parallel; "
            f"one alone p50 {median(took[name]):.1f} ms"
        )
    for name in ("raw", "one local activity, eager"):
        ratios = [mine / other for mine, other in zip(rates["ours"], rates[name], strict=True)]
        say(f"invoices, ours / {name}: {spread(ratios)}")


def _keys(count: int) -> Sequence[str]:
    return [f"bench-{uuid.uuid4()}" for _ in range(count)]
