"""The network as a process of its own, for clients that share no memory with it."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from pathlib import Path

import grpc

from devnet.node import LightningNode

from .driving import Payment, refused


async def test_a_process_serves_until_it_is_told_to_end(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "devnet.simulated", "--state-dir", str(tmp_path / "state")),
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        assert process.stdout is not None
        line = await asyncio.wait_for(process.stdout.readline(), timeout=20)
        word, _, path = line.decode().strip().partition(" ")
        assert word == "ready"
        directory = json.loads(await asyncio.to_thread(Path(path).read_text))
        alice, bob = (
            LightningNode(
                name,
                directory["nodes"][name]["address"],
                Path(directory["nodes"][name]["tls_cert_path"]),
                Path(directory["nodes"][name]["macaroon_dir"]),
            )
            for name in ("alice", "bob")
        )
        invoice = await bob.invoice(10_000_000)
        assert (await alice.pay(invoice.payment_request)).status == Payment.SUCCEEDED
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), timeout=10) == 0
        with refused(grpc.StatusCode.UNAVAILABLE, ""):
            await alice.info()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
