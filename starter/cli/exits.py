"""Exit codes. A script may act on every one of them, and on 1 only it may pay anew."""

from __future__ import annotations

from enum import IntEnum

from fulgurite.errors import FulguriteError, InvalidRequestError, NodeError
from fulgurite.payments.states import PaymentState
from starter.errors import (
    TemporalRefusedError,
    TemporalUnavailableError,
    WorkerUnavailableError,
)


class ExitCode(IntEnum):
    """What the command ends with."""

    DONE = 0
    FAILED = 1
    REFUSED = 2
    NOTHING_MOVED = 3
    NO_VERDICT = 4
    UNREACHABLE = 5
    DIFFERS = 6
    DEFECT = 70


MEANINGS: dict[ExitCode, str] = {
    ExitCode.DONE: "done; a payment succeeded; what was watched is paid, or closed, or resolved",
    ExitCode.FAILED: "the payment failed: LND's verdict, and nothing is in flight",
    ExitCode.REFUSED: "wrong usage, or the request was refused; this command moved nothing",
    ExitCode.NOTHING_MOVED: (
        "nothing moved: rejected, over budget, expired, called off, unpaid, not confirmed"
    ),
    ExitCode.NO_VERDICT: "no verdict yet: open, in flight, waiting, or left alone; ask again",
    ExitCode.UNREACHABLE: "Temporal, a worker or a node does not answer; what was begun goes on",
    ExitCode.DIFFERS: "a reconciliation found differences; they are told, and nothing was paid",
    ExitCode.DEFECT: "a defect of this program; says nothing about the money",
}

_OF_STATE: dict[PaymentState, ExitCode] = {
    PaymentState.SUCCEEDED: ExitCode.DONE,
    PaymentState.FAILED: ExitCode.FAILED,
    PaymentState.REFUSED: ExitCode.REFUSED,
    PaymentState.REJECTED: ExitCode.NOTHING_MOVED,
    PaymentState.OVER_BUDGET: ExitCode.NOTHING_MOVED,
    PaymentState.EXPIRED: ExitCode.NOTHING_MOVED,
    PaymentState.CANCELED: ExitCode.NOTHING_MOVED,
}


def of_state(state: PaymentState) -> ExitCode:
    """What a payment in this state is worth to a script."""
    return _OF_STATE.get(state, ExitCode.NO_VERDICT)


def of_error(error: FulguriteError) -> ExitCode:
    """An error is never LND's verdict, so that none is worth 1."""
    match error:
        case InvalidRequestError():
            return ExitCode.REFUSED
        case (
            TemporalUnavailableError()
            | TemporalRefusedError()
            | WorkerUnavailableError()
            | NodeError()
        ):
            return ExitCode.UNREACHABLE
        case _:
            return ExitCode.NO_VERDICT


# Markdown, for `--help`.
EPILOG = "Exit codes:\n\n" + "\n".join(
    f"* **{code.value}** {meaning}" for code, meaning in MEANINGS.items()
)
