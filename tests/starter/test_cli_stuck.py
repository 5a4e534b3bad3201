"""`fulgurite payment stuck`, `approve` and `reject`: what hangs, what it may cost, who decides."""

from __future__ import annotations

import signal
from contextlib import suppress

import pytest
from temporalio.client import Client
from temporalio.service import RPCError

from devnet.house import House
from devnet.waiting import eventually
from fulgurite.channels.closing import CloseType
from fulgurite.payments.states import PaymentState, PaymentStatus
from fulgurite.stuck.states import LadderState
from starter.client import FulguriteClient
from tests.commands import Command, until_it_says, valid
from tests.scenarios.telling import SIMULATED_ONLY, assert_nothing_moved, reaches, to_pay

from .hanging import CSV_BLOCKS, EXPIRY, HEIGHT, HangingNode, climbs, to_end

pytestmark = SIMULATED_ONLY

NOBODY = "00" * 32


async def resolved(node: HangingNode, client: FulguriteClient, payment_hash: str) -> None:
    ladder = client.stuck(payment_hash)
    node.ends(ladder.payment_hash, PaymentStatus.SUCCEEDED)
    node.mine()
    await ladder.receipt()


async def test_lists_what_hangs_with_the_rung_the_blocks_and_the_channel(
    node: HangingNode, fulgurite: Command, client: FulguriteClient
) -> None:
    payment_hash, point = node.hangs()
    await client.begin_ladder(to_end(node, payment_hash))
    await climbs(client.stuck(payment_hash), LadderState.AWAITING_APPROVAL)
    arguments = ("payment", "stuck", "--node", node.name)

    async def on_the_rung() -> list[str]:
        asked = await fulgurite(*arguments, "--state", "awaiting_approval", "--json")
        return asked.stdout.splitlines()

    [rung] = await eventually(on_the_rung, what="the listing")
    told = (await fulgurite(*arguments)).stdout
    [view] = (await fulgurite(*arguments, "--json")).stdout.splitlines()
    ended = await fulgurite(*arguments, "--state", "resolved_on_chain")

    assert "AWAITING_APPROVAL" in told
    assert "200 blocks (≈ 33.3 h)" in told
    assert "25,000 sat" in told
    assert f"{point[:10]}…" in told
    assert "(away)" in told
    assert valid(view, "ladder-view") == valid(rung, "ladder-view")
    assert (ended.exit_code, ended.stdout, "Nothing hangs" in ended.stderr) == (0, "", True)
    await resolved(node, client, payment_hash)


async def test_shows_a_ladder_with_what_is_at_stake_and_what_comes_next(
    node: HangingNode, fulgurite: Command, client: FulguriteClient
) -> None:
    payment_hash, point = node.hangs()
    await client.begin_ladder(
        to_end(
            node,
            payment_hash,
            policy={
                "force_close_by": "EXPIRY",
                "blocks_before_expiry": 20,
                "reconnect_seconds": 86_400,
            },
        )
    )
    await climbs(client.stuck(payment_hash), LadderState.RECONNECTING)
    shown = await fulgurite("payment", "stuck", payment_hash)
    view = valid(
        (await fulgurite("payment", "stuck", payment_hash, "--json")).stdout, "ladder-view"
    )

    assert shown.exit_code == 0
    assert shown.stdout.startswith("RECONNECTING  25,000 sat of payment ")
    assert "gives the peer 1 d, then closes by itself 20 blocks (≈ 3.3 h) before" in shown.stdout
    assert f"channel {point}" in shown.stdout
    assert "bob 02abababab…ababab, away" in shown.stdout
    assert f"25,000 sat until block {EXPIRY:,}, in 200 blocks (≈ 33.3 h), about" in shown.stdout
    assert "600,000 sat of ours for 144 blocks (≈ 24.0 h)" in shown.stdout
    assert f"block {HEIGHT:,} " in shown.stdout, "the timeline has heights"
    ordered, expires = (
        shown.stdout.index("the force close is ordered"),
        shown.stdout.index("the HTLC expires"),
    )
    assert ordered < expires
    assert f"fulgurite approve stuck/{payment_hash}" in shown.stdout
    assert "**" not in shown.stdout
    assert view["state"] == "RECONNECTING"
    await resolved(node, client, payment_hash)


