"""Daemons end when they should: by their owner, with their owner, or by its successor."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from devnet import processes
from devnet.processes import Daemon, DaemonError, end_leftovers, free_ports
from devnet.waiting import eventually

ROOT = Path(__file__).resolve().parents[2]

IGNORES_SIGTERM = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
print("deaf", flush=True)
time.sleep(600)
"""

OWNS_A_SLEEPER = """
import pathlib, sys, time
from devnet.processes import Daemon
daemon = Daemon("orphan", ["/bin/sleep", "600"], state_dir=pathlib.Path(sys.argv[1]))
daemon.start()
print(daemon.pid, flush=True)
time.sleep(600)
"""


def _python(name: str, script: str, state_dir: Path) -> Daemon:
    return Daemon(name, [sys.executable, "-c", script], state_dir=state_dir)


@pytest.fixture
def sleeper(tmp_path: Path) -> Iterator[Daemon]:
    daemon = Daemon("sleeper", ["/bin/sleep", "600"], state_dir=tmp_path)
    yield daemon
    if daemon.running:
        os.kill(daemon.pid, signal.SIGKILL)
        psutil.Process(daemon.pid).wait(timeout=10)


def _record(state_dir: Path, name: str) -> Path:
    return state_dir / "processes" / f"{name}.json"


async def test_a_daemon_stops_starts_again_and_leaves_no_record(
    sleeper: Daemon, tmp_path: Path
) -> None:
    for _ in range(2):
        sleeper.start()
        assert sleeper.running
        assert _record(tmp_path, "sleeper").exists()

        await sleeper.stop()
        assert not sleeper.running
        assert not _record(tmp_path, "sleeper").exists()
    await sleeper.stop()  # once more does no harm


async def test_one_that_is_deaf_to_sigterm_is_killed_after_its_grace(tmp_path: Path) -> None:
    deaf = _python("deaf", IGNORES_SIGTERM, tmp_path)
    deaf.start()

    async def heard() -> bool:
        return "deaf" in deaf.log_path.read_text()

    await deaf.until(heard, what="deaf")
    await deaf.stop(grace_seconds=0.2)
    assert not deaf.running


async def test_a_start_while_it_runs_is_refused(sleeper: Daemon) -> None:
    sleeper.start()
    with pytest.raises(DaemonError, match="sleeper runs already"):
        sleeper.start()


async def test_one_that_ends_before_it_is_ready_shows_its_log_at_once(tmp_path: Path) -> None:
    broken = _python("broken", "import sys; sys.exit('port 1 is taken')", tmp_path)
    broken.start()

    async def never() -> bool:
        return False

    with pytest.raises(DaemonError, match=r"broken ended before serving.*\n.*port 1 is taken"):
        await broken.until(never, what="serving", timeout_seconds=30)


async def test_one_that_never_becomes_ready_shows_its_log_too(tmp_path: Path) -> None:
    slow = _python("slow", "print('thinking', flush=True); import time; time.sleep(60)", tmp_path)
    slow.start()

    async def never() -> bool:
        return False

    with pytest.raises(DaemonError, match=r"slow not serving after 1 s.*\n.*thinking"):
        await slow.until(never, what="serving", timeout_seconds=1)
    await slow.kill()


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere `make down` ends the leftovers")
async def test_no_daemon_survives_the_kill_of_its_owner(tmp_path: Path) -> None:
    owner = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", OWNS_A_SLEEPER, str(tmp_path)),
        cwd=ROOT,
        stdout=asyncio.subprocess.PIPE,
    )
    assert owner.stdout is not None
    orphan = psutil.Process(int(await owner.stdout.readline()))
    owner.kill()
    await owner.communicate()

    async def gone() -> bool:
        return not orphan.is_running() or orphan.status() == psutil.STATUS_ZOMBIE

    await eventually(gone, what="the orphan to end", timeout_seconds=10)


async def test_leftovers_of_an_earlier_owner_are_ended(sleeper: Daemon, tmp_path: Path) -> None:
    sleeper.start()

    assert end_leftovers(tmp_path) == ["sleeper"]
    assert not sleeper.running
    assert end_leftovers(tmp_path) == []


@pytest.mark.parametrize(
    "stranger", [{"started": time.time() - 3600}, {"command": ["/bin/sleep", "601"]}]
)
async def test_a_stranger_with_a_recorded_id_is_left_alone(
    sleeper: Daemon, tmp_path: Path, stranger: dict[str, object]
) -> None:
    sleeper.start()
    record = _record(tmp_path, "sleeper")
    record.write_text(json.dumps(json.loads(record.read_text()) | stranger))

    assert end_leftovers(tmp_path) == []
    assert sleeper.running
    assert not record.exists()


def test_free_ports_are_given_once_and_can_be_bound() -> None:
    ports = free_ports(20) + free_ports(20)

    assert len(set(ports)) == 40
    for port in ports:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", port))


def test_ports_of_another_process_are_not_given(monkeypatch: pytest.MonkeyPatch) -> None:
    (port,) = free_ports(1)
    # The lease is on the open file, so a second look from here meets what others would.
    monkeypatch.setattr(processes, "LISTENING_PORTS", range(port, port + 1))

    with pytest.raises(DaemonError, match="no 1 loopback ports are free"):
        free_ports(1)
