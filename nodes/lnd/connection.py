"""One node, one connection: TLS, macaroons, keepalive, and whether it can be used."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import grpc

from fulgurite.bolt11 import ChainNetwork
from fulgurite.errors import CredentialError, NodeNotReadyError, WrongNetworkError
from fulgurite.identity import NodePubkey
from nodes.config import LndConfig
from nodes.dialing import OPTIONS, Credential, credential_of, read_credential
from nodes.lnd import versions
from nodes.lnd.errors import domain_errors
from nodes.lndconnect import read_lndconnect
from nodes.roles import Role
from protos.lnrpc import (
    lightning_pb2,
    lightning_pb2_grpc,
    stateservice_pb2,
    stateservice_pb2_grpc,
)

# How long one question may take before it counts as no answer.
UNARY_TIMEOUT_SECONDS: Final = 15.0


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
    """A configured LND. The connection is made on first use and mended by gRPC itself."""

    def __init__(self, name: str, config: LndConfig) -> None:
        self.name = name
        self.config = config
        self._channel: grpc.aio.Channel | None = None
        self._credentials: dict[Role, Credential] = {}

    def holds(self, role: Role) -> bool:
        """Whether this process was given a macaroon for the role."""
        return self.config.lndconnect_path is not None or bool(self.config.macaroon_path(role))

    def channel(self) -> grpc.aio.Channel:
        """The one connection, for every role. Raises CredentialError without a certificate."""
        if self._channel is None:
            address, certificate = self._where()
            self._channel = grpc.aio.secure_channel(
                address, grpc.ssl_channel_credentials(certificate), options=OPTIONS
            )
        return self._channel

    def credential(self, role: Role) -> Credential:
        """Raises CredentialError when the file of the role's macaroon is missing or unreadable."""
        if role not in self._credentials:
            self._credentials[role] = credential_of(self._macaroon(role))
        return self._credentials[role]

    async def close(self) -> None:
        if self._channel is not None:
            await self._channel.close()
            self._channel = None

    async def check(self) -> NodeInfo:
        """Whether the node can be worked with: ready, of the right network, new enough.

        Raises NodeNotReadyError, WrongNetworkError, UnsupportedVersionError,
        CredentialError or NodeUnavailableError.
        """
        with domain_errors(self.name):
            state = await stateservice_pb2_grpc.StateStub(self.channel()).GetState(
                stateservice_pb2.GetStateRequest(), timeout=UNARY_TIMEOUT_SECONDS
            )
            if state.state != stateservice_pb2.SERVER_ACTIVE:
                word = stateservice_pb2.WalletState.Name(state.state)
                raise NodeNotReadyError(f"{self.name} is {word}: wait, or unlock its wallet")
            answer = await lightning_pb2_grpc.LightningStub(self.channel()).GetInfo(
                lightning_pb2.GetInfoRequest(),
                metadata=self.credential(Role.OBSERVE),
                timeout=UNARY_TIMEOUT_SECONDS,
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

    def _where(self) -> tuple[str, bytes | None]:
        """The address and the certificate in PEM; None: one that everybody trusts."""
        if path := self.config.lndconnect_path:
            whole = read_lndconnect(self._read(path).decode(errors="replace"))
            return whole.address, whole.certificate_pem
        assert self.config.tls_cert_path is not None  # the config's validator saw to it
        return self.config.address, self._read(self.config.tls_cert_path)

    def _macaroon(self, role: Role) -> bytes:
        if path := self.config.lndconnect_path:
            return read_lndconnect(self._read(path).decode(errors="replace")).macaroon
        if path := self.config.macaroon_path(role):
            return self._read(path)
        raise CredentialError(
            f"{self.name}: no {role} macaroon is configured: set macaroon_dir, or macaroons.{role}"
        )

    def _read(self, path: Path) -> bytes:
        return read_credential(self.name, path)
