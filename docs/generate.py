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

from fulgurite.channels.requests import CloseKind
from fulgurite.channels.states import CLOSE, CloseState
from fulgurite.channels.watch import WatchState
from fulgurite.events.catalogue import CATALOGUE
from fulgurite.events.delivery import DELIVERY, JITTER, PAUSES, DeliveryState
from fulgurite.invoices.requests import DecideBy
from fulgurite.invoices.states import INVOICE, InvoiceState
from fulgurite.leases.states import LEASE, LeaseState, Refusal
from fulgurite.lifecycle import Lifecycle
from fulgurite.liquidity.policy import LiquidityPolicy
from fulgurite.liquidity.reasons import MEANS, WANTED
from fulgurite.model import Model
from fulgurite.payments.states import (
    ADVICE,
    PAYMENT,
    FailureReason,
    PaymentState,
    liquidity_may_help,
    worth_another_attempt,
)
from fulgurite.rebalances.states import REBALANCE, RebalanceState, StopReason
from fulgurite.relays.states import RELAY, RelayState
from fulgurite.stuck.policy import ForceCloseBy
from fulgurite.stuck.states import LADDER, LadderState
from fulgurite.swaps.reasons import ADVICE as SWAP_ADVICE
from fulgurite.swaps.sequence import SEQUENCE, SequenceState
from fulgurite.swaps.states import SWAP, SwapState
from starter.schemas import event_file_name

ROOT = Path(__file__).resolve().parent.parent
PAGES = (
    ROOT / "docs" / "payments.md",
    ROOT / "docs" / "stuck.md",
    ROOT / "docs" / "channels.md",
    ROOT / "docs" / "invoices.md",
    ROOT / "docs" / "relays.md",
    ROOT / "docs" / "leases.md",
    ROOT / "docs" / "liquidity.md",
    ROOT / "docs" / "rebalancing.md",
    ROOT / "docs" / "swaps.md",
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
        if liquidity_may_help(reason):
            again += "; with `wait_for_liquidity_seconds` after a remedy"
        rows.append(f"| {reason} | {again} | {ADVICE[reason]} |")
    return "\n".join(rows)


def swap_reasons() -> str:
    """A row a reason: what the receipt of a swap advises."""
    rows = ["| reason | what to do |", "|---|---|"]
    rows += [f"| {reason} | {swap_advice} |" for reason, swap_advice in SWAP_ADVICE.items()]
    return "\n".join(rows[:2] + rows[3:])


def words(every: type[StrEnum], header: str) -> str:
    """A row a member: what it means, in the words that stand beside it in the code."""
    rows = [header, "|---|---|"]
    rows += [f"| `{member}` | {meaning} |" for member, meaning in _comments_of(every).items()]
    return "\n".join(rows)


def liquidity_reasons() -> str:
    """A row a reason of a plan's line, and whether something is moved for it."""
    rows = ["| reason | | what it says |", "|---|---|---|"]
    rows += [
        f"| `{reason}` | {'moves' if reason in WANTED else ''} | {meaning} |"
        for reason, meaning in MEANS.items()
    ]
    return "\n".join(rows)


def fields(model: type[Model]) -> str:
    """A row a field: its default, and what it is for."""
    rows = ["| field | default | |", "|---|---|---|"]
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        shown = "" if default is None or isinstance(default, Model | dict) else _shown(default)
        rows.append(f"| `{name}` | {shown} | {field.description or ''} |")
    return "\n".join(rows)


def _shown(default: Any) -> str:
    return ", ".join(map(str, default)) if isinstance(default, tuple) else str(default)


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
    "hold-policies": partial(words, DecideBy, "| `decide_by` | who decides |"),
    "liquidity-reasons": liquidity_reasons,
    "liquidity-policy": partial(fields, LiquidityPolicy),
    "relay-states": partial(diagram, RELAY),
    "relay-meanings": partial(states, RELAY, RelayState),
    "relay-edges": partial(edges, RELAY),
    "ladder-states": partial(diagram, LADDER),
    "ladder-meanings": partial(states, LADDER, LadderState),
    "ladder-edges": partial(edges, LADDER),
    "ladder-policies": partial(words, ForceCloseBy, "| `force_close_by` | who orders it |"),
    "close-states": partial(diagram, CLOSE),
    "close-meanings": partial(states, CLOSE, CloseState),
    "close-edges": partial(edges, CLOSE),
    "close-kinds": partial(words, CloseKind, "| `kind` | what is done |"),
    "rebalance-states": partial(diagram, REBALANCE),
    "rebalance-meanings": partial(states, REBALANCE, RebalanceState),
    "rebalance-edges": partial(edges, REBALANCE),
    "rebalance-reasons": partial(words, StopReason, "| `reason` | why it does not go on |"),
    "lease-states": partial(diagram, LEASE),
    "lease-meanings": partial(states, LEASE, LeaseState),
    "lease-edges": partial(edges, LEASE),
    "lease-refusals": partial(words, Refusal, "| `refusal` | why |"),
    "swap-states": partial(diagram, SWAP),
    "swap-meanings": partial(states, SWAP, SwapState),
    "swap-edges": partial(edges, SWAP),
    "swap-reasons": swap_reasons,
    "sequence-states": partial(diagram, SEQUENCE),
    "sequence-meanings": partial(states, SEQUENCE, SequenceState),
    "watch-meanings": partial(words, WatchState, "| state | meaning |"),
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
