"""The metrics that our alerts and our dashboard ask for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator

import yaml

from tests.deploy.compose import ROOT

ALERTS = ROOT / "deploy" / "prometheus" / "alerts.yml"
DASHBOARDS = sorted((ROOT / "deploy" / "grafana").glob("*.json"))


def metrics_in_use(prefix: str) -> set[str]:
    """Names as they are created: a histogram without the suffix of its series."""
    names = {
        name
        for expression in _expressions()
        for name in re.findall(rf"\b{prefix}_[a-z_]+", expression)
    }
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in names}


def _expressions() -> Iterator[str]:
    for group in yaml.safe_load(ALERTS.read_text())["groups"]:
        yield from (rule["expr"] for rule in group["rules"])
    for dashboard in DASHBOARDS:
        for panel in json.loads(dashboard.read_text())["panels"]:
            yield from (target["expr"] for target in panel["targets"])
