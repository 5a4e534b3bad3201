"""Child daemons that never outlive us, and a record of them for those that somehow did.

A daemon here holds ports, files and a lot of memory, so three things see to its end: the
owner's `stop` or `kill`; the kernel, when the owner dies without a word (Linux); and
`end_leftovers`, which `make down` calls, from the record in the state folder.
"""

from __future__ import annotations

import fcntl
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

from devnet.waiting import eventually

# Below the ports that Linux and macOS give to outgoing connections, so that no client can
# sit on a daemon's port between its stop and its start.
LISTENING_PORTS = range(20_000, 32_000)

# Run before every daemon, in its process: asks for SIGKILL when the owner dies, checks that
# it did not die in between, and becomes the daemon under the same process id.
_DIE_WITH_OWNER = """\
import ctypes, os, signal, sys
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit(1)
os.execv(sys.argv[2], sys.argv[2:])
"""

_RECORDS = "processes"
_CLOCK_TOLERANCE_SECONDS = 2.0
_LOG_TAIL_LINES = 15


class DaemonError(RuntimeError):
    """A daemon ended, or never became ready; the message carries the end of its log."""


@dataclass(frozen=True)
class _Record:
    """What a state folder remembers of a process, so that a later one can know it again."""

    pid: int
    started: float  # seconds since the epoch
    command: list[str]

    def process(self) -> psutil.Process | None:
        """The process itself if it still runs, and not a stranger that got its id."""
        try:
            process = psutil.Process(self.pid)
            same_time = abs(process.create_time() - self.started) < _CLOCK_TOLERANCE_SECONDS
            # The tail, because for some milliseconds the process is still the shim.
            same_command = process.cmdline()[-len(self.command) :] == self.command
        except psutil.NoSuchProcess:
            return None
        return process if same_time and same_command else None


class Daemon:
    """One program that we start, in a process group of its own, with its log in a file.

    It can be started again after it stopped; the log file is then continued. Start it from
    a thread that lives as long as it should: Linux ends it with that thread.
    """

    def __init__(
        self,
        name: str,
        command: Sequence[str | Path],
        *,
        state_dir: Path,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        """`command[0]` is an absolute path; `environment` is added to ours."""
        self.name = name
        self.command = [str(part) for part in command]
        self.log_path = state_dir / "logs" / f"{name}.log"
        self._record = state_dir / _RECORDS / f"{name}.json"
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int:
        """The process id of the last start."""
        if self._process is None:
            raise DaemonError(f"{self.name} was never started")
        return self._process.pid

    def start(self) -> None:
        """Starts the program; it is not ready before `until` says so."""
        if self.running:
            raise DaemonError(f"{self.name} runs already, as process {self.pid}")
        for file in (self.log_path, self._record):
            file.parent.mkdir(parents=True, exist_ok=True)
        shim = [sys.executable, "-I", "-S", "-c", _DIE_WITH_OWNER, str(os.getpid())]
        with self.log_path.open("ab") as log:
            self._process = subprocess.Popen(
                [*shim, *self.command],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=os.environ | self._environment,
                process_group=0,
            )
        record = _Record(self.pid, time.time(), self.command)
        # Moved into place: a record cut in half would stop the one who cleans up.
        unfinished = self._record.with_suffix(".tmp")
        unfinished.write_text(json.dumps(asdict(record)))
        unfinished.replace(self._record)

    async def until(
        self, ready: Callable[[], Awaitable[bool]], *, what: str, timeout_seconds: float = 60
    ) -> None:
        """Waits until `ready`; raises DaemonError at once when the program ends instead."""

        async def answer() -> bool:
            if not self.running:
                raise DaemonError(self._postmortem(f"ended before {what}"))
            return await ready()

        try:
            await eventually(answer, what=what, timeout_seconds=timeout_seconds)
        except TimeoutError as error:
            raise DaemonError(
                self._postmortem(f"not {what} after {timeout_seconds:g} s")
            ) from error

    async def stop(self, grace_seconds: float = 15) -> None:
        """Asks it to end (SIGTERM), and ends it when it has not by then. Idempotent."""
        if self.running:
            self._signal(signal.SIGTERM)
            try:
                await self._ended(grace_seconds)
            except TimeoutError:
                self._signal(signal.SIGKILL)
                await self._ended()
        self._record.unlink(missing_ok=True)

    async def kill(self) -> None:
        """Ends it as a crash would (SIGKILL): nothing is flushed, nobody is told."""
        if self.running:
            self._signal(signal.SIGKILL)
            await self._ended()
        self._record.unlink(missing_ok=True)

    async def _ended(self, timeout_seconds: float = 10) -> None:
        async def gone() -> bool:
            return not self.running

        await eventually(
            gone, what=f"{self.name} to end", timeout_seconds=timeout_seconds, every_seconds=0.01
        )

    def _signal(self, number: signal.Signals) -> None:
        try:
            os.killpg(self.pid, number)
        except ProcessLookupError:
            return  # it ended between our look and our signal

    def _postmortem(self, what: str) -> str:
        tail = self.log_path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        code = self._process.poll() if self._process else None
        exited = "" if code is None else f" (exit code {code})"
        return "\n  ".join([f"{self.name} {what}{exited}; the end of {self.log_path}:", *tail])


def free_ports(count: int) -> list[int]:
    """Loopback ports that nothing listens on and no other devnet of this machine was given.

    They stay ours until this process ends, also while the daemon behind one is stopped.
    """
    ports: list[int] = []
    for port in random.sample(LISTENING_PORTS, k=len(LISTENING_PORTS)):
        if len(ports) == count:
            return ports
        if _lease(port) and not _listening(port):
            ports.append(port)
    raise DaemonError(f"no {count} loopback ports are free in {LISTENING_PORTS}: `make down` first")


def _lease(port: int) -> bool:
    """Locks the port's file for the life of this process; the kernel gives it back."""
    folder = Path(tempfile.gettempdir()) / f"fulgurite-ports-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    # Another descriptor of this process would be refused too, so a port is given once.
    lease = os.open(folder / str(port), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lease, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(lease)
        return False
    return True


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return True
    return False


def end_leftovers(state_dir: Path) -> list[str]:
    """Kills what an earlier run recorded in `state_dir` and left running; returns the names.

    A process counts as ours only when its id, its start time and its command line all agree
    with the record: ids are used again, and a stranger must not die for it.
    """
    ended = []
    for record in sorted((state_dir / _RECORDS).glob("*.json")):
        told = _Record(**json.loads(record.read_text()))
        if process := told.process():
            os.killpg(process.pid, signal.SIGKILL)
            psutil.wait_procs([process], timeout=10)
            ended.append(record.stem)
        record.unlink()
    return ended
