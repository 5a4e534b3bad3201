"""The real lnd takes our configuration, keeps what the documents say, and bakes our roles."""

from __future__ import annotations

import asyncio
import json
import os
import pty
from collections.abc import AsyncIterator
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

PASSWORD = "a password of tests"


class DeployedLnd:
    """lnd with deploy/lnd.conf. Its paths and ports are moved; the rest is production's."""

    def __init__(self, folder: Path, lnd: Path, lncli: Path) -> None:
        rpc, listen = free_ports(2)
        self.folder = folder
        password_file = folder / "password"
        password_file.write_text(PASSWORD)
        lnd_dir = f"--lnddir={folder / 'lnd'}"  # which moves the certificate, too
        self.lncli = [str(lncli), lnd_dir, f"--rpcserver=127.0.0.1:{rpc}", "--network=regtest"]
        self._daemon = Daemon(
            "lnd",
            [
                *(str(lnd), f"--configfile={ROOT / 'deploy' / 'lnd.conf'}", lnd_dir),
                *(f"--rpclisten=127.0.0.1:{rpc}", f"--listen=127.0.0.1:{listen}"),
                f"--wallet-unlock-password-file={password_file}",
                # A chain of its own and no peers: what is asked here needs neither.
                *("--bitcoin.regtest", "--bitcoin.node=neutrino"),
            ],
            state_dir=folder,
        )

    async def start(self, *states: str) -> None:
        """Returns when it is in one of `states`."""

        async def there() -> bool:
            process = await asyncio.create_subprocess_exec(
                *(*self.lncli, "state"),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
            )
            told, _ = await process.communicate()
            return process.returncode == 0 and json.loads(told)["state"] in states

        if not self._daemon.running:
            self._daemon.start()
        await self._daemon.until(there, what=f"in one of the states {', '.join(states)}")

    async def kill(self) -> None:
        await self._daemon.kill()

    async def create_wallet(self) -> None:
        """As the person does whom the documents tell to."""
        keyboard, terminal = pty.openpty()
        process = await asyncio.create_subprocess_exec(
            *(*self.lncli, "create"), stdin=terminal, stdout=asyncio.subprocess.DEVNULL
        )
        # The password twice, no seed of one's own, and no passphrase for the new one.
        os.write(keyboard, f"{PASSWORD}\n{PASSWORD}\nn\n\n".encode())
        assert await process.wait() == 0
        os.close(keyboard)
        os.close(terminal)

    async def ask(self, *words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            *(*self.lncli, *words), stdout=asyncio.subprocess.PIPE
        )
        told, _ = await process.communicate()
        assert process.returncode == 0
        return told.decode()


@pytest.fixture(scope="module")
async def lnd(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[DeployedLnd]:
    programs = await asyncio.to_thread(lambda: (find("lnd"), find("lncli")))
    deployed = DeployedLnd(tmp_path_factory.mktemp("lnd"), *programs)
    try:
        await deployed.start("NON_EXISTING")
        await deployed.create_wallet()
        await deployed.start("RPC_ACTIVE", "SERVER_ACTIVE")
        yield deployed
    finally:
        await deployed.kill()


async def test_it_unlocks_itself_when_it_starts_again(lnd: DeployedLnd) -> None:
    await lnd.kill()
    await lnd.start("RPC_ACTIVE", "SERVER_ACTIVE")


async def test_others_may_read_the_certificate(lnd: DeployedLnd) -> None:
    # Root writes it, and the worker's user, who is not root, reads it.
    assert (lnd.folder / "lnd" / "tls.cert").stat().st_mode & 0o004


async def test_the_script_bakes_what_the_roles_say(lnd: DeployedLnd) -> None:
    folder = lnd.folder / "macaroons"
    folder.mkdir()
    script = await asyncio.create_subprocess_exec(
        *(ROOT / "deploy" / "bake-macaroons.sh", folder, *Role),
        env=os.environ | {"LNCLI": " ".join(lnd.lncli)},
    )
    assert await script.wait() == 0

    for role in Role:
        file = folder / f"{role}.macaroon"
        told = json.loads(await lnd.ask("printmacaroon", "--macaroon_file", str(file)))
        assert told["root_key_id"] == str(ROOT_KEY_IDS[role])
        assert set(told["permissions"]) == {f"uri:{method}" for method in PERMISSIONS[role]}
