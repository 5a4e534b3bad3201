"""`fulgurite budget …`: how much may be spent, how much is, and a person's word on it."""

from __future__ import annotations

import json
import uuid

import pytest
from rich.text import Text
from temporalio.client import Client
from temporalio.testing import ActivityEnvironment

from activities.budgets import BudgetActivities
from fulgurite.budgets.book import Book
from fulgurite.budgets.orders import (
    BudgetOrder,
    BudgetSetting,
    Claim,
    OrderKind,
    Purpose,
    TellBudget,
)
from fulgurite.budgets.policy import BudgetPolicy
from fulgurite.budgets.receipts import view_of
from fulgurite.money import Msat
from starter.cli import budget_rendering
from tests.commands import Command, valid
from tests.properties.clock import EPOCH
from tests.scenarios.telling import SIMULATED_ONLY

K = OrderKind


def told(kind: OrderKind, holder: str, sat: int, fee_sat: int = 0) -> BudgetOrder:
    return BudgetOrder(
        kind=kind,
        claim=Claim(holder=holder, since=EPOCH, purpose=Purpose.REBALANCE),
        amount_msat=Msat.from_sat(sat),
        fee_msat=Msat.from_sat(fee_sat),
    )


@SIMULATED_ONLY
@pytest.mark.usefixtures("working")
async def test_a_budget_is_set_looked_at_released_from_and_stopped(
    fulgurite: Command, temporal: Client
) -> None:
    name = f"b{uuid.uuid4().hex[:8]}"
    assert (await fulgurite("budget", "show", name)).exit_code == 2
    unconfirmed = await fulgurite("budget", "set", name, "--amount-sat", "10000", answer="n\n")
    assert unconfirmed.exit_code == 3
    assert "nothing is set  →  10,000 sat a day" in unconfirmed.stderr
    done = await fulgurite(
        *("budget", "set", name, "--amount-sat", "10000", "--fee-sat", "50"),
        *("--rolling", "7d", "--as", "ada", "--force"),
    )
    assert done.exit_code == 0, done.stderr
    assert "10,000 sat and 50 sat of fees in 7 days" in done.stdout

    telling = BudgetActivities(temporal)
    for order in (told(K.COMMIT, "rebalance/a", 6_000), told(K.RESERVE, "rebalance/b", 3_100, 5)):
        await ActivityEnvironment().run(telling.tell, TellBudget(budget=name, order=order))
    shown = await fulgurite("budget", "show", name)
    assert "LOW" in shown.stdout
    assert "spent 6,000 sat, reserved 3,105 sat, free 895 sat of 10,000 sat" in shown.stdout
    assert "rebalance/b" in shown.stdout
    document = valid((await fulgurite("budget", "show", name, "--json")).stdout, "budget-view")
    assert (document["holders"], document["set_by"]) == (1, "ada")

    spent = ("--spent-sat", "90", "--fee-sat", "10")
    released = await fulgurite("budget", "release", name, "rebalance/b", *spent, "--force")
    assert "reserved 0 sat, free 3,900 sat" in released.stdout
    again = await fulgurite("budget", "release", name, "rebalance/b", *spent, "--force")
    assert again.exit_code == 2
    assert "rebalance/b holds nothing" in again.stderr
    listed = await fulgurite("budget", "list", "--json")
    assert name in {json.loads(line)["name"] for line in listed.stdout.splitlines()}
    assert name in (await fulgurite("budget", "list")).stdout
    stopped = await fulgurite("budget", "set", name, "--amount-sat", "0", "--force")
    assert "SPENT" in stopped.stdout


@pytest.mark.parametrize(
    "wrong",
    [
        (),
        ("--window", "day"),
        ("--amount-sat", "-1"),
        ("--amount-sat", "1", "--window", "day", "--rolling", "1h"),
        ("--amount-sat", "1", "--rolling", "soon"),
    ],
)
@SIMULATED_ONLY
async def test_a_policy_that_is_none_is_refused_before_anybody_is_asked(
    fulgurite: Command, wrong: tuple[str, ...]
) -> None:
    assert (await fulgurite("budget", "set", "daily", *wrong, "--force")).exit_code == 2


@pytest.mark.parametrize(
    ("spent_sat", "reserved_sat", "bar"),
    [
        (0, 0, "·" * 30),
        (1, 1, "█▒" + "·" * 28),  # what is not nothing shows
        (500, 250, "█" * 15 + "▒" * 7 + "·" * 8),
        (1_000, 0, "█" * 30),
        (5_000, 3, "█" * 30),  # overdrawn
    ],
)
def test_the_bar_is_as_long_as_the_budget(spent_sat: int, reserved_sat: int, bar: str) -> None:
    book = Book(name="daily")
    book.set(BudgetSetting(policy=BudgetPolicy(amount_sat=10_000), by="ada"), EPOCH)
    book.take(told(K.RESERVE, "rebalance/b", reserved_sat), EPOCH)
    book.take(told(K.COMMIT, "rebalance/a", spent_sat), EPOCH)
    book.set(BudgetSetting(policy=BudgetPolicy(amount_sat=1_000), by="ada"), EPOCH)
    rendered = budget_rendering.view(view_of(book, EPOCH))
    assert isinstance(rendered, Text)
    assert f"  {bar}  amounts and fees" in rendered.plain.splitlines()
