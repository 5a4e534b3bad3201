"""`make demo`: a day in the life, from nothing, on either network.

Ends with exit code 1 when anything came out otherwise than the story says.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from devnet.cost import Cost, cost
from devnet.daemons import DaemonNotFoundError, find
from devnet.house import KINDS, House, WorkerProcess, house
from devnet.node import ACCEPTED, TestInvoice
from devnet.progress import shown
from devnet.temporal import TemporalServer
from fulgurite import ids
from fulgurite.errors import InvalidRequestError
from fulgurite.money import FeeLimit, Msat
from fulgurite.payments.receipts import Receipt
from fulgurite.payments.requests import Cancellation, PaymentRequest
from fulgurite.payments.states import PaymentState
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient
from starter.connect import connect
from starter.payment import Payment

console = Console()

_CALLERS = 100
_DAEMONS = {"simulated": ("temporal",), "regtest": ("temporal", "btcd", "btcctl", "lnd", "lncli")}


@dataclass(frozen=True)
class Chapter:
    """One line of the summary."""

    story: str
    outcome: str
    amount: str
    fee: str
    seconds: float
    cost: Cost | None


class Day:
    """The story, told once. Each chapter checks what LND itself says at its end."""

    def __init__(self, home: House, client: FulguriteClient) -> None:
        self._home = home
        self._client = client
        self._nodes = home.network.nodes
        self._began = 0.0
        self.chapters: list[Chapter] = []

    async def live(self, worker: WorkerProcess) -> None:
        await self._pays()
        await self._is_asked_by_many()
        await self._survives(worker)
        await self._is_canceled_in_flight()
        await self._refuses()

    async def _pays(self) -> None:
        invoice = await self._nodes["carol"].invoice(50_000_000, memo="a chair")
        async with self._chapter("alice pays carol over two hops"):
            payment = await self._client.pay(_request(invoice))
            receipt = await payment.receipt()
            _expect(receipt.status is PaymentState.SUCCEEDED, receipt)
        await self._write("paid over two hops", payment, receipt)

    async def _is_asked_by_many(self) -> None:
        invoice = await self._nodes["bob"].invoice(1_000_000)
        async with self._chapter(f"{_CALLERS} callers ask for the same invoice at once"):
            asked = (self._client.pay(_request(invoice)) for _ in range(_CALLERS))
            payments = await asyncio.gather(*asked)
            receipts = await asyncio.gather(*(payment.receipt() for payment in payments))
            _expect(all(each.status is PaymentState.SUCCEEDED for each in receipts), receipts[0])
            paid = await self._nodes["bob"].lookup(invoice)
            _expect(paid.amt_paid_msat == 1_000_000, paid)
        told = sum(payment.attached for payment in payments)
        await self._write(
            f"{_CALLERS} callers, one payment; {told} joined",
            payments[0],
            receipts[0],
        )

    async def _survives(self, worker: WorkerProcess) -> None:
        invoice = await self._nodes["carol"].hold_invoice(2_000_000)
        async with self._chapter("a payment hangs in flight; the worker is killed with -9"):
            payment = await self._client.pay(_request(invoice))
            await self._nodes["carol"].wait_for_invoice(invoice, ACCEPTED)
            await worker.kill()
            console.print("    worker killed; carol settles while no worker lives …", style="dim")
            await self._nodes["carol"].settle(invoice)
            await worker.start()
            console.print("    a new worker started …", style="dim")
            receipt = await payment.receipt()
            _expect(receipt.status is PaymentState.SUCCEEDED, receipt)
            await self._settled_once(invoice)
        await self._write("worker killed: settled once", payment, receipt)

    async def _is_canceled_in_flight(self) -> None:
        invoice = await self._nodes["carol"].hold_invoice(3_000_000)
        async with self._chapter("a payment is canceled in flight, and nobody lies about it"):
            payment = await self._client.pay(_request(invoice))
            await self._nodes["carol"].wait_for_invoice(invoice, ACCEPTED)
            view = await payment.cancel(Cancellation(reason="changed my mind"))
            console.print(f"    canceled; the state stays {view.state} …", style="dim")
            await self._nodes["carol"].cancel(invoice)
            receipt = await payment.receipt()
            _expect(receipt.status is PaymentState.FAILED, receipt)
        await self._write("canceled in flight", payment, receipt)

    async def _refuses(self) -> None:
        invoice = await self._nodes["carol"].invoice(1_000_000)
        request = _request(invoice).model_copy(update={"amount_msat": Msat(5)})
        async with self._chapter("an amount is given twice"):
            try:
                await self._client.pay(request)
            except InvalidRequestError as error:
                outcome = type(error).__name__
                console.print(f"    {error}", style="dim")
            else:
                raise AssertionError("the amount was accepted")
        self.chapters.append(Chapter("refused, nothing moved", outcome, "", "", 0, None))

    async def _settled_once(self, invoice: TestInvoice) -> None:
        """By LND's own books on both sides."""
        known = [
            each
            for each in await self._nodes["alice"].payments()
            if each.payment_hash == invoice.payment_hash.hex()
            and each.status == lightning_pb2.Payment.SUCCEEDED
        ]
        _expect(len(known) == 1, known)
        settled = await self._nodes["carol"].lookup(invoice)
        _expect(settled.state == lightning_pb2.Invoice.SETTLED, settled)

    @asynccontextmanager
    async def _chapter(self, what: str) -> AsyncIterator[None]:
        console.print(f"[bold]{len(self.chapters) + 1}.[/] {what}")
        self._began = time.monotonic()
        yield

    async def _write(self, story: str, payment: Payment, receipt: Receipt) -> None:
        seconds = time.monotonic() - self._began
        client = await connect(self._home.settings)
        handle = client.get_workflow_handle(ids.payment_id(payment.payment_hash))
        history = await handle.fetch_history()
        fee = str(receipt.fee_msat) if receipt.status is PaymentState.SUCCEEDED else ""
        outcome = " ".join(
            filter(None, [receipt.status, receipt.failure_reason.replace("NONE", "")])
        )
        self.chapters.append(
            Chapter(story, outcome, str(receipt.amount_msat), fee, seconds, cost(history))
        )


