"""Webhooks over real HTTP on loopback: what arrives, and what every kind of refusal becomes."""

from __future__ import annotations

import asyncio
import json
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from devnet.receiver import HANG, Receiver, new_secret
from fulgurite.errors import (
    DeliveryError,
    EndpointGoneError,
    FulguriteError,
    UnknownEndpointError,
)
from nodes.webhooks import sender
from nodes.webhooks.config import WebhookConfig
from nodes.webhooks.sender import Webhooks
from tests.webhooks.test_addresses import Scripted

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


@pytest.fixture
def secret_file(tmp_path: Path) -> SecretFile:
    return SecretFile(tmp_path / "secret", new_secret())


@pytest.fixture
def secret_path(secret_file: SecretFile) -> Path:
    return secret_file.path


@pytest.fixture
async def receiver(secret_file: SecretFile) -> AsyncIterator[Receiver]:
    async with Receiver(*secret_file.secrets) as listening:
        yield listening


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


async def test_a_webhook_arrives_signed_with_its_id_and_the_very_bytes(
    receiver: Receiver, secret_path: Path
) -> None:
    receiver.answer_body = {"settle": True}
    async with webhooks(secret_path, shop=receiver.url) as hooks:
        answer = await hooks.send("shop", "settled_1", BODY)
    assert (answer.status, json.loads(answer.body)) == (200, {"settle": True})
    (delivery,) = receiver.deliveries
    assert delivery.verified
    assert (delivery.id, delivery.type, delivery.body) == (
        "settled_1",
        "invoice.settled",
        BODY.decode(),
    )
    assert delivery.headers["Content-Type"] == "application/json"
    assert delivery.headers["User-Agent"].startswith("Fulgurite/")
    assert "Cookie" not in delivery.headers


async def test_a_secret_is_rotated_without_a_restart_and_without_a_gap(
    receiver: Receiver, secret_file: SecretFile
) -> None:
    (old,), new = secret_file.secrets, new_secret()
    async with webhooks(secret_file.path, shop=receiver.url) as hooks:
        secret_file.write(new, old)
        await hooks.send("shop", "to_old", BODY)  # the receiver has not changed yet
        receiver.secrets = (new,)
        await hooks.send("shop", "to_new", BODY)
        secret_file.write(new)
        await hooks.send("shop", "new_only", BODY)
        receiver.secrets = (old,)
        with pytest.raises(DeliveryError, match="401"):
            await hooks.send("shop", "to_nobody", BODY)
    assert list(receiver.taken) == ["to_old", "to_new", "new_only"]


@pytest.mark.parametrize("status", [400, 401, 404, 429, 500, 503])
async def test_an_answer_that_is_no_2xx_is_a_failed_try(
    receiver: Receiver, secret_path: Path, status: int
) -> None:
    receiver.answer = status
    error = await refusal(receiver.url, secret_path)
    assert isinstance(error, DeliveryError)
    assert f"shop (127.0.0.1): it answered {status}" in str(error)


