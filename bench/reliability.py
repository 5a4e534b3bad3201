"""The outages that were measured on a peer, by the same recipe: is all there, right, and once.

    python -m bench.reliability                       on the real daemons
    python -m bench.reliability --network simulated   the same, without them
    python -m bench.reliability --scale               10,000 settlements, end to end

Ends with exit code 1 when anything is missing, wrong, or was told twice.
"""

from __future__ import annotations

import argparse
import asyncio
import tempfile
import time
from collections.abc import Coroutine, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from bench import scale
from bench.running import say
from bench.shop import Shop, shop
from devnet.house import KINDS, WorkerProcess
from devnet.outages import AMOUNT_MSAT, HeldPayment, Reckoning, Sales, all_told, reckon, witnessing
from devnet.progress import shown
from devnet.proxy import Proxy, proxying
from fulgurite import ids
from starter.connect import leave

# How long the peer was given.
PATIENCE_SECONDS = 180.0


@dataclass(frozen=True)
class Row:
    """One line of the table."""

    what: str
    peer: str
    ours: str
    holds: bool  # nothing missing, wrong or twice


class Outages:
    """What is done to one worker, and to the LND that it receives with and pays from."""

    def __init__(self, at: Shop, line: Proxy) -> None:
        """`line` is the worker's way to alice's LND."""
        self._shop = at
        self._line = line
        self._network = at.home.network
        nodes = self._network.nodes
        self._alice, self._bob, self._carol = nodes["alice"], nodes["bob"], nodes["carol"]

    async def worker_killed(self, worker: WorkerProcess, count: int) -> Row:
        """Half of the held payments settle while no worker lives, half go back."""
        with shown(f"{count} payments are sent, and held by their payees"):
            payees = (self._bob, self._carol)
            held = await HeldPayment.make(self._shop.client, "alice", payees, count)
        with shown("the worker is killed, the payments are resolved, the worker is started"):
            await worker.kill()
            await asyncio.gather(*(each.resolve() for each in held))
            began = time.monotonic()
            await worker.start()
            right = await _right([each.comes_out_right() for each in held])
        return Row(
            f"kill -9 of the worker with {count} held payments, then resolved",
            "48 of 48 still pending after 180 s",
            f"{right} of {count} right after {time.monotonic() - began:.1f} s",
            holds=right == count,
        )

    async def lnd_restarted(self, count: int) -> Row:
        """The worker's line to LND is held, so that none is paid after it is back."""
        with shown(f"{count} invoices are made"):
            sales = await Sales.make(self._shop.client, self._alice, count)
        with shown("lnd is killed and started; all are paid before the worker reaches it again"):
            self._line.to_server.pause()
            self._line.to_client.pause()
            await self._line.cut()
            await self._network.stop_node("alice")
            await self._network.start_node("alice")
            await sales.pay(self._bob)
            began = time.monotonic()
            self._line.to_server.resume()
            self._line.to_client.resume()
            return await self._told(
                sales,
                began,
                f"lnd restarted, {count} invoices paid in the gap",
                peer="0 of 100 shown paid, 0 webhooks after 180 s",
            )

    async def stopped(self, worker: WorkerProcess, count: int) -> Row:
        with shown(
            f"{count} invoices are made, the worker is stopped, all are paid, it is started"
        ):
            sales = await Sales.make(self._shop.client, self._alice, count)
            await worker.stop()
            await sales.pay(self._bob)
            began = time.monotonic()
            await worker.start()
            return await self._told(
                sales,
                began,
                f"stopped, {count} invoices paid, started",
                peer="10 of 50 shown paid, 0 webhooks after 180 s",
            )

    async def undisturbed(self, count: int) -> Row:
        """How long after it settled each is known, and its webhook there."""
        with shown(f"{count} invoices are made and paid"):
            sales = await Sales.make(self._shop.client, self._alice, count)
            async with witnessing(self._alice) as settled:
                await sales.pay(self._bob)
                reckoning = await self._reckoned(sales)
        known = await self._ended(sales)
        told = self._shop.arrivals.of_settlements(sales.hashes)
        holds = _exact(reckoning, count) and len(known) == len(told) == count
        return Row(
            f"{count} settlements: the last one known / its webhook there",
            "2.6 s / 5.9 s",
            f"{_after(settled, known)} / {_after(settled, told)}" if holds else str(reckoning),
            holds=holds,
        )

    def once_each(self) -> Row:
        receiver = self._shop.receiver
        return Row(
            "webhooks that came more than once",
            "",
            f"{receiver.duplicates} of {len(receiver.taken)}",
            holds=receiver.duplicates == 0,
        )

    async def _told(self, sales: Sales, began: float, what: str, *, peer: str) -> Row:
        """By both ways to know: the webhook, and the invoice's own workflow."""
        count = len(sales.made)
        reckoning = await self._reckoned(sales)
        paid = await _right([self._is_known(each) for each in sales.hashes])
        seconds = time.monotonic() - began
        return Row(
            what,
            peer,
            f"{paid} of {count} shown paid, {reckoning.told} webhooks after {seconds:.1f} s",
            holds=_exact(reckoning, count) and paid == count,
        )

    async def _reckoned(self, sales: Sales) -> Reckoning:
        """When nothing is missing any more, or time is up."""
        with suppress(TimeoutError):
            await all_told(sales, self._alice, self._shop.receiver, PATIENCE_SECONDS)
        return await reckon(sales.hashes, self._alice, self._shop.receiver)

    async def _is_known(self, payment_hash: str) -> bool:
        receipt = await (await self._shop.client.invoice(payment_hash)).receipt()
        return receipt.paid_msat == AMOUNT_MSAT

    async def _ended(self, sales: Sales) -> dict[str, float]:
        """When each one's workflow ended, a moment after it was SETTLED, by payment hash."""
        ends: dict[str, float] = {}
        for invoice in sales.made:
            workflow_id = ids.invoice_id(invoice.payment_hash)
            described = await self._shop.temporal.get_workflow_handle(workflow_id).describe()
            if described.close_time:
                ends[invoice.payment_hash] = described.close_time.timestamp()
        return ends


