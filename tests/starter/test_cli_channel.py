"""`fulgurite channel …`: what a node's channels hold, how they are closed, and who is away."""

from __future__ import annotations

import asyncio
import signal

import pytest

from devnet.waiting import eventually
from fulgurite.channels.requests import CloseKind
from fulgurite.channels.states import CloseState
from starter.client import FulguriteClient
from tests.commands import Command, until_it_says, valid
from tests.scenarios.telling import SIMULATED_ONLY

from .hanging import CSV_BLOCKS, EXPIRY, HEIGHT, HangingNode, closes

pytestmark = SIMULATED_ONLY

NOWHERE = f"{'00' * 32}:0"


async def test_lists_channels_with_their_balances_and_the_nearest_expiry(
    node: HangingNode, fulgurite: Command, client: FulguriteClient
) -> None:
    _, hung = node.hangs()
    quiet, closing = node.channel(), node.channel()
    node.publishes(closing)

    async def under_way() -> list[CloseState]:
        found = client.list_closes(node=node.name, under_way=True)
        return [each.state async for each in found]

    await eventually(
        under_way, lambda states: states == [CloseState.WAITING_CLOSE], what="the closing"
    )
    listed = await fulgurite("channel", "list", "--node", node.name)
    document = valid(
        (await fulgurite("channel", "list", "--node", node.name, "--json")).stdout, "node-channels"
    )

    lines = listed.stdout.splitlines()
    of_hung = next(line for line in lines if line.endswith(hung))
    of_quiet = next(line for line in lines if line.endswith(quiet))
    of_closing = next(line for line in lines if line.endswith(closing))
    assert listed.exit_code == 0
    assert "○ away" in of_hung
    assert "600,000 sat  ████████████▒░░░░░░░" in of_hung
    assert "1, first in 200 blocks (≈ 33.3 h)" in of_hung
    assert "●" in of_quiet
    assert "WAITING_CLOSE" in of_closing
    assert "600,000 sat" in of_closing
    assert f"at block {HEIGHT:,}" in listed.stderr
    assert [each["channel_point"] for each in document["open"]] == [hung, quiet]
    assert [each["state"] for each in document["closing"]] == ["WAITING_CLOSE"]
    node.confirms(closing)
    node.sweeps(closing)
    await (await client.channel_close(closing)).receipt()


async def test_a_dry_run_says_what_a_close_would_cost_and_orders_nothing(
    node: HangingNode, fulgurite: Command
) -> None:
    _, hung = node.hangs()
    quiet = node.channel()
    at = ("--node", node.name, "--dry-run")
    forced = await fulgurite("channel", "close", hung, *at, "--force-close")
    friendly = await fulgurite(
        *("channel", "close", quiet, *at, "--target-conf", "6", "--fee-budget-sat", "700"),
        *("--delivery-address", "bcrt1qglass"),
    )
    plan = valid((await fulgurite("channel", "close", quiet, *at, "--json")).stdout, "close-plan")

    assert (forced.exit_code, friendly.exit_code) == (0, 0)
    assert forced.stdout.startswith(f"force close of {hung}")
    assert "our balance for 144 blocks (≈ 24.0 h) after it is confirmed" in forced.stdout
    assert f"1 with 25,000 sat, the first until block {EXPIRY:,}, in 200 blocks" in forced.stdout
    assert "away" in forced.stdout
    assert "dry run" in forced.stderr
    assert "confirmed within 6 blocks (≈ 1.0 h)" in friendly.stdout
    assert "bcrt1qglass" in friendly.stdout
    assert "at most 700 sat in all" in friendly.stdout
    assert plan["channel"]["channel_point"] == quiet
    assert plan["request"]["kind"] == "COOPERATIVE"
    assert (node.asked, set(node.open)) == ([], {hung, quiet})


async def test_a_close_is_confirmed_ordered_once_and_followed_to_its_last_output(
    node: HangingNode, fulgurite: Command, client: FulguriteClient
) -> None:
    point = node.channel()
    command = ("channel", "close", point, "--node", node.name, "--force-close")
    unsure = await fulgurite(*command, answer="\n")
    assert node.asked == []
    ordering = asyncio.create_task(fulgurite(*command, answer="y\n"))
    closing = await eventually(
        lambda: client.channel_close(point), lambda _: bool(node.asked), what="the order"
    )
    await closes(closing, CloseState.WAITING_CLOSE)
    following = await fulgurite.process(*command, "--force")
    node.confirms(point)
    told = await until_it_says(following, "can be swept")
    node.sweeps(point)
    followed = await ordering
    stdout, _ = await following.communicate()
    again = await fulgurite(*command, "--force", "--no-wait", "--json")
    gone = await fulgurite(*command)

    assert unsure.exit_code == 3
    assert f"Force close it on {node.name}? It cannot be called back." in unsure.stderr
    assert (followed.exit_code, following.returncode) == (0, 0)
    assert "FORCE_CLOSING" in told
    matures = f"ahead: block {HEIGHT + 1 + CSV_BLOCKS:,}, in 144 blocks (≈ 24.0 h), about"
    assert matures in told
    assert "600,000 sat (our balance) can be swept" in told
    assert stdout.decode().startswith("CLOSED  LOCAL_FORCE_CLOSE")
    assert followed.stdout.startswith("CLOSED  LOCAL_FORCE_CLOSE")
    assert "599,700 sat" in followed.stdout
    assert "1,500 sat on chain" in followed.stdout
    assert "our balance  600,000 sat  CLAIMED  by " in followed.stdout
    assert [each.kind for each in node.asked] == [CloseKind.FORCE]
    assert (again.exit_code, "nothing was ordered" in again.stderr) == (0, True)
    assert valid(again.stdout, "close-outcome")["receipt"]["status"] == "CLOSED"
    assert (gone.exit_code, "has no open channel" in gone.stderr) == (2, True)


