"""Payments against empty workflows, and against raw LND."""

from __future__ import annotations

from statistics import median

from bench.running import Act, Bench, latencies, p99, rate, say, spread
from devnet.cost import cost
from devnet.node import TestInvoice
from fulgurite.money import FeeLimit
from fulgurite.payments.requests import PaymentRequest
from fulgurite.payments.states import PaymentState
from protos.lnrpc import lightning_pb2
from protos.routerrpc import router_pb2, router_pb2_grpc

_AMOUNT_MSAT = 1_000_000


class Paying:
    """Payments of ours, and LND's own."""

    def __init__(self, bench: Bench) -> None:
        self._bench = bench
        self._raw = router_pb2_grpc.RouterStub(bench.alice)

    async def pay(self, invoice: TestInvoice) -> None:
        payment = await self._bench.client.pay(
            PaymentRequest(
                node="alice", invoice=invoice.payment_request, fee_limit=FeeLimit(sat=100)
            )
        )
        receipt = await payment.receipt()
        if receipt.status is not PaymentState.SUCCEEDED:
            raise RuntimeError(f"a payment of the bench ended {receipt.status}")

    async def pay_raw(self, invoice: TestInvoice) -> None:
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

    async def invoices(self, payee: str, count: int) -> list[TestInvoice]:
        node = self._bench.nodes[payee]
        return [await node.invoice(_AMOUNT_MSAT) for _ in range(count)]

    async def cost_of_one(self) -> str:
        (invoice,) = await self.invoices("carol", 1)
        await self.pay(invoice)
        workflow_id = f"payment/{invoice.payment_hash.hex()}"
        handle = self._bench.temporal.get_workflow_handle(workflow_id)
        spent = cost(await handle.fetch_history())
        return (
            f"{spent.actions} actions, {spent.events} events, "
            f"{spent.history_bytes:,} bytes of history"
        )


async def against_nothing(bench: Bench, paying: Paying, rounds: int, count: int) -> None:
    """Payments on the network against the two empty workflows."""
    contestants: dict[str, Act[TestInvoice]] = {
        "payment": paying.pay,
        "one activity": bench.one_activity,
        "one local activity, eager": bench.one_local_activity,
    }
    rates: dict[str, list[float]] = {name: [] for name in contestants}
    for _ in range(rounds + 1):
        for name, act in contestants.items():
            invoices = await paying.invoices("bob", count)
            rates[name].append(await rate(act, invoices, at_once=100))
    for name, seen in rates.items():
        del seen[0]  # the first round warms up
        say(f"{name:28} {median(seen):7.1f}/s")
    for name in list(contestants)[1:]:
        ratios = [ours / theirs for ours, theirs in zip(rates["payment"], rates[name], strict=True)]
        say(f"payment / {name:26} {spread(ratios)}")


async def against_raw(paying: Paying, rounds: int, count: int) -> None:
    """What durability adds to LND: latency one after another, throughput at 20 in parallel."""
    for payee, hops in (("bob", "one hop"), ("carol", "two hops")):
        ours: list[float] = []
        theirs: list[float] = []
        ratios: list[float] = []
        added: list[float] = []
        for _ in range(rounds + 1):
            raw_ms = await latencies(paying.pay_raw, await paying.invoices(payee, 20))
            our_ms = await latencies(paying.pay, await paying.invoices(payee, 20))
            raw_rate = await rate(paying.pay_raw, await paying.invoices(payee, count), 20)
            our_rate = await rate(paying.pay, await paying.invoices(payee, count), 20)
            ours += our_ms
            theirs += raw_ms
            added.append(median(our_ms) - median(raw_ms))
            ratios.append(our_rate / raw_rate)
        del ours[:20], theirs[:20], added[0], ratios[0]
        say(f"{hops}: raw    p50 {median(theirs):6.1f} ms, p99 {p99(theirs):6.1f} ms")
        say(f"{hops}: ours   p50 {median(ours):6.1f} ms, p99 {p99(ours):6.1f} ms")
        say(f"{hops}: added at p50 {spread(added)} ms; rate at 20 / raw {spread(ratios)}")


async def measure(bench: Bench, kind: str, rounds: int, count: int) -> None:
    paying = Paying(bench)
    say(f"happy path: {await paying.cost_of_one()}")
    if kind == "simulated":
        await against_nothing(bench, paying, rounds, count)
    else:
        await against_raw(paying, rounds, count)
