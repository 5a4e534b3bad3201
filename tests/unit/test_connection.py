"""A node that cannot be worked with is told apart from one that is away for a moment."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from devnet.simulated import SimulatedNetwork
from devnet.simulated.faults import Delay
from devnet.simulated.security import make_certificate
from devnet.simulated.services import lightning as lightning_service
from devnet.waiting import eventually
from fulgurite.errors import (
    CredentialError,
    FulguriteError,
    NodeNotReadyError,
    NodeUnavailableError,
    UnknownNodeError,
    UnsupportedVersionError,
    WrongNetworkError,
)
from nodes.config import LndConfig
from nodes.lnd import connection as lnd_connection
from nodes.lnd.connection import LndConnection
from nodes.registry import Nodes
from nodes.roles import Role


@pytest.fixture
async def network(tmp_path: Path) -> AsyncIterator[SimulatedNetwork]:
    async with SimulatedNetwork(tmp_path / "network") as running:
        yield running


def config(running: SimulatedNetwork, /, **fields: Any) -> LndConfig:
    alice = running.nodes["alice"]
    return LndConfig.model_validate(
        {
            "network": "regtest",
            "address": alice.address,
            "tls_cert_path": alice.tls_cert_path,
            "macaroon_dir": alice.macaroon_dir,
        }
        | fields
    )


@asynccontextmanager
async def connected(configured: LndConfig) -> AsyncIterator[LndConnection]:
    connection = LndConnection("alice", configured)
    try:
        yield connection
    finally:
        await connection.close()


async def refused(configured: LndConfig, kind: type[FulguriteError]) -> str:
    """What `check` says when it raises exactly this."""
    async with connected(configured) as connection:
        with pytest.raises(FulguriteError) as caught:
            await connection.check()
        assert type(caught.value) is kind, caught.value
        return str(caught.value)


async def test_a_node_in_order_says_who_it_is(network: SimulatedNetwork) -> None:
    async with connected(config(network)) as connection:
        info = await connection.check()

    assert (info.alias, str(info.version), info.network) == ("alice", "0.21.2", "regtest")
    assert info.block_height == network.chain.height
    assert info.synced_to_chain


async def test_a_node_of_another_network_is_refused(network: SimulatedNetwork) -> None:
    said = await refused(config(network, network="mainnet"), WrongNetworkError)

    assert "alice is on regtest" in said
    assert "mainnet" in said


async def test_a_network_that_we_do_not_know_is_refused_too(
    network: SimulatedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lightning_service, "NETWORK", "testnet4")

    assert "alice is on testnet4" in await refused(config(network), WrongNetworkError)


async def test_an_old_node_is_refused(
    network: SimulatedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lightning_service, "VERSION", "0.17.5-beta commit=v0.17.5-beta")

    assert "upgrade" in await refused(config(network), UnsupportedVersionError)


async def test_a_node_that_starts_is_waited_for(network: SimulatedNetwork) -> None:
    await network.stop_node("alice")
    network.faults.slow_next_start("alice", 0.5)
    starting = asyncio.create_task(network.start_node("alice"))
    async with connected(config(network)) as connection:

        async def listens() -> bool:
            try:
                await connection.check()
            except NodeUnavailableError:
                return False
            except NodeNotReadyError:
                return True
            raise AssertionError("the node was ready at once")

        await eventually(listens, what="alice, starting", every_seconds=0.02)
        with pytest.raises(NodeNotReadyError, match="wait, or unlock"):
            await connection.check()
        await starting
        assert (await connection.check()).alias == "alice"


async def test_a_node_that_is_away_is_unavailable_and_found_when_it_is_back(
    network: SimulatedNetwork,
) -> None:
    async with connected(config(network)) as connection:
        await connection.check()
        await network.stop_node("alice")
        with pytest.raises(NodeUnavailableError, match="Is the node up"):
            await connection.check()
        await network.start_node("alice")

        async def answers() -> bool:
            try:
                await connection.check()
            except NodeUnavailableError:
                return False
            return True

        await eventually(answers, what="alice again", timeout_seconds=10)


async def test_a_node_that_does_not_answer_is_given_up_after_the_deadline(
    network: SimulatedNetwork, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lnd_connection, "UNARY_TIMEOUT_SECONDS", 0.2)
    network.faults.add("alice", "GetInfo", Delay(2))

    assert "too slowly" in await refused(config(network), NodeUnavailableError)


async def test_another_nodes_macaroon_is_refused(network: SimulatedNetwork) -> None:
    bobs = network.nodes["bob"].macaroon_dir

    said = await refused(config(network, macaroon_dir=bobs), CredentialError)
    assert "another node's" in said
    assert (bobs / "observe.macaroon").read_bytes().hex() not in said


async def test_a_macaroon_of_another_role_is_refused(network: SimulatedNetwork) -> None:
    pay = network.nodes["alice"].macaroon_dir / "pay.macaroon"

    said = await refused(config(network, macaroons={"observe": pay}), CredentialError)
    assert "permission denied" in said


async def test_a_macaroon_that_is_not_configured_is_named(network: SimulatedNetwork) -> None:
    said = await refused(config(network, macaroon_dir=None), CredentialError)

    assert "no observe macaroon" in said
    assert "set macaroon_dir" in said


@pytest.mark.parametrize("field", ["tls_cert_path", "lndconnect_path"])
async def test_a_file_that_cannot_be_read_is_named(
    network: SimulatedNetwork, tmp_path: Path, field: str
) -> None:
    said = await refused(config(network, **{field: tmp_path / "absent"}), CredentialError)

    assert "cannot read" in said
    assert "absent" in said


async def test_another_nodes_certificate_is_not_trusted(
    network: SimulatedNetwork, tmp_path: Path
) -> None:
    """Whoever answers in the node's place never sees the macaroon."""
    (tmp_path / "tls.cert").write_bytes(make_certificate("mallory")[0])

    await refused(config(network, tls_cert_path=tmp_path / "tls.cert"), NodeUnavailableError)


