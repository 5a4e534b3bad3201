"""The way to Temporal, the same for clients and workers."""

from __future__ import annotations

import os
import sys
from typing import NoReturn, Protocol

from temporalio.client import Client
from temporalio.runtime import Runtime

from starter.errors import TemporalUnavailableError
from workflows.plugin import plugin


class TemporalSettings(Protocol):
    """What it takes to find Temporal; see `settings.Settings`."""

    @property
    def temporal_address(self) -> str: ...

    @property
    def temporal_namespace(self) -> str: ...

    @property
    def temporal_tls(self) -> bool: ...

    def temporal_api_key(self) -> str | None: ...


def leave(code: int) -> NoReturn:
    """Ends a process that used the SDK, with this exit code, at once.

    The SDK's threads take the interpreter's lock when they report. While the interpreter
    takes itself apart that hangs the process or aborts it, and with it the exit code.
    """
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


async def connect(settings: TemporalSettings, runtime: Runtime | None = None) -> Client:
    """A Temporal client that speaks our JSON. Raises TemporalUnavailableError."""
    try:
        return await Client.connect(
            settings.temporal_address,
            namespace=settings.temporal_namespace,
            tls=settings.temporal_tls,
            api_key=settings.temporal_api_key(),
            plugins=[plugin()],
            runtime=runtime,
        )
    except RuntimeError as error:
        # The SDK raises nothing narrower for a refused connection, a wrong name or TLS.
        raise TemporalUnavailableError(
            f"no Temporal answers at {settings.temporal_address}: start it, or check "
            "FULGURITE_TEMPORAL_ADDRESS and FULGURITE_TEMPORAL_TLS"
        ) from error