async def _right(answers: Sequence[Coroutine[None, None, bool]]) -> int:
    """How many come, within the time there is, and are right."""
    asking = [asyncio.create_task(answer) for answer in answers]
    done, late = await asyncio.wait(asking, timeout=PATIENCE_SECONDS)
    for task in late:
        task.cancel()
    await asyncio.gather(*late, return_exceptions=True)
    return sum(task.exception() is None and task.result() for task in done)


def _exact(reckoning: Reckoning, count: int) -> bool:
    return reckoning.agrees and reckoning.settled == count and not reckoning.repeated


def _after(settled: dict[str, float], seen: dict[str, float]) -> str:
    delays = [seen[each] - settled[each] for each in seen]
    return f"{max(delays):.1f} s (p50 {median(delays):.2f} s)"


async def _outages(kind: str, state_dir: Path, share: float) -> bool:
    """Prints the table; whether everything held."""

    def of(count: int) -> int:
        return max(4, round(count * share))

    async with AsyncExitStack() as stack:
        with shown(f"building a {kind} network of three nodes, and a Temporal server"):
            at = await stack.enter_async_context(shop(kind, state_dir))
            line = await stack.enter_async_context(proxying(at.home.network.nodes["alice"].address))
            through_line = {"FULGURITE_NODES__ALICE__ADDRESS": line.address}
            worker = await stack.enter_async_context(at.home.worker(**through_line))
        outages = Outages(at, line)
        rows = [
            await outages.worker_killed(worker, of(48)),
            await outages.lnd_restarted(of(100)),
            await outages.stopped(worker, of(50)),
            await outages.undisturbed(of(200)),
            outages.once_each(),
        ]
    say("| what | the peer | ours | |")
    say("|---|---|---|---|")
    for row in rows:
        say(f"| {row.what} | {row.peer} | {row.ours} | {'holds' if row.holds else '**FAILS**'} |")
    return all(row.holds for row in rows)


def main() -> None:
    parser = argparse.ArgumentParser(
        prog="python -m bench.reliability",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--network", choices=KINDS, default="regtest")
    parser.add_argument("--share", type=float, default=1.0, help="of the counts, for a quick look")
    parser.add_argument("--scale", action="store_true", help="many, on the simulated network")
    asked = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fulgurite-reliability-") as scratch:
        if asked.scale:
            holds = asyncio.run(scale.run(Path(scratch), round(10_000 * asked.share)))
        else:
            holds = asyncio.run(_outages(asked.network, Path(scratch), asked.share))
    leave(0 if holds else 1)


if __name__ == "__main__":
    main()
