"""TLS and macaroons: each role may do its own work and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from devnet.node import LightningNode
from devnet.simulated import SimulatedNetwork
from nodes.roles import PERMISSIONS, Role
from protos.lnrpc import lightning_pb2, lightning_pb2_grpc, stateservice_pb2, stateservice_pb2_grpc

from .driving import refused

UNKNOWN = grpc.StatusCode.UNKNOWN


@asynccontextmanager
async def bare_channel(node: LightningNode) -> AsyncIterator[grpc.aio.Channel]:
    credentials = grpc.ssl_channel_credentials(node.tls_cert_path.read_bytes())
    async with grpc.aio.secure_channel(node.address, credentials) as channel:
        yield channel


async def call_info(node: LightningNode, *macaroons: str) -> None:
    async with bare_channel(node) as channel:
        await lightning_pb2_grpc.LightningStub(channel).GetInfo(
            lightning_pb2.GetInfoRequest(),
            metadata=tuple(("macaroon", macaroon) for macaroon in macaroons),
        )


@pytest.mark.parametrize("role", list(Role))
async def test_a_role_may_do_what_its_permissions_say(alice: LightningNode, role: Role) -> None:
    macaroon = (alice.macaroon_dir / f"{role}.macaroon").read_bytes().hex()
    if "/lnrpc.Lightning/GetInfo" in PERMISSIONS[role]:
        await call_info(alice, macaroon)
    else:
        with refused(UNKNOWN, "permission denied"):
            await call_info(alice, macaroon)


async def test_an_invoice_credential_cannot_pay(alice: LightningNode) -> None:
    macaroon = (alice.macaroon_dir / "invoice.macaroon").read_bytes().hex()
    async with bare_channel(alice) as channel:
        with refused(UNKNOWN, "permission denied"):
            await lightning_pb2_grpc.LightningStub(channel).ListPayments(
                lightning_pb2.ListPaymentsRequest(), metadata=(("macaroon", macaroon),)
            )


async def test_a_call_without_macaroon_is_refused(alice: LightningNode) -> None:
    with refused(UNKNOWN, "expected 1 macaroon, got 0"):
        await call_info(alice)


async def test_a_macaroon_of_another_node_is_refused(
    alice: LightningNode, bob: LightningNode
) -> None:
    foreign = (bob.macaroon_dir / "admin.macaroon").read_bytes().hex()
    with refused(UNKNOWN, "verification failed"):
        await call_info(alice, foreign)


async def test_the_state_needs_no_macaroon(alice: LightningNode) -> None:
    async with bare_channel(alice) as channel:
        answer = await stateservice_pb2_grpc.StateStub(channel).GetState(
            stateservice_pb2.GetStateRequest()
        )
    assert answer.state == stateservice_pb2.SERVER_ACTIVE


async def test_a_baked_macaroon_permits_what_was_asked(alice: LightningNode) -> None:
    async with alice.lightning() as lightning:
        baked = await lightning.BakeMacaroon(
            lightning_pb2.BakeMacaroonRequest(
                permissions=[
                    lightning_pb2.MacaroonPermission(
                        entity="uri", action="/lnrpc.Lightning/GetInfo"
                    )
                ],
                root_key_id=7,
            )
        )
    await call_info(alice, baked.macaroon)
    async with bare_channel(alice) as channel:
        with refused(UNKNOWN, "permission denied"):
            await lightning_pb2_grpc.LightningStub(channel).ListPeers(
                lightning_pb2.ListPeersRequest(), metadata=(("macaroon", baked.macaroon),)
            )


async def test_plain_text_reaches_nobody(alice: LightningNode) -> None:
    async with grpc.aio.insecure_channel(alice.address) as channel:
        with refused(grpc.StatusCode.UNAVAILABLE, ""):
            await stateservice_pb2_grpc.StateStub(channel).GetState(
                stateservice_pb2.GetStateRequest(), timeout=5
            )


async def test_files_and_address_outlive_a_restart(
    network: SimulatedNetwork, alice: LightningNode, tmp_path: Path
) -> None:
    files = [alice.tls_cert_path, *sorted(alice.macaroon_dir.iterdir())]
    assert all(path.is_relative_to(tmp_path) for path in files)
    before = [path.read_bytes() for path in files]
    await network.stop_node("alice")
    await network.start_node("alice")
    assert [path.read_bytes() for path in files] == before
    assert network.nodes["alice"] == alice
    await alice.info()
