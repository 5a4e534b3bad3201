"""Alerts and dashboard ask for metrics that exist, and each alert says what to do."""

from __future__ import annotations

import json
import re
import shutil
import subprocess

import pytest
import yaml

from fulgurite.payments.states import PaymentState
from tests.deploy.compose import ROOT, load
from tests.deploy.metrics import ALERTS, DASHBOARD, metrics_in_use

SCRAPE = ALERTS.with_name("scrape.yml")
OPERATIONS = (ROOT / "docs" / "operations.md").read_text()
RULES = [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def test_our_own_metrics_are_those_that_the_payment_counts() -> None:
    source = (ROOT / "workflows" / "metrics.py").read_text()
    created = set(re.findall(r'"(fulgurite_[a-z_]+)"', source))
    assert metrics_in_use("fulgurite") == created


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["alert"]))
def test_an_alert_is_whole_and_documented(rule: dict[str, object]) -> None:
    assert rule.keys() >= {"alert", "expr", "labels", "annotations"}
    assert f"### {rule['alert']}\n" in OPERATIONS


@pytest.mark.parametrize("status", re.findall(r'status="(\w+)"', ALERTS.read_text()))
def test_a_status_that_is_asked_for_is_one_of_a_payment(status: str) -> None:
    assert PaymentState(status)


def test_the_scraped_port_is_the_one_that_the_worker_publishes() -> None:
    (job,) = yaml.safe_load(SCRAPE.read_text())["scrape_configs"]
    (target,) = job["static_configs"][0]["targets"]
    assert any(port.startswith(f"{target}:") for port in load().services["worker"].ports)
    assert f'job="{job["job_name"]}"' in ALERTS.read_text()


def test_every_panel_shows_something_under_a_number_of_its_own() -> None:
    panels = json.loads(DASHBOARD.read_text())["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    assert all(panel["targets"] for panel in panels)


def test_operators_are_told_about_every_state() -> None:
    for state in PaymentState:
        assert f"| {state} |" in OPERATIONS


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool is not installed")
def test_promtool_takes_the_rules_and_the_scrape_configuration() -> None:
    subprocess.run(["promtool", "check", "rules", ALERTS], check=True)
    subprocess.run(["promtool", "check", "config", "--syntax-only", SCRAPE], check=True)
