"""One node, one channel a role: TLS, macaroon, keepalive, and whether it can be used."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Final

import grpc

from fulgurite.bolt11 import ChainNetwork
from fulgurite.errors import CredentialError, NodeNotReadyError, WrongNetworkError
from fulgurite.identity import NodePubkey
from nodes.config import LndConfig
from nodes.lnd import versions
from nodes.lnd.errors import domain_errors
from nodes.lnd.macaroons import macaroon_interceptors
from nodes.lndconnect import read_lndconnect
from nodes.roles import Role
from protos.lnrpc import (
    lightning_pb2,
    lightning_pb2_grpc,
    stateservice_pb2,
    stateservice_pb2_grpc,
)

# lnd's certificates are ECDSA; gRPC's default suites leave some of those out.
os.environ.setdefault("GRPC_SSL_CIPHER_SUITES", "HIGH+ECDSA")

# How long one question may take before it counts as no answer.
UNARY_TIMEOUT_SECONDS: Final = 15.0

_OPTIONS: Final = (
    # A half-open connection is noticed within half a minute, also with no call under way.
    ("grpc.keepalive_time_ms", 20_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
    # A node that comes back is found within seconds, not after gRPC's two minutes.
    ("grpc.initial_reconnect_backoff_ms", 200),
    ("grpc.max_reconnect_backoff_ms", 3_000),
    # A payment with many attempts, each with its route, outgrows the default of 4 MiB.
    ("grpc.max_receive_message_length", 64 * 1024 * 1024),
    # Roles must not share a connection: each has its own credential.
    ("grpc.use_local_subchannel_pool", 1),
)


@dataclass(frozen=True)
class NodeInfo:
    """Who answered."""

    pubkey: NodePubkey
    alias: str
    version: versions.Version
    network: ChainNetwork
    block_height: int
    synced_to_chain: bool


class LndConnection:
    """A configured LND. Channels are made on first use and mended by gRPC itself."""

    def __init__(self, name: str, config: LndConfig) -> None:
        self.name = name
        self.config = config
        self._channels: dict[Role | None, grpc.aio.Channel] = {}

    def holds(self, role: Role) -> bool:
        """Whether this process was given a macaroon for the role."""
        return self.config.lndconnect_path is not None or bool(self.config.macaroon_path(role))

    def channel(self, role: Role | None) -> grpc.aio.Channel:
        """The role's channel; None for the calls that need no macaroon.

        Raises CredentialError when a file is missing or cannot be read.
        """
        if role not in self._channels:
            self._channels[role] = self._connect(role)
        return self._channels[role]

    async def close(self) -> None:
        for channel in self._channels.values():
            await channel.close()
        self._channels.clear()

    async def check(self) -> NodeInfo:
        """Whether the node can be worked with: ready, of the right network, new enough.

        Raises NodeNotReadyError, WrongNetworkError, UnsupportedVersionError,
        CredentialError or NodeUnavailableError.
        """
        with domain_errors(self.name):
            state = await stateservice_pb2_grpc.StateStub(self.channel(None)).GetState(
                stateservice_pb2.GetStateRequest(), timeout=UNARY_TIMEOUT_SECONDS
            )
            if state.state != stateservice_pb2.SERVER_ACTIVE:
                word = stateservice_pb2.WalletState.Name(state.state)
                raise NodeNotReadyError(f"{self.name} is {word}: wait, or unlock its wallet")
            answer = await lightning_pb2_grpc.LightningStub(self.channel(Role.OBSERVE)).GetInfo(
                lightning_pb2.GetInfoRequest(), timeout=UNARY_TIMEOUT_SECONDS
            )
        network = answer.chains[0].network
        if network != self.config.network:
            raise WrongNetworkError(
                f"{self.name} is on {network}, its configuration says {self.config.network}: "
                "correct its network or its address"
            )
        return NodeInfo(
            pubkey=NodePubkey(answer.identity_pubkey),
            alias=answer.alias,
            version=versions.require(self.name, answer.version),
            network=ChainNetwork(network),
            block_height=answer.block_height,
            synced_to_chain=answer.synced_to_chain,
        )

    def _connect(self, role: Role | None) -> grpc.aio.Channel:
        address, certificate, macaroon = self._credentials(role)
        return grpc.aio.secure_channel(
            address,
            grpc.ssl_channel_credentials(certificate),
            options=_OPTIONS,
            interceptors=macaroon_interceptors(macaroon) if macaroon is not None else None,
        )

    def _credentials(self, role: Role | None) -> tuple[str, bytes | None, bytes | None]:
        try:
            if path := self.config.lndconnect_path:
                whole = read_lndconnect(path.read_text())
                return whole.address, whole.certificate_pem, whole.macaroon if role else None
            assert self.config.tls_cert_path is not None  # the config's validator saw to it
            certificate = self.config.tls_cert_path.read_bytes()
            if role is None:
                return self.config.address, certificate, None
            if not (path := self.config.macaroon_path(role)):
                raise CredentialError(
                    f"{self.name}: no {role} macaroon is configured: set macaroon_dir, or "
                    f"macaroons.{role}"
                )
            return self.config.address, certificate, path.read_bytes()
        except OSError as error:
            raise CredentialError(
                f"{self.name}: cannot read {error.filename}: {error.strerror}"
            ) from None
