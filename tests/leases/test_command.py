"""`fulgurite lease`: bid, list, show, watch, cancel, and a person's word."""

from __future__ import annotations

import ast
import re
from typing import Any

import pytest

from devnet.house import ROOT
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite.leases.states import LeaseState
from starter.client import FulguriteClient
from tests.commands import Command, valid
from tests.scenarios.telling import SIMULATED_ONLY

from .market import (
    AMOUNT_SAT,
    RATE_PPB,
    Venue,
    ends_term,
    mines_to,
    open_account,
    reaches,
    terms,
    wins,
)

pytestmark = [pytest.mark.usefixtures("working"), pytest.mark.timeout(300)]


PAGE = ROOT / "docs" / "leases.md"


def bid(*more: str) -> tuple[str, ...]:
    rate = ("--rate", str(RATE_PPB), "--max-batch-fee", "2", "--duration", "144")
    return ("lease", "bid", str(AMOUNT_SAT), *rate, *more)


@SIMULATED_ONLY
async def test_a_lease_is_bid_for_approved_listed_shown_and_watched(
    fulgurite: Command, simulated: SimulatedNetwork, client: FulguriteClient, venue: Venue
) -> None:
    await open_account(simulated)
    await venue.offer(AMOUNT_SAT, RATE_PPB)
    key = terms().key
    begun = await fulgurite(
        *bid("--key", key, "--approval-above-sat", "0", "--no-wait", "--force", "--json")
    )
    assert valid(begun.stdout, "lease-outcome") == {"key": key, "attached": False, "receipt": None}
    assert begun.exit_code == 4
    lease = client.lease_of(key)
    await reaches(lease, LeaseState.AWAITING_APPROVAL)
    approved = await fulgurite("approve", f"lease/{key}", "--as", "ada", answer="y\n")
    assert approved.exit_code == 0, approved.output
    assert "Lease 500,000 sat for alice, for up to" in approved.stderr
    won = await wins(venue, lease)

    shown = await fulgurite("lease", "show", key)
    view = await fulgurite("lease", "show", key, "--json")

    async def listed() -> str:
        return (await fulgurite("lease", "list", "--state", "leased")).stdout

    assert key in await eventually(listed, lambda text: key in text, what="the listing")
    assert won.channels[0].channel_point in shown.stdout
    assert "the term ends" in shown.stdout
    assert valid(view.stdout, "lease-view")["state"] == "LEASED"
    late = await fulgurite("lease", "cancel", key)
    assert (late.exit_code, "nothing to call off" in late.stderr) == (2, True)
    await ends_term(venue, lease)
    watched = await fulgurite("lease", "watch", key, "--json")
    outcome = valid(watched.stdout, "lease-outcome")
    assert watched.exit_code == 0
    assert outcome["receipt"]["status"] == "TERM_ENDED"


@SIMULATED_ONLY
async def test_nothing_is_bid_in_a_dry_run_without_a_yes_or_without_one_rate(
    fulgurite: Command, simulated: SimulatedNetwork
) -> None:
    orders_before = await simulated.pools["alice"].orders()
    planned = await fulgurite(*bid("--dry-run", "--json"))
    plan = valid(planned.stdout, "lease-plan")
    unconfirmed = await fulgurite(*bid(), answer="n\n")
    twice = await fulgurite(*bid("--percent", "2", "--force"))
    odd = await fulgurite("lease", "bid", "150000", "--percent", "2", "--max-batch-fee", "1")

    assert (planned.exit_code, plan["premium_sat"]) == (0, 72)
    assert plan["percent_a_year"] == pytest.approx(5.256)
    assert unconfirmed.exit_code == 3
    assert "5.26 % a year" in unconfirmed.stderr
    assert (twice.exit_code, odd.exit_code) == (2, 2)
    assert "amount_sat" in odd.stderr
    assert await simulated.pools["alice"].orders() == orders_before


@SIMULATED_ONLY
async def test_a_bid_that_is_called_off_ends_with_nothing_moved(
    fulgurite: Command, simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    await open_account(simulated)
    key = terms().key
    await fulgurite(*bid("--key", key, "--no-wait", "--force"))
    await reaches(client.lease_of(key), LeaseState.BIDDING)
    canceled = await fulgurite("lease", "cancel", key, "--reason", "no need")
    watched = await fulgurite("lease", "watch", key)
    assert canceled.exit_code == 0
    assert watched.exit_code == 3
    assert "CANCELED" in watched.stdout


@SIMULATED_ONLY
async def test_the_examples_of_the_docs_lease(
    simulated: SimulatedNetwork, client: FulguriteClient, venue: Venue
) -> None:
    begin, wait = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    names: dict[str, Any] = {"client": client}
    await in_python(begin, names)
    simulated.market.ask("carol", 2_000_000, rate_ppb=300)
    lease = names["lease"]
    await mines_to(simulated, lease, LeaseState.BIDDING)
    await wins(venue, lease)
    await ends_term(venue, lease)
    await in_python(wait, names)
    assert (names["receipt"].status, names["receipt"].leased_sat) == ("TERM_ENDED", 2_000_000)


async def in_python(example: str, names: dict[str, Any]) -> None:
    """Runs it as an interactive session would, which can await."""
    code = compile(example, "docs/leases.md", "exec", ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    ran = eval(code, names)
    if ran is not None:
        await ran
