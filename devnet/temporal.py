"""A Temporal server of our own: the dev server, on free ports, with its state in a file."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

from temporalio.api.operatorservice.v1 import ListSearchAttributesRequest
from temporalio.api.workflowservice.v1 import DescribeNamespaceRequest
from temporalio.client import Client
from temporalio.service import RPCError

from devnet.daemons import find
from devnet.processes import Daemon, free_ports

NAMESPACE = "default"


class TemporalServer:
    """A Temporal dev server that survives its own kill -9: `kill()`, then `start()` again.

    It keeps its database in `state_dir` and its ports for as long as this object lives, so
    clients and workers only see it go and come back. Everything listens on loopback.
    """

    def __init__(
        self,
        state_dir: Path,
        *,
        search_attributes: Mapping[str, str] | None = None,
        headless: bool = True,
        dynamic_config: Mapping[str, int] | None = None,
    ) -> None:
        """`search_attributes` maps a name to Temporal's type, such as Keyword, Int, Datetime.

        `headless` leaves the web UI out, which saves memory where nobody looks.
        `dynamic_config` sets the server's own limits, such as when it suggests a new run.
        """
        self.state_dir = state_dir
        self._search_attributes = dict(search_attributes or {})
        self._headless = headless
        self._dynamic_config = dict(dynamic_config or {})
        self._port, self._http_port, self._metrics_port, self._ui_port = free_ports(4)
        self._daemon: Daemon | None = None

    @property
    def address(self) -> str:
        """`host:port` of the gRPC front end; the namespace is `default`."""
        return f"127.0.0.1:{self._port}"

    @property
    def ui_url(self) -> str:
        """Where a browser finds the UI; nothing answers there when headless."""
        return f"http://127.0.0.1:{self._ui_port}"

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts on the same ports and database; returns when workflows can be started.

        Raises DaemonError with the end of the log when the server does not come up.
        """
        if self._daemon is None:
            program = await asyncio.to_thread(find, "temporal")
            self.state_dir.mkdir(parents=True, exist_ok=True)
            self._daemon = Daemon("temporal", self._command(program), state_dir=self.state_dir)
        self._daemon.start()
        await self._daemon.until(self._serves, what=f"serving on {self.address}")

    async def stop(self) -> None:
        if self._daemon is not None:
            await self._daemon.stop()

    async def kill(self) -> None:
        """Ends the server as a crash would; the database keeps what was committed."""
        if self._daemon is not None:
            await self._daemon.kill()

    def _command(self, program: Path) -> list[str | Path]:
        ui = ["--headless"] if self._headless else ["--ui-port", str(self._ui_port)]
        attributes = [
            part
            for name, kind in self._search_attributes.items()
            for part in ("--search-attribute", f"{name}={kind}")
        ]
        limits = [
            part
            for key, value in self._dynamic_config.items()
            for part in ("--dynamic-config-value", f"{key}={value}")
        ]
        # WAL and NORMAL: a commit survives a killed process (not a power cut), and the
        # server does about twice as much on it.
        return [
            *(program, "server", "start-dev", "--ip", "127.0.0.1"),
            *("--port", str(self._port), "--http-port", str(self._http_port)),
            *("--metrics-port", str(self._metrics_port), *ui),
            *("--db-filename", self.state_dir / "temporal.sqlite"),
            *("--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=NORMAL"),
            *("--log-level", "warn", *attributes, *limits),
        ]

    async def _serves(self) -> bool:
        """Whether the namespace and every search attribute are known to the server."""
        try:
            client = await Client.connect(self.address)
            await client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=NAMESPACE)
            )
            known = await client.operator_service.list_search_attributes(
                ListSearchAttributesRequest(namespace=NAMESPACE)
            )
        except (RPCError, RuntimeError):  # RuntimeError: nothing listens yet
            return False
        return self._search_attributes.keys() <= dict(known.custom_attributes).keys()
