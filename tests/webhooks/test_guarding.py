"""What an endpoint, its name server or its answer may try against the sender, over real HTTP."""

from __future__ import annotations

from pathlib import Path

import pytest
from aiohttp import web
from aiohttp.abc import AbstractResolver

from devnet.receiver import HANG, Receiver
from fulgurite.errors import DeliveryError
from nodes.webhooks import sender
from nodes.webhooks.sender import Webhooks
from tests.webhooks.endpoints import (
    BODY,
    Scripted,
    SecretFile,
    config,
    refusal,
    self_signed,
    serving,
    webhooks,
)


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


async def test_by_http_a_name_of_a_public_address_is_never_connected(
    secret_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, "OwnThreadsResolver", lambda: Scripted(["8.8.8.8"]))
    error = await refusal("http://hooks.example.com/", secret_path)
    assert "hooks.example.com leads to 8.8.8.8, which is not in allow_networks" in str(error)


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
