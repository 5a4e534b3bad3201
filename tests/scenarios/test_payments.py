"""An invoice is paid, and everything that is told about it is true."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.api.sdk.v1 import WorkflowMetadata
from temporalio.client import Client

from devnet.house import House
from fulgurite import ids
from fulgurite.bolt11 import read_invoice
from fulgurite.identity import ChannelId, NodePubkey
from fulgurite.payments.requests import PaymentRequest
from fulgurite.payments.states import FailureReason, PaymentState
from starter.client import FulguriteClient, keysend
from workflows import search_attributes

from .telling import AMOUNT_MSAT, NO_RETRY_SECONDS, TWO_HOP_FEE_MSAT, assert_true, ends, to_pay

pytestmark = pytest.mark.usefixtures("working")

# Aimed at in docs/performance.md: what a payment on its fast path may cost Temporal.
MOST_EVENTS = 13


@pytest.mark.parametrize(("payee", "fee_msat"), [("bob", 0), ("carol", TWO_HOP_FEE_MSAT)])
async def test_an_invoice_is_paid_over_one_hop_and_over_two(
    home: House, client: FulguriteClient, payee: str, fee_msat: int
) -> None:
    invoice = await home.network.nodes[payee].invoice(AMOUNT_MSAT)
    before = datetime.now(UTC)
    payment = await client.pay(to_pay(invoice, fee_limit={"sat": 10}))
    receipt = await ends(payment)

    assert receipt.status is PaymentState.SUCCEEDED
    assert receipt.failure_reason is FailureReason.NONE
    assert (receipt.amount_msat, receipt.fee_msat) == (AMOUNT_MSAT, fee_msat)
    assert receipt.fee_limit_msat == 10_000
    assert receipt.destination == (await home.network.nodes[payee].info()).identity_pubkey
    assert (receipt.node, receipt.parts, receipt.attempts, receipt.sends) == ("alice", 1, 1, 1)
    assert receipt.initiated_by_this_run
    assert not payment.attached
    assert (receipt.warnings, receipt.advice) == ((), "")
    assert receipt.resolved_at is not None
    assert before < receipt.requested_at < receipt.resolved_at <= receipt.completed_at
    await assert_true(home, receipt, invoice, payee=payee)


async def test_an_amount_above_one_channel_is_paid_in_parts(
    home: House, client: FulguriteClient, more_than_a_channel_msat: int
) -> None:
    invoice = await home.network.nodes["carol"].invoice(more_than_a_channel_msat)
    receipt = await (await client.pay(to_pay(invoice, fee_limit={"ppm": 1_000}))).receipt()

    assert receipt.status is PaymentState.SUCCEEDED
    assert receipt.parts > 1
    await assert_true(home, receipt, invoice)


async def test_an_invoice_without_an_amount_is_paid_the_amount_of_the_request(
    home: House, client: FulguriteClient
) -> None:
    invoice = await home.network.nodes["carol"].invoice()
    receipt = await (await client.pay(to_pay(invoice, amount_msat=AMOUNT_MSAT))).receipt()

    assert receipt.status is PaymentState.SUCCEEDED
    assert receipt.amount_msat == AMOUNT_MSAT
    await assert_true(home, receipt, invoice)


async def test_a_keysend_needs_no_invoice_and_is_paid_once_however_often_it_is_asked_for(
    home: House, client: FulguriteClient
) -> None:
    carol = home.network.nodes["carol"]
    key = home.settings.unsealing_key()
    gift = keysend(NodePubkey((await carol.info()).identity_pubkey), sealing_key=key.sealing_key)
    request = PaymentRequest.model_validate(
        {"node": "alice", "keysend": gift, "amount_msat": 7_000_001, "fee_limit": {"sat": 10}}
    )
    first = await (await client.pay(request)).receipt()
    again = await (await client.pay(request)).receipt()

    assert first.status is again.status is PaymentState.SUCCEEDED
    assert (first.initiated_by_this_run, again.initiated_by_this_run) == (True, False)
    assert first.sealed_preimage is not None
    assert key.open(first.sealed_preimage).settles(gift.payment_hash)
    every = await home.network.nodes["alice"].payments()
    [told] = [each for each in every if each.payment_hash == gift.payment_hash]
    assert (told.value_msat, told.fee_msat) == (first.amount_msat, first.fee_msat)


@pytest.mark.parametrize(
    ("enough", "too_little"),
    [
        ({"msat": 2_500}, {"msat": 2_499}),
        ({"sat": 3}, {"sat": 2}),
        ({"ppm": 167}, {"ppm": 166}),
    ],
    ids=["msat", "sat", "ppm"],
)
async def test_the_fee_limit_is_honoured_to_the_msat(
    home: House, client: FulguriteClient, enough: dict[str, int], too_little: dict[str, int]
) -> None:
    carol = home.network.nodes["carol"]
    # Too small to be split (lnd's parts are of 10,000 sat or more): parts would be cheap
    # enough one by one, and the first would hang at carol until she gives up on the rest.
    paid, unpaid = await carol.invoice(15_000_000), await carol.invoice(15_000_000)
    receipt = await (await client.pay(to_pay(paid, fee_limit=enough))).receipt()
    refused = await (
        await client.pay(to_pay(unpaid, fee_limit=too_little, deadline_seconds=NO_RETRY_SECONDS))
    ).receipt()

    assert (receipt.status, receipt.fee_msat) == (PaymentState.SUCCEEDED, 2_500)
    assert (refused.status, refused.failure_reason) == (
        PaymentState.FAILED,
        FailureReason.NO_ROUTE,
    )
    await assert_true(home, receipt, paid)
    await assert_true(home, refused, unpaid)


async def test_the_outgoing_channel_and_the_last_hop_are_the_ones_asked_for(
    home: House, client: FulguriteClient
) -> None:
    alice, bob, carol = (home.network.nodes[name] for name in ("alice", "bob", "carol"))
    last_hop = (await bob.info()).identity_pubkey
    for channel in await alice.channels():
        invoice = await carol.invoice(AMOUNT_MSAT)
        by = str(ChannelId.of_number(channel.chan_id))
        receipt = await (
            await client.pay(to_pay(invoice, outgoing_channels=[by], last_hop=last_hop))
        ).receipt()
        await assert_true(home, receipt, invoice)
        told = await alice.payment(invoice.payment_hash)
        assert told is not None
        assert told.htlcs[0].route.hops[0].chan_id == channel.chan_id
        assert told.htlcs[0].route.hops[-2].pub_key == last_hop

    impossible = await carol.invoice(AMOUNT_MSAT)
    receipt = await (
        await client.pay(
            to_pay(
                impossible,
                last_hop=(await alice.info()).identity_pubkey,
                deadline_seconds=NO_RETRY_SECONDS,
            )
        )
    ).receipt()
    assert receipt.failure_reason is FailureReason.NO_ROUTE


async def test_what_somebody_else_paid_on_this_node_is_told_so_also_after_it_expired(
    home: House, client: FulguriteClient
) -> None:
    carol = home.network.nodes["carol"]
    invoice = await carol.invoice(AMOUNT_MSAT, expiry_seconds=2)
    await home.network.nodes["alice"].pay(invoice.payment_request)

    async def ask_again() -> None:
        receipt = await (await client.pay(to_pay(invoice))).receipt()
        assert receipt.status is PaymentState.SUCCEEDED
        assert (receipt.initiated_by_this_run, receipt.sends) == (False, 0)
        assert receipt.fee_msat == TWO_HOP_FEE_MSAT
        await assert_true(home, receipt, invoice)

    await ask_again()
    left = read_invoice(invoice.payment_request).expires_at - datetime.now(UTC)
    await asyncio.sleep(left.total_seconds() + 0.1)
    await ask_again()


async def test_operators_find_a_payment_and_can_read_it(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    carol = home.network.nodes["carol"]
    invoice = await carol.invoice(AMOUNT_MSAT)
    receipt = await (await client.pay(to_pay(invoice))).receipt()

    handle = temporal.get_workflow_handle(ids.payment_id(receipt.payment_hash))
    described = await handle.describe()
    found = described.typed_search_attributes
    assert found[search_attributes.STATE] == "SUCCEEDED"
    assert found[search_attributes.NODE] == "alice"
    assert found[search_attributes.PAYMENT_HASH] == receipt.payment_hash
    assert found[search_attributes.DESTINATION] == receipt.destination
    assert found[search_attributes.AMOUNT_MSAT] == AMOUNT_MSAT
    assert found[search_attributes.FAILURE_REASON] == "NONE"
    assert await described.static_summary() == "pay 50,000 sat from alice"
    metadata = await handle.query("__temporal_workflow_metadata", result_type=WorkflowMetadata)
    assert metadata.current_details.startswith("### SUCCEEDED\n50,000 sat to `")
    for state in ("DISPATCHING", "SUCCEEDED"):
        assert f"**{state}**" in metadata.current_details


async def test_the_happy_path_costs_little_and_keeps_its_secret(
    home: House, client: FulguriteClient, temporal: Client
) -> None:
    invoice = await home.network.nodes["carol"].invoice(AMOUNT_MSAT)
    receipt = await (await client.pay(to_pay(invoice))).receipt()

    handle = temporal.get_workflow_handle(ids.payment_id(receipt.payment_hash))
    history = await handle.fetch_history()
    kinds = [event.event_type for event in history.events]
    assert len(kinds) <= MOST_EVENTS
    assert kinds.count(EventType.EVENT_TYPE_MARKER_RECORDED) == 1
    assert EventType.EVENT_TYPE_ACTIVITY_TASK_SCHEDULED not in kinds
    raw = b"".join(event.SerializeToString() for event in history.events)
    assert invoice.preimage not in raw
    assert invoice.preimage.hex().encode() not in raw
