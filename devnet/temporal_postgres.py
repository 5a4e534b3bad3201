"""Temporal as production runs it: its own server, on PostgreSQL, all on loopback.

The server's configuration and both scripts are those of `deploy/temporal/`, the very files
that the compose file mounts. Only ports, passwords and paths differ.
"""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import secrets
import shutil
from collections.abc import Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from types import TracebackType
from typing import Self

from google.protobuf.duration_pb2 import Duration
from temporalio.api.enums.v1 import IndexedValueType
from temporalio.api.operatorservice.v1 import (
    AddSearchAttributesRequest,
    ListSearchAttributesRequest,
)
from temporalio.api.workflowservice.v1 import (
    DescribeNamespaceRequest,
    RegisterNamespaceRequest,
)
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from devnet.daemons import find
from devnet.processes import Daemon, DaemonError, free_ports

NAMESPACE = "default"
DEPLOY = Path(__file__).resolve().parent.parent / "deploy" / "temporal"

_HISTORY_SHARDS = 4
_USER = "temporal"
_RETENTION = timedelta(days=1)
_DEBIAN = Path("/usr/lib/postgresql")

_PORTS = (
    "FRONTEND_PORT",
    "FRONTEND_MEMBERSHIP_PORT",
    "HISTORY_PORT",
    "HISTORY_MEMBERSHIP_PORT",
    "MATCHING_PORT",
    "MATCHING_MEMBERSHIP_PORT",
    "WORKER_PORT",
    "WORKER_MEMBERSHIP_PORT",
)


class Postgres:
    """A PostgreSQL cluster in `state_dir/postgres`, for one user with a password in a file.

    PostgreSQL refuses to run as root. Started by root, it becomes an unprivileged user, who
    keeps one right: to pass through folders that only root may enter, such as `state_dir`.
    """

    def __init__(self, state_dir: Path) -> None:
        self.password_file = state_dir / "postgres-password"
        (self.port,) = free_ports(1)
        self._state_dir = state_dir
        self._data = state_dir / "postgres"
        self._daemon: Daemon | None = None

    @property
    def running(self) -> bool:
        return self._daemon is not None and self._daemon.running

    async def start(self) -> None:
        """Returns when it accepts connections; makes the cluster when there is none yet.

        Raises DaemonError when PostgreSQL is not installed, or does not come up.
        """
        programs = _postgres_programs()
        if not (self._data / "PG_VERSION").exists():
            await self._make_cluster(programs)
        if self._daemon is None:
            command = _unprivileged(
                programs / "postgres",
                *("-D", self._data, "-p", self.port),
                *("-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="),
            )
            self._daemon = Daemon("postgres", command, state_dir=self._state_dir)
        self._daemon.start()

        async def accepts() -> bool:
            asked = await asyncio.create_subprocess_exec(
                *(programs / "pg_isready", "--quiet", "--host=127.0.0.1", f"--port={self.port}")
            )
            return await asked.wait() == 0

        await self._daemon.until(accepts, what=f"accepting connections on port {self.port}")

    async def stop(self) -> None:
        if self._daemon is not None:
            await self._daemon.stop()

    async def _make_cluster(self, programs: Path) -> None:
        self.password_file.touch(mode=0o600)
        self.password_file.write_text(secrets.token_urlsafe(24))
        self._data.mkdir(mode=0o700, exist_ok=True)
        if os.geteuid() == 0:
            account = _unprivileged_account()
            os.chown(self._data, account.pw_uid, account.pw_gid)
        await _run(
            _unprivileged(
                programs / "initdb",
                *("--pgdata", self._data, "--username", _USER, "--pwfile", self.password_file),
                *("--auth=scram-sha-256", "--encoding=UTF8", "--no-locale"),
                *("--no-sync", "--no-instructions"),
            )
        )


