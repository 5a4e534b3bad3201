"""Fills in what the docs say of the code: `python -m docs.generate`, `--check` for CI.

Between `<!-- NAME -->` and `<!-- /NAME -->` of a page stands what `PARTS` makes of NAME.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import sys
from collections.abc import Callable, Mapping
from datetime import timedelta
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any

from fulgurite.events.catalogue import CATALOGUE
from fulgurite.events.delivery import DELIVERY, JITTER, PAUSES, DeliveryState
from fulgurite.invoices.requests import DecideBy
from fulgurite.invoices.states import INVOICE, InvoiceState
from fulgurite.lifecycle import Lifecycle
from fulgurite.payments.states import (
    ADVICE,
    PAYMENT,
    FailureReason,
    PaymentState,
    worth_another_attempt,
)
from fulgurite.relays.states import RELAY, RelayState
from starter.schemas import event_file_name

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    ROOT / "docs" / "payments.md",
    ROOT / "docs" / "invoices.md",
    ROOT / "docs" / "relays.md",
    ROOT / "docs" / "events.md",
    ROOT / "README.md",
)


def diagram(lifecycle: Lifecycle[Any, Any]) -> str:
    return f"```mermaid\n{lifecycle.mermaid()}\n```"


def states(lifecycle: Lifecycle[Any, Any], every: type[StrEnum]) -> str:
    """A row a state: what it means, in the words that stand beside it in the code."""
    meanings = _comments_of(every)
    rows = ["| state | meaning | |", "|---|---|---|"]
    for state in every:
        role = "start" if state is lifecycle.start else ""
        rows.append(
            f"| {state} | {meanings[state]} | {'end' if state in lifecycle.terminal else role} |"
        )
    return "\n".join(rows)


def edges(lifecycle: Lifecycle[Any, Any]) -> str:
    """A row an edge, in the order of the table."""
    rows = ["| state | event | next | because |", "|---|---|---|---|"]
    rows += [f"| {e.source} | {e.event} | {e.target} | {e.because} |" for e in lifecycle.edges]
    return "\n".join(rows)


def failure_policy() -> str:
    """A row a reason: whether it is tried again, and what the receipt advises."""
    rows = ["| LND's reason | another attempt | advice on the receipt |", "|---|---|---|"]
    for reason in FailureReason:
        again = "while time allows" if worth_another_attempt(reason) else "no"
        rows.append(f"| {reason} | {again} | {ADVICE[reason]} |")
    return "\n".join(rows)


def hold_policies() -> str:
    """A row a policy."""
    rows = ["| `decide_by` | who decides |", "|---|---|"]
    rows += [f"| `{policy}` | {words} |" for policy, words in _comments_of(DecideBy).items()]
    return "\n".join(rows)


def events() -> str:
    """A row a type of event, with the schema of the whole webhook."""
    rows = ["| type | what happened | `data` is | schema |", "|---|---|---|---|"]
    for kind, known in CATALOGUE.items():
        schema = f"[v{known.version}](api/{event_file_name(kind)})"
        rows.append(f"| `{kind}` | {known.means} | {known.data.__name__} | {schema} |")
    return "\n".join(rows)


def tries() -> str:
    """When an event is sent: a row a try, with the time since the first if none is drawn out."""
    rows = ["| try | after a pause of | since the first, about |", "|---|---|---|"]
    rows.append("| 1 | | at once |")
    for number, pause in enumerate(PAUSES, 2):
        rows.append(f"| {number} | {_span(pause)} | {_span(sum(PAUSES[: number - 1], _NO_TIME))} |")
    longest = sum(PAUSES, _NO_TIME) * (1 + JITTER)
    drawn_out = (
        f"Each pause is drawn out by up to {JITTER:.0%}, so that the last try is made "
        f"{_span(sum(PAUSES, _NO_TIME))} to {_span(longest)} after the first."
    )
    return "\n".join([*rows, "", drawn_out])


_NO_TIME = timedelta(0)

PARTS: Mapping[str, Callable[[], str]] = {
    "states": partial(diagram, PAYMENT),
    "meanings": partial(states, PAYMENT, PaymentState),
    "edges": partial(edges, PAYMENT),
    "failure-policy": failure_policy,
    "invoice-states": partial(diagram, INVOICE),
    "invoice-meanings": partial(states, INVOICE, InvoiceState),
    "invoice-edges": partial(edges, INVOICE),
    "hold-policies": hold_policies,
    "relay-states": partial(diagram, RELAY),
    "relay-meanings": partial(states, RELAY, RelayState),
    "relay-edges": partial(edges, RELAY),
    "events": events,
    "tries": tries,
    "delivery-meanings": partial(states, DELIVERY, DeliveryState),
}

_MARKED = re.compile(rf"<!-- ({'|'.join(PARTS)}) -->\n.*?<!-- /\1 -->", re.DOTALL)


def filled(page: str) -> str:
    """The page with each marked part as the code has it now."""
    return _MARKED.sub(
        lambda found: f"<!-- {found[1]} -->\n{PARTS[found[1]]()}\n<!-- /{found[1]} -->", page
    )


def _comments_of(enumeration: type[StrEnum]) -> dict[str, str]:
    """Each member's comment at the end of its line, which is where its meaning is kept."""
    source = Path(inspect.getfile(enumeration)).read_text()
    lines = source.splitlines()
    [body] = [
        node.body
        for node in ast.parse(source).body
        if isinstance(node, ast.ClassDef) and node.name == enumeration.__name__
    ]
    return {
        member.value.value: lines[member.lineno - 1].partition("  # ")[2]
        for member in body
        if isinstance(member, ast.Assign)
        and isinstance(member.value, ast.Constant)
        and isinstance(member.value.value, str)
    }


def _span(time: timedelta) -> str:
    """`5 s`, `30 min`, `17 h`; what is longer than two days in days."""
    seconds = time.total_seconds()
    if seconds > 2 * 86_400:
        return f"{seconds / 86_400:.1f} days"
    for unit, size in (("h", 3_600), ("min", 60)):
        if seconds >= size:
            return f"{seconds / size:.2g} {unit}"
    return f"{seconds:g} s"


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
