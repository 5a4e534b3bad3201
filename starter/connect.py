"""The way to Temporal, the same for clients and workers."""

from __future__ import annotations

import ctypes
from typing import Protocol

from temporalio.client import Client
from temporalio.runtime import Runtime, TelemetryConfig

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


def runtime(telemetry: TelemetryConfig) -> Runtime:
    """The SDK's core with its own telemetry, for as long as the process lives.

    It is never freed: its destructor waits for threads that wait for the interpreter's
    lock, so that an interrupted process would hang at its end. The end of the process frees it.
    """
    core = Runtime(telemetry=telemetry)
    ctypes.pythonapi.Py_IncRef(ctypes.py_object(core))
    return core


async def connect(settings: TemporalSettings, core: Runtime | None = None) -> Client:
    """A Temporal client that speaks our JSON. Raises TemporalUnavailableError."""
    try:
        return await Client.connect(
            settings.temporal_address,
            namespace=settings.temporal_namespace,
            tls=settings.temporal_tls,
            api_key=settings.temporal_api_key(),
            plugins=[plugin()],
            runtime=core,
        )
    except RuntimeError as error:
        # The SDK raises nothing narrower for a refused connection, a wrong name or TLS.
        raise TemporalUnavailableError(
            f"no Temporal answers at {settings.temporal_address}: start it, or check "
            "FULGURITE_TEMPORAL_ADDRESS and FULGURITE_TEMPORAL_TLS"
        ) from error
