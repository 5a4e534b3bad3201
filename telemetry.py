"""What a process says of itself: JSON logs, Prometheus metrics, and a health endpoint."""

from __future__ import annotations

import logging
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import structlog
from aiohttp import web
from temporalio import activity, workflow
from temporalio.runtime import (
    LogForwardingConfig,
    LoggingConfig,
    PrometheusConfig,
    Runtime,
    TelemetryConfig,
    TelemetryFilter,
)

_SHARED: tuple[structlog.typing.Processor, ...] = (
    structlog.contextvars.merge_contextvars,
    structlog.stdlib.add_logger_name,
    structlog.stdlib.add_log_level,
    structlog.processors.TimeStamper(fmt="iso", utc=True),
    structlog.processors.StackInfoRenderer(),
)


def configure_logging(level: str) -> None:
    """One JSON object a line on stderr, ours and the SDK's alike.

    The SDK's workflow logger is silent on replay and brings the workflow's identity, which
    becomes fields here and not a suffix of the message.
    """
    workflow.logger.workflow_info_on_message = False
    activity.logger.activity_info_on_message = False
    structlog.configure(
        processors=[*_SHARED, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*_SHARED, structlog.stdlib.ExtraAdder()],
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.format_exc_info,
                structlog.processors.JSONRenderer(),
            ],
        )
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())


def metrics_runtime(address: str) -> Runtime:
    """A runtime whose metrics, the SDK's and our `fulgurite_*`, are at `address`/metrics.

    What the SDK's core has to say goes through Python's logging, and so becomes JSON too.
    """
    core = LogForwardingConfig(logging.getLogger("temporalio.core"))
    return Runtime(
        telemetry=TelemetryConfig(
            logging=LoggingConfig(TelemetryFilter("WARN", "ERROR"), forwarding=core),
            metrics=PrometheusConfig(
                bind_address=address, durations_as_seconds=True, counters_total_suffix=False
            ),
        )
    )


@asynccontextmanager
async def health_endpoint(
    address: str, ready: Callable[[], Awaitable[dict[str, str]]]
) -> AsyncIterator[None]:
    """`/livez`: the loop turns. `/readyz`: 200 when every value of `ready()` is "ok"."""

    async def live(_: web.Request) -> web.Response:
        return web.json_response({"status": "ok"})

    async def readiness(_: web.Request) -> web.Response:
        checks = await ready()
        status = 200 if all(word == "ok" for word in checks.values()) else 503
        return web.json_response(checks, status=status)

    application = web.Application()
    application.add_routes([web.get("/livez", live), web.get("/readyz", readiness)])
    runner = web.AppRunner(application, access_log=None)
    await runner.setup()
    host, _, port = address.rpartition(":")
    await web.TCPSite(runner, host, int(port)).start()
    try:
        yield
    finally:
        await runner.cleanup()
