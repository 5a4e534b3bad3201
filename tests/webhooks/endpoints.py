"""Endpoints on loopback, and the machinery to talk to them."""

from __future__ import annotations

import json
import socket
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from fulgurite.errors import FulguriteError
from nodes.webhooks.config import WebhookConfig
from nodes.webhooks.sender import Webhooks

LOOPBACK = ("127.0.0.0/8", "::1/128")
BODY = json.dumps({"id": "settled_1", "type": "invoice.settled"}).encode()
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class SecretFile:
    """The secrets that an endpoint signs with, the newest first."""

    def __init__(self, path: Path, *secrets: str) -> None:
        self.path = path
        self.write(*secrets)

    def write(self, *secrets: str) -> None:
        self.secrets = secrets
        self.path.write_text("\n".join(secrets))


@asynccontextmanager
async def webhooks(secret_path: Path, **urls: str) -> AsyncIterator[Webhooks]:
    """Endpoints by name, on loopback and impatient."""
    made = Webhooks({name: config(url, secret_path) for name, url in urls.items()})
    try:
        yield made
    finally:
        await made.close()


def config(url: str, secret_path: Path, **more: Any) -> WebhookConfig:
    given = {"allow_networks": LOOPBACK, "timeout_seconds": 1, **more}
    return WebhookConfig.model_validate({"url": url, "secret_path": secret_path, **given})


@asynccontextmanager
async def serving(handle: Handler, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
    """An HTTP server that does whatever `handle` says; gives its address."""
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handle)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0, ssl_context=tls)
    await site.start()
    try:
        yield f"127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def refusal(url: str, secret_path: Path, **more: Any) -> FulguriteError:
    """What sending to `url` raises."""
    hooks = Webhooks({"shop": config(url, secret_path, **more)})
    try:
        with pytest.raises(FulguriteError) as told:
            await hooks.send("shop", "settled_1", BODY)
        return told.value
    finally:
        await hooks.close()


class Scripted(AbstractResolver):
    """Gives the addresses of one lookup after another."""

    def __init__(self, *answers: list[str]) -> None:
        self.asked = 0
        self._answers = answers

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        answer = self._answers[min(self.asked, len(self._answers) - 1)]
        self.asked += 1
        return [
            ResolveResult(hostname=host, host=a, port=port, family=family, proto=0, flags=0)
            for a in answer
        ]

    async def close(self) -> None:
        pass


def self_signed(folder: Path) -> ssl.SSLContext:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .sign(key, hashes.SHA256())
    )
    path = folder / "tls.pem"
    path.write_bytes(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        + certificate.public_bytes(serialization.Encoding.PEM)
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(path)
    return context
