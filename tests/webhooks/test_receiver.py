"""The receiver of the devnet: what it believes, remembers and answers."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

import aiohttp

from devnet.receiver import Receiver, new_secret
from nodes.webhooks.signing import signed_headers

SECRET = new_secret()
BODY = b'{"type":"invoice.settled"}'


async def post(url: str, headers: dict[str, str], body: bytes = BODY) -> int:
    async with (
        aiohttp.ClientSession() as session,
        session.post(url, data=body, headers=headers) as response,
    ):
        return response.status


def signed(message_id: str) -> dict[str, str]:
    return signed_headers((SECRET,), message_id, datetime.now(UTC), BODY)


async def test_it_takes_what_is_signed_and_nothing_else() -> None:
    async with Receiver(SECRET) as receiver:
        assert await post(receiver.url, signed("settled_1")) == 200
        assert await post(receiver.url, {}) == 401
        assert await post(receiver.url, signed("settled_2"), BODY + b" ") == 401
        assert await post(receiver.url, signed("settled_3") | {"webhook-signature": "x"}) == 401
        assert await post(receiver.url, signed("settled_4"), b"\xff") == 401
    assert list(receiver.taken) == ["settled_1"]
    assert [delivery.verified for delivery in receiver.deliveries] == [True] + 4 * [False]


async def test_it_counts_what_arrives_after_it_was_taken() -> None:
    async with Receiver(SECRET) as receiver:
        receiver.answer = 500
        await post(receiver.url, signed("settled_1"))
        assert (list(receiver.taken), receiver.duplicates) == ([], 0)
        receiver.answer = 200
        await post(receiver.url, signed("settled_1"))
        assert (list(receiver.taken), receiver.duplicates) == (["settled_1"], 0)
        await post(receiver.url, signed("settled_1"))
        assert (list(receiver.taken), receiver.duplicates) == (["settled_1"], 1)


async def test_it_listens_again_where_it_listened_before() -> None:
    receiver = Receiver(SECRET)
    async with receiver:
        url = receiver.url
        await post(url, signed("settled_1"))
    async with receiver:
        assert receiver.url == url
        assert await post(url, signed("settled_2")) == 200
    assert list(receiver.taken) == ["settled_1", "settled_2"]


async def test_it_remembers_what_it_wrote_down_and_drops_a_torn_line(tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    async with Receiver(SECRET, journal=journal) as receiver:
        await post(receiver.url, signed("settled_1"))
    with journal.open("a") as torn:
        torn.write('{"id": "settl')
    async with Receiver(SECRET, journal=journal) as restarted:
        await post(restarted.url, signed("settled_1"))
        await post(restarted.url, signed("settled_2"))
    assert (list(restarted.taken), restarted.duplicates) == (["settled_1", "settled_2"], 1)
    assert list(Receiver(SECRET, journal=journal).taken) == ["settled_1", "settled_2"]


async def test_as_a_process_it_tells_each_webhook_and_loses_none_when_killed(
    tmp_path: Path,
) -> None:
    secret_path, journal = tmp_path / "secret", tmp_path / "journal"
    secret_path.write_text(SECRET)
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "devnet.receiver"),
        *("--secret-path", str(secret_path), "--journal", str(journal)),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env=dict(os.environ, PYTHONUNBUFFERED="1"),
    )
    assert process.stdout is not None
    assert process.stderr is not None
    words = (await process.stderr.readline()).decode().split()
    url = next(word for word in words if word.startswith("http")).rstrip(";")
    assert await post(url, signed("settled_1")) == 200
    line = (await process.stdout.readline()).decode()
    assert "invoice.settled" in line
    assert "verified, answered 200  settled_1" in line
    process.send_signal(signal.SIGKILL)
    await process.communicate()
    assert [json.loads(line)["id"] for line in journal.read_text().splitlines()] == ["settled_1"]
