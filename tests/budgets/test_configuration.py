"""How budgets are configured: one line a node, or tables with names."""

from __future__ import annotations

from pathlib import Path

import pytest

import settings
from fulgurite.budgets.policy import BudgetPolicy, Window
from fulgurite.errors import InvalidRequestError

NODE = """
[nodes.alice]
network = "regtest"
tls_cert_path = "/nowhere/tls.cert"
"""


def loaded(text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> settings.Settings:
    path = folder / "fulgurite.toml"
    path.write_text(text)
    monkeypatch.setenv(settings.CONFIG_VARIABLE, str(path))
    return settings.load()


def test_one_line_is_a_budget_of_the_nodes_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = "payment_budget = { amount_sat = 1_000_000 }"
    configured = loaded(NODE + line, tmp_path, monkeypatch)
    assert configured.every_budget() == {"alice-payments": BudgetPolicy(amount_sat=1_000_000)}


def test_a_budget_with_a_name_is_for_all_who_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    table = '[budgets.treasury]\nfee_sat = 20_000\nwindow = "week"\n'
    configured = loaded(table + NODE + 'payment_budget = "treasury"', tmp_path, monkeypatch)
    assert configured.nodes["alice"].payment_budget == "treasury"
    assert configured.every_budget() == {
        "treasury": BudgetPolicy(fee_sat=20_000, window=Window.WEEK)
    }


@pytest.mark.parametrize(
    "wrong",
    [
        "payment_budget = { window = 'day' }",
        "payment_budget = { amount_sat = 1_000, per = 'day' }",
        "payment_budget = 'Treasury'",
        "payment_budget = { amount_sat = 1 }\n[budgets.alice-payments]\namount_sat = 2",
    ],
)
def test_what_is_no_budget_keeps_the_worker_from_starting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, wrong: str
) -> None:
    """Invariant 12: a limit that cannot be read is no limit that is left out."""
    with pytest.raises(InvalidRequestError, match="budget"):
        loaded(NODE + wrong, tmp_path, monkeypatch)
