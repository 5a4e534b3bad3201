"""A thousand payments that hang at once: what the node is asked, and what the ladders cost."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median

import psutil
from temporalio.client import Client
from temporalio.service import RPCError

from bench.running import say
from devnet.cost import cost
from devnet.house import House, house
from devnet.node import TestInvoice
from devnet.progress import shown
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite import attributes, ids
from fulgurite.chain.tip import ChainView
from fulgurite.money import FeeLimit
from fulgurite.payments.receipts import Receipt
from fulgurite.payments.requests import PaymentRequest
from fulgurite.payments.states import PaymentState
from fulgurite.stuck.policy import ForceCloseBy, LadderPolicy
from fulgurite.stuck.states import LadderState
from starter.client import FulguriteClient
from starter.connect import connect
from starter.payment import Payment
from workflows.chain import ChainWorkflow

NODE, _PEER = "alice", "bob"
_CHANNELS = 20
_CACHE = {"FULGURITE_MAX_CACHED_WORKFLOWS": "4000"}  # both workflows of each, and to spare
_AT_ONCE = 20
_QUIET_BLOCKS, _LOOK_EVERY_BLOCKS = 12, 6  # each ladder looks twice
_BLOCKS_BEFORE_EXPIRY = 60
_POLICY = LadderPolicy(
    force_close_by=ForceCloseBy.EXPIRY,
    blocks_before_expiry=_BLOCKS_BEFORE_EXPIRY,
    reconnect_seconds=0,
)
_PAYMENT, _LADDER, _CLOSE = "PaymentWorkflow", "StuckPaymentWorkflow", "ChannelCloseWorkflow"
_MOST_BLOCKS = 400
_SAY_EVERY_BLOCKS = 10
_PATIENCE_SECONDS = 3_600
_SAMPLE = 20
_MIB = 1024 * 1024


@dataclass(frozen=True)
class _Asker:
    home: House
    temporal: Client
    client: FulguriteClient


@dataclass(frozen=True)
class _Used:
    """By the worker's process until now."""

    cpu_seconds: float
    rss_mib: float


async def measure(state_dir: Path, count: int) -> None:
    """From `count` payments that hang to the last sweep of the channels that they hung on."""
    async with house("simulated", state_dir, ours=[NODE]) as home, home.worker(**_CACHE):
        temporal = await connect(home.settings)
        at = _Asker(home, temporal, FulguriteClient(temporal))
        network = home.network
        assert isinstance(network, SimulatedNetwork)
        say(f"load when it began: {os.getloadavg()[0]:.1f}")
        empty = await _used(at)
        invoices = await network.hang(
            NODE, _PEER, count=count, channels=_CHANNELS, timeout_seconds=2
        )
        with shown(f"{count:,} payments hang on {_CHANNELS} channels"):
            payments = await _followed(at, invoices)
        hung = await _used(at)
        say(f"memory of a worker: {empty.rss_mib:.0f} MiB, with {count:,}: {hung.rss_mib:.0f} MiB")

        with shown(f"{_QUIET_BLOCKS} quiet blocks"):
            await _quiet(at, network, hung, count)
        with shown("the policy closes every channel, and the chain decides"):
            receipts = await _climbed(at, network, payments)
        _tell(receipts, network.calls.count(NODE, "CloseChannel"))
        await _costs(at, payments, receipts)
        say(f"load when it ended: {os.getloadavg()[0]:.1f}")


async def _followed(at: _Asker, invoices: list[TestInvoice]) -> list[Payment]:
    gate = asyncio.Semaphore(_AT_ONCE)

    async def pay(invoice: TestInvoice) -> Payment:
        async with gate:
            return await at.client.pay(
                PaymentRequest(
                    node=NODE,
                    invoice=invoice.payment_request,
                    fee_limit=FeeLimit(sat=1_000),
                    stuck_after_seconds=1,
                    deadline_seconds=30,
                    ladder=_POLICY,
                )
            )

    payments = await asyncio.gather(*map(pay, invoices))
    await _until(partial(_running, at.temporal, _PAYMENT, PaymentState.STUCK), len(payments))
    await _until(partial(_running, at.temporal, _LADDER, LadderState.WAITING), len(payments))
    return list(payments)


