"""Fills in what the docs say of the code: `python -m docs.generate`, `--check` for CI.

Between `<!-- NAME -->` and `<!-- /NAME -->` of a page stands what `_PARTS` makes of NAME.
"""

from __future__ import annotations

import argparse
import ast
import re
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

import fulgurite.payments.states
from fulgurite.payments.states import (
    ADVICE,
    PAYMENT,
    FailureReason,
    PaymentState,
    worth_another_attempt,
)

ROOT = Path(__file__).resolve().parent.parent
PAGES = (ROOT / "docs" / "payments.md", ROOT / "README.md")


def payment_diagram() -> str:
    return f"```mermaid\n{PAYMENT.mermaid()}\n```"


def payment_states() -> str:
    """A row a state: what it means, in the words that stand beside it in the code."""
    meanings = _comments_of(PaymentState.__name__)
    rows = ["| state | meaning | |", "|---|---|---|"]
    for state in PaymentState:
        role = "start" if state is PAYMENT.start else "end" if state in PAYMENT.terminal else ""
        rows.append(f"| {state} | {meanings[state]} | {role} |")
    return "\n".join(rows)


def payment_edges() -> str:
    """A row an edge, in the order of the table."""
    rows = ["| state | event | next | because |", "|---|---|---|---|"]
    rows += [f"| {e.source} | {e.event} | {e.target} | {e.because} |" for e in PAYMENT.edges]
    return "\n".join(rows)


def failure_policy() -> str:
    """A row a reason: whether it is tried again, and what the receipt advises."""
    rows = ["| LND's reason | another attempt | advice on the receipt |", "|---|---|---|"]
    for reason in FailureReason:
        again = "while time allows" if worth_another_attempt(reason) else "no"
        rows.append(f"| {reason} | {again} | {ADVICE[reason]} |")
    return "\n".join(rows)


_PARTS: Mapping[str, Callable[[], str]] = {
    "states": payment_diagram,
    "meanings": payment_states,
    "edges": payment_edges,
    "failure-policy": failure_policy,
}

_MARKED = re.compile(rf"<!-- ({'|'.join(_PARTS)}) -->\n.*?<!-- /\1 -->", re.DOTALL)


def filled(page: str) -> str:
    """The page with each marked part as the code has it now."""
    return _MARKED.sub(
        lambda found: f"<!-- {found[1]} -->\n{_PARTS[found[1]]()}\n<!-- /{found[1]} -->", page
    )


def _comments_of(enumeration: str) -> dict[str, str]:
    """Each member's comment at the end of its line, which is where its meaning is kept."""
    source = Path(fulgurite.payments.states.__file__).read_text()
    lines = source.splitlines()
    [body] = [
        node.body
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == enumeration
    ]
    return {
        member.value.value: lines[member.lineno - 1].partition("  # ")[2]
        for member in body
        if isinstance(member, ast.Assign)
        and isinstance(member.value, ast.Constant)
        and isinstance(member.value.value, str)
    }


def main() -> int:
    parser = argparse.ArgumentParser(prog="docs.generate", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; fail when stale")
    check = parser.parse_args().check
    stale = [
        page for page in PAGES if page.exists() and filled(page.read_text()) != page.read_text()
    ]
    for page in stale:
        name = page.relative_to(ROOT)
        if check:
            sys.stderr.write(f"{name} is stale: run `make docs`\n")
        else:
            page.write_text(filled(page.read_text()))
            sys.stdout.write(f"wrote {name}\n")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
