"""What every connection to a daemon shares: how it is kept alive, and how credentials are read."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar, Final, Generic, TypeAlias, TypeVar

import grpc

from fulgurite.errors import CredentialError
from nodes.config import BesideConfig

# lnd's certificates are ECDSA, and those of the daemons beside it; gRPC's default suites leave
# some of those out.
os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "HIGH+ECDSA")

Config = TypeVar("Config", bound=BesideConfig)

# A call's metadata with the macaroon in it: never to be printed.
Credential: TypeAlias = tuple[tuple[str, str], ...]

OPTIONS: Final = (
    # A half-open connection is noticed within half a minute, also with no call under way:
    # gRPC waits a minute for the answer to a ping of its own, whatever keepalive's timeout is.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.ping_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A daemon that comes back is found within seconds, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    # A payment with many attempts, each with its route, outgrows the default of 4 MiB, and so do
    # all swaps that a loopd ever made, or all orders of a poold.
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
)


def credential_of(macaroon: bytes) -> Credential:
    """A macaroon, as the metadata of one call.

    Not by gRPC's call credentials: they come back into Python from gRPC's own threads,
    and closing a channel waits for such a thread while it holds the interpreter's lock.
    """
    return (("macaroon", macaroon.hex()),)


def read_credential(whose: str, path: Path) -> bytes:
    """A certificate or a macaroon. Raises CredentialError, which names the file."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise CredentialError(f"{whose}: cannot read {error.filename}: {error.strerror}") from None


class BesideConnection(Generic[Config]):
    """To a daemon beside an LND node, with one macaroon for everything.

    The connection is made on first use and mended by gRPC itself.
    """

    _DAEMON: ClassVar[str]

    def __init__(self, name: str, config: Config) -> None:
        """`name` is that of the LND node."""
        self.name = name
        self.config = config
        self._channel: grpc.aio.Channel | None = None
        self._credential: Credential = ()

    def channel(self) -> grpc.aio.Channel:
        """Raises CredentialError without a certificate."""
        if self._channel is None:
            certificate = self._read(self.config.tls_cert_path)
            self._channel = grpc.aio.secure_channel(
                self.config.address, grpc.ssl_channel_credentials(certificate), options=OPTIONS
            )
        return self._channel

    def credential(self) -> Credential:
        """Raises CredentialError when the macaroon's file is missing or cannot be read."""
        if not self._credential:
            self._credential = credential_of(self._read(self.config.macaroon_path))
        return self._credential

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    def _read(self, path: Path) -> bytes:
        return read_credential(f"{self._DAEMON} of {self.name}", path)
