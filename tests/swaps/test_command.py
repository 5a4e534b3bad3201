"""`fulgurite swap`: quoted, begun, approved, listed, shown, watched; and sequences of them."""

from __future__ import annotations

import pytest

from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite.swaps.sequence import SEQUENCE
from fulgurite.swaps.states import SwapState
from starter.client import FulguriteClient
from tests.commands import Command, valid
from tests.scenarios.telling import SIMULATED_ONLY
from tests.swaps.swapping import ended, standing, swap_request, until

pytestmark = [SIMULATED_ONLY, pytest.mark.usefixtures("working")]


async def test_a_swap_is_quoted_begun_approved_listed_shown_and_watched(
    fulgurite: Command, simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    key = swap_request().key
    out = ("swap", "out", "100000", "--max-cost-sat", "9000", "--key", key)
    dry = await fulgurite(*out, "--dry-run", "--json")
    assert (dry.exit_code, valid(dry.stdout, "swap-plan")["reason"]) == (0, "NONE")
    dear = await fulgurite(*out, "--max-swap-fee-sat", "1", "--dry-run")
    assert (dear.exit_code, "SWAP_FEE_LIMIT" in dear.stdout) == (2, True)
    unsaid = await fulgurite(*out, answer="n\n")
    assert (unsaid.exit_code, "within every limit" in unsaid.stderr) == (3, True)
    stored = simulated.loopd("alice").stored.values()
    assert not any(key in swap.label for swap in stored)

    begun = await fulgurite(*out, "--approval-above-sat", "0", "--no-wait", "--force", "--json")
    assert valid(begun.stdout, "swap-outcome") == {"key": key, "attached": False, "receipt": None}
    assert begun.exit_code == 4
    swap = client.swap_of(key)
    await until(swap, SwapState.AWAITING_APPROVAL)
    approved = await fulgurite("approve", f"swap/{key}", "--as", "ada", answer="y\n")
    assert approved.exit_code == 0, approved.output
    assert "at worst" in approved.stderr
    await ended(simulated, swap)

    async def listed() -> str:
        return (await fulgurite("swap", "list", "--state", "succeeded")).stdout

    await eventually(listed, lambda text: key in text, what="the listing")
    shown = await fulgurite("swap", "show", key)
    assert "server 500" in shown.stdout
    view = await fulgurite("swap", "show", key, "--json")
    assert valid(view.stdout, "swap-view")["state"] == "SUCCEEDED"
    late = await fulgurite("swap", "pause", key)
    assert (late.exit_code, "SUCCEEDED" in late.stderr) == (2, True)
    watched = await fulgurite("swap", "watch", key, "--json")
    receipt = valid(watched.stdout, "swap-outcome")["receipt"]
    assert (watched.exit_code, receipt["status"]) == (0, "SUCCEEDED")
    # The same command once more is the same swap.
    once_more = await fulgurite(*out, "--force")
    assert (once_more.exit_code, "not begun again" in once_more.stderr) == (0, True)


async def test_a_swap_without_a_total_is_refused(fulgurite: Command) -> None:
    refused = await fulgurite("swap", "out", "100000", "--force")
    assert (refused.exit_code, "--max-cost-sat" in refused.stderr) == (2, True)


async def test_a_sequence_is_begun_changed_shown_and_watched(
    fulgurite: Command, simulated: SimulatedNetwork, client: FulguriteClient
) -> None:
    key = swap_request().key
    amounts = ("120000", "--max-swap-sat", "60000", "--max-cost-sat", "6000")
    begun = await fulgurite(
        *("swap", "sequence", "begin", "out", *amounts, "--total-cost-sat", "12000"),
        *("--key", key, "--no-wait", "--force", "--json"),
    )
    assert begun.exit_code == 4, begun.output
    assert valid(begun.stdout, "sequence-outcome")["attached"] is False
    changed = await fulgurite("swap", "sequence", "change", key, "--carry-on", "--json")
    assert valid(changed.stdout, "sequence-view")["order"]["on_failure"] == "CARRY_ON"
    sequence = client.swap_sequence_of(key)

    async def over() -> bool:
        view = await sequence.view()
        swap = await standing(client.swap_of(view.under_way)) if view.under_way else None
        if swap and swap.swap_hash:
            await simulated.mine(1)
        return view.state in SEQUENCE.terminal

    await eventually(over, what="its end", every_seconds=1)
    shown = await fulgurite("swap", "sequence", "show", key)
    assert (shown.exit_code, "COMPLETED" in shown.stdout) == (0, True)
    watched = await fulgurite("swap", "sequence", "watch", key, "--json")
    receipt = valid(watched.stdout, "sequence-outcome")["receipt"]
    assert receipt["swapped_sat"] == 120_000
