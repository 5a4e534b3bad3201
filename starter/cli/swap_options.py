"""What `fulgurite swap …` commands ask for alike."""

from __future__ import annotations

import getpass
import uuid
from typing import Annotated, Any

import typer

import settings as configuration
from fulgurite.errors import InvalidRequestError
from fulgurite.swaps.limits import Cap, SwapLimits
from fulgurite.swaps.reasons import SwapReason
from fulgurite.swaps.requests import Word
from fulgurite.swaps.states import SwapState
from starter.cli.exits import ExitCode
from starter.cli.options import asked, only_node

_LIMITS = "Limits"

Key = Annotated[str, typer.Argument(metavar="KEY", help="The swap, as `swap list` has it.")]
Node = Annotated[
    str | None,
    typer.Option(
        envvar="FULGURITE_NODE", help="Whose loopd. Not needed where one node is configured."
    ),
]
NewKey = Annotated[
    str | None,
    typer.Option("--key", help="Your own name for it: the same key never swaps twice. [random]"),
]
MaxCostSat = Annotated[
    int | None,
    typer.Option(metavar="SAT", help="All of its cost, at the worst.", rich_help_panel=_LIMITS),
]
MaxCostPpm = Annotated[
    int | None,
    typer.Option(
        metavar="PPM",
        help="The same, of the amount. With both, the lower.",
        rich_help_panel=_LIMITS,
    ),
]


def _cap(what: str) -> Any:
    return typer.Option(metavar="SAT", help=f"{what}, of that total.", rich_help_panel=_LIMITS)


MaxSwapFee = Annotated[int | None, _cap("The server's fee")]
MaxMinerFee = Annotated[int | None, _cap("The chain's")]
MaxPrepay = Annotated[int | None, _cap("What is paid in advance, and may be lost")]
MaxRouting = Annotated[int | None, _cap("Routing of the swap's payment")]
MaxPrepayRouting = Annotated[int | None, _cap("Routing of what is paid in advance")]
ConfTarget = Annotated[
    int | None, typer.Option(metavar="BLOCKS", help="For our transaction on chain. [9]")
]
ApprovalAbove = Annotated[
    int | None, typer.Option(metavar="SAT", help="Ask a person above this. [the node's]")
]
Budget = Annotated[
    list[str] | None, typer.Option("--budget", metavar="NAME", help="What counts its cost.")
]
NoWait = Annotated[bool, typer.Option("--no-wait", help="Begin it, and do not follow it.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Begin nothing; say what it would cost.")]
Note = Annotated[str, typer.Option(help="Written to the timeline.")]
Who = Annotated[
    str | None,
    typer.Option("--as", metavar="NAME", help="Who says so. [the user of this system]"),
]

_OF_STATE: dict[SwapState, ExitCode] = {
    SwapState.SUCCEEDED: ExitCode.DONE,
    SwapState.FAILED: ExitCode.FAILED,
    SwapState.ABANDONED: ExitCode.FAILED,
    SwapState.REFUSED: ExitCode.REFUSED,
    SwapState.REJECTED: ExitCode.NOTHING_MOVED,
    SwapState.EXPIRED: ExitCode.NOTHING_MOVED,
    SwapState.CANCELED: ExitCode.NOTHING_MOVED,
}


def of_state(state: SwapState, reason: SwapReason = SwapReason.NONE) -> ExitCode:
    """What a swap in this state is worth to a script."""
    if reason is SwapReason.OVER_BUDGET:
        return ExitCode.NOTHING_MOVED
    return _OF_STATE.get(state, ExitCode.NO_VERDICT)


def limits(total: tuple[int | None, int | None], **sat: int | None) -> SwapLimits:
    """Raises InvalidRequestError where no total was given: there is no "any"."""
    total_sat, total_ppm = total
    if total_sat is None and total_ppm is None:
        raise InvalidRequestError("give --max-cost-sat, --max-cost-ppm, or both")
    parts = {name: None if cap is None else Cap(sat=cap) for name, cap in sat.items()}
    return asked(SwapLimits, total=asked(Cap, sat=total_sat, ppm=total_ppm), **parts)


def node_of(given: str | None) -> str:
    return given or only_node(configuration.load(), "swaps")


def new_key(given: str | None) -> str:
    return given or f"cli-{uuid.uuid4().hex[:16]}"


def word(who: str | None, note: str) -> Word:
    return asked(Word, by=who or getpass.getuser(), note=note)
