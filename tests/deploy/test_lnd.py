"""The real lnd takes our configuration, and bakes our roles."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from devnet.daemons import find
from devnet.processes import Daemon, free_ports
from nodes.roles import PERMISSIONS, ROOT_KEY_IDS, Role
from tests.deploy.compose import ROOT

pytestmark = [
    pytest.mark.regtest,
    pytest.mark.timeout(900),  # the first time it may have to build lnd
]


@dataclass(frozen=True)
class DeployedLnd:
    """lnd with deploy/lnd.conf. Its paths and ports are moved; the rest is production's."""

    folder: Path
    lncli: str

    async def ask(self, *words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *self.lncli.split(), *words, stdout=asyncio.subprocess.PIPE
        )
        told, _ = await process.communicate()
        assert process.returncode == 0
        return told.decode()


@pytest.fixture(scope="module")
async def lnd(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DeployedLnd]:
    folder = tmp_path_factory.mktemp("lnd")
    rpc, listen = free_ports(2)
    password = folder / "password"
    password.write_text("a password of tests")
    program, client = await asyncio.to_thread(lambda: (find("lnd"), find("lncli")))
    connection = (
        f"--lnddir={folder / 'lnd'} --tlscertpath={folder / 'tls.cert'} "
        f"--rpcserver=127.0.0.1:{rpc} --network=regtest"
    )
    daemon = Daemon(
        "lnd",
        [
            *(program, f"--configfile={ROOT / 'deploy' / 'lnd.conf'}"),
            *(f"--lnddir={folder / 'lnd'}", f"--tlscertpath={folder / 'tls.cert'}"),
            *(f"--tlskeypath={folder / 'tls.key'}", f"--wallet-unlock-password-file={password}"),
            *(f"--rpclisten=127.0.0.1:{rpc}", f"--listen=127.0.0.1:{listen}"),
            # Off chain and without peers: what is asked here needs neither. The wallet
            # makes itself, as nobody is there to write down a seed.
            *("--bitcoin.regtest", "--bitcoin.node=neutrino", "--noseedbackup"),
        ],
        state_dir=folder,
    )
    running = DeployedLnd(folder, f"{client} {connection}")
    macaroon = folder / "lnd" / "data" / "chain" / "bitcoin" / "regtest" / "admin.macaroon"

    async def serves() -> bool:
        return macaroon.exists() and "ACTIVE" in await running.ask("state")

    daemon.start()
    try:
        await daemon.until(serves, what="serving with deploy/lnd.conf")
        yield running
    finally:
        await daemon.stop()


async def test_it_starts_with_our_configuration(lnd: DeployedLnd) -> None:
    assert json.loads(await lnd.ask("state"))["state"] in {"RPC_ACTIVE", "SERVER_ACTIVE"}
    # Root without rights of root writes it, the worker's user reads it.
    assert (lnd.folder / "tls.cert").stat().st_mode & 0o004


async def test_the_script_bakes_what_the_roles_say(lnd: DeployedLnd) -> None:
    folder = lnd.folder / "macaroons"
    folder.mkdir()
    script = await asyncio.create_subprocess_exec(
        *(ROOT / "deploy" / "bake-macaroons.sh", folder, *Role),
        env=os.environ | {"LNCLI": lnd.lncli},
    )
    assert await script.wait() == 0

    for role in Role:
        file = folder / f"{role}.macaroon"
        told = json.loads(await lnd.ask("printmacaroon", "--macaroon_file", str(file)))
        assert told["root_key_id"] == str(ROOT_KEY_IDS[role])
        assert set(told["permissions"]) == {f"uri:{method}" for method in PERMISSIONS[role]}
