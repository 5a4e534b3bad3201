"""`fulgurite rebalance`: begun, listed, shown and watched."""

from __future__ import annotations

import json

import pytest

from devnet.waiting import eventually
from fulgurite.rebalances.states import RebalanceState
from tests.commands import Command, valid
from tests.rebalances.ring import Ring
from tests.scenarios.telling import SIMULATED_ONLY

pytestmark = [SIMULATED_ONLY, pytest.mark.usefixtures("working"), pytest.mark.timeout(300)]


async def test_a_rebalance_is_begun_listed_shown_and_watched(
    fulgurite: Command, ring: Ring
) -> None:
    request = await ring.request()
    key = request.key
    start = (
        *("rebalance", "start", "--from", request.from_channels[0]),
        *("--to", request.to_channels[0], "--amount-sat", "40000", "--key", key),
        *("--max-fee-sat", "100", "--max-fee-ppm", "1000"),
    )
    begun = await fulgurite(*start, "--force", "--json")
    assert (begun.exit_code, valid(begun.stdout, "rebalance-outcome")["key"]) == (0, key)

    async def listed() -> str:
        return (await fulgurite("rebalance", "list", "--state", "moved")).stdout

    table = await eventually(listed, lambda text: key in text, what="the listing")
    assert "MOVED" in table
    lines = await fulgurite("rebalance", "list", "--node", "alice", "--json")
    found = [valid(line, "rebalance-summary") for line in lines.stdout.splitlines()]
    [mine] = [each for each in found if each["key"] == key]
    assert (mine["state"], mine["workflow_status"]) == (RebalanceState.MOVED, "COMPLETED")
    none = await fulgurite("rebalance", "list", "--node", "nobody")
    assert (none.exit_code, "No rebalances" in none.stderr) == (0, True)

    shown = await fulgurite("rebalance", "show", key, "--json")
    assert valid(shown.stdout, "rebalance-view")["moved_msat"] == 40_000_000
    watched = await fulgurite("rebalance", "watch", key, "--json")
    assert json.loads(watched.stdout)["receipt"]["status"] == "MOVED"