async def test_410_means_that_the_endpoint_wants_no_more(
    receiver: Receiver, secret_path: Path
) -> None:
    receiver.answer = 410
    error = await refusal(receiver.url, secret_path)
    assert isinstance(error, EndpointGoneError)
    assert not error.retryable


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308, 304])
async def test_a_redirect_is_told_and_not_followed(secret_path: Path, status: int) -> None:
    seen: list[str] = []

    async def redirect(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response(status=status, headers={"location": "/elsewhere"})

    async with serving(redirect) as address:
        error = await refusal(f"http://{address}/here", secret_path)
    assert isinstance(error, DeliveryError)
    assert "redirects" in str(error)
    assert seen == ["/here"]


async def test_an_endpoint_that_does_not_answer_is_given_up_in_time(
    receiver: Receiver, secret_path: Path
) -> None:
    receiver.answer = HANG
    error = await refusal(receiver.url, secret_path)
    assert isinstance(error, DeliveryError)
    assert "no answer within 1 s" in str(error)


async def test_a_hanging_endpoint_does_not_delay_another(
    receiver: Receiver, secret_file: SecretFile
) -> None:
    async with (
        Receiver(*secret_file.secrets) as slow,
        webhooks(secret_file.path, slow=slow.url, fast=receiver.url) as hooks,
    ):
        slow.answer = HANG
        # More than the connections of an endpoint, and every one of them in use.
        stuck = [
            asyncio.create_task(hooks.send("slow", f"stuck_{number}", BODY)) for number in range(40)
        ]
        for number in range(5):
            await hooks.send("fast", f"fast_{number}", BODY)
        assert not any(task.done() for task in stuck)
        outcomes = await asyncio.gather(*stuck, return_exceptions=True)
    assert len(receiver.taken) == 5
    assert {type(outcome) for outcome in outcomes} == {DeliveryError}


async def test_a_huge_answer_is_read_no_further_than_64_kib(secret_path: Path) -> None:
    async def pour(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        while True:
            await response.write(b"x" * 65_536)

    async with (
        serving(pour) as address,
        webhooks(secret_path, shop=f"http://{address}/") as hooks,
    ):
        answer = await hooks.send("shop", "settled_1", BODY)
    assert answer.body == b"x" * 65_536


async def test_a_packed_answer_is_not_unpacked(secret_path: Path) -> None:
    async def bomb(_: web.Request) -> web.Response:
        return web.Response(body=b"packed", headers={"content-encoding": "gzip"})

    async with (
        serving(bomb) as address,
        webhooks(secret_path, shop=f"http://{address}/") as hooks,
    ):
        assert (await hooks.send("shop", "settled_1", BODY)).body == b"packed"


async def test_a_2xx_is_taken_even_when_the_rest_never_comes(secret_path: Path) -> None:
    async def trickle(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"content-length": "100"})
        await response.prepare(request)
        await response.write(b"beginning")
        await asyncio.Event().wait()
        raise AssertionError("the event is never set")

    async with (
        serving(trickle) as address,
        webhooks(secret_path, shop=f"http://{address}/") as hooks,
    ):
        answer = await hooks.send("shop", "settled_1", BODY)
    assert (answer.status, answer.body) == (200, b"beginning")


async def test_no_cookie_of_an_endpoint_is_kept(secret_path: Path) -> None:
    cookies: list[str | None] = []

    async def bake(request: web.Request) -> web.Response:
        cookies.append(request.headers.get("cookie"))
        return web.Response(headers={"set-cookie": "tracked=yes; path=/"})

    async with (
        serving(bake) as address,
        webhooks(secret_path, shop=f"http://{address}/") as hooks,
    ):
        await hooks.send("shop", "first_1", BODY)
        await hooks.send("shop", "second_2", BODY)
    assert cookies == [None, None]


async def test_a_proxy_of_the_environment_is_not_used(
    receiver: Receiver, secret_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    async with webhooks(secret_path, shop=receiver.url) as hooks:
        assert (await hooks.send("shop", "settled_1", BODY)).status == 200


async def test_a_closed_port_is_a_failed_try(receiver: Receiver, secret_path: Path) -> None:
    await receiver.__aexit__(None, None, None)
    error = await refusal(receiver.url, secret_path)
    assert isinstance(error, DeliveryError)
    assert "cannot connect" in str(error)


async def test_a_server_that_hangs_up_or_speaks_no_http_is_a_failed_try(secret_path: Path) -> None:
    for said in (b"", b"SSH-2.0-OpenSSH_9\r\n\r\n", b"HTTP/1.1 abc\r\n\r\n", b"\x15\x03\x01\x00"):

        async def answer(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, said: bytes = said
        ) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(said)
            writer.close()

        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        async with server:
            port = server.sockets[0].getsockname()[1]
            error = await refusal(f"http://127.0.0.1:{port}/s3cret?s3cret", secret_path)
        assert isinstance(error, DeliveryError), said
        assert "s3cret" not in str(error)


async def test_a_name_that_does_not_exist_is_a_failed_try(secret_path: Path) -> None:
    error = await refusal("https://hooks.invalid/", secret_path)
    assert isinstance(error, DeliveryError)
    assert "no address" in str(error) or "no answer within" in str(error)


async def test_a_name_of_a_private_address_is_never_connected(
    receiver: Receiver, secret_path: Path
) -> None:
    port = receiver.url.split(":")[2]
    error = await refusal(f"http://localhost:{port}", secret_path, allow_networks=["10.0.0.0/8"])
    assert isinstance(error, DeliveryError)
    assert "localhost leads to" in str(error)
    assert not receiver.deliveries


async def test_a_name_that_changes_its_mind_is_refused_from_then_on(
    receiver: Receiver, secret_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """DNS rebinding: allowed at first, then another place of our own network."""
    names = Scripted(["127.0.0.1"], ["10.255.255.1"])
    monkeypatch.setattr(sender, "OwnThreadsResolver", lambda: names)
    url = receiver.url.replace("127.0.0.1", "hooks.example.com")
    hooks = Webhooks({"shop": config(url, secret_path)})
    await hooks.send("shop", "first_1", BODY)
    assert names.asked == 1, "connected to the answer that was judged"
    await hooks.send("shop", "second_2", BODY)
    assert names.asked == 1, "the connection is kept, and nobody is asked again"
    await hooks.close()  # its connections; the next try makes another
    with pytest.raises(DeliveryError, match=r"hooks\.example\.com leads to 10\.255\.255\.1"):
        await hooks.send("shop", "third_3", BODY)
    await hooks.close()
    assert list(receiver.taken) == ["first_1", "second_2"]


async def test_the_socket_refuses_what_a_deceived_resolver_lets_through(
    receiver: Receiver, secret_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unguarded(resolver: AbstractResolver, *_: object, **__: object) -> AbstractResolver:
        return resolver

    monkeypatch.setattr(sender, "GuardedResolver", unguarded)
    for answers in (["127.0.0.1"], ["127.0.0.1", "::1"]):
        monkeypatch.setattr(sender, "OwnThreadsResolver", lambda told=answers: Scripted(told))
        url = receiver.url.replace("127.0.0.1", "hooks.example.com")
        error = await refusal(url, secret_path, allow_networks=["10.0.0.0/8"])
        assert isinstance(error, DeliveryError)
        assert "not in allow_networks" in str(error)
    assert not receiver.deliveries


async def test_a_certificate_that_nobody_vouches_for_is_refused(
    secret_path: Path, tmp_path: Path
) -> None:
    seen: list[str] = []

    async def take(request: web.Request) -> web.Response:
        seen.append(request.path)
        return web.Response()

    async with serving(take, self_signed(tmp_path)) as address:
        error = await refusal(f"https://{address}/", secret_path)
    assert isinstance(error, DeliveryError)
    assert "certificate is not valid: self-signed certificate" in str(error)
    assert not seen


async def test_plain_http_where_tls_is_expected_is_a_failed_try(
    receiver: Receiver, secret_path: Path
) -> None:
    error = await refusal(receiver.url.replace("http:", "https:"), secret_path)
    assert isinstance(error, DeliveryError)
    assert "TLS failed" in str(error)


async def test_no_error_repeats_the_path_the_query_or_the_secret(
    receiver: Receiver, secret_file: SecretFile
) -> None:
    host = receiver.url.removesuffix("/webhooks")
    for answer in (500, 302, 410, HANG):
        receiver.answer = answer
        error = await refusal(f"{host}/webhooks?token=s3cret", secret_file.path)
        assert error.__cause__ is None
        for hidden in ("s3cret", "/webhooks", *secret_file.secrets):
            assert hidden not in str(error)


async def test_a_secret_file_that_is_mended_serves_the_next_try(
    receiver: Receiver, secret_file: SecretFile
) -> None:
    secrets = secret_file.secrets
    async with webhooks(secret_file.path, shop=receiver.url) as hooks:
        secret_file.write()
        with pytest.raises(DeliveryError, match="is empty"):
            await hooks.send("shop", "settled_1", BODY)
        secret_file.write(*secrets)
        assert (await hooks.send("shop", "settled_1", BODY)).status == 200


async def test_events_go_to_those_who_want_them(secret_path: Path) -> None:
    url = "https://hooks.example.com/"
    hooks = Webhooks(
        {
            "shop": config(url, secret_path, events=["invoice.*"]),
            "books": config(url, secret_path),
            "alarm": config(url, secret_path, events=["payment.stuck"], nodes=["alice"]),
        }
    )
    assert hooks.names_wanting("invoice.settled", "bob") == ("books", "shop")
    assert hooks.names_wanting("payment.stuck", "alice") == ("alarm", "books")
    assert hooks.config("alarm").nodes == ("alice",)


async def test_an_unknown_endpoint_is_told_which_there_are(secret_path: Path) -> None:
    hooks = Webhooks({"shop": config("https://hooks.example.com/", secret_path)})
    with pytest.raises(UnknownEndpointError, match="known: shop"):
        await hooks.send("shpo", "settled_1", BODY)
    with pytest.raises(UnknownEndpointError, match="known: none"):
        Webhooks({}).config("shop")


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
