"""How every command runs: its event loop, its connection, and how its errors are told."""

from __future__ import annotations

import asyncio
import signal
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import Annotated, Any, ParamSpec

import typer
from rich.console import Console
from rich.text import Text
from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig

import settings as configuration
from fulgurite.errors import FulguriteError, InvalidRequestError
from fulgurite.model import Model
from settings import Settings
from starter.cli.documents import Problem
from starter.cli.exits import ExitCode, of_error
from starter.client import FulguriteClient
from starter.connect import connect

Given = ParamSpec("Given")

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, nothing else.")]
Force = Annotated[bool, typer.Option("--force", help="Do not ask for confirmation.")]

# Results go to stdout; whatever is said beside them goes to stderr.
out = Console(highlight=False)
err = Console(highlight=False, stderr=True)
# For tables: a narrow terminal wraps their lines itself, and no hash is cut in two.
wide = Console(highlight=False, width=400)
wide_err = Console(highlight=False, stderr=True, width=400)


class NotConfirmedError(FulguriteError):
    """The person at the keyboard said no."""


def command(body: Callable[Given, Coroutine[Any, Any, ExitCode]]) -> Callable[Given, None]:
    """Makes a command of a coroutine: expected errors become a sentence and an exit code."""

    @wraps(body)
    def run(*args: Given.args, **kwargs: Given.kwargs) -> None:
        as_json = bool(kwargs.get("as_json"))
        try:
            code = asyncio.run(body(*args, **kwargs))
        except NotConfirmedError as error:
            code = _tell(error, ExitCode.NOTHING_MOVED, as_json=as_json)
        except FulguriteError as error:
            code = _tell(error, of_error(error), as_json=as_json)
        except KeyboardInterrupt:
            err.print("interrupted")
            code = ExitCode.NO_VERDICT
        except Exception:  # noqa: BLE001 - Python's own exit code would be LND's FAILED
            err.print_exception(show_locals=False)
            err.print("This is a defect of fulgurite. It says nothing about any payment.")
            code = ExitCode.DEFECT
        raise typer.Exit(code)

    return run


async def temporal(settings: Settings | None = None) -> Client:
    """Temporal by the environment's settings, without the SDK's own chatter on stderr."""
    silent = Runtime(telemetry=TelemetryConfig(logging=None))
    return await connect(settings or configuration.load(), silent)


async def connected(settings: Settings | None = None) -> FulguriteClient:
    """The typed client on that."""
    return FulguriteClient(await temporal(settings))


def print_json(document: Model) -> None:
    """One document on one line, whatever the width of the terminal."""
    typer.echo(document.model_dump_json())


def confirm(question: str, *, force: bool) -> None:
    """Raises NotConfirmedError after a no, InvalidRequestError where nobody can answer."""
    if force:
        return
    try:
        with interruptible():
            # Not typer's: its prompt touches stdout, which is the result's.
            answer = err.input(f"{question} \\[y/N]: ")
    except EOFError:
        err.print()
        raise InvalidRequestError(
            "nobody confirmed: answer at the terminal, or give --force"
        ) from None
    except KeyboardInterrupt:
        err.print()
        answer = "no"
    if answer.strip().lower() not in {"y", "yes"}:
        raise NotConfirmedError("not confirmed: nothing was done")


@contextmanager
def interruptible() -> Iterator[None]:
    """Ctrl-C ends a question at once; asyncio's own handler would only note it and read on."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _tell(error: FulguriteError, code: ExitCode, *, as_json: bool) -> ExitCode:
    if as_json:
        print_json(
            Problem(error=type(error).__name__, message=str(error), retryable=type(error).retryable)
        )
    else:
        name = type(error).__name__.removesuffix("Error")
        # A log keeps the sentence on one line; a terminal wraps it between words.
        err.print(Text.assemble((name, "bold red"), f": {error}"), soft_wrap=not err.is_terminal)
    return code
