"""Where a daemon is looked for, in which order, and what is said when it is nowhere."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import textwrap
from pathlib import Path

import pytest

from devnet import daemons
from devnet.daemons import LND, PROGRAMS, DaemonNotFoundError, Program, cache_dir, find

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a PATH and a cache of its own, and nothing configured."""
    for program in PROGRAMS:
        monkeypatch.delenv(daemons.variable(program), raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", f"{_folder(tmp_path, 'path')}:/usr/bin:/bin")
    scripts = str(_folder(tmp_path, "environment"))
    monkeypatch.setattr(sysconfig, "get_path", lambda _: scripts)
    return tmp_path


def _folder(machine: Path, name: str) -> Path:
    folder = machine / name
    folder.mkdir(exist_ok=True)
    return folder


def _executable(path: Path, script: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("#!/bin/sh\n" + textwrap.dedent(script))
    path.chmod(0o755)
    return path


def _go(machine: Path, build: str, *, folder: str = "path") -> Path:
    """A Go that logs its builds and then does `build`, with the output's path in $out."""
    return _executable(
        machine / folder / "go",
        f"""\
        [ "$1" = version ] && {{ echo go version go1.26.8 linux/amd64; exit 0; }}
        echo "$@" >> {machine}/builds
        while [ "$1" != -o ]; do shift; done
        out=$2
        {build}
        """,
    )


def _builds(machine: Path) -> list[str]:
    log = machine / "builds"
    return log.read_text().splitlines() if log.exists() else []


def test_a_configured_path_goes_before_path(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _executable(machine / "path" / "lnd", "echo lnd version 0.21.2-beta")
    configured = _executable(machine / "mine" / "lnd-of-today", "echo lnd version 0.30.0-beta")
    monkeypatch.setenv("FULGURITE_LND_PATH", str(configured))

    assert find("lnd") == configured


def test_a_configured_path_that_is_none_is_refused_and_not_replaced(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _executable(machine / "path" / "temporal-server", "echo temporal version 1.30.4")
    monkeypatch.setenv("FULGURITE_TEMPORAL_SERVER_PATH", "/nowhere/temporal-server")

    with pytest.raises(DaemonNotFoundError, match="FULGURITE_TEMPORAL_SERVER_PATH is /nowhere/"):
        find("temporal-server")


@pytest.mark.parametrize(
    ("program", "told"),
    [
        ("temporal", "temporal version 1.6.0 (Server 1.31.0, UI 2.45.0)"),
        ("temporal", "temporal version 0.0.0-DEV (Server 1.29.1, UI 2.42.1)"),
        ("lnd", "lnd version 0.21.4-beta commit=v0.21.4-beta"),
        ("btcctl", "btcctl version 0.23.1-beta"),
    ],
)
def test_a_compatible_version_on_path_goes_before_the_cache(
    machine: Path, program: str, told: str
) -> None:
    on_path = _executable(machine / "path" / program, f"echo '{told}'")
    _executable(cache_dir(program) / program, "")

    assert find(program) == on_path


@pytest.mark.parametrize(
    ("told", "named"),
    [("lnd version 0.20.1-beta", "0.20.1"), ("what?", "of an unknown version")],
)
def test_another_version_on_path_is_passed_over_aloud(
    machine: Path, capsys: pytest.CaptureFixture[str], told: str, named: str
) -> None:
    on_path = _executable(machine / "path" / "lnd", f"echo '{told}'")
    cached = _executable(cache_dir("lnd") / "lnd", "")

    assert find("lnd") == cached
    said = capsys.readouterr().err
    assert f"{on_path} is {named}; a compatible 0.21.2 is needed" in said
    assert "FULGURITE_LND_PATH would insist on it" in said


@pytest.mark.parametrize(
    ("needs", "version", "compatible"),
    [
        ((1, 29, 0), (1, 29, 0), True),
        ((1, 29, 0), (1, 31, 2), True),
        ((1, 29, 0), (1, 28, 9), False),
        ((1, 29, 0), (2, 0, 0), False),
        ((0, 21, 2), (0, 21, 3), True),
        ((0, 21, 2), (0, 21, 1), False),
        ((0, 21, 2), (0, 22, 0), False),
    ],
)
def test_compatible_is_as_in_semantic_versioning(
    needs: tuple[int, ...], version: tuple[int, ...], compatible: bool
) -> None:
    assert Program(LND, "package", needs=needs).compatible(version) is compatible


def test_what_is_nowhere_is_built_once_from_a_copy_of_the_pins(
    machine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    go_mod = LND.folder / "go.mod"
    pins = go_mod.read_bytes()
    _go(machine, 'echo "// rewritten" >> go.mod; echo "#!/bin/sh" > $out')

    first, second = find("btcd"), find("btcd")

    assert first == second == cache_dir("btcd") / "btcd"
    assert first.stat().st_mode & 0o111
    (build,) = _builds(machine)
    assert "-mod=mod" in build
    assert "routerrpc" in build
    assert build.endswith("github.com/btcsuite/btcd")
    assert go_mod.read_bytes() == pins
    said = capsys.readouterr().err
    assert "building btcd as pinned with lnd 0.21.2-beta, this once" in said
    assert f"btcd is kept in {cache_dir('btcd')}" in said


def test_other_pins_are_another_place_in_the_cache(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = cache_dir("lnd")
    copied = _folder(machine, "tools") / "lnd"
    copied.mkdir()
    for file in LND.folder.iterdir():
        (copied / file.name).write_bytes(file.read_bytes())
    monkeypatch.setattr(daemons, "TOOLS", copied.parent)
    assert cache_dir("lnd") == before

    with (copied / "go.sum").open("a") as sums:
        sums.write("another pin\n")

    assert cache_dir("lnd") != before


def test_two_processes_build_once(machine: Path) -> None:
    _go(machine, 'sleep 1; echo "#!/bin/sh" > $out')
    command = [sys.executable, "-m", "devnet.daemons", "btcctl"]

    both = [
        subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    answers = [process.communicate(timeout=60) for process in both]

    assert [out for out, _ in answers] == [f"{cache_dir('btcctl') / 'btcctl'}\n"] * 2
    assert len(_builds(machine)) == 1
    assert any("waiting for another process" in err for _, err in answers)


def test_a_build_that_fails_leaves_nothing_and_says_how_it_ended(machine: Path) -> None:
    _go(machine, "echo 'dial tcp: no route to host' >&2; exit 1")

    with pytest.raises(DaemonNotFoundError) as refused:
        find("lnd")

    assert "dial tcp: no route to host" in str(refused.value)
    assert "put lnd 0.21.2 on PATH, or its path into FULGURITE_LND_PATH" in str(refused.value)
    assert not list(cache_dir("lnd").iterdir())


def test_without_go_it_says_what_to_install() -> None:
    with pytest.raises(DaemonNotFoundError) as refused:
        find("lnd")

    assert "install Go 1.26 or newer" in str(refused.value)
    assert "FULGURITE_LND_PATH" in str(refused.value)


def test_a_go_that_is_too_old_is_quoted(machine: Path) -> None:
    _executable(machine / "path" / "go", "echo 'go.mod requires go >= 1.26' >&2; exit 1")

    with pytest.raises(DaemonNotFoundError, match=r"go >= 1\.26: install Go 1\.26 or newer"):
        find("lnd")


def test_a_go_beside_this_python_is_found_without_path(machine: Path) -> None:
    _go(machine, 'echo "#!/bin/sh" > $out', folder="environment")

    assert find("btcd").exists()


def test_temporal_is_downloaded_before_it_is_built(
    machine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _go(machine, 'echo "#!/bin/sh" > $out')
    monkeypatch.setattr(
        daemons,
        "_SDK_DOWNLOAD",
        """if True:
            import pathlib, sys
            into, version = sys.argv[1:]
            downloaded = pathlib.Path(into) / f"temporal-{version}"
            downloaded.write_text("downloaded")
            downloaded.chmod(0o755)
        """,
    )

    assert find("temporal").read_text() == "downloaded"
    assert _builds(machine) == []


@pytest.mark.parametrize("failing", ["import sys; sys.exit(1)", "import time; time.sleep(600)"])
def test_temporal_is_built_where_no_download_begins(
    machine: Path, monkeypatch: pytest.MonkeyPatch, failing: str
) -> None:
    _go(machine, 'echo "#!/bin/sh" > $out')
    monkeypatch.setattr(daemons, "_DOWNLOAD_FIRST_BYTE_SECONDS", 0.5)
    monkeypatch.setattr(daemons, "_SDK_DOWNLOAD", failing)

    assert find("temporal").exists()
    assert len(_builds(machine)) == 1