class TemporalOnPostgres:
    """What `devnet.temporal.TemporalServer` is, in the shape that production has.

    `kill()` ends the Temporal server alone, as a crash would, and `start()` brings it back
    on the same database and the same port. `stop()` ends the database too.
    """

    def __init__(
        self, state_dir: Path, *, search_attributes: Mapping[str, str] | None = None
    ) -> None:
        """`search_attributes` maps a name to Temporal's type, such as Keyword, Int, Datetime."""
        self.state_dir = state_dir
        self._search_attributes = dict(search_attributes or {})
        self._ports = dict(zip(_PORTS, free_ports(len(_PORTS)), strict=True))
        self._postgres = Postgres(state_dir)
        self._daemon: Daemon | None = None

    @property
    def address(self) -> str:
        """`host:port` of the gRPC front end; the namespace is `default`."""
        return f"127.0.0.1:{self._ports['FRONTEND_PORT']}"

    async def __aenter__(self) -> Self:
        try:
            await self.start()
        except BaseException:
            await self.stop()
            raise
        return self

    async def __aexit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        await self.stop()

    async def start(self) -> None:
        """Starts what does not run; returns when workflows can be started and searched for.

        Raises DaemonError with the end of a log, or with what to install.
        """
        self.state_dir.mkdir(parents=True, exist_ok=True)
        if not self._postgres.running:
            await self._postgres.start()
            await self._bring_schema_up_to_date()
        if self._daemon is None:
            server = await asyncio.to_thread(find, "temporal-server")
            self._daemon = Daemon(
                "temporal-server",
                ["/bin/sh", DEPLOY / "serve.sh"],
                state_dir=self.state_dir,
                environment=self._environment() | {"TEMPORAL_SERVER": str(server)},
            )
        self._daemon.start()
        await self._daemon.until(self._serves, what=f"serving on {self.address}")

    async def stop(self) -> None:
        if self._daemon is not None:
            await self._daemon.stop()
        await self._postgres.stop()

    async def kill(self) -> None:
        """Ends the Temporal server as a crash would; the database keeps what was committed."""
        if self._daemon is not None:
            await self._daemon.kill()

    async def _bring_schema_up_to_date(self) -> None:
        sql_tool = await asyncio.to_thread(find, "temporal-sql")
        await _run(
            ["/bin/sh", DEPLOY / "schema.sh"],
            environment=self._environment() | {"TEMPORAL_SQL_TOOL": str(sql_tool)},
        )

    def _environment(self) -> dict[str, str]:
        """What the compose file gives the same scripts, with this server's own ports."""
        return {
            "TEMPORAL_SERVER_CONFIG_FILE_PATH": str(DEPLOY / "server.yaml"),
            "DYNAMIC_CONFIG": str(DEPLOY / "dynamic.yaml"),
            "HISTORY_SHARDS": str(_HISTORY_SHARDS),
            "LOG_LEVEL": "warn",
            "SQL_HOST": "127.0.0.1",
            "SQL_PORT": str(self._postgres.port),
            "SQL_USER": _USER,
            "SQL_PASSWORD_FILE": str(self._postgres.password_file),
            **{name: str(port) for name, port in self._ports.items()},
        }

    async def _serves(self) -> bool:
        """One step towards a server with a namespace and every search attribute; True at last.

        Each step is asked for again until it is seen done: a server that starts refuses
        some calls, and a part of it learns of a namespace later than another.
        """
        try:
            client = await Client.connect(self.address)
            await self._register_namespace(client)
            await self._register_search_attributes(client)
            for name in self._search_attributes:
                # Known is not yet usable: the front end reads its namespaces from a cache.
                await client.count_workflows(f"{name} IS NULL")
            return await _history_answers(client)
        except (RPCError, RuntimeError):  # RuntimeError: nothing listens yet
            return False

    async def _register_namespace(self, client: Client) -> None:
        try:
            await client.workflow_service.describe_namespace(
                DescribeNamespaceRequest(namespace=NAMESPACE)
            )
        except RPCError as error:
            if error.status is not RPCStatusCode.NOT_FOUND:
                raise
            retention = Duration(seconds=int(_RETENTION.total_seconds()))
            await client.workflow_service.register_namespace(
                RegisterNamespaceRequest(
                    namespace=NAMESPACE, workflow_execution_retention_period=retention
                )
            )

    async def _register_search_attributes(self, client: Client) -> None:
        known = await client.operator_service.list_search_attributes(
            ListSearchAttributesRequest(namespace=NAMESPACE)
        )
        missing = {
            name: _indexed(kind)
            for name, kind in self._search_attributes.items()
            if name not in known.custom_attributes
        }
        if missing:
            await client.operator_service.add_search_attributes(
                AddSearchAttributesRequest(namespace=NAMESPACE, search_attributes=missing)
            )


async def _history_answers(client: Client) -> bool:
    """Whether the service behind the front end that starts workflows can be reached."""
    try:
        await client.get_workflow_handle("nobody").describe()
    except RPCError as error:
        return error.status is RPCStatusCode.NOT_FOUND
    return True


def _indexed(kind: str) -> IndexedValueType.ValueType:
    """Temporal's number for `KeywordList` and the like, as its command line writes them."""
    words = re.sub(r"(?<!^)(?=[A-Z])", "_", kind).upper()
    return IndexedValueType.Value(f"INDEXED_VALUE_TYPE_{words}")


def _postgres_programs() -> Path:
    """The folder with postgres, initdb and pg_isready. Debian keeps them off PATH."""
    if on_path := shutil.which("initdb"):
        return Path(on_path).resolve().parent
    installed = [folder for folder in _DEBIAN.glob("*/bin") if (folder / "initdb").exists()]
    if not installed:
        raise DaemonError(
            "PostgreSQL is not installed: `apt-get install postgresql`, or put its initdb on PATH"
        )
    return max(installed, key=lambda folder: int(folder.parent.name))


def _unprivileged_account() -> pwd.struct_passwd:
    """The user that PostgreSQL's package makes; without one, the user who owns nothing."""
    try:
        return pwd.getpwnam("postgres")
    except KeyError:
        return pwd.getpwnam("nobody")


def _unprivileged(*command: str | int | Path) -> list[str]:
    """The command as it is, or, where we are root, the same as an unprivileged user."""
    words = [str(word) for word in command]
    if os.geteuid() != 0:
        return words
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise DaemonError(
            "PostgreSQL refuses to run as root and setpriv, to become somebody else, is "
            "missing: install util-linux, or run this as another user"
        )
    account = _unprivileged_account()
    return [
        *(setpriv, f"--reuid={account.pw_uid}", f"--regid={account.pw_gid}", "--clear-groups"),
        *("--inh-caps=+dac_override", "--ambient-caps=+dac_override"),
        # The kernel forgets the wish to die with the parent when the user changes.
        *("--pdeathsig=KILL", "--", *words),
    ]


async def _run(
    command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None
) -> None:
    """Runs it to its end; raises DaemonError with what it said when it fails."""
    process = await asyncio.create_subprocess_exec(
        *command,
        env=os.environ | dict(environment or {}),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await process.communicate()
    if process.returncode:
        words = " ".join(map(str, command))
        raise DaemonError(
            f"`{words}` failed with code {process.returncode}:\n{said.decode(errors='replace')}"
        )
