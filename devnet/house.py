"""The whole house on one machine: Temporal, a network, a key, a configuration, a worker.

Demo, tests, bench and `make up` all live in one of these.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Collection, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Any, Protocol

import aiohttp
from pydantic import BaseModel

from devnet.loopd import LoopNode
from devnet.network import Network
from devnet.node import LightningNode
from devnet.poold import PoolNode
from devnet.processes import Daemon, free_ports
from devnet.receiver import Receiver
from devnet.regtest import RegtestNetwork
from devnet.regtest.pool import PoolNetwork
from devnet.simulated import SimulatedNetwork
from devnet.temporal import TemporalServer
from devnet.topology import LINE, NODES, Topology
from fulgurite import attributes
from fulgurite.sealing import UnsealingKey
from nodes.config import LndConfig
from nodes.webhooks.config import WebhookConfig
from settings import CONFIG_VARIABLE, Settings

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("simulated", "regtest")
NOBODY: Mapping[str, WebhookConfig] = {}
NO_LOOPS: Mapping[str, LoopNode] = {}
NO_POOLS: Mapping[str, PoolNode] = {}


class Temporal(Protocol):
    """A Temporal server that can be killed and started again."""

    @property
    def address(self) -> str: ...
    async def kill(self) -> None: ...
    async def start(self) -> None: ...


class WorkerProcess:
    """`fulgurite-worker` as a process of its own, to be killed at any moment."""

    def __init__(self, house: House, name: str, settings: Mapping[str, str]) -> None:
        """`settings` are more FULGURITE_* variables, for this worker alone."""
        metrics_port, health_port = free_ports(2)
        self.health_url = f"http://127.0.0.1:{health_port}"
        self.metrics_url = f"http://127.0.0.1:{metrics_port}/metrics"
        self._daemon = Daemon(
            name,
            [sys.executable, ROOT / "worker.py"],
            state_dir=house.state_dir,
            environment={
                CONFIG_VARIABLE: str(house.config_path),
                "FULGURITE_METRICS_ADDRESS": f"127.0.0.1:{metrics_port}",
                "FULGURITE_HEALTH_ADDRESS": f"127.0.0.1:{health_port}",
                **settings,
            },
        )

    async def start(self) -> None:
        """Returns when the worker polls Temporal and every node answers it."""
        self._daemon.start()
        await self._daemon.until(self._ready, what="ready")

    async def kill(self) -> None:
        """Ends it as a crash would: kill -9."""
        await self._daemon.kill()

    async def stop(self) -> None:
        """SIGTERM, and time to come to a safe point."""
        await self._daemon.stop(grace_seconds=30)

    async def _ready(self) -> bool:
        try:
            async with (
                aiohttp.ClientSession() as session,
                session.get(f"{self.health_url}/readyz") as answer,
            ):
                return answer.status == 200
        except aiohttp.ClientError:
            return False


@dataclass(frozen=True)
class House:
    """What is running, and how to reach it."""

    state_dir: Path
    network: Network
    temporal: Temporal
    settings: Settings
    config_path: Path

    @asynccontextmanager
    async def worker(self, name: str = "worker", **settings: str) -> AsyncIterator[WorkerProcess]:
        """A worker process for as long as the block lasts."""
        worker = WorkerProcess(self, name, settings)
        await worker.start()
        try:
            yield worker
        finally:
            await worker.stop()


def network(
    kind: str,
    state_dir: Path,
    *,
    loop: bool = False,
    pool: bool = False,
    topology: Topology = LINE,
) -> RegtestNetwork | PoolNetwork | SimulatedNetwork:
    """The network of that kind, not entered yet.

    The simulated one has a loopd and a poold always; with `pool` regtest is another network.
    """
    if kind == "regtest" and pool:
        return PoolNetwork(state_dir)
    if kind == "regtest":
        return RegtestNetwork(state_dir, loop=loop, topology=topology)
    return SimulatedNetwork(state_dir, topology=topology)


def configured(
    state_dir: Path,
    nodes: Mapping[str, LightningNode],
    temporal_address: str,
    webhooks: Mapping[str, WebhookConfig] = NOBODY,
    *,
    loops: Mapping[str, LoopNode] = NO_LOOPS,
    pools: Mapping[str, PoolNode] = NO_POOLS,
) -> Settings:
    """Settings for these nodes and this Temporal, with a key of their own in `state_dir`."""
    return Settings(
        temporal_address=temporal_address,
        webhooks=dict(webhooks),
        unsealing_key_path=_key(state_dir / "unsealing.key"),
        nodes={
            name: LndConfig.model_validate(
                {
                    "network": "regtest",
                    "address": node.address,
                    "tls_cert_path": node.tls_cert_path,
                    "macaroon_dir": node.macaroon_dir,
                    "loop": _beside(loops[name]) if name in loops else None,
                    "pool": _beside(pools[name]) if name in pools else None,
                }
            )
            for name, node in nodes.items()
        },
    )


def furnished(
    state_dir: Path,
    network: Network,
    temporal: Temporal,
    webhooks: Mapping[str, WebhookConfig] = NOBODY,
    ours: Collection[str] = NODES,
) -> House:
    """A house around a network and a Temporal that run: with a key and a configuration.

    `ours` are the nodes that its workers are given; the others are strangers.
    """
    nodes = {name: node for name, node in network.nodes.items() if name in ours}
    settings = configured(
        state_dir, nodes, temporal.address, webhooks, loops=network.loops, pools=network.pools
    )
    config_path = state_dir / "fulgurite.toml"
    config_path.write_text(_toml(settings))
    return House(state_dir, network, temporal, settings, config_path)


def endpoint(receiver: Receiver, secret_path: Path, *events: str) -> WebhookConfig:
    """A receiver on loopback as an endpoint; `events` are patterns."""
    return WebhookConfig(
        url=receiver.url,
        secret_path=secret_path,
        events=events or ("*",),
        allow_networks=(ip_network("127.0.0.0/8"),),
    )


@asynccontextmanager
async def house(
    kind: str,
    state_dir: Path,
    *,
    headless: bool = True,
    webhooks: Mapping[str, WebhookConfig] = NOBODY,
    ours: Collection[str] = NODES,
    loop: bool = False,
    pool: bool = False,
    topology: Topology = LINE,
) -> AsyncIterator[House]:
    """Everything but the worker, from nothing to ready; all of it ends with the block.

    With `loop` there is a loopd on either kind of network, with `pool` a poold.
    """
    temporal = TemporalServer(
        state_dir / "temporal", search_attributes=attributes.REGISTRY, headless=headless
    )
    of_kind = network(kind, state_dir / "network", loop=loop, pool=pool, topology=topology)
    async with temporal, of_kind as running:
        yield furnished(state_dir, running, temporal, webhooks, ours)


def _key(path: Path) -> Path:
    """The file with the private half, made once."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        path.touch(mode=0o600)
        path.write_text(UnsealingKey.generate().secret_text())
    return path


