"""Work that takes minutes, with something to look at meanwhile."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

_console = Console(stderr=True)

# Where no terminal shows a spinner, a line this often says that we are still at it.
_REPORT_EVERY_SECONDS = 30

_LOG_TAIL_LINES = 15


def say(what: str) -> None:
    """Tells what we are doing, on stderr: stdout is for answers, which a script may read."""
    _console.print(what, style="dim", soft_wrap=True, markup=False, highlight=False)


def watched(
    command: list[str],
    *,
    what: str,
    log: Path,
    cwd: Path | None = None,
    environment: Mapping[str, str] | None = None,
    hopeless: Callable[[float], bool] = lambda _: False,
) -> str:
    """Runs `command` under a running clock; the end of its log if it failed, else ''.

    It is ended with all its children when `hopeless`, asked with the seconds that went by,
    says so, or when we are interrupted.
    """
    began = time.monotonic()
    with (
        shown(what),
        log.open("ab") as output,
        subprocess.Popen(
            command,
            cwd=cwd,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            process_group=0,
        ) as process,
    ):
        try:
            while process.poll() is None and not hopeless(time.monotonic() - began):
                time.sleep(0.1)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode == 0:
        return ""
    return "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:]) or "no reason"


@contextmanager
def shown(what: str) -> Iterator[None]:
    """Shows `what` and its seconds while the body runs: a spinner, or lines in a log."""
    if _console.is_terminal:
        columns = (
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            TimeElapsedColumn(),
        )
        with Progress(*columns, console=_console, transient=True) as progress:
            progress.add_task(what, total=None)
            yield
        return

    done = threading.Event()
    began = time.monotonic()

    def report() -> None:
        while not done.wait(_REPORT_EVERY_SECONDS):
            say(f"{what}: {time.monotonic() - began:.0f} s")

    say(what)
    reporter = threading.Thread(target=report, daemon=True)
    reporter.start()
    try:
        yield
    finally:
        done.set()
        reporter.join()
