"""Puts each known defect into a copy of the tree and runs the tests that must notice it.

The working tree is never touched. Exit code 1 when a defect survives, when one no longer
fits the code, or when the tests fail without any.
"""

from __future__ import annotations

import argparse
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress
from rich.table import Table

from mutants.catalogue import MUTANTS
from mutants.mutant import Mutant

ROOT = Path(__file__).resolve().parent.parent
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", ".devnet", "__pycache__", ".*_cache", ".hypothesis", "*.egg-info", "build"
)
# A defect can make a test wait for what never comes: that, too, is noticing.
_PATIENCE_SECONDS = 120
# Without a defect all killers run in one go.
_PATIENCE_WITH_ALL_SECONDS = 1_200
_FAILED = re.compile(r"^(?:FAILED|ERROR) \S+::(\S+)", re.MULTILINE)


class StaleMutantError(Exception):
    """The code has moved on, and the defect no longer fits it."""


@dataclass(frozen=True)
class Verdict:
    """`killed_by` is the test that noticed, empty where none did."""

    mutant: Mutant
    killed_by: str
    seconds: float
    stale: bool = False


def mutated(mutant: Mutant, text: str) -> str:
    """The file's text with the defect in it; raises StaleMutantError."""
    found = text.count(mutant.old)
    if found != 1:
        raise StaleMutantError(f"{mutant.name}: {mutant.path} has its text {found} times, not once")
    return text.replace(mutant.old, mutant.new)


def misfits(mutant: Mutant) -> list[str]:
    """Why the defect, or one of its killers, is not of this tree any more. Runs nothing."""
    found = []
    try:
        compile(mutated(mutant, (ROOT / mutant.path).read_text()), mutant.path, "exec")
    except (StaleMutantError, OSError, SyntaxError) as error:
        found.append(str(error))
    for killer in mutant.killers:
        path, _, test = killer.partition("::")
        file = ROOT / path
        if not file.is_file() or f"def {test.partition('[')[0]}(" not in file.read_text():
            found.append(f"{mutant.name}: there is no {killer}")
    return found


def failures(
    tree: Path, tests: Sequence[str], patience_seconds: float = _PATIENCE_SECONDS
) -> list[str]:
    """The tests that fail in `tree`, by name; "(no answer)" for one that hangs."""
    options = ["-x", "-q", "-p", "no:cacheprovider", "-m", "not regtest"]
    command = [sys.executable, "-m", "pytest", *options, *tests]
    try:
        run = subprocess.run(  # noqa: S603 - our own tests
            command,
            cwd=tree,
            capture_output=True,
            text=True,
            timeout=patience_seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return ["(no answer)"]
    if run.returncode == 0:
        return []
    # A syntax error or a test that is not there must not count as a test that noticed.
    if not (failed := _FAILED.findall(run.stdout)) or run.returncode != 1:
        raise StaleMutantError(f"pytest could not run {' '.join(tests)}:\n{run.stdout}{run.stderr}")
    return failed


def try_mutant(tree: Path, mutant: Mutant) -> Verdict:
    """Puts the defect into `tree`, runs its killers, and takes it out again."""
    path = tree / mutant.path
    sound, began = path.read_text(), time.monotonic()
    try:
        path.write_text(mutated(mutant, sound))
        failed = failures(tree, mutant.killers)
    except StaleMutantError as error:
        return Verdict(mutant, str(error).splitlines()[0], time.monotonic() - began, stale=True)
    finally:
        path.write_text(sound)
    return Verdict(mutant, failed[0] if failed else "", time.monotonic() - began)


def table(verdicts: Sequence[Verdict]) -> Table:
    shown = Table(
        "incident", "mutant", "what it would do", "killed by", "s", title="seeded mutants"
    )
    for verdict in verdicts:
        told = f"[green]{verdict.killed_by}" if verdict.killed_by else "[bold red]SURVIVED"
        shown.add_row(
            verdict.mutant.incident,
            verdict.mutant.name,
            verdict.mutant.harm,
            f"[bold red]STALE: {verdict.killed_by}" if verdict.stale else told,
            f"{verdict.seconds:.1f}",
        )
    return shown


def check(console: Console, chosen: Sequence[Mutant]) -> int:
    """Prints what fits no more; the exit code."""
    problems = [problem for mutant in chosen for problem in misfits(mutant)]
    for problem in problems:
        console.print(f"[bold red]{escape(problem)}", soft_wrap=True)
    console.print(f"{len(chosen)} mutants, {len(problems)} problems")
    return 1 if problems else 0


def main() -> int:
    parser = argparse.ArgumentParser(prog="mutants", description=__doc__)
    parser.add_argument("names", nargs="*", help="only these mutants, or incidents")
    parser.add_argument(
        "--check", action="store_true", help="only say which fit no more; runs no test"
    )
    asked = parser.parse_args()
    names = set(asked.names)
    chosen = [m for m in MUTANTS if not names or names & {m.name, m.incident}]
    if not chosen:
        parser.error(f"there are: {', '.join(m.name for m in MUTANTS)}")
    console = Console(width=None if sys.stdout.isatty() else 200)
    if asked.check:
        return check(console, chosen)
    with tempfile.TemporaryDirectory(prefix="fulgurite-mutants-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=_LEFT_OUT)
        killers = sorted({test for mutant in chosen for test in mutant.killers})
        with Progress(console=console, transient=True) as progress:
            task = progress.add_task("without any defect", total=len(chosen) + 1)
            if failed := failures(tree, killers, _PATIENCE_WITH_ALL_SECONDS):
                console.print(f"[bold red]the tests fail without any defect: {failed[0]}")
                return 1
            verdicts = []
            for mutant in chosen:
                progress.update(task, advance=1, description=mutant.name)
                verdicts.append(try_mutant(tree, mutant))
    console.print(table(verdicts))
    alive = [verdict for verdict in verdicts if verdict.stale or not verdict.killed_by]
    console.print(f"{len(verdicts) - len(alive)} of {len(verdicts)} killed")
    return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
