"""What LND has paid to itself, and receipts tell otherwise or not at all, is told."""

from __future__ import annotations

import pytest
from temporalio.client import Client

from activities import comparing_rebalances
from activities.rebalancing import RebalanceActivities
from devnet.house import House
from devnet.simulated import SimulatedNetwork
from devnet.waiting import eventually
from fulgurite import ids
from fulgurite.money import Msat
from fulgurite.rebalances.calls import SendAttempt, Sent
from fulgurite.rebalances.receipts import RebalanceReceipt
from fulgurite.rebalances.requests import RebalanceRequest
from fulgurite.rebalances.states import RebalanceState
from fulgurite.reconciliation.differences import Book, DifferenceKind
from nodes.lnd.routes import NodeAttempt
from protos.lnrpc import lightning_pb2
from starter.client import FulguriteClient
from tests.rebalances.ring import Ring
from tests.rebalances.test_again import ended_by_force
from tests.rebalances.test_trouble import PART, assert_true, moved_by
from tests.reconciliation.telling import comes_to_tell, reconciled, told
from tests.scenarios.telling import SIMULATED_ONLY

pytestmark = [pytest.mark.timeout(300), pytest.mark.usefixtures("working")]


async def moved(
    client: FulguriteClient, ring: Ring, parts: int
) -> tuple[RebalanceRequest, RebalanceReceipt]:
    request = await ring.request(amount_msat=Msat(parts * PART), largest_part_msat=PART)
    receipt = await (await client.rebalance(request)).receipt()
    assert (receipt.status, receipt.parts) == (RebalanceState.MOVED, parts)
    await ring.settled()
    return request, receipt


async def paid_beside_us(home: House, ring: Ring, request: RebalanceRequest, number: int) -> None:
    """An attempt of the request, paid by somebody who has our key and none of our workflows."""
    key = home.settings.unsealing_key()
    preimage = key.preimage_of_rebalance(request.node, request.identity(), number)
    memo = f"fulgurite rebalance {request.key} #{number} {request.identity()}"
    async with ring.alice.lightning() as lightning:
        added = await lightning.AddInvoice(
            lightning_pb2.Invoice(memo=memo, r_preimage=preimage.reveal(), value_msat=PART)
        )
    await ring.pay_around(added.payment_request, out="bob", back="dave")


async def test_a_rebalance_agrees_and_its_payments_are_no_strangers(
    client: FulguriteClient, temporal: Client, ring: Ring
) -> None:
    request, receipt = await moved(client, ring, 3)
    await assert_true(ring, receipt)
    hashes = {each.payment_hash for each in await moved_by(ring, request.key)}

    async def compared() -> bool:
        report = await reconciled(temporal)
        assert Book.REBALANCES not in report.not_compared
        resource = ids.rebalance_id(request.key)
        assert not [each for each in report.differences if each.resource == resource]
        # Neither by the comparisons of payments and of invoices, which have them too.
        assert not hashes & {each.payment_hash for each in report.differences}
        return report.rebalances is not None and report.rebalances.agreeing > 0

    await eventually(compared, what="a rebalance that is compared", timeout_seconds=60)


@SIMULATED_ONLY
async def test_parts_that_no_receipt_tells_are_told_until_it_is_asked_for_again(
    simulated: SimulatedNetwork, client: FulguriteClient, temporal: Client, ring: Ring
) -> None:
    request = await ring.request(amount_msat=PART)
    hold = simulated.faults.hold_htlcs("carol")
    await ended_by_force(client, temporal, ring, request)
    hold.release()
    await ring.settled()
    resource = ids.rebalance_id(request.key)

    difference = await comes_to_tell(temporal, resource, DifferenceKind.UNFOLLOWED_REBALANCE)

    [payment] = await moved_by(ring, request.key)
    assert difference.payment_hash == payment.payment_hash
    assert difference.ours == "SENDING, workflow TERMINATED"
    assert difference.theirs == f"40,000 sat in 1 part for {Msat(payment.fee_msat)}"
    # As the advice says.
    receipt = await (await client.rebalance(request)).receipt()
    assert (receipt.status, receipt.parts) == (RebalanceState.MOVED, 1)
    assert len(await moved_by(ring, request.key)) == 1
    assert await told(temporal, resource) == []


