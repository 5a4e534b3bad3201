"""What must hold for every input. A target raises AssertionError where it does not.

They need no fuzzer: the tests run the seeds and some mutations of them through the same
functions.
"""

from __future__ import annotations

import base64
import re
import socket
from collections.abc import Callable
from datetime import UTC, datetime
from ipaddress import ip_address, ip_network
from pathlib import Path
from urllib.parse import urlsplit

from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.helpers import is_ip_address
from standardwebhooks import Webhook, WebhookVerificationError
from yarl import URL

from devnet.receiver import is_verified
from fulgurite.errors import DeliveryError, InvalidRequestError, UnsafeUrlError
from fuzz.oracle import may_connect, read_by_libc
from nodes.webhooks.addresses import GuardedResolver, Network, check_url, guarded_socket
from nodes.webhooks.signing import secrets_of, signed_headers

_LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
_WELL_FORMED = re.compile(r"whsec_[A-Za-z0-9+/]{32,86}={0,2}")
_SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()


def url(data: bytes) -> None:
    """No text, however spelled, becomes a connection to where none may go."""
    text = data.decode("utf-8", "surrogateescape")
    for allow in ((), _LOOPBACK):
        try:
            read = check_url(text, allow)
        except UnsafeUrlError as refused:
            _is_one_readable_line(refused)
            continue
        _leads_where_itmay_connect(text, read, allow)


def address(data: bytes) -> None:
    """A name passes when every one of its addresses may be connected to, and only then.

    The first byte: whether there is an allow-list, whether public addresses count, and for
    each address (4 or 16 bytes, of the rest) of which family it is.
    """
    flags, rest = (data[0], data[1:]) if data else (0, b"")
    allow, public = (_LOOPBACK if flags & 1 else ()), not flags & 2
    found: list[bytes] = []
    for number in range(2, 8):
        size = 16 if flags >> number & 1 else 4
        if len(rest) >= size:
            found.append(rest[:size])
            rest = rest[size:]
    spelled = [str(ip_address(raw)) for raw in found]
    all_may = all(may_connect(raw, bool(allow), public=public) for raw in found)

    passed = _passed_by(GuardedResolver(_Says(spelled), allow, public=public))
    assert passed == (spelled if all_may else []), f"of {spelled}, {passed} pass"
    for raw, text in zip(found, spelled, strict=True):
        made = _socket_is_made(text, allow, public=public)
        assert made == may_connect(raw, bool(allow), public=public), f"{text}: socket {made}"


def signature(data: bytes) -> None:
    """What we sign verifies, what was changed does not, and no header breaks the receiver.

    Lines: the secret, the id, how and where to change something, a timestamp, a signature;
    the rest is the body.
    """
    key, message_id, change, timestamp, presented, body = (*data.split(b"\n", 5), *[b""] * 6)[:6]
    now = datetime.now(UTC)
    _signed_and_changed(_secret(key), message_id.decode("latin-1"), body, change, now)
    _presented_by_a_stranger(
        {
            "Webhook-Id": message_id.decode("latin-1"),
            "Webhook-Timestamp": timestamp.decode("latin-1").replace(
                "now", str(int(now.timestamp()))
            ),
            "Webhook-Signature": presented.decode("latin-1"),
        },
        body,
    )


def secrets(data: bytes) -> None:
    """What a secret file gives can be signed with; the rest is refused without repeating it."""
    try:
        found = secrets_of(data, Path("secret"))
    except DeliveryError as refused:
        _is_one_readable_line(refused)
        return
    now, body = datetime.now(UTC), b"{}"
    headers = signed_headers(found, "settled_1", now, body)
    assert found, "a file without a secret is refused"
    for secret in found:
        assert secret.encode() in data, "a secret is a part of the file"
        assert _WELL_FORMED.fullmatch(secret), "of the form that the specification asks for"
        assert is_verified((secret,), headers, body)


TARGETS: dict[str, Callable[[bytes], None]] = {
    target.__name__: target for target in (url, address, signature, secrets)
}


def _is_one_readable_line(refused: Exception) -> None:
    assert str(refused).isprintable(), f"{refused!r} would tear a log or a table"


