"""The whole house on one machine: Temporal, a network, a key, a configuration, a worker.

Demo, tests, bench and `make up` all live in one of these.
"""

from __future__ import annotations

import json
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from ipaddress import ip_network
from pathlib import Path
from typing import Protocol

import aiohttp
from pydantic import BaseModel

from devnet.network import Network
from devnet.node import LightningNode
from devnet.processes import Daemon, free_ports
from devnet.receiver import Receiver
from devnet.regtest import RegtestNetwork
from devnet.simulated import SimulatedNetwork
from devnet.temporal import TemporalServer
from fulgurite import attributes
from fulgurite.sealing import UnsealingKey
from nodes.config import LndConfig
from nodes.webhooks.config import WebhookConfig
from settings import CONFIG_VARIABLE, Settings

ROOT = Path(__file__).resolve().parent.parent
KINDS = ("simulated", "regtest")
NOBODY: Mapping[str, WebhookConfig] = {}


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


def network(kind: str, state_dir: Path) -> RegtestNetwork | SimulatedNetwork:
    """The network of that kind, not entered yet."""
    return RegtestNetwork(state_dir) if kind == "regtest" else SimulatedNetwork(state_dir)


def configured(
    state_dir: Path,
    nodes: Mapping[str, LightningNode],
    temporal_address: str,
    webhooks: Mapping[str, WebhookConfig] = NOBODY,
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
) -> House:
    """A house around a network and a Temporal that run: with a key and a configuration."""
    settings = configured(state_dir, network.nodes, temporal.address, webhooks)
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
) -> AsyncIterator[House]:
    """Everything but the worker, from nothing to ready; all of it ends with the block."""
    temporal = TemporalServer(
        state_dir / "temporal", search_attributes=attributes.REGISTRY, headless=headless
    )
    async with temporal, network(kind, state_dir / "network") as running:
        yield furnished(state_dir, running, temporal, webhooks)


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
        lines += ["", f"[{name}]"]
        lines += [
            f"{key} = {json.dumps(value)}"
            for key, value in table.model_dump(mode="json", exclude_defaults=True).items()
        ]
    return "\n".join(lines) + "\n"
