"""One try to deliver one webhook: signed, to where it may go, in bounded time and memory."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http import HTTPStatus
from importlib import metadata

import aiohttp
from yarl import URL

from fulgurite.errors import (
    DeliveryError,
    EndpointGoneError,
    UnknownEndpointError,
    UnsafeUrlError,
)
from nodes.webhooks.addresses import GuardedResolver, check_url, guarded_socket
from nodes.webhooks.config import WebhookConfig
from nodes.webhooks.resolving import OwnThreadsResolver
from nodes.webhooks.signing import secrets_in, signed_headers

_MAX_ANSWER = 65_536
_MAX_CONNECTIONS = 32

# Shorter than the five seconds after which many servers hang up on an idle connection:
# a request that crosses with the hanging up is a failed try for nothing.
_KEEPALIVE_SECONDS = 4

_HEADERS = {
    "content-type": "application/json",
    "user-agent": f"Fulgurite/{metadata.version('fulgurite')}",
    "accept-encoding": "identity",
}


@dataclass(frozen=True)
class Answer:
    """The endpoint took it. `body` is the beginning of what it said, 64 KiB at most."""

    status: int
    body: bytes = field(repr=False)
    seconds: float


class Webhooks:
    """The configured endpoints, by name. Each has connections of its own."""

    def __init__(self, configs: Mapping[str, WebhookConfig]) -> None:
        self._endpoints = {name: _Endpoint(name, config) for name, config in configs.items()}

    def names_wanting(self, event_type: str, node: str) -> tuple[str, ...]:
        """The endpoints that an event goes to, sorted."""
        return tuple(
            name
            for name, endpoint in sorted(self._endpoints.items())
            if endpoint.config.wants(event_type, node)
        )

    def config(self, name: str) -> WebhookConfig:
        """Raises UnknownEndpointError, which names the endpoints there are."""
        return self._endpoint(name).config

    async def send(self, name: str, message_id: str, body: bytes) -> Answer:
        """Posts `body`, a JSON text, and returns what a 2xx said.

        Raises EndpointGoneError for 410, and DeliveryError for everything else that went
        wrong, in one sentence that holds no secret; UnknownEndpointError without a try.
        """
        return await self._endpoint(name).send(message_id, body)

    async def close(self) -> None:
        for endpoint in self._endpoints.values():
            await endpoint.close()

    def _endpoint(self, name: str) -> _Endpoint:
        try:
            return self._endpoints[name]
        except KeyError:
            known = ", ".join(sorted(self._endpoints)) or "none"
            raise UnknownEndpointError(
                f"no webhook endpoint {name!r} is configured (known: {known}): "
                "check FULGURITE_WEBHOOKS__…"
            ) from None


class _Endpoint:
    """One receiver, its session made when first needed: it belongs to the running loop."""

    def __init__(self, name: str, config: WebhookConfig) -> None:
        self.config = config
        self._name = name
        self._url: URL = check_url(config.url, config.allow_networks)
        self._resolver: GuardedResolver | None = None
        self._session: aiohttp.ClientSession | None = None

    async def send(self, message_id: str, body: bytes) -> Answer:
        secrets = secrets_in(self.config.secret_path)
        headers = signed_headers(secrets, message_id, datetime.now(UTC), body)
        began = time.monotonic()
        try:
            async with self._open_session().post(
                self._url, data=body, headers=headers, allow_redirects=False
            ) as response:
                self._judge(response.status)
                beginning = await _beginning(response.content)
        except (aiohttp.ClientError, TimeoutError, OSError, UnsafeUrlError) as error:
            # Not chained: the client's own words repeat the whole URL.
            raise DeliveryError(f"{self._told}: {self._reason(error)}") from None
        return Answer(response.status, beginning, time.monotonic() - began)

    async def close(self) -> None:
        session, self._session = self._session, None
        resolver, self._resolver = self._resolver, None
        if session:
            await session.close()
        if resolver:
            await resolver.close()

    def _open_session(self) -> aiohttp.ClientSession:
        if self._session is None:
            allow, public = self.config.allow_networks, self._url.scheme == "https"
            self._resolver = GuardedResolver(OwnThreadsResolver(), allow, public=public)
            connector = aiohttp.TCPConnector(
                resolver=self._resolver,
                use_dns_cache=False,
                socket_factory=guarded_socket(allow, public=public),
                limit=_MAX_CONNECTIONS,
                keepalive_timeout=_KEEPALIVE_SECONDS,
            )
            self._session = aiohttp.ClientSession(
                connector=connector,
                timeout=aiohttp.ClientTimeout(total=self.config.timeout_seconds),
                headers=_HEADERS,
                cookie_jar=aiohttp.DummyCookieJar(),
                # A few bytes can unpack to gigabytes; and a proxy would connect unguarded.
                auto_decompress=False,
                trust_env=False,
            )
        return self._session

    def _judge(self, status: int) -> None:
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            return
        if status == HTTPStatus.GONE:
            raise EndpointGoneError(f"{self._told}: it wants no more webhooks (410 Gone)")
        if HTTPStatus.MULTIPLE_CHOICES <= status < HTTPStatus.BAD_REQUEST:
            raise DeliveryError(
                f"{self._told}: it redirects ({status}), and redirects are not followed: "
                "configure the URL where it really is"
            )
        raise DeliveryError(f"{self._told}: it answered {status}")

    @property
    def _told(self) -> str:
        """The endpoint as errors name it: without path and query, which can hold a secret."""
        return f"webhook endpoint {self._name} ({self._url.host})"

    def _reason(self, error: Exception) -> str:
        match error:
            case UnsafeUrlError():
                return str(error)
            case TimeoutError():
                return f"no answer within {self.config.timeout_seconds:g} s"
            case aiohttp.ClientConnectorError():
                return _no_connection(error)
            case aiohttp.ServerDisconnectedError() | OSError():
                return "the connection broke before it answered"
            case _:
                return f"no HTTP answer ({type(error).__name__})"


async def _beginning(content: aiohttp.StreamReader) -> bytes:
    """The first 64 KiB, or what came of them in time: the status alone says that it was taken."""
    beginning = bytearray()
    with suppress(aiohttp.ClientError, TimeoutError):
        while piece := await content.read(_MAX_ANSWER - len(beginning)):
            beginning += piece
    return bytes(beginning)


def _no_connection(error: aiohttp.ClientConnectorError) -> str:
    match error:
        case aiohttp.ClientConnectorDNSError():
            return "its host name has no address"
        case aiohttp.ClientConnectorCertificateError():
            return f"its certificate is not valid: {_said_by_tls(error.certificate_error)}"
        case aiohttp.ClientConnectorSSLError():
            return f"TLS failed: {_said_by_tls(error.os_error)}"
        case _:
            return f"cannot connect: {error.os_error.strerror or error.os_error}"


def _said_by_tls(error: Exception) -> str:
    """OpenSSL's reason without its file names and line numbers."""
    return getattr(error, "verify_message", None) or getattr(error, "reason", None) or "refused"
