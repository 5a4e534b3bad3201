"""How a domain error leaves an activity."""

from __future__ import annotations

from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from fulgurite.errors import FulguriteError


def application_error(error: FulguriteError, *, retryable: bool | None = None) -> ApplicationError:
    """The error in Temporal's form: its class by name, its message, and whether to retry.

    `retryable` overrides the error's own opinion, for work that may never be given up.

    A refused request is a normal answer: BENIGN, so that it is not counted as a failure of
    ours in logs and metrics.
    """
    retry = error.retryable if retryable is None else retryable
    expected = ApplicationErrorCategory.BENIGN
    return ApplicationError(
        str(error),
        type=type(error).__name__,
        non_retryable=not retry,
        category=ApplicationErrorCategory.UNSPECIFIED if retry else expected,
    )