def _toml(settings: Settings) -> str:
    """The file that FULGURITE_CONFIG names. JSON's strings and lists are TOML's."""
    lines = [
        f"temporal_address = {json.dumps(settings.temporal_address)}",
        f"unsealing_key_path = {json.dumps(str(settings.unsealing_key_path))}",
    ]
    tables: dict[str, BaseModel] = {f"nodes.{name}": node for name, node in settings.nodes.items()}
    tables |= {f"webhooks.{name}": endpoint for name, endpoint in settings.webhooks.items()}
    for name, table in tables.items():
        lines += _table(name, table.model_dump(mode="json", exclude_defaults=True))
    return "\n".join(lines) + "\n"


def _table(name: str, values: Mapping[str, Any]) -> list[str]:
    """A table, and those in it behind it."""
    inner = {key: value for key, value in values.items() if isinstance(value, dict)}
    plain = {key: value for key, value in values.items() if key not in inner}
    lines = ["", f"[{name}]", *(f"{key} = {json.dumps(value)}" for key, value in plain.items())]
    for key, value in inner.items():
        lines += _table(f"{name}.{key}", value)
    return lines


def _beside(daemon: LoopNode | PoolNode) -> dict[str, str | Path]:
    """The configuration of what runs beside an lnd."""
    return {
        "address": daemon.address,
        "tls_cert_path": daemon.tls_cert_path,
        "macaroon_path": daemon.macaroon_path,
    }
