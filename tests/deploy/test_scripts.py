"""The scripts do what the code expects to find done. Each runs against a stand-in."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from fulgurite.attributes import REGISTRY
from nodes.roles import PERMISSIONS, ROOT_KEY_IDS, Role
from tests.deploy.compose import ROOT

BAKE = ROOT / "deploy" / "bake-macaroons.sh"
NAMESPACE = ROOT / "deploy" / "temporal" / "namespace.sh"

# A macaroon with every byte that a shell could trip over.
MACAROON = bytes(range(256))


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """Where a stand-in writes its arguments, a call a line."""
    return tmp_path / "calls"


def stand_in(name: str, calls: Path, *, says: str = "") -> Path:
    program = calls.parent / "bin" / name
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\necho "$@" >>"{calls}"\necho "{says}"\n')
    program.chmod(0o755)
    return program


def bake(folder: Path, lncli: Path, *roles: str) -> subprocess.CompletedProcess[str]:
    folder.mkdir(exist_ok=True)
    return subprocess.run(
        [BAKE, folder, *roles],
        check=False,
        env=os.environ | {"LNCLI": str(lncli)},
        capture_output=True,
        text=True,
    )


def test_each_role_is_baked_with_its_permissions_and_its_root_key(
    tmp_path: Path, calls: Path
) -> None:
    lncli = stand_in("lncli", calls, says=MACAROON.hex())

    assert bake(tmp_path / "macaroons", lncli, *Role).returncode == 0

    assert calls.read_text().splitlines() == [
        " ".join(
            ["bakemacaroon", "--root_key_id", str(ROOT_KEY_IDS[role])]
            + [f"uri:{method}" for method in PERMISSIONS[role]]
        )
        for role in Role
    ]
    for role in Role:
        assert (tmp_path / "macaroons" / f"{role}.macaroon").read_bytes() == MACAROON


def test_the_worker_gets_only_what_it_uses(tmp_path: Path, calls: Path) -> None:
    lncli = stand_in("lncli", calls, says=MACAROON.hex())
    assert bake(tmp_path / "macaroons", lncli).returncode == 0
    baked = {file.name for file in (tmp_path / "macaroons").glob("*.macaroon")}
    assert baked == {f"{role}.macaroon" for role in (Role.PAY, Role.OBSERVE)}


def test_a_macaroon_that_cannot_be_baked_leaves_the_old_one(tmp_path: Path, calls: Path) -> None:
    bake(tmp_path / "macaroons", stand_in("lncli", calls, says=MACAROON.hex()), "pay")
    refusing = calls.parent / "refusing"
    refusing.write_text("#!/bin/sh\nexit 1\n")
    refusing.chmod(0o755)

    assert bake(tmp_path / "macaroons", refusing, "pay").returncode != 0
    assert (tmp_path / "macaroons" / "pay.macaroon").read_bytes() == MACAROON


def test_a_role_that_there_is_not_is_refused(tmp_path: Path, calls: Path) -> None:
    refused = bake(tmp_path / "macaroons", stand_in("lncli", calls), "admin")
    assert refused.returncode == 2
    assert "pay, invoice, observe or close" in refused.stderr


def test_the_search_attributes_of_the_registry_are_registered(calls: Path) -> None:
    temporal = stand_in("temporal", calls)
    environment = {
        "PATH": f"{temporal.parent}:{os.environ['PATH']}",
        "TEMPORAL_ADDRESS": "nowhere:1",
        "TEMPORAL_NAMESPACE": "default",
    }
    subprocess.run([NAMESPACE], env=environment, check=True, capture_output=True)

    registered = {}
    for call in calls.read_text().splitlines():
        match call.split():
            case ["operator", "search-attribute", "create", "--name", name, "--type", kind]:
                registered[name] = kind
    assert registered == REGISTRY


@pytest.mark.skipif(not shutil.which("shellcheck"), reason="shellcheck is not installed")
def test_shellcheck_finds_nothing() -> None:
    scripts = sorted((ROOT / "deploy").rglob("*.sh"))
    subprocess.run(["shellcheck", *scripts], check=True)