async def test_a_ladder_is_begun_by_hand_after_a_yes_on_terms_of_ones_own(
    node: HangingNode, fulgurite: Command, client: FulguriteClient
) -> None:
    payment_hash, point = node.hangs()
    command = ("payment", "stuck", payment_hash, "--begin", "--node", node.name)
    terms = ("--force-close-by", "nobody", "--reconnect", "0", "--fee-budget-sat", "900")
    plan = await fulgurite(*command, *terms, "--dry-run", "--json")
    told = await fulgurite(*command, "--dry-run")
    unsure = await fulgurite(*command, *terms, answer="\n")
    unknown = await fulgurite("payment", "stuck", payment_hash)
    begun = await fulgurite(*command, *terms, answer="y\n")
    again = await fulgurite(*command, "--force", "--json")
    view = await climbs(client.stuck(payment_hash), LadderState.WAITING)

    document = valid(plan.stdout, "ladder-plan")
    assert document["request"]["policy"]["force_close_by"] == "NOBODY"
    assert [each["channel_point"] for each in document["channels"]] == [point]
    assert (told.exit_code, point in told.stdout, "dry run" in told.stderr) == (0, True, True)
    assert "the node's own" in told.stdout
    assert (unsure.exit_code, "nothing was done" in unsure.stderr) == (3, True)
    assert (unknown.exit_code, "--begin" in unknown.stderr) == (2, True)
    assert begun.exit_code == 0
    assert f"Begin the ladder on {node.name}?" in begun.stderr
    assert "closes nothing, and asks nobody" in begun.stderr
    assert (again.exit_code, "on its own policy: joined it" in again.stderr) == (0, True)
    assert valid(again.stdout, "ladder-view")["policy"]["fees"]["budget_sat"] == 900
    assert view.state is LadderState.WAITING
    await resolved(node, client, payment_hash)


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--begin"], "the hash of one payment"),
        (["--follow"], "the hash of one payment"),
        ([NOBODY, "--force-close-by", "person"], "give --begin"),
        ([NOBODY, "--dry-run"], "give --begin"),
        ([NOBODY, "--begin", "--force-close-by", "expiry"], "blocks_before_expiry"),
        ([NOBODY, "--begin", "--after", "2h"], "after_seconds"),
        ([NOBODY, "--begin", "--reconnect", "soon"], "90s, 15m"),
        ([NOBODY], "--begin"),
        ([NOBODY, "--follow"], "--begin"),
        (["12"], "64 hex"),
        ([NOBODY, "--begin", "--force"], "--node"),
    ],
)
async def test_what_cannot_be_shown_or_begun_is_refused(
    fulgurite: Command, arguments: list[str], says: str
) -> None:
    result = await fulgurite("payment", "stuck", *arguments, "--json")
    assert (result.exit_code, says in valid(result.stdout, "problem")["message"]) == (2, True)


async def test_follows_the_rungs_to_the_end_and_ctrl_c_leaves_it_climbing(
    node: HangingNode, fulgurite: Command, client: FulguriteClient
) -> None:
    payment_hash, point = node.hangs()
    begin = ("payment", "stuck", payment_hash, "--begin", "--node", node.name, "--force")
    left = await fulgurite.process(*begin, "--follow", "--json")
    ladder = client.stuck(payment_hash)
    await eventually(lambda: known(client, payment_hash), what="the ladder that it began")
    await climbs(ladder, LadderState.AWAITING_APPROVAL)
    left.send_signal(signal.SIGINT)
    stdout, stderr = await left.communicate()

    assert left.returncode == 4
    assert "climbs without this command" in stderr.decode()
    assert valid(stdout.decode(), "ladder-outcome")["receipt"] is None

    following = await fulgurite.process("payment", "stuck", payment_hash, "--follow")
    node.publishes(point, CloseType.REMOTE_FORCE)
    node.mine()
    await climbs(ladder, LadderState.CONFIRMING)
    node.confirms(point)
    await climbs(ladder, LadderState.MATURING)
    shown = await fulgurite("payment", "stuck", payment_hash)
    matures = f"block {HEIGHT + 2 + CSV_BLOCKS:,}"
    told = await until_it_says(following, f"ahead: {matures}")
    node.ends(ladder.payment_hash, PaymentStatus.FAILED)
    node.mine()
    await climbs(ladder, LadderState.SWEEPING)
    node.sweeps(point)
    stdout, _ = await following.communicate()
    followed = stdout.decode()

    assert f"our balance  600,000 sat  PENDING  from {matures}, in 144 blocks" in shown.stdout
    assert f"{matures}, in 144 blocks (≈ 24.0 h), about" in shown.stdout
    assert following.returncode == 0
    assert "MATURING" in told
    assert followed.startswith("RESOLVED_ON_CHAIN  LND says FAILED")
    assert f"1,500 sat: {point}" in followed
    again = await fulgurite("payment", "stuck", payment_hash, "--follow", "--json")
    assert valid(again.stdout, "ladder-outcome")["receipt"]["verdict"] == "FAILED"


async def known(client: FulguriteClient, payment_hash: str) -> bool:
    return bool([each async for each in client.list_stuck() if each.payment_hash == payment_hash])


