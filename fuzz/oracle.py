"""Where a webhook may be connected to, decided once more and by other means than the guard's.

On bytes and by hand, so that one mistake would have to be made twice to go unnoticed.
"""

from __future__ import annotations

import socket
from contextlib import suppress

_MAPPED = bytes(10) + b"\xff\xff"
_NAT64 = b"\x00\x64\xff\x9b" + bytes(8)


def may_connect(raw: bytes, loopback: bool, *, public: bool) -> bool:
    """Of an address of 4 or 16 bytes; `loopback`: whether the allow-list has it."""
    if raw.startswith(_MAPPED):
        raw = raw[12:]
    if loopback and (raw == bytes(15) + b"\1" or (len(raw) == 4 and raw[0] == 127)):
        return True
    if raw.startswith(_NAT64):
        raw = raw[12:]
    return public and (_public_v4(*raw) if len(raw) == 4 else _public_v6(raw))


def read_by_libc(host: str) -> set[bytes]:
    """The addresses that `host` is a spelling of, to the libraries below the HTTP client."""
    found: set[bytes] = set()
    with suppress(OSError):
        for family, _, _, _, told in socket.getaddrinfo(
            host, 443, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        ):
            found.add(socket.inet_pton(family, str(told[0]).partition("%")[0]))
    with suppress(OSError):
        found.add(socket.inet_aton(host))
    return found


def _public_v4(a: int, b: int, c: int, d: int) -> bool:
    return a < 224 and not (
        a in (0, 10, 127)
        or (a == 100 and 64 <= b < 128)
        or (a == 172 and 16 <= b < 32)
        or (a, b) in ((169, 254), (192, 168), (198, 18), (198, 19))
        or (a, b, c) in ((192, 0, 0), (192, 0, 2), (192, 88, 99), (198, 51, 100), (203, 0, 113))
        or (a, b, c, d) == (168, 63, 129, 16)
    )


def _public_v6(raw: bytes) -> bool:
    return 0x20 <= raw[0] < 0x40 and not (
        raw.startswith((b"\x20\x02", b"\x20\x01\x00", b"\x20\x01\x01", b"\x20\x01\x0d\xb8"))
        or (raw.startswith(b"\x3f\xff") and raw[2] < 0x10)
    )
