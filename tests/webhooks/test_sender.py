"""Webhooks over real HTTP on loopback: what arrives, and what every kind of answer becomes."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest
from aiohttp import web

from devnet.receiver import HANG, Receiver, new_secret
from fulgurite.errors import (
    DeliveryError,
    EndpointGoneError,
    UnknownEndpointError,
)
from nodes.webhooks.sender import Webhooks
from tests.webhooks.endpoints import (
    BODY,
    SecretFile,
    config,
    refusal,
    serving,
    webhooks,
)


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
