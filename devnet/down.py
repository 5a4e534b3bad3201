"""`make down`: ends the house that `make up` left, and whatever a crash of it left behind."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

import psutil

from devnet.processes import end_leftovers
from devnet.progress import say, shown
from devnet.up import STATE_DIR, description

_GRACE_SECONDS = 40


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m devnet.down", description=__doc__)
    parser.add_argument("--state-dir", type=Path, default=STATE_DIR)
    state_dir: Path = parser.parse_args().state_dir
    if told := description(state_dir):
        with shown("taking the house down"), suppress(psutil.NoSuchProcess):
            supervisor = psutil.Process(int(str(told["supervisor"])))
            # A number that is somebody else's by now is left alone.
            if "devnet.up" in supervisor.cmdline() and str(state_dir) in supervisor.cmdline():
                os.kill(supervisor.pid, signal.SIGTERM)
                psutil.wait_procs([supervisor], timeout=_GRACE_SECONDS)
    for folder in (state_dir, state_dir / "temporal", state_dir / "network"):
        for name in end_leftovers(folder):
            say(f"ended {name}, which an earlier crash had left")
    shutil.rmtree(state_dir, ignore_errors=True)
    say("down: nothing is left")


if __name__ == "__main__":
    main()