async def test_a_force_close_is_approved_by_whoever_has_read_what_it_costs(
    node: HangingNode, fulgurite: Command, client: FulguriteClient
) -> None:
    payment_hash, point = node.hangs()
    await client.begin_ladder(to_end(node, payment_hash))
    ladder = client.stuck(payment_hash)
    await climbs(ladder, LadderState.AWAITING_APPROVAL)
    order = ("approve", f"stuck/{payment_hash}", "--as", "ann", "--note", "peer is gone for good")
    unsure = await fulgurite(*order, answer="n\n")
    assert node.asked == []
    approved = await fulgurite(*order, answer="y\n")
    await climbs(ladder, LadderState.CONFIRMING)
    node.confirms(point)
    node.ends(ladder.payment_hash, PaymentStatus.FAILED)
    node.sweeps(point)
    await ladder.receipt()
    late = await fulgurite(*order, answer="y\n")
    forced = await fulgurite(*order, "--force", "--json")
    view = await ladder.view()

    assert unsure.exit_code == 3
    assert "costs          1,200 sat, and the fees of the sweeps" in approved.stderr
    assert "600,000 sat of ours for 144 blocks (≈ 24.0 h)" in approved.stderr
    assert "ends the channel of 1,000,000 sat" in approved.stderr
    assert f"Have {node.name} force close its channel, which cannot be called back, as ann?" in (
        approved.stderr
    )
    assert approved.exit_code == 0
    assert f"fulgurite payment stuck {payment_hash} --follow" in approved.stdout
    assert any("by ann peer is gone for good" in line for line in view.timeline)
    assert (late.exit_code, "too late" in late.stderr) == (2, True)
    assert (forced.exit_code, "too late" in valid(forced.stdout, "problem")["message"]) == (2, True)


async def test_a_force_close_is_refused_by_a_person(
    node: HangingNode, fulgurite: Command, client: FulguriteClient
) -> None:
    payment_hash, point = node.hangs()
    await client.begin_ladder(to_end(node, payment_hash))
    await climbs(client.stuck(payment_hash), LadderState.AWAITING_APPROVAL)
    order = ("reject", f"stuck/{payment_hash}", "--reason", "he comes back on Monday")
    unsure = await fulgurite(*order)
    rejected = await fulgurite(*order, "--force", "--json")
    view = await climbs(client.stuck(payment_hash), LadderState.WAITING)

    assert (unsure.exit_code, "nobody confirmed" in unsure.stderr) == (2, True)
    assert "Leave it to LND, which goes to the chain when the HTLC expires," in unsure.stderr
    assert rejected.exit_code == 0
    valid(rejected.stdout, "ladder-view")
    assert any("he comes back on Monday" in line for line in view.timeline)
    assert (node.asked, point in node.open) == ([], True)
    await resolved(node, client, payment_hash)


@pytest.mark.usefixtures("working")
async def test_a_payment_is_decided_by_its_workflows_id_as_well(
    home: House, fulgurite: Command, client: FulguriteClient
) -> None:
    carol = home.network.nodes["carol"]
    invoices = [await carol.invoice(10_000_000) for _ in range(2)]
    yes, no = [await client.pay(to_pay(each, approval_above_msat=0)) for each in invoices]
    for payment in (yes, no):
        await reaches(payment, PaymentState.AWAITING_APPROVAL)
    approved = await fulgurite("approve", f"payment/{yes.payment_hash}", answer="y\n")
    rejected = await fulgurite("reject", f"payment/{no.payment_hash}", answer="y\n")

    assert (approved.exit_code, rejected.exit_code) == (0, 0)
    assert "Approve 10,000 sat from alice as " in approved.stderr
    assert f"fulgurite payment watch {yes.payment_hash}" in approved.stdout
    assert (await yes.receipt()).status is PaymentState.SUCCEEDED
    assert (await no.receipt()).status is PaymentState.REJECTED
    await assert_nothing_moved(home, invoices[1])


@pytest.mark.parametrize("verb", ["approve", "reject"])
@pytest.mark.parametrize(
    ("workflow_id", "says"),
    [
        (NOBODY, "give the id of a workflow that asks"),
        (f"relay/{NOBODY}", "give the id of a workflow that asks"),
        ("stuck/12", "64 hex"),
        (f"stuck/{NOBODY}", "retains nothing"),
        (f"payment/{NOBODY}", "retains nothing"),
    ],
)
async def test_what_asks_nobody_is_not_decided(
    fulgurite: Command, verb: str, workflow_id: str, says: str
) -> None:
    result = await fulgurite(verb, workflow_id, "--json")
    assert (result.exit_code, says in valid(result.stdout, "problem")["message"]) == (2, True)


@pytest.mark.usefixtures("working")
async def test_a_stuck_payment_without_a_ladder_is_named(
    home: House, fulgurite: Command, client: FulguriteClient, temporal: Client
) -> None:
    carol = home.network.nodes["carol"]
    invoice = await carol.hold_invoice(10_000_000)
    payment = await client.pay(to_pay(invoice, stuck_after_seconds=1))
    await reaches(payment, PaymentState.STUCK)
    ladder = temporal.get_workflow_handle(f"stuck/{payment.payment_hash}")
    with suppress(RPCError):
        await ladder.terminate("a test: ended by force")
    hint = f"fulgurite payment stuck {payment.payment_hash} --begin"

    async def listed() -> str:
        return (await fulgurite("payment", "stuck", "--node", "alice")).stderr

    await eventually(listed, lambda text: hint in text, what="the hint")
    await carol.settle(invoice)
    assert (await payment.receipt()).status is PaymentState.SUCCEEDED
