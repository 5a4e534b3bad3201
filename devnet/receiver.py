"""A webhook receiver as a merchant would have one: it verifies, writes down, then answers.

As a process, `python -m devnet.receiver --secret-path FILE`, it prints a line for each
webhook. What it wrote down it knows again when it is started anew.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import json
import secrets
import signal
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from aiohttp import web
from rich.console import Console
from standardwebhooks import Webhook, WebhookVerificationError

from devnet.progress import say
from fulgurite.errors import FulguriteError
from nodes.webhooks.signing import secrets_in

_LOOPBACK = "127.0.0.1"
_PATH = "/webhooks"

# What a receiver answers: a status, or nothing for as long as it lives.
HANG: Literal["hang"] = "hang"
Answering = int | Literal["hang"]


@dataclass(frozen=True)
class Delivery:
    """One request. `type` is the event's, empty where the body is no event of ours."""

    id: str
    type: str
    verified: bool
    answered: Answering
    body: str
    headers: dict[str, str]

    @property
    def taken(self) -> bool:
        """Whether the sender was told that it arrived, and may forget it."""
        return self.verified and self.answered != HANG and 200 <= self.answered < 300


class Receiver:
    """Listens on loopback for as long as the block lasts; `port` 0 takes a free one.

    `answer`, `answer_body` and `secrets` may be set at any time and count from the next
    request on; `answer_body` is what a callback is told. What is not verified is answered
    with 401 whatever `answer` says.
    """

    def __init__(
        self,
        *known_secrets: str,
        port: int = 0,
        journal: Path | None = None,
        on_delivery: Callable[[Delivery], None] = lambda _: None,
    ) -> None:
        self.secrets: Sequence[str] = known_secrets
        self.answer: Answering = 200
        self.answer_body: object = {}
        self.deliveries: list[Delivery] = _journaled(journal)
        self.url = ""
        self._port = port
        self._journal = journal
        self._on_delivery = on_delivery
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None

    @property
    def taken(self) -> dict[str, Delivery]:
        """What arrived for good, by id: the first of each, in order."""
        first: dict[str, Delivery] = {}
        for delivery in self.deliveries:
            if delivery.taken:
                first.setdefault(delivery.id, delivery)
        return first

    @property
    def duplicates(self) -> int:
        """How often something arrived that had been taken before."""
        return sum(delivery.taken for delivery in self.deliveries) - len(self.taken)

    async def __aenter__(self) -> Self:
        self._closing.clear()
        app = web.Application()
        app.router.add_post(_PATH, self._receive)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
        await self._runner.setup()
        site = web.TCPSite(self._runner, _LOOPBACK, self._port)
        await site.start()
        # The next start takes the same port: a sender that retries knows no other.
        self._port = self._runner.addresses[0][1]
        self.url = f"http://{_LOOPBACK}:{self._port}{_PATH}"
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._closing.set()
        if self._runner:
            await self._runner.cleanup()

    async def _receive(self, request: web.Request) -> web.Response:
        body, headers = await request.read(), dict(request.headers)
        verified = is_verified(self.secrets, headers, body)
        answer: Answering = self.answer if verified else 401
        self._write_down(
            Delivery(
                id=request.headers.get("webhook-id", ""),
                type=_event_type(body),
                verified=verified,
                answered=answer,
                body=body.decode(errors="replace"),
                headers=headers,
            )
        )
        if answer == HANG:
            await self._closing.wait()
            return web.Response(status=503)
        elsewhere = {"location": "https://example.com/"} if 300 <= answer < 400 else None
        return web.json_response(self.answer_body, status=answer, headers=elsewhere)

    def _write_down(self, delivery: Delivery) -> None:
        """Before the answer: who has said 200 must not forget."""
        if self._journal:
            with self._journal.open("a") as journal:
                journal.write(json.dumps(asdict(delivery)) + "\n")
        self.deliveries.append(delivery)
        self._on_delivery(delivery)


def is_verified(known_secrets: Sequence[str], headers: Mapping[str, str], body: bytes) -> bool:
    """Whether one of our secrets signed it, within five minutes of now."""
    for secret in known_secrets:
        # The library says WebhookVerificationError for a wrong signature and lets ValueError
        # through for a header or body that is not even well-formed. A stranger can send both.
        with suppress(WebhookVerificationError, ValueError):
            Webhook(secret).verify(body, dict(headers), json_parse=False)
            return True
    return False


def _event_type(body: bytes) -> str:
    try:
        event = json.loads(body)
    except (ValueError, RecursionError):
        return ""
    return str(event.get("type", "")) if isinstance(event, dict) else ""


def _journaled(journal: Path | None) -> list[Delivery]:
    """What an earlier life wrote down; a last line cut off by its death was never answered."""
    if journal is None or not journal.exists():
        return []
    whole, _, torn = journal.read_text().rpartition("\n")
    if torn:
        journal.write_text(f"{whole}\n" if whole else "")
    return [Delivery(**json.loads(line)) for line in whole.splitlines()]


def new_secret() -> str:
    """A secret as Standard Webhooks writes them, of 32 random bytes."""
    return f"whsec_{base64.b64encode(secrets.token_bytes(32)).decode()}"


def _line(delivery: Delivery) -> str:
    proof = "verified" if delivery.verified else "NOT VERIFIED"
    return (
        f"{datetime.now().astimezone():%H:%M:%S}  {delivery.type or 'unknown':<26}"
        f"{proof}, answered {delivery.answered}  {delivery.id}"
    )


async def _serve(port: int, secret_path: Path, journal: Path | None) -> None:
    console = Console(soft_wrap=True, markup=False, highlight=False)
    told = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    receiver = Receiver(
        *secrets_in(secret_path),
        port=port,
        journal=journal,
        on_delivery=lambda delivery: console.print(_line(delivery)),
    )
    async with receiver:
        say(f"listening at {receiver.url}; Ctrl-C ends it")
        await told.wait()
    say(f"{len(receiver.taken)} webhooks; {receiver.duplicates} came again")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m devnet.receiver", description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: any that is free")
    parser.add_argument("--secret-path", type=Path, required=True, help="whsec_…, one a line")
    parser.add_argument("--journal", type=Path, help="JSON lines, one a webhook")
    asked = parser.parse_args()
    try:
        asyncio.run(_serve(asked.port, asked.secret_path, asked.journal))
    except (FulguriteError, OSError) as error:
        parser.exit(1, f"{error}\n")


if __name__ == "__main__":
    main()
