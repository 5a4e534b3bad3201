"""`make demo`: a day in the life, from nothing, on either network.

Ends with exit code 1 when anything came out otherwise than the story says.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from rich.console import Console
from rich.table import Table

from devnet.cost import Cost, cost
from devnet.daemons import DaemonNotFoundError, find
from devnet.house import KINDS, House, WorkerProcess, endpoint, house
from devnet.liquidity_story import LiquidityStory
from devnet.node import ACCEPTED, TestInvoice
from devnet.progress import shown
from devnet.receiver import Receiver, new_secret
from devnet.stuck_story import StuckStory
from devnet.temporal import TemporalServer
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.errors import InvalidRequestError
from fulgurite.invoices.receipts import CreatedInvoice
from fulgurite.invoices.requests import InvoiceRequest
from fulgurite.money import FeeLimit, Msat
from fulgurite.payments.receipts import Receipt
from fulgurite.payments.requests import Cancellation, PaymentRequest
from fulgurite.payments.states import PaymentState
from fulgurite.swaps.states import SwapState
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient
from starter.connect import connect
from starter.payment import Payment

console = Console()

Found = TypeVar("Found")

_CALLERS = 100
_DAEMONS = {
    "simulated": ("temporal",),
    "regtest": ("temporal", "btcd", "btcctl", "lnd", "lncli", "loopd"),
}


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

    def __init__(self, home: House, client: FulguriteClient, shop: Receiver) -> None:
        self._home = home
        self._client = client
        self._shop = shop
        self._nodes = home.network.nodes
        self._began = 0.0
        self.chapters: list[Chapter] = []

    async def live(self, worker: WorkerProcess) -> None:
        await self._pays()
        await self._is_asked_by_many()
        await self._survives(worker)
        await self._is_canceled_in_flight()
        await self._refuses()
        await self._receives()
        await self._receives_without_a_worker(worker)
        await self._spends_no_more_than_it_may()
        await self._makes_room()
        await self._hangs()

    async def _pays(self) -> None:
        invoice = await self._nodes["carol"].invoice(50_000_000, memo="a chair")
        async with self._chapter("alice pays carol over two hops"):
            payment = await self._client.pay(_request(invoice))
            receipt = await payment.receipt()
            _expect(receipt.status is PaymentState.SUCCEEDED, receipt)
        await self._write_paid("paid over two hops", payment, receipt)

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
        await self._write_paid(
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
        await self._write_paid("worker killed: settled once", payment, receipt)

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
        await self._write_paid("canceled in flight", payment, receipt)

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

    async def _receives(self) -> None:
        async with self._chapter("alice's shop makes an invoice; carol pays; a webhook arrives"):
            created = await self._client.create_invoice(_sale("order-1", "a table"))
            await self._nodes["carol"].pay(created.payment_request)
            await self._told(created)
        await self._write_received("paid: told once", created)

    async def _receives_without_a_worker(self, worker: WorkerProcess) -> None:
        created = await self._client.create_invoice(_sale("order-2", "a lamp"))
        async with self._chapter("the worker is killed with -9; carol pays while none lives"):
            await worker.kill()
            await self._nodes["carol"].pay(created.payment_request)
            console.print("    paid, and nobody there to see it …", style="dim")
            await worker.start()
            await self._told(created)
        await self._write_received("paid without a worker: told once", created)

    async def _spends_no_more_than_it_may(self) -> None:
        async with self._chapter("a budget has room for one payment of two"):
            story = LiquidityStory(self._home, self._client, console)
            payment, (paid, refused) = await story.spends()
            _expect(paid.status is PaymentState.SUCCEEDED, paid)
            _expect(refused.status is PaymentState.OVER_BUDGET, refused)
        await self._write_paid("over budget: nothing was sent", payment, refused)

    async def _makes_room(self) -> None:
        story = LiquidityStory(self._home, self._client, console)
        async with self._chapter("the autopilot looks at alice's channels, and explains itself"):
            run, plan = await story.plans()
            channels = await self._nodes["alice"].channels()
            _expect(len(plan.lines) == len(channels), plan)
        await self._write("explained, channel by channel", run.id, plan.state, "", "")
        async with self._chapter("a Loop Out makes room to receive"):
            swapped = await story.swaps()
            _expect(swapped.status is SwapState.SUCCEEDED, swapped)
        await self._write(
            "swapped out, once",
            ids.swap_id(swapped.key),
            swapped.status,
            str(Msat.from_sat(swapped.amount_sat)),
            str(Msat.from_sat(swapped.cost.total_sat)),
        )

    async def _hangs(self) -> None:
        async with self._chapter("a payment hangs for good: force close, CSV, sweep"):
            told = await StuckStory(self._home, self._client, console).tell()
            payment, receipt, ladder = told
            _expect(receipt.status is PaymentState.FAILED, receipt)
            _expect(ladder.on_chain is not None and ladder.on_chain.complete, ladder)
            assert ladder.on_chain is not None
        await self._write(
            "hung: the chain decided",
            ids.stuck_id(payment.payment_hash),
            f"{receipt.status}, {ladder.status}",
            str(receipt.amount_msat),
            f"{ladder.on_chain.cost_sat:,} sat on chain",
        )

    async def _told(self, created: CreatedInvoice) -> None:
        """The shop's receiver got the news, signed, exactly once."""
        news = f"invoice-settled-{created.payment_hash}"
        await eventually(
            _awaitable(lambda: self._shop.taken.get(news)),
            lambda delivery: delivery is not None,
            what="a webhook at the shop",
        )
        console.print(f"    the shop verified [bold]{news[:36]}…[/]", style="dim")
        await (await self._client.invoice(created.request.key)).receipt()
        _expect(self._shop.duplicates == 0, self._shop.duplicates)

    async def _write_received(self, story: str, created: CreatedInvoice) -> None:
        receipt = await (await self._client.invoice(created.request.key)).receipt()
        await self._write(
            story,
            ids.invoice_id(created.payment_hash),
            receipt.status,
            str(receipt.paid_msat),
            "",
        )

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

    async def _write_paid(self, story: str, payment: Payment, receipt: Receipt) -> None:
        succeeded = receipt.status is PaymentState.SUCCEEDED
        await self._write(
            story,
            ids.payment_id(payment.payment_hash),
            " ".join(filter(None, [receipt.status, receipt.failure_reason.replace("NONE", "")])),
            str(receipt.amount_msat),
            str(receipt.fee_msat) if succeeded else "",
        )

    async def _write(
        self, story: str, workflow_id: str, outcome: str, amount: str, fee: str
    ) -> None:
        seconds = time.monotonic() - self._began
        client = await connect(self._home.settings)
        history = await client.get_workflow_handle(workflow_id).fetch_history()
        self.chapters.append(Chapter(story, outcome, amount, fee, seconds, cost(history)))


def _sale(key: str, what: str) -> InvoiceRequest:
    return InvoiceRequest(key=key, node="alice", amount_msat=Msat(4_000_000), memo=what)


def _awaitable(look: Callable[[], Found]) -> Callable[[], Awaitable[Found]]:
    async def looking() -> Found:
        return look()

    return looking


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
            secret_path = state_dir / "shop.secret"
            secret_path.write_text(new_secret())
            shop = await stack.enter_async_context(Receiver(secret_path.read_text()))
            webhooks = {"shop": endpoint(shop, secret_path, "invoice.*")}
            home = await stack.enter_async_context(
                house(kind, state_dir, headless=False, webhooks=webhooks, loop=True)
            )
        with shown("starting a worker"):
            worker = await stack.enter_async_context(home.worker())
        day = Day(home, FulguriteClient(await connect(home.settings)), shop)
        await day.live(worker)
        console.print()
        console.print(_summary(day.chapters))
        if not stay:
            console.print("\n`make up` leaves a house like this running, with its Temporal UI.")
            return
        assert isinstance(home.temporal, TemporalServer)
        console.print(f"\nAll of it in the Temporal UI: [bold]{home.temporal.ui_url}[/]")
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
