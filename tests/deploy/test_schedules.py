"""The schedules that are shipped fit the worker that is shipped."""

from __future__ import annotations

import re

from starter.schedules import read
from tests.deploy.compose import ROOT


def test_the_shipped_schedules_reconcile_the_nodes_of_the_compose_file() -> None:
    compose = (ROOT / "docker-compose.yml").read_text()
    nodes = {name.lower() for name in re.findall(r"FULGURITE_NODES__([A-Z]+)__ADDRESS", compose)}

    entries = read(ROOT / "deploy" / "schedules.toml").schedules

    assert {entry.node for entry in entries.values()} == nodes