async def test_a_part_beside_those_that_the_receipt_tells_is_told(
    home: House, client: FulguriteClient, temporal: Client, ring: Ring
) -> None:
    request, receipt = await moved(client, ring, 2)
    await paid_beside_us(home, ring, request, receipt.attempts + 1)

    difference = await comes_to_tell(
        temporal, ids.rebalance_id(request.key), DifferenceKind.AMOUNT_DIFFERS
    )

    assert difference.ours.startswith("MOVED, 80,000 sat in 2 parts for ")
    assert difference.theirs.startswith("120,000 sat in 3 parts for ")


@SIMULATED_ONLY
async def test_a_part_that_lies_on_another_page_is_told_once(
    home: House,
    client: FulguriteClient,
    temporal: Client,
    ring: Ring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each of the two pages has what the receipt says, and both together have it twice."""
    monkeypatch.setattr(comparing_rebalances, "PAGE", 1)
    request, receipt = await moved(client, ring, 1)
    before = (await reconciled(temporal)).rebalances
    await paid_beside_us(home, ring, request, receipt.attempts + 1)

    difference = await comes_to_tell(
        temporal, ids.rebalance_id(request.key), DifferenceKind.AMOUNT_DIFFERS
    )

    assert difference.ours.startswith("MOVED, 40,000 sat in 1 part for ")
    assert difference.theirs.startswith("80,000 sat in 2 parts for ")
    after = (await reconciled(temporal)).rebalances
    assert before is not None
    assert after is not None
    assert (after.ours, after.differing) == (before.ours, before.differing + 1)


@SIMULATED_ONLY
async def test_a_rebalance_whose_parts_lie_on_many_pages_agrees_once(
    client: FulguriteClient, temporal: Client, ring: Ring, monkeypatch: pytest.MonkeyPatch
) -> None:
    request, _ = await moved(client, ring, 3)
    resource = ids.rebalance_id(request.key)

    async def compared() -> bool:
        assert await told(temporal, resource) == []
        at_once = (await reconciled(temporal)).rebalances
        with monkeypatch.context() as patched:
            patched.setattr(comparing_rebalances, "PAGE", 1)
            return (await reconciled(temporal)).rebalances == at_once

    await eventually(compared, what="the same by small pages", timeout_seconds=120)


async def test_a_part_of_a_rebalance_that_nobody_knows_is_told(
    home: House, client: FulguriteClient, temporal: Client, ring: Ring
) -> None:
    """As after Temporal's database was restored from a copy."""
    await moved(client, ring, 1)  # for a node where rebalances are known at all
    request = await ring.request(amount_msat=PART)
    await paid_beside_us(home, ring, request, 1)

    difference = await comes_to_tell(
        temporal, ids.rebalance_id(request.key), DifferenceKind.UNFOLLOWED_REBALANCE
    )

    assert difference.ours == "no workflow"


@SIMULATED_ONLY
async def test_another_fee_is_told_unless_lnd_has_deleted_it(
    simulated: SimulatedNetwork,
    client: FulguriteClient,
    temporal: Client,
    ring: Ring,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ended = RebalanceActivities._ended

    async def misheard(self: RebalanceActivities, ask: SendAttempt, said: NodeAttempt) -> Sent:
        sent = await ended(self, ask, said)
        return sent.model_copy(update={"fee_msat": Msat(sent.fee_msat + 5)})

    monkeypatch.setattr(RebalanceActivities, "_ended", misheard)
    request, receipt = await moved(client, ring, 1)
    resource = ids.rebalance_id(request.key)

    difference = await comes_to_tell(temporal, resource, DifferenceKind.COST_DIFFERS)

    [payment] = await moved_by(ring, request.key)
    assert difference.ours.endswith(f" for {receipt.fee_msat}")
    assert difference.theirs.endswith(f" for {Msat(payment.fee_msat)}")
    # What LND knows no more, it cannot contradict.
    simulated.faults.delete_payment("alice", bytes.fromhex(payment.payment_hash))
    assert await told(temporal, resource) == []