def _request(invoice: TestInvoice) -> PaymentRequest:
    return PaymentRequest(
        node="alice", invoice=invoice.payment_request, fee_limit=FeeLimit(sat=100)
    )


def _expect(holds: bool, seen: object) -> None:
    if not holds:
        raise AssertionError(f"the story went otherwise: {seen}")


def _summary(chapters: Sequence[Chapter]) -> Table:
    table = Table(title="what it came to", title_justify="left")
    for column in ("", "outcome"):
        table.add_column(column, overflow="fold")
    for column in ("amount", "fee", "seconds", "actions", "events"):
        table.add_column(column, justify="right")
    for chapter in chapters:
        spent = (
            (str(chapter.cost.actions), str(chapter.cost.events)) if chapter.cost else ("0", "0")
        )
        table.add_row(
            chapter.story,
            chapter.outcome,
            chapter.amount,
            chapter.fee,
            f"{chapter.seconds:.1f}",
            *spent,
        )
    return table


async def _demo(kind: str, state_dir: Path, *, stay: bool) -> None:
    for program in _DAEMONS[kind]:
        find(program)
    async with AsyncExitStack() as stack:
        with shown(f"building a {kind} network of three nodes, and a Temporal server"):
            home = await stack.enter_async_context(house(kind, state_dir, headless=False))
        with shown("starting a worker"):
            worker = await stack.enter_async_context(home.worker())
        day = Day(home, FulguriteClient(await connect(home.settings)))
        await day.live(worker)
        console.print()
        console.print(_summary(day.chapters))
        if not stay:
            console.print("\n`make up` leaves a house like this running, with its Temporal UI.")
            return
        assert isinstance(home.temporal, TemporalServer)
        console.print(f"\nThese payments in the Temporal UI: [bold]{home.temporal.ui_url}[/]")
        console.print("Press Enter to end the demo.")
        await asyncio.to_thread(sys.stdin.readline)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m devnet.demo", description=__doc__)
    parser.add_argument("--network", choices=KINDS, default="simulated")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fulgurite-demo-") as scratch:
        try:
            asyncio.run(_demo(asked.network, Path(scratch), stay=sys.stdin.isatty()))
        except DaemonNotFoundError as error:
            raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
