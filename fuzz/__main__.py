"""Runs each fuzzer for so many seconds: `python -m fuzz 60`. Exit code 1 when one finds something.

An input that was found belongs into fuzz/seeds.py, together with what it led to.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import re
import shutil
import sys
import tempfile
from pathlib import Path

from devnet.progress import say, watched
from fuzz.seeds import SEEDS, TOKENS

_MAX_BYTES = 2_100  # a little more than the longest URL that is let through
_INPUT_SECONDS = 10  # one input that takes longer is a finding, too
_EXECUTED = re.compile(r"stat::number_of_executed_units:\s*(\d+)")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("seconds", nargs="?", type=int, default=60, help="for each fuzzer")
    parser.add_argument("--only", choices=sorted(SEEDS), help="this fuzzer alone")
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.inside:
        _fuzz(asked.only, asked.seconds, asked.inside)
    if importlib.util.find_spec("atheris") is None:
        parser.exit(2, "atheris is not here: it runs on Linux x86_64; the tests do without it\n")
    names = [asked.only] if asked.only else list(SEEDS)
    found = [name for name in names if not _watch(name, asked.seconds)]
    sys.exit(1 if found else 0)


def _watch(name: str, seconds: int) -> bool:
    """One fuzzer in a process of its own; False when it found something."""
    folder = Path(tempfile.mkdtemp(prefix=f"fulgurite-fuzz-{name}-"))
    log = folder / "log"
    command = [sys.executable, "-m", "fuzz", str(seconds), "--only", name, "--inside", str(folder)]
    ending = watched(command, what=f"fuzzing {name} for {seconds} s", log=log)
    if ending:
        say(f"{name}: FOUND SOMETHING; the input and the log are in {folder}\n{ending}")
        return False
    executed = _EXECUTED.search(log.read_text(errors="replace"))
    say(f"{name}: {int(executed[1]) if executed else 0:,} inputs, nothing found")
    shutil.rmtree(folder)
    return True


def _fuzz(name: str, seconds: int, folder: Path) -> None:
    """Never returns: libFuzzer ends the process."""
    found, seeds, tokens = folder / "corpus", folder / "seeds", folder / "tokens"
    found.mkdir()
    seeds.mkdir()
    for number, seed in enumerate(SEEDS[name]):
        (seeds / f"{number:03}").write_bytes(seed)
    escaped = ("".join(f"\\x{byte:02x}" for byte in token) for token in TOKENS[name])
    tokens.write_text("".join(f'"{token}"\n' for token in escaped))

    atheris = importlib.import_module("atheris")
    with atheris.instrument_imports():
        targets = importlib.import_module("fuzz.targets")
    atheris.Setup(
        [
            "fuzz",
            f"-max_total_time={seconds}",
            f"-max_len={_MAX_BYTES}",
            f"-timeout={_INPUT_SECONDS}",
            f"-dict={tokens}",
            f"-artifact_prefix={folder}/found-",
            "-print_final_stats=1",
            str(found),
            str(seeds),
        ],
        targets.TARGETS[name],
    )
    atheris.Fuzz()


if __name__ == "__main__":
    main()