async def test_an_lndconnect_uri_is_enough(network: SimulatedNetwork, tmp_path: Path) -> None:
    alice = network.nodes["alice"]
    certificate = b"".join(alice.tls_cert_path.read_bytes().splitlines()[1:-1])
    macaroon = base64.urlsafe_b64encode((alice.macaroon_dir / "admin.macaroon").read_bytes())
    path = tmp_path / "alice.lndconnect"
    path.write_text(
        f"lndconnect://{alice.address}?cert={certificate.decode().translate({43: 45, 47: 95})}"
        f"&macaroon={macaroon.decode()}"
    )
    whole = LndConfig.model_validate({"network": "regtest", "lndconnect_path": path})

    async with connected(whole) as connection:
        assert (await connection.check()).alias == "alice"


async def test_all_nodes_are_checked_and_each_says_what_is_wrong(
    network: SimulatedNetwork,
) -> None:
    nodes = Nodes({"alice": config(network), "carol": config(network, network="signet")})
    try:
        words = await nodes.check()
        assert nodes.paying() == ["alice", "carol"]
        with pytest.raises(UnknownNodeError, match="known: alice, carol"):
            nodes.connection("bob")
    finally:
        await nodes.close()

    assert words["alice"] == "ok"
    assert "correct its network" in words["carol"]


async def test_a_node_without_its_pay_macaroon_is_not_paid_from(
    network: SimulatedNetwork,
) -> None:
    observe = network.nodes["alice"].macaroon_dir / "observe.macaroon"
    watched = config(network, macaroon_dir=None, macaroons={"observe": observe})
    nodes = Nodes({"alice": watched})
    try:
        assert nodes.paying() == []
        assert not nodes.connection("alice").holds(Role.PAY)
        with pytest.raises(CredentialError, match="no pay macaroon"):
            nodes.payments("alice")
    finally:
        await nodes.close()


async def test_who_may_look_may_not_close_and_who_closes_has_to_look(
    network: SimulatedNetwork,
) -> None:
    macaroons = network.nodes["alice"].macaroon_dir
    held = {role: macaroons / f"{role}.macaroon" for role in ("observe", "close")}
    nodes = Nodes(
        {
            "watched": config(network, macaroon_dir=None, macaroons={"observe": held["observe"]}),
            "blind": config(network, macaroon_dir=None, macaroons={"close": held["close"]}),
            "both": config(network, macaroon_dir=None, macaroons=held),
        }
    )
    try:
        assert nodes.observing() == ["watched", "both"]
        assert nodes.closing_nodes() == ["both"]
        for name in ("watched", "both"):
            tip = await nodes.chain(name).tip()
            assert (await nodes.channels(name).tip()) == tip
        with pytest.raises(CredentialError, match="no close macaroon"):
            nodes.closing("watched")
        with pytest.raises(CredentialError, match="no observe macaroon"):
            nodes.closing("blind")
        assert nodes.closing("both") is nodes.closing("both")
    finally:
        await nodes.close()