async def test_ctrl_c_leaves_a_close_under_way_and_the_same_command_joins_it(
    node: HangingNode, fulgurite: Command, client: FulguriteClient
) -> None:
    point = node.channel()
    command = ("channel", "close", point, "--node", node.name, "--force")
    left = await fulgurite.process(*command, "--json")
    await eventually(lambda: asyncio.sleep(0, node.asked), bool, what="the order")
    closing = await client.channel_close(point)
    await closes(closing, CloseState.WAITING_CLOSE)
    left.send_signal(signal.SIGINT)
    stdout, stderr = await left.communicate()
    started = await fulgurite(*command, "--no-wait")
    shown = await fulgurite("channel", "close", point, "--node", node.name, "--dry-run")

    assert (left.returncode, "Left under way" in stderr.decode()) == (4, True)
    assert valid(stdout.decode(), "close-outcome")["receipt"] is None
    assert (started.exit_code, "being closed already" in started.stderr) == (4, True)
    assert f"fulgurite channel list --node {node.name}" in started.stdout
    assert "WAITING_CLOSE  cooperative close of " in shown.stdout
    assert len(node.asked) == 1
    node.confirms(point)
    node.sweeps(point)
    await closing.receipt()


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["12"], "channel list"),
        ([NOWHERE, "--force-close", "--sat-per-vbyte", "2"], "cooperative close's only"),
        ([NOWHERE, "--sat-per-vbyte", "2", "--target-conf", "2"], "give one of"),
        ([NOWHERE, "--fee-budget-sat", "-1"], "budget_sat"),
    ],
)
async def test_a_close_that_makes_no_sense_is_refused(
    fulgurite: Command, arguments: list[str], says: str
) -> None:
    result = await fulgurite("channel", "close", *arguments, "--node", "alice", "--json")
    assert (result.exit_code, says in valid(result.stdout, "problem")["message"]) == (2, True)


@pytest.mark.parametrize("verb", ["list", "watch"])
async def test_a_node_that_nobody_watches_is_told_as_that(fulgurite: Command, verb: str) -> None:
    result = await fulgurite("channel", verb, "--node", "zoe", "--json")
    problem = valid(result.stdout, "problem")
    assert (result.exit_code, problem["error"]) == (2, "NotRetainedError")
    assert "nobody watches the channels of zoe" in problem["message"]
    unnamed = await fulgurite("channel", verb, "--json")
    assert "--node" in valid(unnamed.stdout, "problem")["message"]


async def test_watches_closures_peers_and_backups_until_ctrl_c(
    node: HangingNode, fulgurite: Command, client: FulguriteClient
) -> None:
    point, other = node.channel(), node.channel()
    arguments = ("channel", "watch", "--node", node.name)
    for_people = await fulgurite.process(*arguments)
    for_programs = await fulgurite.process(*arguments, "--json")
    assert for_people.stdout is not None
    assert for_programs.stdout is not None
    views = [valid((await for_programs.stdout.readline()).decode(), "watch-view")]
    told = ""

    async def until(*words: str) -> None:
        nonlocal told
        assert for_people.stdout is not None
        while not all(word in told for word in words):
            line = await for_people.stdout.readline()
            assert line, told
            told += line.decode()

    async with asyncio.timeout(60):
        await until(f"channels of {node.name}", "backup")
        node.is_back(point, active=False)
        await until(f"away      {point}")
        node.is_back(point)
        await until(f"back      {point}")
        node.publishes(other)
        await until(f"is closing  {other}")
        await closes(await client.channel_close(other), CloseState.WAITING_CLOSE)
        node.confirms(other)
        node.sweeps(other)
        await until(f"has closed  {other}")
        node.backup_problem = "no space left"
        new = node.channel()
        await until(f"new       {new}", "failing since", "no space left")
        # Each looks for itself: what one has told, the other may be about to.
        while views[-1]["backup_fails_since"] is None:
            line = await for_programs.stdout.readline()
            assert line, views[-1]
            views.append(valid(line.decode(), "watch-view"))
    for process in (for_people, for_programs):
        process.send_signal(signal.SIGINT)
    await for_programs.communicate()
    await for_people.communicate()

    assert (for_people.returncode, for_programs.returncode) == (0, 0)
    assert views[0]["backup_fails_since"] is None
