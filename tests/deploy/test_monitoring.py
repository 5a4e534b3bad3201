"""Alerts and dashboard ask for metrics that exist, and each alert says what to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from fulgurite.events.delivery import DeliveryState
from fulgurite.payments.states import PaymentState
from tests.deploy.compose import ROOT, load
from tests.deploy.metrics import ALERTS, DASHBOARDS, metrics_in_use

SCRAPE = ALERTS.with_name("scrape.yml")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
_METRIC = r'"(fulgurite_[a-z_]+(?:_total|_seconds|_differences|_channels))"'
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def test_every_metric_of_ours_is_shown_or_alerts_and_none_is_asked_for_in_vain() -> None:
    sources = [*(ROOT / "workflows").glob("*.py"), *(ROOT / "activities").glob("*.py")]
    created = {
        name
        for source in sources
        for name in re.findall(
            r'"(fulgurite_[a-z_]+(?:_total|_seconds|_differences|_channels))"', source.read_text()
        )
    }
    assert metrics_in_use("fulgurite") == created


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_is_whole_and_documented(rule: dict[str, object]) -> None:
    assert rule.keys() >= {"alert", "expr", "labels", "annotations"}
    assert f"### {rule['alert']}\n" in OPERATIONS


@pytest.mark.parametrize("status", re.findall(r'status="(\w+)"', ALERTS.read_text()))
def test_a_status_that_is_asked_for_exists(status: str) -> None:
    assert status in {*PaymentState, *DeliveryState}


def test_the_scraped_port_is_the_one_that_the_worker_publishes() -> None:
    (job,) = yaml.safe_load(SCRAPE.read_text())["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    assert any(port.startswith(f"{target}:") for port in load().services["worker"].ports)
    assert f'job="{job["job_name"]}"' in ALERTS.read_text()


@pytest.mark.parametrize("dashboard", DASHBOARDS, ids=lambda path: str(path.stem))
def test_every_panel_shows_something_under_a_number_of_its_own(dashboard: Path) -> None:
    panels = json.loads(dashboard.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["targets"] for panel in panels)


def test_operators_are_told_about_every_state() -> None:
    for state in PaymentState:
        assert f"| {state} |" in OPERATIONS


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_takes_the_rules_and_the_scrape_configuration() -> None:
    subprocess.run(["promtool", "check", "rules", ALERTS], check=True)
    subprocess.run(["promtool", "check", "config", "--syntax-only", SCRAPE], check=True)


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_the_alerts_say_what_has_happened_also_when_it_is_the_first_of_its_kind() -> None:
    played = Path(__file__).with_name("alerts_test.yml")
    subprocess.run(["promtool", "test", "rules", played], check=True)


@pytest.mark.parametrize(
    "rule", [rule for rule in RULES if "increase(" in rule["expr"]], ids=lambda rule: rule["alert"]
)
def test_an_alert_about_one_event_counts_a_series_that_begins_with_it(
    rule: dict[str, str],
) -> None:
    """`increase` alone says nothing of it: the SDK tells of no counter before its first event."""
    alone = re.findall(r"increase\((\w+)(?:{[^}]*})?\[\w+\]\)+ > 0(?![.\d])", rule["expr"])
    for metric in alone:
        assert re.search(rf"{metric}(?:{{[^}}]*}})? unless {metric}", rule["expr"])
