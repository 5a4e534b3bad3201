"""The image installs what was tested, whole, and nothing that was not."""

from __future__ import annotations

import re
import tomllib

import pytest

from tests.deploy.compose import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text()
PIN = re.compile(r"^([a-z0-9-]+)==([\w.]+)", re.MULTILINE)


def pins(lock: str) -> dict[str, str]:
    return dict(PIN.findall((ROOT / lock).read_text()))


@pytest.mark.parametrize("lock", ["requirements.runtime.lock", "requirements.build.lock"])
def test_a_lock_of_the_image_is_a_part_of_the_lock_that_was_tested(lock: str) -> None:
    assert pins(lock)
    assert pins(lock).items() <= pins("requirements.lock").items()


def test_the_runtime_lock_has_every_dependency_and_no_tool() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

    def names(requirements: list[str]) -> set[str]:
        return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}

    assert names(project["dependencies"]) <= pins("requirements.runtime.lock").keys()
    tools = {"pytest", "mypy", "ruff", "grpcio-tools", "hypothesis"}
    assert tools <= names(project["optional-dependencies"]["dev"])
    assert not tools & pins("requirements.runtime.lock").keys()


def test_both_stages_start_from_one_exact_python() -> None:
    first, second = re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)
    assert first == second
    assert re.fullmatch(r"python:3\.11\.\d+-slim-\w+", first)


def test_it_does_not_run_as_root() -> None:
    final = DOCKERFILE[DOCKERFILE.rindex("FROM ") :]
    (user,) = re.findall(r"^USER (\d+):\d+", final, re.MULTILINE)
    assert int(user) > 0


def test_the_wheel_gets_everything_that_it_is_made_of() -> None:
    let_through = {
        line.removeprefix("!")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]
    needed = set(wheel["targets"]["wheel"]["only-include"])
    assert needed <= let_through
    assert not {"secrets", ".git", ".env"} & let_through


def test_its_entry_point_is_a_script_of_the_project() -> None:
    (entry,) = re.findall(r'^ENTRYPOINT \["([\w-]+)"\]', DOCKERFILE, re.MULTILINE)
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert entry in scripts


def test_scripts_are_plain_shell() -> None:
    for script in (ROOT / "deploy").rglob("*.sh"):
        lines = script.read_text().splitlines()
        assert lines[0] == "#!/bin/sh"
        assert "set -eu" in lines