def _leads_where_itmay_connect(text: str, read: URL, allow: tuple[Network, ...]) -> None:
    host, port, public = read.raw_host, read.port, read.scheme == "https"
    assert host, "a URL that passes has a host"
    assert port, "and a port"
    assert 1 <= port <= 65_535, f"port {port}"
    assert public or allow, "http is for the allow-list alone"

    # Another reader of URLs sees the same host, and so does the client when it reads its own.
    other = urlsplit(text)
    assert _same_host(other.hostname, host), f"{other.hostname} is not {host}"
    assert (other.port or port, other.username, other.password) == (port, None, None)
    assert (URL(str(read)).raw_host, URL(str(read)).port) == (host, port)

    # What the client connects to without asking a resolver, and what libc would.
    host.encode("idna")
    if is_ip_address(host):
        assert _socket_is_made(host, allow, public=public), f"{host} passes, and its socket not"
    for raw in read_by_libc(host):
        assert may_connect(raw, bool(allow), public=public), f"{host} leads to {ip_address(raw)}"


def _same_host(one: str | None, other: str) -> bool:
    if one is not None and ":" in one:
        return ip_address(one) == ip_address(other)
    return one == other


class _Says(AbstractResolver):
    """A name server under somebody else's control."""

    def __init__(self, addresses: list[str]) -> None:
        self._addresses = addresses

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=told, port=port, family=family, proto=0, flags=0)
            for told in self._addresses
        ]

    async def close(self) -> None:
        pass


def _passed_by(resolver: GuardedResolver) -> list[str]:
    """The addresses it lets through; none where it refuses."""
    asking = resolver.resolve("hooks.example.com", 443)
    try:
        asking.send(None)  # nothing in it waits: no event loop is needed
    except StopIteration as answered:
        return [answer["host"] for answer in answered.value]
    except (UnsafeUrlError, OSError):
        return []
    raise AssertionError("the resolver waits for something")


def _socket_is_made(host: str, allow: tuple[Network, ...], *, public: bool) -> bool:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        made = guarded_socket(allow, public=public)((family, socket.SOCK_STREAM, 0, "", (host, 1)))
    except PermissionError:
        return False
    made.close()
    return True


def _secret(key: bytes) -> str:
    return "whsec_" + base64.b64encode(key.ljust(24, b"k")[:64]).decode()


def _signed_and_changed(
    secret: str, message_id: str, body: bytes, change: bytes, now: datetime
) -> None:
    try:
        headers = signed_headers((_SECRET, secret), message_id, now, body)
    except InvalidRequestError:
        return
    assert is_verified((secret,), headers, body), "what we sign verifies"
    assert is_verified((_SECRET,), headers, body), "with each of the secrets"

    what, where = (change[0] % 4, int.from_bytes(change[1:5], "big")) if change else (0, 0)
    key = base64.b64decode(secret.removeprefix("whsec_"))
    match what:
        case 0:
            body = _flipped(body, where) if body else b"x"
        case 1:
            headers["webhook-id"] = _flipped(message_id.encode(), where).decode("latin-1")
        case 2:
            seconds = int(headers["webhook-timestamp"]) + (where % 200 + 1)
            headers["webhook-timestamp"] = str(seconds)
        case _:
            secret = "whsec_" + base64.b64encode(_flipped(key, where)).decode()
    if secret != _SECRET:
        assert not is_verified((secret,), headers, body), f"change {what} goes unnoticed"


def _flipped(raw: bytes, where: int) -> bytes:
    """One bit of it changed."""
    at, bit = divmod(where % (8 * len(raw)), 8)
    changed = bytearray(raw)
    changed[at] ^= 1 << bit
    return bytes(changed)


def _presented_by_a_stranger(headers: dict[str, str], body: bytes) -> None:
    assert not is_verified((_SECRET,), headers, body), "a stranger knows no secret"
    try:
        Webhook(_SECRET).verify(body, headers)
    except (WebhookVerificationError, ValueError):
        # What docs/webhooks.md tells receivers to expect of the library, and nothing else.
        return
    raise AssertionError("a stranger is believed")