async def _quiet(at: _Asker, network: SimulatedNetwork, before: _Used, count: int) -> None:
    network.calls.forget()
    began = time.monotonic()
    for _ in range(_QUIET_BLOCKS // _LOOK_EVERY_BLOCKS):
        for _ in range(_LOOK_EVERY_BLOCKS):
            await network.mine(1)
            await _followed_to(at.temporal, network.chain.height)
        after = await _at_rest(at)
    asked = network.calls.by_method(NODE)
    calls = sum(asked.values()) / _QUIET_BLOCKS
    cpu_ms = (after.cpu_seconds - before.cpu_seconds) / (2 * count) * 1_000
    took = (time.monotonic() - began) / (_QUIET_BLOCKS // _LOOK_EVERY_BLOCKS)
    say(f"a quiet block: {calls:.1f} calls of the node: {asked}")
    say(f"{_LOOK_EVERY_BLOCKS} of them, until all had looked: {took:.0f} s")
    say(f"a look: {cpu_ms:.1f} ms of the worker's CPU")


async def _climbed(at: _Asker, network: SimulatedNetwork, payments: list[Payment]) -> list[Receipt]:
    network.calls.forget()
    began, before, mined = time.monotonic(), await _used(at), 0
    highest = before.rss_mib
    while await _running(at.temporal, _LADDER):
        if mined >= _MOST_BLOCKS:
            raise RuntimeError(f"ladders are left after {mined} blocks")
        await network.mine(1)
        mined += 1
        await _digested(at, network)
        highest = max(highest, (await _used(at)).rss_mib)
        if mined % _SAY_EVERY_BLOCKS == 0:
            left = await _running(at.temporal, _LADDER)
            say(f"after {mined} blocks, {time.monotonic() - began:.0f} s: {left:,} are under way")
    after = await _used(at)
    asked = network.calls.by_method(NODE)
    say(f"{mined} blocks in {time.monotonic() - began:.0f} s, at most {highest:.0f} MiB")
    each = _per(before, after, payments)
    say(f"a ladder, from there to its end: {each:.2f} s of the worker's CPU")
    say(f"a block of these: {sum(asked.values()) / mined:.1f} calls of the node: {asked}")
    return list(await asyncio.gather(*(payment.receipt() for payment in payments)))


def _per(before: _Used, after: _Used, payments: list[Payment]) -> float:
    return (after.cpu_seconds - before.cpu_seconds) / len(payments)


def _tell(receipts: list[Receipt], closes: int) -> None:
    ended = Counter(str(receipt.status) for receipt in receipts)
    say(f"{closes} force closes for {_CHANNELS} channels; the payments: {dict(ended)}")


async def _costs(at: _Asker, payments: list[Payment], receipts: list[Receipt]) -> None:
    """What Temporal was asked for, of a sample."""
    points = sorted({p for each in receipts if each.on_chain for p in each.on_chain.channel_points})
    kinds = {
        "payment": [ids.payment_id(each.payment_hash) for each in payments[:_SAMPLE]],
        "ladder": [ids.stuck_id(each.payment_hash) for each in payments[:_SAMPLE]],
        "closing": [ids.close_id(point) for point in points[:_SAMPLE]],
    }
    for kind, workflows in kinds.items():
        spent = [
            cost(await at.temporal.get_workflow_handle(each).fetch_history()) for each in workflows
        ]
        say(
            f"a {kind}: {median(each.actions for each in spent):.0f} actions, "
            f"{median(each.events for each in spent):.0f} events, "
            f"{median(each.history_bytes for each in spent):,.0f} bytes of history"
        )


async def _digested(at: _Asker, network: SimulatedNetwork) -> None:
    """Waits until all that closes waits for a block that is to come."""

    async def at_rest() -> bool:
        chain = await _followed_to(at.temporal, network.chain.height)
        waiting = sum(
            alarm.workflow_id.startswith("close/") and alarm.height > network.chain.height
            for alarm in chain.alarms
        )
        return waiting >= await _running(at.temporal, _CLOSE)

    await eventually(
        at_rest, what="closings at rest", timeout_seconds=_PATIENCE_SECONDS, every_seconds=0.5
    )


async def _followed_to(temporal: Client, height: int) -> ChainView:
    chain = temporal.get_workflow_handle(ids.chain_id(NODE))

    async def view() -> ChainView | None:
        with suppress(RPCError):  # busy: a thousand ask it for their blocks
            return await chain.query(ChainWorkflow.view)
        return None

    seen = await eventually(
        view,
        lambda seen: seen is not None and seen.tip is not None and seen.tip.height >= height,
        what=f"chain time at {height}",
        timeout_seconds=_PATIENCE_SECONDS,
        every_seconds=0.5,
    )
    assert seen is not None
    return seen


async def _running(temporal: Client, kind: str, state: str = "") -> int:
    of_state = f" AND {attributes.STATE} = '{state}'" if state else ""
    query = f"WorkflowType = '{kind}' AND ExecutionStatus = 'Running'{of_state}"
    return (await temporal.count_workflows(query)).count


async def _until(count: Callable[[], Awaitable[int]], expected: int) -> None:
    await eventually(
        count,
        lambda seen: seen == expected,
        what=f"{expected:,} of them",
        timeout_seconds=_PATIENCE_SECONDS,
        every_seconds=1,
    )


async def _at_rest(at: _Asker) -> _Used:
    """Once the worker has used next to nothing for a second."""
    last = await _used(at)

    async def quiet() -> bool:
        nonlocal last
        before, last = last, await _used(at)
        return last.cpu_seconds - before.cpu_seconds < _IDLE_CPU_SECONDS

    await eventually(quiet, what="a worker at rest", timeout_seconds=600, every_seconds=1)
    return last


async def _used(at: _Asker) -> _Used:
    record = at.home.state_dir / "processes" / "worker.json"
    process = psutil.Process(json.loads(await asyncio.to_thread(record.read_text))["pid"])
    times = process.cpu_times()
    return _Used(times.user + times.system, process.memory_info().rss / _MIB)


_IDLE_CPU_SECONDS = 0.2
