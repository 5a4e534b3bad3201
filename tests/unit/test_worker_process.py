"""A worker as it is run: what it says of itself, what it never says, and how it leaves."""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
from base64 import b64decode, b64encode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from temporalio.client import Client

from devnet.house import ROOT, House, WorkerProcess
from devnet.node import TestInvoice
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.identity import NodePubkey, PaymentHash, Preimage
from fulgurite.money import FeeLimit, Msat
from fulgurite.payments.requests import Keysend, PaymentRequest
from fulgurite.payments.states import PaymentState
from starter.client import FulguriteClient
from starter.payment import Payment

GRACE_SECONDS = 5


def forms(secret: bytes) -> set[bytes]:
    """Every form in which a secret could be recognized, whole or by its first half."""
    half = secret[: len(secret) // 2 // 3 * 3]
    return {
        half,
        half.hex().encode(),
        half.hex().upper().encode(),
        b64encode(half),
        str(list(half)).strip("[]").encode(),
    }


async def text_at(url: str) -> tuple[int, str]:
    async with aiohttp.ClientSession() as session, session.get(url) as answer:
        return answer.status, await answer.text()


def log_of(home: House, name: str) -> str:
    return (home.state_dir / "logs" / f"{name}.log").read_text()


def log_lines(home: House, name: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log_of(home, name).splitlines() if line.startswith("{")]


async def history_of(temporal: Client, payment_hash: str) -> bytes:
    """Everything that Temporal keeps of a payment, with its payloads decoded."""
    handle = temporal.get_workflow_handle(ids.payment_id(PaymentHash(payment_hash)))
    history = (await handle.fetch_history()).to_json_dict()
    return b"\n".join([json.dumps(history).encode(), *_payloads(history)])


def _payloads(node: object) -> Iterator[bytes]:
    match node:
        case {"metadata": _, "data": str(data)}:
            yield b64decode(data)
        case dict():
            for value in node.values():
                yield from _payloads(value)
        case list():
            for value in node:
                yield from _payloads(value)


async def paid(client: FulguriteClient, home: House) -> tuple[TestInvoice, Preimage]:
    """An invoice and a keysend, both settled."""
    carol = home.network.nodes["carol"]
    invoice = await carol.invoice(50_000_000)
    payment = await client.pay(
        PaymentRequest(node="alice", invoice=invoice.payment_request, fee_limit=FeeLimit(sat=10))
    )
    assert (await payment.receipt()).status is PaymentState.SUCCEEDED
    preimage = Preimage.generate()
    sent = await client.pay(
        PaymentRequest(
            node="alice",
            keysend=Keysend(
                destination=NodePubkey((await carol.info()).identity_pubkey),
                payment_hash=preimage.hash(),
                sealed_preimage=home.settings.public_sealing_key().seal(preimage),
            ),
            amount_msat=Msat(5_000_000),
            fee_limit=FeeLimit(sat=10),
        )
    )
    receipt = await sent.receipt()
    assert receipt.status is PaymentState.SUCCEEDED
    assert receipt.sealed_preimage is not None
    assert home.settings.unsealing_key().open(receipt.sealed_preimage) == preimage
    return invoice, preimage


async def test_no_secret_leaves_the_process_and_everything_else_is_told(
    home: House, temporal: Client, client: FulguriteClient
) -> None:
    """Invariant 11, and what an operator reads instead."""
    async with home.worker("telling", FULGURITE_LOG_LEVEL="debug") as running:
        invoice, preimage = await paid(client, home)
        _, metrics = await text_at(running.metrics_url)
        _, ready = await text_at(f"{running.health_url}/readyz")
    hashes = [invoice.payment_hash.hex(), preimage.hash()]
    histories = [await history_of(temporal, payment_hash) for payment_hash in hashes]

    told = b"\n".join(
        [*histories, log_of(home, "telling").encode(), metrics.encode(), ready.encode()]
    )
    secrets = [invoice.preimage, preimage.reveal(), *_macaroons(home)]
    secrets.append(bytes.fromhex(home.settings.unsealing_key().secret_text()))
    for secret in secrets:
        assert not {form for form in forms(secret) if form in told}

    lines = log_lines(home, "telling")
    moves = [line for line in lines if line["event"] == "payment moved"]
    ours = [move for move in moves if preimage.hash() in move["temporal_workflow"]["workflow_id"]]
    assert {"level", "timestamp", "event", "logger"} <= set(lines[0])
    assert [move["state"] for move in ours] == [PaymentState.DISPATCHING, PaymentState.SUCCEEDED]
    assert {"run_id", "workflow_type", "namespace"} <= set(ours[0]["temporal_workflow"])
    assert "temporal_workflow_completed" in metrics
    assert "fulgurite_payments_total{" in metrics
    assert 'status="SUCCEEDED"' in metrics


def _macaroons(home: House) -> list[bytes]:
    """The part of each that is secret: its end, where the signature is."""
    folders = {node.macaroon_dir for node in home.network.nodes.values()}
    return [path.read_bytes()[-32:] for folder in folders for path in folder.glob("*.macaroon")]


@pytest.mark.parametrize("home", ["simulated"], indirect=True, scope="session")
async def test_health_tells_a_worker_that_lives_from_one_that_can_work(home: House) -> None:
    async with home.worker("healthy") as running:
        assert await text_at(f"{running.health_url}/livez") == (200, '{"status": "ok"}')
        status, said = await text_at(f"{running.health_url}/readyz")
        assert (status, json.loads(said)["node alice"]) == (200, "ok")

        await home.network.stop_node("alice")
        try:
            status, said = await text_at(f"{running.health_url}/readyz")
            assert status == 503
            assert "Is the node up" in json.loads(said)["node alice"]
            assert json.loads(said)["node bob"] == "ok"
            assert (await text_at(f"{running.health_url}/livez"))[0] == 200
        finally:
            await home.network.start_node("alice")
        await eventually(
            lambda: text_at(f"{running.health_url}/readyz"),
            lambda answer: answer[0] == 200,
            what="ready again",
            timeout_seconds=15,
        )


async def test_a_worker_that_is_asked_to_leave_hands_its_payments_over(
    home: House, client: FulguriteClient
) -> None:
    """SIGTERM with a payment in flight: out in time, nothing lost, nothing told twice."""
    carol = home.network.nodes["carol"]
    invoice = await carol.hold_invoice(50_000_000)
    grace = {"FULGURITE_GRACEFUL_SHUTDOWN_SECONDS": str(GRACE_SECONDS)}
    async with home.worker("leaving", **grace) as leaving:
        payment = await client.pay(
            PaymentRequest(
                node="alice", invoice=invoice.payment_request, fee_limit=FeeLimit(sat=10)
            )
        )
        await _in_flight(payment)
        took_seconds = await _stopped(leaving)
    assert took_seconds < GRACE_SECONDS + 5
    assert "worker stopping" in {line["event"] for line in log_lines(home, "leaving")}

    async with home.worker("taking-over"):
        await carol.settle(invoice)
        receipt = await payment.receipt()
    assert receipt.status is PaymentState.SUCCEEDED
    assert receipt.sends == 1
    # The second worker replays what the first one did, and does not log it again.
    told = [
        [line["state"] for line in log_lines(home, name) if line["event"] == "payment moved"]
        for name in ("leaving", "taking-over")
    ]
    assert told == [[PaymentState.DISPATCHING, PaymentState.IN_FLIGHT], [PaymentState.SUCCEEDED]]


async def _in_flight(payment: Payment) -> None:
    async def now() -> PaymentState:
        return (await payment.view()).state

    await eventually(now, lambda state: state is PaymentState.IN_FLIGHT, what="in flight")


async def _stopped(worker: WorkerProcess) -> float:
    loop = asyncio.get_running_loop()
    began = loop.time()
    await worker.stop()
    return loop.time() - began


async def test_a_worker_that_is_configured_wrongly_says_so_and_ends(tmp_path: Path) -> None:
    config = tmp_path / "fulgurite.toml"
    config.write_text("log_level = 'loud'")

    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        ROOT / "worker.py",
        env={**os.environ, "FULGURITE_CONFIG": str(config)},
        stderr=asyncio.subprocess.PIPE,
    )
    _, said = await worker.communicate()

    assert worker.returncode == 1
    assert re.search(r"fulgurite-worker: .*log_level", said.decode())
